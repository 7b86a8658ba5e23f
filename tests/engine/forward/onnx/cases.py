"""One case for each operator and variant that is described: the node, what it reads, what it becomes."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import helper

from tests.engine.forward.onnx.models import model_of

_SEED = np.random.default_rng(5)


def f(*shape, low=-2.0, high=2.0):
    return _SEED.uniform(low, high, shape).astype(np.float32)


def i(*values):
    return np.array(values, np.int64)


@dataclass
class Case:
    """`inputs` in order: arrays for values, ("const", array) for initializers, None for what is left out."""

    op: str
    inputs: tuple
    kinds: str | None = None  # the operations that it must become, space-separated
    opset: int = 17
    outputs: int = 1
    dims: dict[int, Any] | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    reference: float = 1e-9  # how far onnx's reference implementation may be; 0 where it has none, or a wrong one
    runtime: bool = True  # False where onnxruntime does not take it

    def build(self):
        names = ["" if given is None else f"in{n}" for n, given in enumerate(self.inputs)]
        values = {n: g for n, g in zip(names, self.inputs, strict=True) if isinstance(g, np.ndarray)}
        consts = {n: g[1] for n, g in zip(names, self.inputs, strict=True) if isinstance(g, tuple)}
        outputs = [f"out{n}" for n in range(self.outputs)]
        node = helper.make_node(self.op, names, outputs, name="n", **self.attributes)
        dims = None if self.dims is None else {f"in{n}": d for n, d in self.dims.items()}
        return model_of([node], values, consts, outputs, self.opset, dims), values


def case(op, *inputs, kinds=None, opset=17, outputs=1, dims=None, reference=1e-9, runtime=True, **attributes):
    return Case(op, inputs, kinds, opset, outputs, dims, attributes, reference, runtime)


def c(array):
    return ("const", array)


X = f(2, 4, 9, 7)
ROW = f(2, 5, 6)
DYNAMIC = {0: ("n", 4, "h", "w")}

CONVOLUTION = [
    case("Conv", X, c(f(6, 4, 3, 3)), c(f(6)), kinds="Conv"),
    case("Conv", X, c(f(6, 4, 3, 3)), kinds="Conv", strides=[2, 1], dilations=[1, 2], pads=[1, 0, 2, 1]),
    case("Conv", X, c(f(6, 2, 3, 3)), kinds="Conv", group=2, kernel_shape=[3, 3]),
    case("Conv", f(2, 4, 9), c(f(6, 4, 3)), kinds="Conv", pads=[1, 1]),
    case("Conv", f(1, 2, 5, 4, 6), c(f(3, 2, 2, 3, 2)), c(f(3)), kinds="Conv", pads=[1, 0, 0, 1, 1, 0]),
    case("Conv", X, c(f(6, 4, 3, 3)), kinds="Conv", auto_pad="SAME_UPPER", strides=[2, 2]),
    case("Conv", X, c(f(6, 4, 4, 2)), kinds="Conv", auto_pad="SAME_LOWER", strides=[2, 3]),
    case("Conv", X, c(f(6, 4, 4, 2)), kinds="Conv", auto_pad="VALID", strides=[2, 3]),
    case(
        "Conv", X, c(f(6, 4, 4, 2)), kinds="Conv", auto_pad="SAME_UPPER", dilations=[2, 1], dims=DYNAMIC, runtime=False
    ),
    case("Conv", X, c(f(6, 4, 3, 3)), kinds="Apply", auto_pad="SAME_UPPER", strides=[2, 2], dims=DYNAMIC),
    case("Conv", X, c(f(6, 4, 1, 1)), kinds="Conv", auto_pad="SAME_UPPER", strides=[3, 2]),
    case("Conv", X, f(6, 4, 3, 3), f(6), kinds="Apply", pads=[1, 2, 0, 1]),
    case("Conv", X, c(f(6, 4, 3, 3)), kinds="Conv", opset=11),
    case("Conv", X, c(f(6, 4, 3, 3)), kinds="Conv", opset=22),
    case("ConvTranspose", X, c(f(4, 3, 3, 3)), c(f(3)), kinds="Conv"),
    case("ConvTranspose", X, c(f(4, 3, 3, 2)), kinds="Conv", strides=[2, 3], pads=[1, 0, 1, 0], output_padding=[1, 2]),
    case("ConvTranspose", X, c(f(4, 3, 3, 3)), c(f(6)), kinds="Conv", group=2, dilations=[2, 1], reference=0),
    case("ConvTranspose", X, c(f(4, 3, 3, 3)), c(f(3)), kinds="Conv", strides=[2, 2], pads=[1, 0, 0, 1]),
    case("ConvTranspose", X, c(f(4, 3, 3, 3)), c(f(3)), kinds="Apply", pads=[1, 0, 0, 1]),
    case(
        "ConvTranspose", X, c(f(4, 3, 4, 4)), c(f(3)), kinds="Conv", strides=[2, 2], output_shape=[18, 14], reference=0
    ),
    case(
        "ConvTranspose", X, c(f(4, 3, 3, 3)), c(f(3)), kinds="Conv", strides=[2, 2], output_shape=[18, 14], reference=0
    ),
    case("ConvTranspose", X, c(f(4, 3, 4, 4)), kinds="Conv", strides=[2, 2], auto_pad="SAME_UPPER"),
    case("ConvTranspose", X, c(f(4, 3, 3, 3)), kinds="Conv", strides=[2, 2], auto_pad="SAME_LOWER", reference=0),
    case("ConvTranspose", X, c(f(4, 3, 4, 4)), kinds="Conv", strides=[2, 2], auto_pad="SAME_UPPER", dims=DYNAMIC),
    case("ConvTranspose", X, f(4, 3, 3, 3), kinds="Apply", strides=[2, 2], output_padding=[1, 1]),
    case("ConvTranspose", f(2, 4, 9), c(f(4, 3, 3)), c(f(3)), kinds="Conv", strides=[2], pads=[1, 1]),
]

ARITHMETIC = [
    case("Add", X, X + 1, kinds="Add"),
    case("Add", X, f(4, 1, 1), kinds="Apply"),
    case("Add", X, c(f(4, 1, 1)), kinds="Shift"),
    case("Add", c(f(4, 1, 1)), X, kinds="Shift"),
    case("Add", X, c(f(1)), kinds="Shift"),
    case("Add", X, c(np.float32(3.5).reshape(())), kinds="Shift"),
    case("Add", X, c(f(7)), kinds="Shift"),
    case("Add", X, c(f(4, 9, 1)), kinds="Apply"),
    case("Add", f(2, 1, 3, 3), c(f(4, 1, 1)), kinds="Apply"),
    case("Add", X, c(f(1, 1, 1, 1, 1)), kinds="Apply"),
    case("Sub", X, X + 1, kinds="Scale Add"),
    case("Sub", X, c(f(4, 1, 1)), kinds="Shift"),
    case("Sub", c(f(4, 1, 1)), X, kinds="Scale Shift"),
    case("Mul", X, X, kinds="Apply"),
    case("Mul", X, c(f(4, 1, 1)), kinds="Scale"),
    case("Mul", c(f(1)), X, kinds="Scale"),
    case("Div", X, c(f(4, 1, 1, low=1.0)), kinds="Scale"),
    case("Div", c(f(4, 1, 1)), X, kinds="Apply"),
    case("Div", X, X + 5, kinds="Apply"),
    case("Div", i(7, -7, 8), c(i(2, 2, -3)), kinds="Apply"),
    case("Neg", X, kinds="Scale"),
    case("Sum", X, X + 1, X * 2, kinds="Add Add"),
    case("Sum", X, f(4, 1, 1), kinds="Apply"),
    case("Mean", X, X + 1, f(7), kinds="Apply"),
    case("Max", X, f(4, 1, 1), c(f(7)), kinds="Apply"),
    case("Min", X, f(4, 1, 1), kinds="Apply"),
    case("Mod", i(7, -7, 8), c(i(2, 2, -3)), kinds="Apply"),
    case("Mod", X, c(f(7, low=1.0)), kinds="Apply", fmod=1),
    case("Pow", np.abs(X), c(np.float32([1.5])), kinds="Apply"),
    case("Pow", X, c(i(2)), kinds="Apply"),
]

MATRIX = [
    case("MatMul", ROW, c(f(6, 3)), kinds="Linear"),
    case("MatMul", f(4, 6), c(f(6, 3)), kinds="Linear"),
    case("MatMul", f(6), c(f(6, 3)), kinds="Linear"),
    case("MatMul", ROW, f(6, 3), kinds="Apply"),
    case("MatMul", c(f(3, 5)), ROW, kinds="Apply"),
    case("MatMul", ROW, c(f(2, 6, 3)), kinds="Apply"),
    case("Gemm", f(4, 6), c(f(3, 6)), c(f(3)), kinds="Linear", transB=1),
    case("Gemm", f(4, 6), c(f(6, 3)), c(f(3)), kinds="Linear"),
    case("Gemm", f(4, 6), c(f(6, 3)), kinds="Linear", alpha=0.5),
    case("Gemm", f(4, 6), c(f(6, 3)), c(f(1, 3)), kinds="Linear", alpha=0.5, beta=2.0),
    case("Gemm", f(4, 6), c(f(3, 6)), c(f(1)), kinds="Linear", transB=1),
    case("Gemm", f(4, 6), c(f(3, 6)), c(f(4, 1)), kinds="Apply", transB=1, beta=0.5),
    case("Gemm", f(6, 4), c(f(6, 3)), c(f(3)), kinds="Apply", transA=1, alpha=2.0),
    case("Einsum", ROW, f(2, 3, 6), kinds="Apply", equation="bif,bjf->bij"),
]

NORMALISATION = [
    case("BatchNormalization", X, *(c(f(4, low=0.5)) for _ in range(4)), kinds="BatchNorm", epsilon=1e-3),
    case("BatchNormalization", X, *(c(f(4, low=0.5)) for _ in range(4)), kinds="BatchNorm", opset=11, reference=0),
    case("BatchNormalization", f(3, 4), *(c(f(4, low=0.5)) for _ in range(4)), kinds="BatchNorm"),
    case("BatchNormalization", X, *(f(4, low=0.5) for _ in range(4)), kinds="Apply"),
    case(
        *("BatchNormalization", X, *(c(f(4, low=0.5)) for _ in range(4))),
        kinds="Apply Apply Apply Apply",
        outputs=3,
        training_mode=1,
        reference=0,
    ),
    case("InstanceNormalization", X, c(f(4)), c(f(4)), kinds="Apply"),
    case("LayerNormalization", ROW, c(f(6)), c(f(6)), kinds="Apply Scale Shift"),
    case("LayerNormalization", ROW, c(f(6)), kinds="Apply Scale", epsilon=1e-3),
    case("LayerNormalization", ROW, c(f(5, 6)), c(f(5, 6)), kinds="Apply", axis=1),
    case("LayerNormalization", ROW, f(6), c(f(6)), kinds="Apply"),
    case("LayerNormalization", ROW, c(f(6)), c(f(6)), kinds="Apply Apply Apply Apply", outputs=3, reference=0),
    case("RMSNormalization", ROW, c(f(6)), kinds="Apply Scale", opset=23),
    case("GroupNormalization", X, c(f(4)), c(f(4)), kinds="Apply", opset=21, num_groups=2, reference=1e-6),
    case("GroupNormalization", X, c(f(2)), c(f(2)), kinds="Apply", opset=18, num_groups=2, reference=0),
    case("LpNormalization", ROW, kinds="Apply", axis=1, p=2),
    case("LRN", X, kinds="Apply", size=3, alpha=0.1, reference=0),
    case("MeanVarianceNormalization", X, kinds="Apply", reference=0),
]

POOLING = [
    case("AveragePool", X, kinds="AvgPool", kernel_shape=[3, 2]),
    case("AveragePool", X, kinds="AvgPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    case("AveragePool", X, kinds="AvgPool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    case("AveragePool", X, kinds="Pad AvgPool", kernel_shape=[3, 3], pads=[1, 0, 0, 2], count_include_pad=1),
    case("AveragePool", X, kinds="Apply", kernel_shape=[3, 3], pads=[1, 0, 0, 2]),
    case("AveragePool", X, kinds="AvgPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    case("AveragePool", X, kinds="AvgPool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    case("AveragePool", X, kinds="AvgPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, dims=DYNAMIC),
    *(
        case(op, X, kinds=kinds, opset=opset, ceil_mode=1, reference=0, **window, **count)
        for opset in (11, 19, 22)
        for op, counts in {"AveragePool": [{"count_include_pad": k} for k in (0, 1)], "MaxPool": [{}]}.items()
        for count in counts
        for window, kinds in [
            ({"kernel_shape": [3, 3], "strides": [3, 3], "pads": [1, 1, 1, 1]}, "Apply" if not count else "AvgPool"),
            ({"kernel_shape": [2, 2], "strides": [3, 3], "pads": [0, 0, 1, 1]}, "Apply"),
            ({"kernel_shape": [3, 2], "strides": [5, 2], "pads": [0, 0, 2, 1]}, "Apply"),
        ]
    ),
    case("MaxPool", X, kinds="Apply", kernel_shape=[3, 3], pads=[1, 1, 1, 1], ceil_mode=1, dims=DYNAMIC, reference=0),
    case("AveragePool", X, kinds="AvgPool", kernel_shape=[3, 3], auto_pad="SAME_UPPER"),
    case("AveragePool", X, kinds="Apply", kernel_shape=[2, 2], auto_pad="SAME_LOWER", strides=[2, 2], dims=DYNAMIC),
    case("AveragePool", X, kinds="AvgPool", kernel_shape=[2, 2], auto_pad="VALID", opset=11),
    case("AveragePool", X, kinds="Apply", kernel_shape=[2, 2], dilations=[2, 1], opset=19),
    case("AveragePool", f(2, 3, 8), kinds="AvgPool", kernel_shape=[4], strides=[4]),
    case("AveragePool", f(1, 2, 4, 6, 5), kinds="AvgPool", kernel_shape=[2, 2, 2]),
    case("GlobalAveragePool", X, kinds="Apply"),
    case("GlobalMaxPool", X, kinds="Apply"),
    case("MaxPool", X, kinds="Apply", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    case("MaxPool", X, kinds="Apply", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    case("MaxPool", X, kinds="Apply", kernel_shape=[3, 3], pads=[1, 0, 0, 2], dilations=[2, 1]),
    case("MaxPool", X, kinds="Apply", kernel_shape=[3, 2], auto_pad="SAME_UPPER", strides=[2, 2]),
    case("MaxPool", X, kinds="Apply Apply Apply", kernel_shape=[2, 2], outputs=2, strides=[2, 2]),
    case("LpPool", X, kinds="Apply", kernel_shape=[2, 2]),
]

_ONE = (
    *("Abs", "Atan", "Ceil", "Cos", "Erf", "Exp", "Floor", "HardSwish", "Relu", "Round", "Sigmoid", "Sign", "Sin"),
    *("Sinh", "Cosh", "Softplus", "Softsign", "Tan", "Tanh", "Asinh", "Elu", "Celu", "Selu", "HardSigmoid"),
    *("LeakyRelu", "Shrink", "ThresholdedRelu", "Reciprocal"),
)
ACTIVATION = [
    *(case(op, X, kinds="Apply", reference=1e-6) for op in _ONE),
    *(case(op, np.abs(X) + 1.1, kinds="Apply") for op in ("Sqrt", "Log", "Acosh")),
    *(case(op, X / 3, kinds="Apply") for op in ("Acos", "Asin", "Atanh")),
    case("Elu", X, kinds="Apply", alpha=0.5),
    case("Selu", X, kinds="Apply", alpha=0.5, gamma=1.5),
    case("HardSigmoid", X, kinds="Apply", alpha=0.3, beta=0.4),
    case("LeakyRelu", X, kinds="Apply", alpha=0.2, opset=11),
    case("Gelu", X, kinds="Apply", opset=20, reference=1e-6),
    case("Gelu", X, kinds="Apply", opset=20, approximate="tanh", reference=1e-6),
    case("Mish", X, kinds="Apply", opset=18),
    case("Swish", X, kinds="Apply", opset=24, alpha=1.5, reference=0),
    case("PRelu", X, c(f(4, 1, 1)), kinds="Apply"),
    case("Clip", X, c(np.float32(-1)), c(np.float32(0.5)), kinds="Apply"),
    case("Clip", X, None, c(np.float32(0.5)), kinds="Apply", opset=11),
    case("Clip", X, kinds="Apply"),
    case("Softmax", X, kinds="Apply", axis=1),
    case("Softmax", X, kinds="Apply"),
    case("Softmax", X, kinds="Apply", opset=11, reference=0),
    case("Softmax", X, kinds="Apply", opset=12, axis=2, reference=0),
    case("LogSoftmax", X, kinds="Apply", axis=1),
    case("LogSoftmax", X, kinds="Apply", opset=11, axis=3),
    case("Hardmax", X, kinds="Apply", axis=1),
    case("IsInf", np.float32([1, np.inf, -np.inf]), kinds="Apply", detect_negative=0),
    case("IsNaN", np.float32([1, np.nan]), kinds="Apply"),
]

FLAGS = X > 0
LOGIC = [
    *(case(op, X, X[:, :, ::-1].copy(), kinds="Apply") for op in ("Greater", "Less", "GreaterOrEqual", "LessOrEqual")),
    case("Equal", i(1, 2, 3), i(1, 3, 3), kinds="Apply"),
    *(case(op, FLAGS, FLAGS[:, :, ::-1].copy(), kinds="Apply") for op in ("And", "Or", "Xor")),
    case("Not", FLAGS, kinds="Apply"),
    case("Where", FLAGS, X, c(f(7)), kinds="Apply"),
]

_REDUCE = (
    *("ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd"),
    *("ReduceSumSquare",),
)
REDUCTION = [
    *(case(op, X, kinds="Apply", axes=[1, -1]) for op in _REDUCE),
    *(case(op, X, c(i(1, -1)), kinds="Apply", opset=18, keepdims=0) for op in _REDUCE),
    case("ReduceLogSum", np.abs(X), kinds="Apply", axes=[1]),
    case("ReduceMean", X, kinds="Apply", axes=[2, 3], keepdims=0, opset=11),
    case("ReduceMean", X, kinds="Apply", opset=18),
    case("ReduceMean", X, kinds="Apply", opset=18, noop_with_empty_axes=1),
    case("ReduceSum", X, kinds="Apply", axes=[2], opset=11),
    case("ReduceSum", X, c(i(2, -3)), kinds="Apply"),
    case("ReduceSum", X, kinds="Apply", keepdims=0),
    case("ReduceSum", X, kinds="Apply", noop_with_empty_axes=1),
    case("ReduceMean", i(3, 4, 8), kinds="Apply", axes=[0]),
    case("ArgMax", X, kinds="Apply", axis=1),
    case("ArgMax", np.float32([[1, 3, 3], [2, 2, 1]]), kinds="Apply", axis=1, select_last_index=1, keepdims=0),
    case("ArgMin", X, kinds="Apply", axis=-1, keepdims=0),
]

SHAPING = [
    case("Concat", X, X + 1, kinds="Concat", axis=1),
    case("Concat", X, X + 1, kinds="Concat", axis=-1),
    case("Concat", X, kinds="", axis=1),
    case("Concat", X, c(f(2, 1, 9, 7)), kinds="Apply", axis=1),
    case("Concat", i(1, 2), i(3), kinds="Apply", axis=0),
    case("Identity", X, kinds=""),
    case("Reshape", X, c(i(2, -1, 7)), kinds="Apply"),
    case("Reshape", X, c(i(0, -1)), kinds="Apply"),
    case("Reshape", X, c(i(0, 4, -1, 7)), kinds=""),
    case("Reshape", X, c(i(-1, 4, 9, 7)), kinds="", dims={0: ("n", 4, 9, 7)}),
    case("Reshape", X, c(i(2, 4, 9, 7)), kinds="Apply", dims={0: ("n", 4, 9, 7)}),
    case("Reshape", f(2, 0, 3), c(i(0, 0)), kinds="Apply", opset=14, allowzero=1, reference=0),
    case("Flatten", X, kinds="Apply"),
    case("Flatten", X, kinds="Apply", axis=-2),
    case("Flatten", X, kinds="Apply", axis=0),
    case("Flatten", f(3, 4), kinds=""),
    case("Transpose", X, kinds="Apply", perm=[0, 2, 3, 1]),
    case("Transpose", X, kinds="Apply"),
    case("Transpose", X, kinds="", perm=[0, 1, 2, 3]),
    case("Squeeze", f(2, 1, 3, 1), kinds="Apply", axes=[1, -1], opset=11),
    case("Squeeze", f(2, 1, 3, 1), c(i(1)), kinds="Apply"),
    case("Squeeze", f(2, 1, 3, 1), kinds="Apply"),
    case("Unsqueeze", ROW, kinds="Apply", axes=[0, 3], opset=11),
    case("Unsqueeze", ROW, c(i(-1, 1)), kinds="Apply"),
    case("Expand", f(3, 1), c(i(2, 1, 4)), kinds="Apply"),
    case("Expand", X, c(i(1, 1)), kinds=""),
    case("Tile", f(2, 3), c(i(2, 2)), kinds="Apply"),
    case("Tile", f(2, 3), c(i(1, 1)), kinds=""),
    case("DepthToSpace", f(2, 8, 3, 2), kinds="Apply", blocksize=2),
    case("DepthToSpace", f(2, 8, 3, 2), kinds="Apply", blocksize=2, mode="CRD"),
    case("SpaceToDepth", f(2, 3, 4, 6), kinds="Apply", blocksize=2),
]

SELECTING = [
    case("Slice", X, c(i(1)), c(i(3)), c(i(1)), kinds="Take"),
    case("Slice", X, c(i(0)), c(i(2**31 - 1)), c(i(1)), kinds=""),
    case("Slice", X, c(i(-3)), c(i(2**63 - 1)), c(i(-1)), kinds="Take"),
    case("Slice", X, c(i(-3)), c(i(2**63 - 1)), c(i(-1)), kinds="Apply", dims=DYNAMIC),
    case("Slice", X, c(i(1)), c(i(5)), c(i(-1)), kinds="Apply", dims=DYNAMIC),
    case("Slice", X, c(i(0, 1)), c(i(2, 3)), kinds="Take"),
    case("Slice", X, c(i(0, 1)), c(i(1, 3)), kinds="Apply"),
    case("Slice", X, c(i(-1)), c(i(-(2**63))), c(i(2)), c(i(-2)), kinds="Take"),
    case("Slice", X, c(i(8, 1)), c(i(-100, 5)), c(i(2, 3)), c(i(-3, 2)), kinds="Apply"),
    case("Slice", i(1, 2, 3), c(i(1)), c(i(3)), kinds="Apply"),
    case("Split", X, kinds="Take Take", axis=1, outputs=2),
    case("Split", X, kinds="Take Take", axis=1, outputs=2, opset=11, split=[1, 3]),
    case("Split", X, c(i(3, 1)), kinds="Take Take", axis=1, outputs=2),
    case("Split", X, kinds="Take Take Take", axis=-1, outputs=3, opset=18, num_outputs=3),
    case("Split", X, kinds="Apply Apply Apply Apply", axis=2, outputs=3, dims=DYNAMIC),
    case("Gather", X, c(i(2, 0, -1)), kinds="Take", axis=1),
    case("Gather", X, c(np.int64(1).reshape(())), kinds="Apply", axis=1),
    case("Gather", c(f(10, 3)), i(1, -2, 5), kinds="Apply"),
    case("Gather", X, c(i(2, 0, -1).reshape(3, 1)), kinds="Apply", axis=1),
    case("GatherElements", f(3, 4), c(i(1, 0, -1).reshape(3, 1)), kinds="Apply", axis=1),
    case("GatherND", f(3, 4), c(i(1, 2, 0, 3).reshape(2, 2)), kinds="Apply"),
    case("ScatterElements", f(3, 4), c(i(1, 0, -1).reshape(3, 1)), f(3, 1), kinds="Apply", axis=1),
    case("ScatterElements", f(3, 4), c(i(1, 0, 1).reshape(3, 1)), f(3, 1), kinds="Apply", axis=1, reduction="add"),
    case("ScatterND", f(3, 4), c(i(2, 0).reshape(2, 1)), f(2, 4), kinds="Apply"),
    case("TopK", np.float32([[1, 3, 3, 2]]), c(i(2)), kinds="Apply Apply Apply", outputs=2),
    case("TopK", np.float32([[1, 3, 3, 1]]), c(i(3)), kinds="Apply Apply Apply", outputs=2, largest=0),
    case("CumSum", X, c(np.int64(1).reshape(())), kinds="Apply"),
    case("CumSum", X, c(np.int64(-1).reshape(())), kinds="Apply", exclusive=1, reverse=1),
    case("Trilu", f(4, 4), c(np.int64(1).reshape(())), kinds="Apply", upper=0),
    case("Trilu", f(4, 4), kinds="Apply"),
    case("OneHot", i(1, 0, 2), c(np.int64(4).reshape(())), c(np.float32([0, 1])), kinds="Apply"),
]

PADDING = [
    case("Pad", X, c(i(0, 0, 1, 0, 0, 0, 2, 3)), kinds="Pad"),
    case("Pad", X, c(i(0, 0, 1, 0, 0, 0, 2, 3)), c(np.float32(0)), kinds="Pad", opset=11),
    case("Pad", X, c(i(0, 0, 1, 0, 0, 0, 2, 3)), c(np.float32(1.5)), kinds="Apply"),
    case("Pad", X, c(i(0, 1, 1, 0, 0, 0, 2, 3)), kinds="Apply"),
    case("Pad", X, c(i(0, 0, -1, 0, 0, 0, 2, -3)), kinds="Apply", reference=0),
    case("Pad", X, c(i(*(0,) * 8)), kinds=""),
    case("Pad", X, c(i(1, 2)), None, c(i(-1)), kinds="Pad", opset=18),
    case("Pad", X, c(i(1, 0, 1, 2, 0, 1, 2, 3)), kinds="Apply", mode="reflect"),
    case("Pad", X, c(i(0, 1, 1, 2, 1, 1, 2, 3)), kinds="Apply", mode="edge"),
    case("Pad", X, c(i(0, 1, 1, 2, 1, 1, 2, 3)), kinds="Apply", mode="wrap", opset=19),
]

_S = c(np.float32([1, 1, 2, 2]))
_ODD = c(np.float32([1, 1, 1.6, 0.7]))
_TO = c(i(2, 4, 13, 10))
RESIZE = [
    case("Resize", X, None, _S, kinds="Apply", coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    *(
        case("Resize", X, None, _ODD, kinds="Apply", coordinate_transformation_mode=turn, mode=mode, reference=0)
        for turn in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
        for mode in ("nearest", "linear", "cubic")
    ),
    *(
        case(
            "Resize", X, None, None, _TO, kinds="Apply", coordinate_transformation_mode=turn, mode=mode, reference=1e-5
        )
        for turn in ("half_pixel", "align_corners", "asymmetric")
        for mode in ("linear", "cubic")
    ),
    *(
        case("Resize", X, None, _ODD, kinds="Apply", nearest_mode=how, reference=0)
        for how in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    ),
    case(
        "Resize",
        X,
        c(f(0)),
        _S,
        kinds="Apply",
        opset=11,
        coordinate_transformation_mode="tf_half_pixel_for_nn",
        reference=0,
    ),
    case("Resize", X, c(f(0)), _S, kinds="Apply", opset=13, mode="linear"),
    case("Resize", X, None, _ODD, kinds="Apply", mode="cubic", exclude_outside=1, cubic_coeff_a=-0.5, reference=1e-5),
    case("Resize", X, None, c(np.float32([2, 2])), kinds="Apply", opset=18, axes=[2, 3], mode="linear"),
    case(
        "Resize", X, None, c(np.float32([0.5, 0.5])), kinds="Apply", opset=18, axes=[2, 3], mode="linear", antialias=1
    ),
    case("Resize", X, None, c(np.float32([1, 1, 1, 1])), kinds="", mode="linear"),
    case(
        *("Resize", X, None, None, c(i(18, 20))),
        kinds="Apply",
        opset=18,
        axes=[2, 3],
        keep_aspect_ratio_policy="not_larger",
    ),
]

BYTES = np.array([[0, 100, 255]], np.uint8)
OTHERS = [
    case("Cast", X, kinds="", to=1),
    case("Cast", i(1, 2), kinds="Apply", to=1),
    case("Cast", X, kinds="Apply", to=7),
    case("Cast", X, kinds="Apply", to=9),
    case("CastLike", i(1, 2), X, kinds="Apply"),
    case("Dropout", X, kinds="", opset=11),
    case("Dropout", X, kinds=""),
    case("Dropout", X, c(np.float32(0.3)), c(np.array(False)), kinds="", opset=13),
    case("QuantizeLinear", X, c(np.float32(0.02)), c(np.uint8(100)), kinds="Apply"),
    case("DequantizeLinear", BYTES, c(np.float32(0.02)), c(np.uint8(100)), kinds="Apply", reference=0),
    case("DequantizeLinear", c(BYTES), c(np.float32(0.02)), c(np.uint8(100)), kinds="Apply", reference=0),
    case("LSTM", f(3, 2, 4), c(f(1, 12, 4)), c(f(1, 12, 3)), kinds="Apply", hidden_size=3),
    case("GRU", f(3, 2, 4), c(f(1, 9, 4)), c(f(1, 9, 3)), kinds="Apply Apply Apply", hidden_size=3, outputs=2),
    case("GridSample", X, f(2, 3, 3, 2, low=-1, high=1), kinds="Apply", opset=16),
    case("EyeLike", f(3, 4), kinds="Apply"),
]

CASES = {
    "convolution": CONVOLUTION,
    "arithmetic": ARITHMETIC,
    "matrix": MATRIX,
    "normalisation": NORMALISATION,
    "pooling": POOLING,
    "activation": ACTIVATION,
    "logic": LOGIC,
    "reduction": REDUCTION,
    "shaping": SHAPING,
    "selecting": SELECTING,
    "padding": PADDING,
    "resize": RESIZE,
    "others": OTHERS,
}
