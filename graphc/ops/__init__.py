"""Every operator. `OPS` lists them all; adding an op means adding its class to its family's file and to this table."""

from __future__ import annotations

from graphc.ir import Op
from graphc.ops import arithmetic, base, operators

OPS: tuple[type[Op], ...] = (
    base.Constant,
    # arithmetic
    arithmetic.Add, arithmetic.Sub, arithmetic.Mul, arithmetic.Div, arithmetic.Mod, arithmetic.Neg,
)  # fmt: skip

BY_NAME: dict[tuple[str, str], type[Op]] = {(op.domain, op.__name__): op for op in OPS}

operators.install()
