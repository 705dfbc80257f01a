"""LinearAttention and CausalConvWithState. ONNX has no float64 of them; test_linear_attention.py has the gradients."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from conformance import Case, random

from graphc.ops import linear_attention as op

R = "reference"
NO_FLOAT64 = False  # gradients are checked in float64, which these ops do not take
B, T = 2, 3


def row(id: str, heads: int = 2, shared: int = 2, *, past: bool = False, per_head: bool = True, one_beta: bool = False,
        length: int = T, dtype: object = np.float32, **fields: object) -> Case:  # fmt: skip
    cls = op.LinearAttention(q_num_heads=heads, kv_num_heads=shared, **fields)  # type: ignore[arg-type]
    rule, size, width = cls.update_rule, 3, 2
    inputs: list[np.ndarray | None] = [
        random(B, length, heads * size),
        random(B, length, shared * size, seed=1),
        random(B, length, shared * width, seed=2),
        random(B, shared, size, width, seed=3) if past else None,
        random(B, length, shared * (1 if per_head else size), seed=4, low=-1, high=0) if "gated" in rule else None,
        random(B, length, 1 if one_beta else shared, seed=5, low=0, high=1) if "delta" in rule else None,
    ]
    narrow = {} if dtype is np.float32 else {"rtol": 2e-2, "atol": 2e-2}
    return Case(cls, [None if x is None else x.astype(dtype) for x in inputs], R, id, grad=NO_FLOAT64, **narrow)


x, w, b = random(2, 3, 5), random(3, 1, 4, seed=1), random(3, seed=2)
state = random(2, 3, 3, seed=3)

CASES = [
    *(row(f"{rule}-{past}", update_rule=rule, past=past)
      for rule in op.RULES for past in (False, True)),
    row("shared-heads", 4, 2),
    row("one-head-for-all", 3, 1, past=True),
    row("decay-per-key", per_head=False),
    row("decay-per-key-gated", per_head=False, update_rule="gated", past=True),
    row("one-beta", one_beta=True),
    row("scale", scale=0.3, chunk_size=2),
    row("one-step", length=1, past=True),
    row("no-steps", length=0, past=True),
    row("float16", dtype=np.float16, past=True),
    row("bfloat16", dtype=ml_dtypes.bfloat16),
    *(
        Case(op.CausalConvWithState(*act), [x, w, *rest], R, f"{act}-{id}", grad=NO_FLOAT64)
        for act in ((), ("silu",), ("swish",))
        for id, rest in (("plain", ()), ("bias", (b,)), ("state", (None, state)), ("both", (b, state)))
    ),
    Case(op.CausalConvWithState(), [x, w[:, :, :1], b], R, "kernel-of-one", grad=NO_FLOAT64),
    Case(op.CausalConvWithState(), [x[:, :, :2], w], R, "short", grad=NO_FLOAT64),
    Case(op.CausalConvWithState(), [x[:, :, :1], w, None, state], R, "one-step", grad=NO_FLOAT64),
    Case(op.CausalConvWithState("silu"), [v.astype(np.float16) for v in (x, w, b, state)], R, "float16",
         rtol=5e-3, atol=1e-3, grad=NO_FLOAT64),
    Case(op.CausalConvWithState(), [x[:, :, :0], w, None, state],
         lambda x, *_: (np.zeros((2, 3, 0), np.float32), state), "no-steps", grad=NO_FLOAT64),
]  # fmt: skip
