"""Every version of every operator: what the newest one means too, and what has to be rewritten.

A version that stands in neither table, and is not the newest, is not supported; a test holds the tables against the
history that `onnx.defs` knows.
"""

from __future__ import annotations

from collections.abc import Mapping

from .adapters import inputs as i
from .adapters import semantics as s
from .adapters.call import Adapter

# Operators that are called otherwise now.
RENAMED = {"Upsample": "Resize", "Scatter": "ScatterElements"}

# Versions whose models mean the same in the newest version: the later ones take more element types, more ranks,
# negative axes, or optional inputs and attributes whose default is what was fixed before. Where a default changed,
# the loader writes the older one down.
_IDENTICAL = """
Abs 6, Acos 7, Acosh 9, Add 7 13, ArgMax 1 11 12, ArgMin 1 11 12, Asin 7, Asinh 9, Atan 7, Atanh 9,
Attention 23 24, AveragePool 1 7 10 11 19, BatchNormalization 14, Bernoulli 15, BitShift 11, Cast 6 9 13 19 21 23 24 25,
CastLike 15 19 21 23 24, Ceil 6, Celu 12, Clip 11 12, Compress 9 11, Concat 4 11, ConstantOfShape 9 20 21 23 24,
Conv 1 11, ConvTranspose 1 11, Cos 7, Cosh 9, CumSum 11, DeformConv 19, DepthToSpace 1 11 13,
DequantizeLinear 10 13 19 21 23 24 25, Det 11, Div 7 13, Dropout 12 13, Einsum 12, Elu 6, Equal 7 11 13, Erf 9, Exp 6,
Expand 8, EyeLike 9, Flatten 1 9 11 13 21 23 24, Floor 6, GRU 7 14, Gather 1 11, GatherElements 11, GatherND 11 12,
Gemm 7 9 11, GlobalAveragePool 1, GlobalLpPool 2, GlobalMaxPool 1, Greater 7 9, GreaterOrEqual 12, GridSample 20,
HardSigmoid 6, HardSwish 14, Identity 1 13 14 16 19 21 23 24, If 1 11 13 16 19 21 23 24, InstanceNormalization 6,
IsInf 10, IsNaN 9 13, LRN 1, LSTM 7 14, LeakyRelu 6, Less 7 9, LessOrEqual 12, Log 6, Loop 1 11 13 16 19 21 23 24,
LpNormalization 1, LpPool 2 11 18, MatMul 1 9, Max 6 8 12, MaxPool 1 8 10 11 12, MaxRoiPool 1, MaxUnpool 9 11,
Mean 6 8, MeanVarianceNormalization 9, Min 6 8 12, Mish 18, Mod 10 13, Mul 7 13, Multinomial 7, Neg 6,
NegativeLogLikelihoodLoss 12 13, NonMaxSuppression 10, NonZero 9, OneHot 9 11, Optional 15, OptionalGetElement 15 18,
OptionalHasElement 15 18, PRelu 7 9, Pad 11 13 18 19 21 23 24, Pow 7 12 13, QLinearMatMul 10,
QuantizeLinear 10 13 19 21 23 24 25, RNN 7 14, RandomNormal 1, RandomNormalLike 1, RandomUniform 1, RandomUniformLike 1,
Range 11, Reciprocal 6, ReduceLogSum 18, ReduceLogSumExp 18, ReduceMax 18, ReduceMin 18,
Relu 6 13, Reshape 5 13 14 19 21 23 24, ReverseSequence 10, RoiAlign 16, Round 11, Scan 9 11 16 19 21 23 24, Scatter 9,
ScatterElements 11 13 16, ScatterND 11 13 16, Selu 6, Shape 1 13 15 19 21 23 24, Sigmoid 6, Sign 9, Sin 7, Sinh 9,
Size 1 13 19 21 23 24, Slice 10 11, Softplus 1, Softsign 1, SoftmaxCrossEntropyLoss 12, SpaceToDepth 1 13,
SplitToSequence 11, Sqrt 6, Squeeze 13 21 23 24, Sub 7 13, Sum 6 8, Tan 7, Tanh 6, ThresholdedRelu 10, Tile 6,
TopK 10 11, Transpose 1 13 21 23 24, Unique 11, Unsqueeze 13 21 23 24, Where 9,
LabelEncoder 2, TreeEnsembleClassifier 1 3, TreeEnsembleRegressor 1 3
"""

IDENTICAL: Mapping[str, frozenset[int]] = {
    op: frozenset(map(int, versions))
    for op, *versions in (entry.split() for entry in _IDENTICAL.replace("\n", " ").split(","))
}

_ADAPTERS: dict[str, dict[int, Adapter]] = {
    **{op: {1: i.same} for op in (
        "Abs", "Ceil", "Elu", "Exp", "Floor", "HardSigmoid", "InstanceNormalization", "LeakyRelu", "Log", "Max", "Mean",
        "Min", "Neg", "Reciprocal", "Relu", "Selu", "Sigmoid", "Sqrt", "Sum", "Tanh",
    )},
    **{op: {1: s.broadcast_at_axis, 6: s.broadcast_at_axis} for op in ("Add", "Div", "Mul", "Sub")},
    **{op: {1: s.broadcast_at_axis} for op in ("And", "Equal", "Greater", "Less", "Or", "Pow", "Xor")},
    **{op: {1: i.axes, 11: i.axes} for op in ("Squeeze", "Unsqueeze", "ReduceSum")},
    **{op: {1: i.axes, 11: i.axes, 13: i.axes} for op in (
        "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMean", "ReduceProd", "ReduceSumSquare",
    )},
    **{op: {1: i.axes, 11: i.axes, 12: i.axes, 13: i.axes} for op in ("ReduceMax", "ReduceMin")},
    **{op: {1: s.softmax_11, 11: s.softmax_11} for op in ("Softmax", "LogSoftmax", "Hardmax")},
    "BatchNormalization": dict.fromkeys((1, 6, 7, 9), s.batch_normalization_9),
    "Cast": {1: i.cast_1},
    "Clip": {1: i.clip_6, 6: i.clip_6},
    "Concat": {1: i.defaults(axis=1)},
    "Constant": dict.fromkeys((1, 9, 11, 12, 13, 19, 21, 23, 24, 25), i.constant),
    "DFT": {17: i.dft_17},
    "Dropout": {1: s.dropout_6, 6: s.dropout_6, 7: s.dropout_7, 10: s.dropout_10},
    "GRU": {1: i.gru_1, 3: i.without("output_sequence")},
    "Gemm": {1: i.without("broadcast"), 6: i.without("broadcast")},
    "GlobalLpPool": {1: i.lp_1},
    "GridSample": {16: i.grid_sample_16},
    "GroupNormalization": {18: s.group_normalization_18},
    "LSTM": {1: i.without("output_sequence")},
    "LabelEncoder": {1: i.label_encoder_1},
    "LpPool": {1: i.lp_1},
    "PRelu": {1: s.prelu_6, 6: s.prelu_6},
    "Pad": {1: i.pad_2, 2: i.pad_2},
    "RNN": {1: i.without("output_sequence")},
    "Reshape": {1: i.reshape_1},
    "Resize": {10: i.resize_10, 11: i.resize, 13: i.resize, 18: i.resize, 19: i.resize},
    "RoiAlign": {10: i.defaults(coordinate_transformation_mode="output_half_pixel")},
    "Scan": {8: s.scan_8},
    "Slice": {1: i.slice_1},
    "Split": {1: i.split_11, 2: i.split_11, 11: i.split_11, 13: i.split_13},
    "Tile": {1: i.tile_1},
    "TopK": {1: i.top_k_1},
    "Upsample": {1: i.upsample_1, 7: i.upsample_7, 9: i.upsample_9},
}  # fmt: skip

# (operator, version since) -> what makes the newest form of it.
ADAPTERS: Mapping[tuple[str, int], Adapter] = {
    (op, since): adapter for op, versions in _ADAPTERS.items() for since, adapter in versions.items()
}
