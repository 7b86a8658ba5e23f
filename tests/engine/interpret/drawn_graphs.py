"""Random graphs in the vocabulary of descriptions, with constants as a file has them."""

import torch
from hypothesis import strategies as st

from app.engine.forward.trace import Ops
from app.engine.forward.vocabulary import UnknownFlow, const
from app.engine.ir.graph import Const, Graph, Value, live
from app.engine.ir.tensors import buffer, tensor_of


def stored(path: str, tensor: torch.Tensor) -> Const:
    """The tensor as a constant that lies in a file."""
    found = tensor_of(buffer(tensor))
    assert found is not None
    return const(path, found)


class Builder:
    """Emits operations with random weights."""

    def __init__(self) -> None:
        self.ops = Ops(lookup=lambda module: None)
        self.count = 0

    def _const(self, *shape: int) -> Const:
        self.count += 1
        return stored(f"w{self.count}", torch.randn(shape))

    def conv(self, x: Value, out: int, kernel: int = 1, bias: bool = True, padding: int = 0, **options) -> Value:
        groups = options.get("groups", 1)
        weight = self._const(out, x.shape[1] // groups, kernel, kernel)
        pads = ((padding, padding),) * 2
        return self.ops.conv(x, weight, self._const(out) if bias else None, padding=pads, **options)

    def norm(self, x: Value) -> Value:
        channels = x.shape[1]
        var = stored("var", torch.rand(channels) + 0.5)
        return self.ops.batch_norm(x, self._const(channels), var, self._const(channels), self._const(channels), 1e-3)

    def scale(self, x: Value) -> Value:
        return self.ops.scale(x, self._const(x.shape[1]))

    def shift(self, x: Value) -> Value:
        return self.ops.shift(x, self._const(1, x.shape[1], 1, 1))

    def act(self, x: Value) -> Value:
        return self.ops.pointwise("SiLU", torch.nn.functional.silu, x)

    def pool(self, x: Value) -> Value:
        return self.ops.avg_pool(x, (3, 3), (1, 1), (1, 1))

    def pad(self, x: Value) -> Value:
        return self.ops.pad(x, ((0, 1), (1, 1)))

    def halves(self, x: Value) -> tuple[Value, Value]:
        half = x.shape[1] // 2
        return self.ops.take(x, range(half)), self.ops.take(x, range(half, x.shape[1]))

    def graph(self, start: Value, outputs: object) -> Graph:
        return live(Graph((start,), tuple(self.ops.nodes), outputs))


@st.composite
def graphs(draw) -> Graph:
    """Up to 14 operations, each on values that were made before."""
    torch.manual_seed(draw(st.integers(0, 10_000)))
    builder = Builder()
    start = Value((2, 4, 9, 7))
    values = [start]
    for _ in range(draw(st.integers(1, 14))):
        x = values[draw(st.integers(max(0, len(values) - 3), len(values) - 1))]
        kind = draw(
            st.sampled_from(
                ["conv", "conv", "conv", "norm", "scale", "shift", "act", "pool", "pad", "take", "add", "add", "concat"]
            )
        )
        others = [value for value in values if value.shape == x.shape]
        try:
            if kind == "conv":
                kernel = draw(st.sampled_from([1, 3]))
                groups = draw(st.sampled_from([1, 1, 2]))
                padding = draw(st.sampled_from([kernel // 2, kernel // 2, 0]))
                out = draw(st.sampled_from([2, 4, 4]))
                values.append(builder.conv(x, out, kernel, draw(st.booleans()), padding, groups=groups))
            elif kind == "take":
                taken = draw(st.lists(st.integers(0, x.shape[1] - 1), min_size=1, max_size=4))
                values.append(builder.ops.take(x, taken))
            elif kind == "add":
                values.append(builder.ops.add(x, draw(st.sampled_from(others))))
            elif kind == "concat":
                values.append(builder.ops.concat([x, draw(st.sampled_from(others))]))
            else:
                values.append(getattr(builder, kind)(x))
        except UnknownFlow:  # odd channels meet two groups, or a map is too small
            continue
    return builder.graph(start, [values[-1], values[draw(st.integers(0, len(values) - 1))]])
