"""Functions that a model defines are put in the place of their calls, once it is known how much that gives."""

from collections.abc import Iterable, Mapping

from onnx import FunctionProto, ModelProto, NodeProto, inliner

from app.engine.formats.limits import Limits, check_limit
from app.engine.formats.onnx.wire import damaged

_Key = tuple[str, str, str]


def inlined(model: ModelProto, limits: Limits) -> ModelProto:
    """The model without functions of its own."""
    if not model.functions:
        return model
    functions = {(f.domain, f.name, f.overload): f for f in model.functions}
    if len(functions) != len(model.functions):
        raise damaged("two functions have one name")
    _Sizes(functions, limits).of(model.graph.node)
    try:
        return inliner.inline_local_functions(model)
    except (RuntimeError, ValueError) as error:
        raise damaged(f"its functions can't be put in place: {str(error).splitlines()[0][:200]}") from error


class _Sizes:
    """How many operators functions expand to: one that calls another twice, over and over, doubles each time."""

    def __init__(self, functions: Mapping[_Key, FunctionProto], limits: Limits) -> None:
        self._functions, self._limits = functions, limits
        self._known: dict[_Key, int] = {}
        self._open: list[_Key] = []

    def of(self, nodes: Iterable[NodeProto]) -> int:
        total = sum(self._node(node) for node in nodes)
        check_limit("operators of the ONNX graph with its functions in place", total, self._limits.max_graph_nodes)
        return total

    def _node(self, node: NodeProto) -> int:
        inner = sum(self.of(graph.node) for attribute in node.attribute for graph in (attribute.g, *attribute.graphs))
        key = (node.domain, node.op_type, node.overload)
        return 1 + inner + (self._function(key) if key in self._functions else 0)

    def _function(self, key: _Key) -> int:
        if key in self._open:
            raise damaged(f"function {key[1]!r} calls itself")
        if key not in self._known:
            self._open.append(key)
            check_limit("nesting of functions", len(self._open), self._limits.max_graph_depth)
            self._known[key] = self.of(self._functions[key].node)
            self._open.pop()
        return self._known[key]
