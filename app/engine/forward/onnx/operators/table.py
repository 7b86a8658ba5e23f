"""Every operator that is described, and how those are taken that are not."""

from typing import Final

from app.engine.forward.onnx.operator import Operator
from app.engine.forward.onnx.operators import (
    activation,
    arithmetic,
    casting,
    convolution,
    logic,
    making,
    matrix,
    normalization,
    padding,
    pooling,
    quantisation,
    reduction,
    resize,
    selecting,
    shaping,
)
from app.engine.forward.onnx.operators.reference import by_reference

# A quantised model keeps its quantised weights: these are never computed beforehand.
_QUANTISED: Final = ("DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger")

OPERATORS: Final[dict[str, Operator]] = {
    **activation.OPERATORS,
    **arithmetic.OPERATORS,
    **casting.OPERATORS,
    **convolution.OPERATORS,
    **logic.OPERATORS,
    **making.OPERATORS,
    **matrix.OPERATORS,
    **normalization.OPERATORS,
    **padding.OPERATORS,
    **pooling.OPERATORS,
    **quantisation.OPERATORS,
    **reduction.OPERATORS,
    **resize.OPERATORS,
    **selecting.OPERATORS,
    **shaping.OPERATORS,
    **{name: Operator(by_reference, folds=False) for name in _QUANTISED},
}
OTHERS: Final = Operator(by_reference)

RANDOM: Final = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
)
# Operators that are linear if what they read beside a value is constant.
CONVOLUTIONS: Final = frozenset(convolution.OPERATORS)
WEIGHTED: Final = frozenset(
    {
        *CONVOLUTIONS,
        *("MatMul", "Gemm", "Add", "Sub", "Mul", "Div", "Sum"),
        *("BatchNormalization", "LayerNormalization", "RMSNormalization"),
    }
)
# Operators of onnxruntime's own domain: not read, but their first output is as large as their first input.
SHAPE_KEEPING: Final = frozenset(
    ("com.microsoft", name)
    for name in (
        *("BiasGelu", "FastGelu", "Gelu", "QuickGelu", "GroupNorm"),
        *("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", "RotaryEmbedding"),
    )
)
FUSED_CONV: Final = ("com.microsoft", "FusedConv")  # a Conv, an activation behind it, and a value added between
# Operators that others run for us, and the inputs that must be constants: how large the output is depends on them.
SIZED_BY: Final[dict[str, tuple[int, ...]]] = {
    "AffineGrid": (1,),
    "BlackmanWindow": (0,),
    "CenterCropPad": (1,),
    "Col2Im": (1, 2),
    "Compress": (1,),
    "DFT": (1, 2),
    "HammingWindow": (0,),
    "HannWindow": (0,),
    "MaxUnpool": (2,),
    "MelWeightMatrix": (0, 1, 2, 3, 4),
    "NonMaxSuppression": (0, 1, 2, 3, 4),
    "NonZero": (0,),
    "OneHot": (1,),
    "STFT": (1, 3),
    "Unique": (0,),
}
