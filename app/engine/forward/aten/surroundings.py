"""What the file says around an operator: how its tensors lie in memory, and what its results are read by."""

from collections.abc import Mapping
from typing import Final

from app.engine.forward.aten.calls import PREFIX, Place
from app.engine.forward.aten.known import Known
from app.engine.forward.aten.ports import in_order
from app.engine.ir.exported import Exported, Operator, TensorRef, references

_VIEWS: Final = frozenset({f"{PREFIX}{name}" for name in ("view.default", "reshape.default", "_unsafe_view.default")})


class Surroundings:
    """Answers for one program, at one set of symbols."""

    def __init__(self, exported: Exported, symbols: Mapping[str, int]) -> None:
        self._tensors, self._symbols = exported.graph.tensors, symbols
        self._fixed = {ref.name for ref in references(list(exported.graph.outputs))} | exported.held
        self._readers: dict[str, list[Operator]] = {}
        for operator in exported.graph.nodes:
            for ref in operator.reads():
                self._readers.setdefault(ref.name, []).append(operator)

    def place(self, operator: Operator, known: Known) -> Place:
        names = [ref.name for ref in operator.reads() if isinstance(ref, TensorRef)]
        meta = self._tensors.get(names[0]) if names else None
        ordered = meta is not None and in_order(meta, self._symbols)
        return Place(ordered, self._restored(operator, names, known))

    def _restored(self, operator: Operator, names: list[str], known: Known) -> bool:
        """Whether the rows that an operator gives go back at once to the dimensions that its own rows came from."""
        back = self._readers.get(operator.owner, [])
        if len(back) != 1 or back[0].target not in _VIEWS or operator.owner in self._fixed:
            return False
        restored = self._tensors[back[0].owner].sizes
        wholes = [known.ops.whole(value) for value in map(known.value, names) if value is not None]
        before = [known.ops.sizes.get(id(whole), ()) for whole in wholes if whole is not None]
        return any(sizes[:-1] == restored[:-1] for sizes in before)
