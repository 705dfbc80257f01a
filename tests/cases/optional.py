"""Optionals. ONNX Runtime takes none from Python, so that results are held against their definition."""

from __future__ import annotations

import numpy as np
from conformance import Case, random

from graphc.ops import optional as op
from graphc.types import TensorType, float32

x = random(2, 3)

CASES = [
    Case(op.Optional(), [x], oracle=lambda x: x),
    Case(op.Optional(), [[x, x]], id="sequence", oracle=lambda s: s),
    Case(op.Optional(TensorType(float32, (2,))), [], id="empty", oracle=lambda: None),
    Case(op.OptionalGetElement(), [x], id="tensor"),
    Case(op.OptionalGetElement(), [[x, x]], id="sequence"),
    Case(op.OptionalHasElement(), [x], id="tensor"),
    Case(op.OptionalHasElement(), [[x, x]], id="sequence"),
    Case(op.OptionalHasElement(), [], id="nothing", oracle=lambda: np.array(False)),
]  # fmt: skip
