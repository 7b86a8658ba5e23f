"""Where convolutions and pools look: strides, dilations and padding, `auto_pad` resolved."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.engine.forward.counts import check_counts
from app.engine.forward.onnx.call import Call, Dims

Pads = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Window:
    """A kernel's way over the spatial dimensions."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    auto_pad: str
    explicit: Pads  # used unless auto_pad says otherwise

    def pads(self, sizes: Sequence[int]) -> Pads:
        """(begin, end) for each dimension of maps of these sizes."""
        if self.auto_pad == "VALID":
            return ((0, 0),) * len(self.kernel)
        if self.auto_pad not in ("SAME_UPPER", "SAME_LOWER"):
            return self.explicit
        return tuple(self._same(size, axis) for axis, size in enumerate(sizes))

    def settled_pads(self, sizes: Sequence[int], static: Dims) -> Pads | None:
        """The padding, if it is the same for all sizes that the file allows."""
        if self.auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            free = [size is None and stride != 1 for size, stride in zip(static, self.stride, strict=True)]
            if any(free):
                return None
        return self.pads(sizes)

    def _same(self, size: int, axis: int) -> tuple[int, int]:
        """So much that the output has ceil(size / stride) positions; an odd one goes to the end for SAME_UPPER."""
        stride, reach = self.stride[axis], self.dilation[axis] * (self.kernel[axis] - 1) + 1
        total = max((-(-size // stride) - 1) * stride + reach - size, 0)
        small, large = total // 2, total - total // 2
        return (small, large) if self.auto_pad == "SAME_UPPER" else (large, small)


def window(call: Call, kernel: Sequence[int]) -> Window:
    """The window that an operator's attributes describe. Raises UnknownFlow where they do not fit the kernel."""
    dims = len(kernel)
    stride = call.ints("strides") or (1,) * dims
    dilation = call.ints("dilations") or (1,) * dims
    pads = call.ints("pads") or (0,) * (2 * dims)
    if (len(stride), len(dilation), len(pads)) != (dims, dims, 2 * dims):
        raise call.unknown("structure-differs", f"{call.name} has attributes for other than {dims} dimensions")
    check_counts(call.ops.owner, call.name, strides=stride, dilations=dilation)
    if min(kernel, default=1) < 1 or min(pads, default=0) < 0:
        raise call.unknown("structure-differs", f"{call.name} has a kernel or padding out of range")
    explicit = tuple(zip(pads[:dims], pads[dims:], strict=True))
    return Window(tuple(kernel), stride, dilation, call.attribute("auto_pad", "NOTSET"), explicit)


def flat(pads: Pads) -> list[int]:
    """As torch.nn.functional.pad takes it: the last dimension first."""
    return [side for pair in reversed(pads) for side in pair]
