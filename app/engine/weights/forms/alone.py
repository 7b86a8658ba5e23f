"""One layer as a unit: what its weight is made of is computed once, whoever calls it."""

from app.engine.algebra import Geometry
from app.engine.caller_plan import invalid_plan
from app.engine.forward.computed_weights import weight_or_part
from app.engine.forward.structure import below
from app.engine.forward.vocabulary import UnknownFlow
from app.engine.fuse.pairs import READ_AS
from app.engine.fuse.units import Unit, run_unit
from app.engine.ir.module import Module
from app.engine.weights.dress import dress_convolution, dress_linear


def layer_unit(root: Module, path: str) -> Unit:
    """The layer at a path. Raises InvalidPlan where its tensors do not make one."""
    layer = below(root, path)
    assert layer is not None
    weight = weight_or_part(layer)
    assert weight is not None
    if len(weight.shape) == 2:
        dress_linear(layer)
    else:
        dress_convolution(layer, geometry_of(layer, weight.shape))
    try:
        return run_unit(root, (path,), assumed=True, read_as=READ_AS)
    except UnknownFlow as unknown:
        raise invalid_plan(unknown.path or path, f"can't be computed: {unknown.reason}") from None


def geometry_of(layer: Module, shape: tuple[int, ...]) -> Geometry:
    """Of a convolution of which the weight is all that matters: any that takes the bias will do."""
    dims, bias = len(shape) - 2, layer.tensor("bias")
    transposed = bias is not None and bias.shape != shape[:1] and bias.numel % shape[1] == 0
    return Geometry(
        stride=(1,) * dims,
        padding=((0, 0),) * dims,
        dilation=(1,) * dims,
        groups=_groups(bias.numel // shape[1], shape) if transposed and bias is not None else 1,
        transposed=transposed,
    )


def _groups(wanted: int, shape: tuple[int, ...]) -> int:
    return wanted if wanted and shape[0] % wanted == 0 else 1
