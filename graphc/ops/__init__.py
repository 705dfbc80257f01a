"""Every operator. `OPS` lists them all; adding an op means adding its class to its family's file and to this table."""

from __future__ import annotations

from graphc.ir import Op
from graphc.ops import arithmetic, base, control, fused, linear, operators, reduction

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
    # linear
    linear.MatMul,
)  # fmt: skip

BY_NAME: dict[tuple[str, str], type[Op]] = {(op.domain, op.__name__): op for op in OPS}

operators.install()
