"""The inert tree: what a pickle says, as values that do nothing. No class of the file is imported, nothing is called.

Plain values (None, bool, int, float, str, bytes, list, tuple, dict, bytearray) stand for themselves, sets keep their
order (app.engine.ir.sets); everything else is one of the nodes below. Nodes compare by identity, globals by value.
"""

from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from torch import Tensor


class _Missing:
    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()


@dataclass(frozen=True, slots=True)
class Global:
    """A name that the file refers to: `module.name`, exactly as written, never looked up."""

    module: str
    name: str

    @property
    def path(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False, slots=True)
class Object:
    """What REDUCE, NEWOBJ or NEWOBJ_EX would have built; the call is recorded, not performed.

    `pairs` holds what SETITEMS would have stored (an OrderedDict's content), `items` what APPENDS (or ADDITEMS)
    would have added. `state` is what BUILD would have applied, or MISSING. `setter` is what would have been called with
    the object and its state instead of BUILD (the sixth part of what `__reduce__` may return).
    """

    origin: Any  # Global | Object
    args: tuple[Any, ...]
    how: Literal["reduce", "newobj", "newobj_ex"] = "reduce"
    kwargs: dict[str, Any] | None = None
    state: Any = MISSING
    setter: Any = None  # Global | Object
    items: list[Any] = field(default_factory=list)
    pairs: dict[Any, Any] = field(default_factory=dict)
    # What `tensors.tensor_of` found, with the arguments that it looked at: asked for many times over.
    seen: tuple[tuple[Any, ...], Any] | None = field(default=None, init=False, repr=False)
    # The state that `module.is_module` found to be a module's, likewise: edits put nothing else into its tables.
    module_state: Any = field(default=None, init=False, repr=False)


class Bytes(Protocol):
    """Where a storage's bytes come from."""

    @property
    def nbytes(self) -> int: ...

    def tensor(self) -> Tensor:
        """All bytes as a one-dimensional uint8 tensor; memory-mapped where they lie in a file."""
        ...


@dataclass(eq=False, slots=True)
class Storage:
    """A tensor storage: `numel` elements of one dtype, kept where they are until somebody asks for them."""

    kind: Global  # torch.FloatStorage, torch.storage.UntypedStorage ...
    key: str  # its name in the archive it came from; empty for a new one
    location: str  # "cpu", "cuda:0"
    numel: int
    source: Bytes


@dataclass(eq=False, slots=True)
class PersistentId:
    """A persistent id that is not a storage; kept as it is."""

    pid: Any
