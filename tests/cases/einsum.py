"""Einstein sums."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from conformance import Case, random

from graphc.ops.einsum import Einsum

EQUATIONS = [
    ("ij,jk->ik", (2, 3), (3, 4)), ("ij,jk", (2, 3), (3, 4)), ("ij,jk->ki", (2, 3), (3, 4)), ("ij->ji", (2, 3)),
    ("ba", (2, 3)), ("ij->", (2, 3)), ("ij->i", (2, 3)), ("i,i", (3,), (3,)), ("i,j->ij", (2,), (3,)),
    ("i,i->i", (3,), (3,)), ("ii", (3, 3)), ("ii->i", (3, 3)), ("iij->j", (2, 2, 3)), ("iji->ij", (2, 3, 2)),
    ("bij,bjk->bik", (2, 2, 3), (2, 3, 2)), ("bhqd,bhkd->bhqk", (1, 2, 3, 2), (1, 2, 2, 2)),
    ("...ij,...jk->...ik", (2, 2, 3), (2, 3, 2)), ("...ij,...jk", (2, 2, 3), (3, 2)), ("...ii->...i", (2, 2, 2)),
    ("...ij,jk->...ik", (2, 1, 2, 3), (3, 2)), ("i...->...", (2, 3)), ("...i->i...", (2, 3, 2)),
    ("ij,jk,kl->il", (2, 3), (3, 2), (2, 2)), ("a,b,c->cab", (2,), (3,), (2,)), (" i j , j k -> i k ", (2, 3), (3, 2)),
    ("Ab,bA->A", (2, 3), (3, 2)), ("bA", (2, 3)), ("ij,k->ik", (2, 3), (4,)), ("ii,jk->k", (2, 2), (2, 3)),
    ("iii->i", (2, 2, 2)), (",->", (), ()), (",i", (), (3,)), ("->", ()),
]  # fmt: skip
BROADCASTS = [("...i,...i->...", (2, 1, 3), (4, 3)), ("ij,jk->ik", (2, 1), (3, 2)), ("ij,ij->ij", (2, 3), (1, 3))]


def oracle(equation: str) -> object:
    return lambda *xs: np.einsum(equation, *(x.astype(np.float64) for x in xs)).astype(xs[0].dtype)


CASES = [
    *(Case(Einsum(equation), [random(*s, seed=i) for i, s in enumerate(shapes)], id=f"{equation}-{len(shapes)}",
           oracle=oracle(equation))
      for equation, *shapes in EQUATIONS + BROADCASTS),
    *(Case(Einsum(equation), [random(*s, seed=i) for i, s in enumerate(shapes)], id=f"onnxruntime-{equation}", opset=12)
      for equation, *shapes in EQUATIONS if equation in ("ij,jk->ik", "...ij,...jk->...ik", "ba", "ii->i", "i,i")),
    *(Case(Einsum("ij,jk->ik"), [random(2, 3, dtype=dtype, low=0, high=5), random(3, 2, dtype=dtype, low=0, high=5)],
           id=np.dtype(dtype).name, oracle=np.matmul)
      for dtype in (np.int8, np.uint8, np.int32, np.int64, np.float64)),
    *(Case(Einsum("ij->i"), [random(2, 50).astype(dtype)], id=np.dtype(dtype).name,
           oracle=lambda x: np.einsum("ij->i", x.astype(np.float64)).astype(x.dtype))
      for dtype in (np.float16, ml_dtypes.bfloat16)),
    Case(Einsum("ij,jk->ik"), [random(2, 0), random(0, 3)], id="empty-inner", oracle=np.matmul),
    Case(Einsum("ij,jk->ik"), [random(0, 2), random(2, 3)], id="no-rows", oracle=np.matmul),
]  # fmt: skip
