"""Constants of every element type."""

from __future__ import annotations

import numpy as np
from conformance import Case

from graphc.ops.base import Constant
from graphc.types import DTYPES, Tensor, string

CASES = [
    *(
        Case(Constant(Tensor(np.ones(shape, dtype.numpy), dtype)), [], id=f"{dtype}-{shape}", oracle="reference")
        for shape in [(), (0,), (2, 3)]
        for dtype in DTYPES
        if dtype is not string and dtype.bits != 6  # the reference evaluator does not read 6-bit floats
    ),
    Case(Constant(Tensor(np.array(["a", "", "é\n"], object))), [], id="string", oracle="reference"),
    Case(Constant(Tensor(np.float32(np.nan))), [], id="nan"),
    Case(Constant(Tensor(np.arange(40, dtype=np.int64).reshape(5, 8))), [], id="large"),
]
