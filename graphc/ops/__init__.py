"""Every operator. `OPS` lists them all; adding an op means adding its class to its family's file and to this table."""

from __future__ import annotations

from graphc.ir import Op
from graphc.ops import (
    activation,
    arithmetic,
    attention,
    base,
    bitwise,
    cast,
    control,
    conv,
    cumulative,
    deform,
    detection,
    dropout,
    einsum,
    flex_attention,
    fused,
    generate,
    grid_sample,
    image,
    indexing,
    linear,
    linear_attention,
    logic,
    loss,
    math,
    minmax,
    ml_encoding,
    ml_features,
    ml_linear,
    ml_maps,
    ml_svm,
    ml_trees,
    movement,
    normalization,
    operators,
    optimizer,
    optional,
    padding,
    pool,
    quantize,
    quantized,
    ranking,
    rearrange,
    recurrent,
    reduction,
    rescaling,
    reshaping,
    resize,
    sampling,
    scatter,
    seeded_dropout,
    sequence,
    shape,
    signal,
    slicing,
    softmax,
    strings,
    tokenizer,
)

OPS: tuple[type[Op], ...] = (
    base.Constant,
    fused.Fused,
    # control
    control.If, control.Loop, control.Scan,
    # arithmetic
    arithmetic.Add, arithmetic.Sub, arithmetic.Mul, arithmetic.Div, arithmetic.Mod, arithmetic.Neg,
    # reduction
    reduction.ReduceSum, reduction.ReduceMean, reduction.ReduceMax, reduction.ReduceMin, reduction.ReduceProd,
    reduction.ReduceL1, reduction.ReduceL2, reduction.ReduceSumSquare, reduction.ReduceLogSum,
    reduction.ReduceLogSumExp,
    # shape, reshaping, movement, slicing, padding, generate
    shape.Shape, shape.Size,
    reshaping.Reshape, reshaping.Flatten, reshaping.Squeeze, reshaping.Unsqueeze, reshaping.Expand,
    movement.Transpose, movement.Concat, movement.Split, movement.Tile, movement.ReverseSequence, movement.Compress,
    slicing.Slice, padding.Pad, generate.ConstantOfShape, generate.Range,
    # sampling
    sampling.RandomNormal, sampling.RandomUniform, sampling.RandomNormalLike, sampling.RandomUniformLike,
    sampling.Bernoulli, sampling.Multinomial,
    # sequence, optional
    sequence.SequenceConstruct, sequence.SequenceEmpty, sequence.SequenceAt, sequence.SequenceInsert,
    sequence.SequenceErase, sequence.SequenceLength, sequence.ConcatFromSequence, sequence.SplitToSequence,
    sequence.SequenceMap, optional.Optional, optional.OptionalGetElement, optional.OptionalHasElement,
    # linear
    linear.MatMul, linear.Gemm, linear.Det, einsum.Einsum,
    # ranking
    ranking.ArgMax, ranking.ArgMin, ranking.TopK, ranking.Unique, ranking.NonZero,
    # normalisation
    normalization.BatchNormalization, normalization.InstanceNormalization, normalization.GroupNormalization,
    normalization.LayerNormalization, normalization.RMSNormalization,
    rescaling.LRN, rescaling.LpNormalization, rescaling.MeanVarianceNormalization,
    # loss
    loss.NegativeLogLikelihoodLoss, loss.SoftmaxCrossEntropyLoss,
    # cumulative
    cumulative.CumSum, cumulative.CumProd, cumulative.Trilu, cumulative.EyeLike,
    # conv
    conv.Conv, conv.ConvTranspose,
    pool.MaxPool, pool.AveragePool, pool.LpPool, pool.GlobalAveragePool, pool.GlobalMaxPool, pool.GlobalLpPool,
    pool.MaxUnpool,
    # resize
    resize.Resize,
    # grid_sample
    grid_sample.GridSample, grid_sample.AffineGrid,
    # deform
    deform.DeformConv,
    # detection
    detection.RoiAlign, detection.MaxRoiPool, detection.NonMaxSuppression,
    # rearrange
    rearrange.DepthToSpace, rearrange.SpaceToDepth, rearrange.Col2Im, rearrange.CenterCropPad,
    # activation
    activation.Relu, activation.LeakyRelu, activation.PRelu, activation.ThresholdedRelu, activation.Shrink,
    activation.Elu, activation.Selu, activation.Celu, activation.Sigmoid, activation.Swish, activation.SwiGLU,
    activation.HardSigmoid, activation.HardSwish, activation.Softplus, activation.Mish, activation.Softsign,
    activation.Gelu,
    # cast
    cast.Cast, cast.CastLike, cast.BitCast,
    # logic
    logic.Equal, logic.Greater, logic.GreaterOrEqual, logic.Less, logic.LessOrEqual, logic.And, logic.Or, logic.Xor,
    logic.Not, logic.IsNaN, logic.IsInf, logic.Where, logic.Identity, logic.StopGradient, logic.Barrier,
    # math
    math.Abs, math.Sign, math.Ceil, math.Floor, math.Round, math.Reciprocal, math.Sqrt, math.Exp, math.Log,
    math.Erf, math.Sin, math.Cos, math.Tan, math.Asin, math.Acos, math.Atan, math.Sinh, math.Cosh, math.Tanh,
    math.Asinh, math.Acosh, math.Atanh, math.Pow,
    # indexing
    indexing.Gather, indexing.GatherElements, indexing.GatherND, indexing.OneHot,
    # scatter
    scatter.ScatterElements, scatter.ScatterND, scatter.TensorScatter,
    # dropout, seeded_dropout
    dropout.Dropout, seeded_dropout.SeededDropout,
    # minmax
    minmax.Max, minmax.Min, minmax.Sum, minmax.Mean, minmax.Clip,
    # softmax
    softmax.Softmax, softmax.LogSoftmax, softmax.Hardmax,
    # bitwise
    bitwise.BitwiseAnd, bitwise.BitwiseOr, bitwise.BitwiseXor, bitwise.BitwiseNot, bitwise.BitShift,
    # quantize
    quantize.QuantizeLinear, quantize.DequantizeLinear, quantize.DynamicQuantizeLinear,
    # quantized
    quantized.MatMulInteger, quantized.QLinearMatMul, quantized.ConvInteger, quantized.QLinearConv,
    # recurrent
    recurrent.RNN, recurrent.GRU, recurrent.LSTM,
    # attention
    attention.Attention, attention.RotaryEmbedding,
    linear_attention.LinearAttention, linear_attention.CausalConvWithState, flex_attention.FlexAttention,
    # signal
    signal.DFT, signal.STFT, signal.HannWindow, signal.HammingWindow, signal.BlackmanWindow, signal.MelWeightMatrix,
    # image
    image.ImageDecoder,
    # strings, tokenizer
    strings.StringConcat, strings.StringSplit, strings.StringNormalizer, strings.RegexFullMatch,
    strings.TfIdfVectorizer, tokenizer.Tokenizer,
    # optimizer
    optimizer.Adagrad, optimizer.Adam, optimizer.Momentum,
    # ml_encoding, ml_features
    ml_encoding.LabelEncoder, ml_encoding.CategoryMapper, ml_encoding.OneHotEncoder,
    ml_features.ArrayFeatureExtractor, ml_features.FeatureVectorizer, ml_features.Binarizer, ml_features.Scaler,
    ml_features.Normalizer, ml_features.Imputer,
    # ml_maps
    ml_maps.ZipMap, ml_maps.DictVectorizer, ml_maps.CastMap,
    # ml_linear, ml_svm, ml_trees
    ml_linear.LinearRegressor, ml_linear.LinearClassifier, ml_svm.SVMRegressor, ml_svm.SVMClassifier,
    ml_trees.TreeEnsemble, ml_trees.TreeEnsembleClassifier, ml_trees.TreeEnsembleRegressor,
)  # fmt: skip

BY_NAME: dict[tuple[str, str], type[Op]] = {(op.domain, op.__name__): op for op in OPS}

operators.install()
