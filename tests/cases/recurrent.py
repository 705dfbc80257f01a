"""RNN, GRU, LSTM."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from conformance import Case, random

from graphc.ops import recurrent as op

STEPS, BATCH, INPUTS, HIDDEN = 4, 3, 2, 3
GATES = {op.RNN: 1, op.GRU: 3, op.LSTM: 4}
lens = np.array([4, 1, 2], np.int32)


def weights(cls: type, directions: int = 1) -> list[np.ndarray]:
    g = GATES[cls] * HIDDEN
    return [random(directions, g, INPUTS, seed=1), random(directions, g, HIDDEN, seed=2)]


def row(cls: type, id: str, *, b: bool = True, lengths: bool = False, initial: bool = False, p: bool = False,
        oracle: str | Callable[..., object] = "onnxruntime", steps: int = STEPS, **fields: object) -> Case:  # fmt: skip
    n = 2 if fields.get("direction") == "bidirectional" else 1
    x, state = random(steps, BATCH, INPUTS), random(n, BATCH, HIDDEN, seed=4)
    inputs: list[np.ndarray | None] = [x, *weights(cls, n)]
    inputs.append(random(n, 2 * GATES[cls] * HIDDEN, seed=3) if b else None)
    inputs += [lens if lengths else None, state if initial else None]
    if cls is op.LSTM:
        inputs += [state[..., ::-1].copy() if initial else None, random(n, 3 * HIDDEN, seed=6) if p else None]
    fields = {"hidden_size": HIDDEN, "outputs": 3 if cls is op.LSTM else 2, **fields}
    return Case(cls(**fields), inputs, oracle, id)


def half(case: Case) -> Case:
    """The same in float16 for X, W, R, against float32."""
    inputs = [x.astype(np.float16) for x in case.inputs[:3]]
    exact = [x.astype(np.float32) for x in inputs]
    return Case(case.op, inputs, lambda *_: tuple(y.astype(np.float16) for y in case.op.eval(*exact)), "float16")


def no_steps(X: np.ndarray, W: np.ndarray, R: np.ndarray, *others: np.ndarray | None) -> tuple[np.ndarray, ...]:
    """The initial states stay."""
    return (np.zeros((0, 1, BATCH, HIDDEN), np.float32), *(x for x in others[2:4] if x is not None))


def batch_first(case: Case, *inputs: np.ndarray | None) -> tuple[np.ndarray, ...]:
    """What onnxruntime, which lacks layout 1, says with the axes in the order of layout 0."""
    y, *states = Case(replace(case.op, layout=0), [flip(i, x) for i, x in enumerate(inputs)]).expected()
    return y.transpose(2, 0, 1, 3), *(x.swapaxes(0, 1) for x in states)


def flip(i: int, x: np.ndarray | None) -> np.ndarray | None:
    return x.swapaxes(0, 1).copy() if x is not None and i in (0, 5, 6) else x


def with_layout(case: Case) -> Case:
    inputs = [flip(i, x) for i, x in enumerate(case.inputs)]
    return Case(replace(case.op, layout=1), inputs, lambda *xs: batch_first(case, *xs), case.id)


def without_hidden_size(cls: type) -> Case:
    case = row(cls, "no-hidden-size")
    return Case(replace(case.op, hidden_size=None), case.inputs, lambda *xs: tuple(case.expected()), case.id)


CASES = [
    *(
        row(cls, f"{direction}-{id}", direction=direction, **options)
        for cls in (op.RNN, op.GRU, op.LSTM)
        for direction in ("forward", "reverse", "bidirectional")
        for id, options in (("plain", {"b": False}), ("bias", {}), ("lengths", {"lengths": True, "initial": True}))
    ),
    *(row(cls, "clip", clip=0.3, initial=True) for cls in (op.RNN, op.GRU, op.LSTM)),
    row(op.LSTM, "clip-peepholes", clip=0.4, p=True, initial=True),
    *(row(cls, "no-steps", steps=0, initial=True, oracle=no_steps) for cls in (op.RNN, op.GRU, op.LSTM)),
    *(row(cls, "one-output", outputs=1) for cls in (op.RNN, op.GRU, op.LSTM)),
    *(without_hidden_size(cls) for cls in (op.RNN, op.GRU, op.LSTM)),
    *(with_layout(row(cls, f"layout-{d}", initial=True, lengths=True, direction=d))
      for cls in (op.RNN, op.GRU, op.LSTM) for d in ("forward", "bidirectional")),
    *(row(op.RNN, f.lower(), activations=(f,), **extra) for f, extra in (
        ("Relu", {}), ("Sigmoid", {}), ("Affine", {"activation_alpha": (0.7,), "activation_beta": (0.2,)}),
        ("LeakyRelu", {"activation_alpha": (0.3,)}), ("ThresholdedRelu", {"activation_alpha": (0.2,)}),
        ("ScaledTanh", {"activation_alpha": (0.7,), "activation_beta": (1.3,)}),
        ("HardSigmoid", {"activation_alpha": (0.3,), "activation_beta": (0.4,)}), ("Elu", {"activation_alpha": (0.7,)}),
        ("Softsign", {}), ("Softplus", {}))),
    row(op.RNN, "two-activations", direction="bidirectional", activations=("LeakyRelu", "Elu"),
        activation_alpha=(0.3, 0.6)),
    row(op.GRU, "activations", activations=("HardSigmoid", "Softsign")),
    row(op.LSTM, "activations", activations=("HardSigmoid", "Relu", "Softsign")),
    *(row(op.GRU, f"linear-before-reset-{d}", linear_before_reset=True, direction=d, initial=True)
      for d in ("forward", "bidirectional")),
    row(op.LSTM, "peepholes", p=True, initial=True),
    row(op.LSTM, "peepholes-both", p=True, direction="bidirectional", lengths=True),
    row(op.LSTM, "input-forget", input_forget=True, initial=True),
    *(half(row(cls, "")) for cls in (op.RNN, op.GRU, op.LSTM)),
]  # fmt: skip
