"""Every operator. `OPS` lists them all; adding an op means adding its class to its family's file and to this table."""

from __future__ import annotations

from graphc.ir import Op
from graphc.ops import (
    activation,
    arithmetic,
    base,
    cast,
    control,
    fused,
    generate,
    linear,
    logic,
    math,
    movement,
    operators,
    padding,
    reduction,
    reshaping,
    shape,
    slicing,
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
    # linear
    linear.MatMul,
    # activation
    activation.Relu, activation.Sigmoid,
    # cast
    cast.Cast, cast.CastLike, cast.BitCast,
    # logic
    logic.Equal, logic.Greater, logic.GreaterOrEqual, logic.Less, logic.LessOrEqual, logic.And, logic.Or, logic.Xor,
    logic.Not, logic.IsNaN, logic.IsInf, logic.Where, logic.Identity,
    # math
    math.Sqrt, math.Exp, math.Log, math.Tanh, math.Pow,
)  # fmt: skip

BY_NAME: dict[tuple[str, str], type[Op]] = {(op.domain, op.__name__): op for op in OPS}

operators.install()
