"""Attention and RotaryEmbedding. The onnx reference evaluator knows the newest versions."""

from __future__ import annotations

import numpy as np
from conformance import Case, random

from graphc.ops import attention as op

R = "reference"
q, k, v = random(2, 2, 3, 4), random(2, 2, 5, 4, seed=1), random(2, 2, 5, 3, seed=2)
q1, k1, v1 = random(1, 2, 2, 2), random(1, 1, 3, 2, seed=1), random(1, 1, 3, 2, seed=2)
past_k, past_v = random(2, 2, 2, 4, seed=3), random(2, 2, 2, 3, seed=4)
seen = random(3, 5, dtype=bool, seed=9)
seen[0] = True
nothing = seen.copy()
nothing[1] = False
lengths = np.array([5, 3])
GRADIENT_OF_MASK = np.where(seen, random(3, 5, seed=5), 0).astype(np.float32)


def flat(x: np.ndarray) -> np.ndarray:
    return x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1)


def all_outputs(mode: int, **fields: object) -> op.Attention:
    return op.Attention(qk_matmul_output_mode=mode, outputs=4, **fields)  # type: ignore[arg-type]


def raw_scores(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, ...]:
    """The outputs with mode 0 and a softcap of 0.5, where the reference evaluator gives the capped scores."""
    raw = q @ k.swapaxes(2, 3) / 2
    e = np.exp(0.5 * np.tanh(raw / 0.5) + mask)
    return e / e.sum(-1, keepdims=True) @ v, k, v, raw


CASES = [
    Case(op.Attention(), [q, k, v], R, "plain"),
    Case(op.Attention(), [q1, k1, v1], R, "small"),
    Case(op.Attention(scale=0.3, softcap=0.7), [q1, k1, v1], R, "scale-softcap"),
    Case(op.Attention(q_num_heads=2, kv_num_heads=2), [flat(q), flat(k), flat(v)], R, "rank-3"),
    Case(op.Attention(q_num_heads=2, kv_num_heads=1), [flat(q1), flat(k1), flat(v1)], R, "rank-3-shared-heads"),
    Case(op.Attention(), [random(2, 6, 3, 4), k, v], R, "shared-heads"),
    Case(op.Attention(), [q, k[:, :1], v[:, :1]], R, "one-head-for-all"),
    Case(op.Attention(is_causal=True), [q, k, v], R, "causal"),
    Case(op.Attention(), [q, k, v, seen], R, "bool-mask"),
    Case(op.Attention(is_causal=True), [q, k, v, np.ones((2, 1, 3, 5), bool)], R, "bool-mask-causal"),
    Case(op.Attention(), [q, k, v, nothing], R, "nothing-seen"),
    Case(op.Attention(), [q, k, v, GRADIENT_OF_MASK], R, "float-mask"),
    Case(op.Attention(is_causal=True), [q, k, v, random(2, 1, 3, 5, seed=5)], R, "float-mask-causal"),
    # The gradient takes masks with a column for each key only.
    Case(op.Attention(), [q, k, v, random(3, 4, seed=5)], R, "short-float-mask", grad=False),
    Case(op.Attention(), [q, k, v, seen[:, :4]], R, "short-bool-mask", grad=False),
    Case(op.Attention(outputs=3), [q, k, v, None, past_k, past_v], R, "past"),
    Case(op.Attention(is_causal=True, outputs=3), [q, k, v, random(3, 7, seed=5), past_k, past_v], R, "past-causal"),
    Case(op.Attention(), [q, k, v, None, None, None, lengths], R, "lengths"),
    Case(op.Attention(is_causal=True), [q, k, v, None, None, None, lengths], R, "lengths-causal"),
    Case(op.Attention(is_causal=True), [q, k, v, None, None, None, np.array([1, 2])], R, "lengths-below-queries"),
    *(
        Case(op.Attention(left_window_size=left, right_window_size=right, is_causal=causal), [q, k, v, mask, *rest], R,
             f"window-{left}-{right}-{causal}-{id}")
        for left, right, causal in ((1, 0, False), (1, 1, False), (-1, 1, False), (2, -1, False), (1, 1, True))
        for id, mask, rest in (("", None, ()), ("lengths", None, (None, None, lengths)), ("mask", seen, ()))
    ),
    *(Case(all_outputs(mode), [q, k, v, random(3, 5, seed=5)], R, f"scores-{mode}") for mode in (0, 1, 3)),
    *(Case(all_outputs(mode, softcap=0.5), [q, k, v, random(3, 5, seed=5)], R, f"scores-softcap-{mode}")
      for mode in (1, 2, 3)),
    Case(all_outputs(0, softcap=0.5), [q, k, v, random(3, 5, seed=5)], raw_scores, "scores-softcap-0"),
    Case(op.Attention(softmax_precision=11), [q, k, v], R, "softmax-precision", grad=False),  # has no gradient
    Case(op.Attention(), [x.astype(np.float16) for x in (q, k, v)], R, "float16", rtol=5e-3, atol=1e-3),
    Case(op.Attention(), [q[:, :, :0], k, v], R, "no-queries"),
    *(
        Case(op.RotaryEmbedding(**fields), [x, *caches], R, f"{id}-{'positions' if len(caches) > 2 else 'caches'}")
        for id, x, rotated, fields in (
            ("rank-4", random(2, 3, 4, 6), 6, {}),
            ("interleaved", random(2, 3, 4, 6), 6, {"interleaved": True}),
            ("partial", random(2, 3, 4, 6), 4, {"rotary_embedding_dim": 4}),
            ("partial-interleaved", random(2, 3, 4, 6), 2, {"rotary_embedding_dim": 2, "interleaved": True}),
            ("rank-3", random(2, 4, 6), 2, {"num_heads": 3}),
            ("rank-3-interleaved", random(2, 4, 8), 4, {"num_heads": 2, "interleaved": True}),
        )
        for caches in (
            [random(2, 4, rotated // 2, seed=1), random(2, 4, rotated // 2, seed=2)],
            [random(7, rotated // 2, seed=1), random(7, rotated // 2, seed=2),
             np.array([[0, 1, 2, 3], [6, 5, 5, 0]])],
        )
    ),
]  # fmt: skip
