"""Gradients in float32 against torch.autograd, over the rows of the conformance table that PyTorch has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from conformance import Case, all_cases
from gradient_checks import float_types

from graphc.autodiff import grad
from graphc.interpret import interpret
from graphc.types import float32

torch = pytest.importorskip("torch")
F = torch.nn.functional
Function = Callable[..., Any]


# -- windows ----------------------------------------------------------------------------------------------------------
def edges(op: Any, rank: int) -> list[int]:
    """The pads of `op` as torch's pad takes them: last axis first, before and after."""
    pads = op.pads or (0,) * (2 * rank)
    return [p for axis in reversed(range(rank)) for p in (pads[axis], pads[rank + axis])]


def strides(op: Any, rank: int) -> dict[str, Any]:
    return {"stride": op.strides or (1,) * rank, "dilation": op.dilations or (1,) * rank}


def conv(op: Any) -> Function | None:
    if op.auto_pad != "NOTSET":
        return None

    def function(x: Any, w: Any, b: Any = None) -> Any:
        rank = x.ndim - 2
        run = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
        return run(F.pad(x, edges(op, rank)), w, b, groups=op.group, **strides(op, rank))

    return function


def conv_transpose(op: Any) -> Function | None:
    pads = op.pads or ()
    half = len(pads) // 2
    if op.auto_pad != "NOTSET" or op.output_shape or pads[:half] != pads[half:]:
        return None

    def function(x: Any, w: Any, b: Any = None) -> Any:
        rank = x.ndim - 2
        run = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank - 1]
        return run(
            x, w, b, padding=pads[:half] or 0, output_padding=op.output_padding or 0, groups=op.group,
            **strides(op, rank),
        )  # fmt: skip

    return function


def max_pool(op: Any) -> Function | None:
    if op.auto_pad != "NOTSET" or op.ceil_mode or op.outputs > 1:
        return None

    def function(x: Any) -> Any:
        rank = x.ndim - 2
        run = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[rank - 1]
        return run(F.pad(x, edges(op, rank), value=-np.inf), op.kernel_shape, **strides(op, rank))

    return function


def average_pool(op: Any) -> Function | None:
    pads = op.pads or ()
    half = len(pads) // 2
    if op.auto_pad != "NOTSET" or op.ceil_mode or pads[:half] != pads[half:] or set(op.dilations or ()) - {1}:
        return None
    if any(2 * p > k for p, k in zip(pads[:half], op.kernel_shape, strict=False)):
        return None

    def function(x: Any) -> Any:
        rank = x.ndim - 2
        run = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[rank - 1]
        stride = op.strides or (1,) * rank
        return run(x, op.kernel_shape, stride, pads[:half] or 0, count_include_pad=op.count_include_pad)

    return function


# -- normalisations ---------------------------------------------------------------------------------------------------
def batch_norm(op: Any) -> Function | None:
    if op.outputs > 1:
        return None

    def function(x: Any, scale: Any, b: Any, mean: Any, var: Any) -> Any:
        if x.ndim < 2:
            return NotImplemented
        if op.training_mode:  # running averages are no part of the output
            return F.batch_norm(x, None, None, scale, b, training=True, eps=op.epsilon)
        shape = (1, -1, *(1 for _ in x.shape[2:]))
        mean, var, scale, b = (v.reshape(shape) for v in (mean, var, scale, b))
        return (x - mean) / torch.sqrt(var + op.epsilon) * scale + b

    return function


def layer_norm(op: Any) -> Function | None:
    if op.outputs > 1:
        return None

    def function(x: Any, scale: Any, b: Any = None) -> Any:
        shape = x.shape[op.axis % x.ndim :]
        if scale.shape != shape or (b is not None and b.shape != shape):
            return NotImplemented
        return F.layer_norm(x, shape, scale, b, op.epsilon)

    return function


def rms_norm(op: Any) -> Function:
    def function(x: Any, scale: Any) -> Any:
        shape = x.shape[op.axis % x.ndim :]
        return F.rms_norm(x, shape, scale, op.epsilon) if scale.shape == shape else NotImplemented

    return function


def group_norm(op: Any) -> Function:
    def function(x: Any, scale: Any, b: Any) -> Any:
        if x[0].numel() == 2 * op.num_groups:
            return NotImplemented  # of two elements one is 1 and one -1: the gradient is what rounding leaves of it
        return F.group_norm(x, op.num_groups, scale, b, op.epsilon)

    return function


def local_response_norm(op: Any) -> Function | None:
    return (lambda x: F.local_response_norm(x, op.size, op.alpha, op.beta, op.bias)) if op.size % 2 else None


def attention(op: Any) -> Function | None:
    if op.softcap or op.outputs > 1 or (op.left_window_size, op.right_window_size) != (-1, -1):
        return None

    def function(q: Any, k: Any, v: Any, mask: Any = None, *past: Any) -> Any:
        if q.ndim != 4 or past or q.shape[1] != k.shape[1] or (op.is_causal and q.shape[2] != k.shape[2]):
            return NotImplemented
        if mask is not None and op.is_causal:
            return NotImplemented
        return F.scaled_dot_product_attention(q, k, v, mask, is_causal=bool(op.is_causal), scale=op.scale)

    return function


# -- recurrent layers -------------------------------------------------------------------------------------------------
ORDERS = {"RNN": [0], "GRU": [1, 0, 2], "LSTM": [0, 2, 3, 1]}  # torch's gates, as ONNX numbers them


def recurrent(op: Any) -> Function | None:
    plain = (op.activations in (None, ("Tanh", "Tanh")), op.clip is None, op.layout == 0, op.direction != "reverse")
    if not all(plain) or getattr(op, "input_forget", False) or not getattr(op, "linear_before_reset", True):
        return None

    def function(X: Any, W: Any, R: Any, B: Any = None, lens: Any = None, *others: Any) -> Any:
        h, c, P = [*others, None, None, None][:3]
        if lens is not None or P is not None:
            return NotImplemented
        directions, size = len(W), R.shape[2]

        def gates(v: Any) -> Any:
            return torch.cat([v[k * size : (k + 1) * size] for k in ORDERS[op.name]])

        weights = []
        for d in range(directions):
            weights += [gates(W[d]), gates(R[d])]
            if B is not None:
                weights += [gates(v) for v in B[d].chunk(2)]
        zero = torch.zeros(directions, X.shape[1], size)
        states = [zero if s is None else s for s in (h, c)]
        run = {"RNN": torch._VF.rnn_tanh, "GRU": torch._VF.gru, "LSTM": torch._VF.lstm}[op.name]
        state = states if op.name == "LSTM" else states[0]
        y, *finals = run(X, state, weights, B is not None, 1, 0.0, True, directions == 2, False)
        y = y.reshape(*y.shape[:2], directions, size).transpose(1, 2)
        return (y, *finals)[: op.outputs]

    return function


# -- losses -----------------------------------------------------------------------------------------------------------
def loss(run: Function) -> Callable[[Any], Function | None]:
    def made(op: Any) -> Function | None:
        if getattr(op, "outputs", 1) > 1:
            return None
        ignored = -100 if op.ignore_index is None else op.ignore_index

        def function(x: Any, labels: Any, weights: Any = None) -> Any:
            fixed = None if weights is None else weights.detach()  # for which PyTorch has no gradient
            return run(x, labels.long(), fixed, reduction=op.reduction, ignore_index=ignored)

        return function

    return made


# -- the rest ---------------------------------------------------------------------------------------------------------
def reduction(run: Callable[[Any, tuple[int, ...], bool], Any]) -> Callable[[Any], Function]:
    def made(op: Any) -> Function:
        def function(x: Any, axes: Any = None) -> Any:
            listed = () if axes is None else tuple(axes.tolist())
            if not listed:
                listed = () if op.noop_with_empty_axes else tuple(range(x.ndim))
            return run(x, listed, op.keepdims) if listed else NotImplemented

        return function

    return made


def padded(op: Any) -> Function | None:
    modes = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}

    def function(x: Any, pads: Any, value: Any = None, axes: Any = None) -> Any:
        amounts, half = pads.tolist(), len(pads) // 2
        if op.mode != "constant" or axes is not None or min(amounts, default=0) < 0:
            return NotImplemented
        listed = [p for axis in reversed(range(half)) for p in (amounts[axis], amounts[half + axis])]
        return F.pad(x, listed, modes[op.mode], 0 if value is None else value.item())

    return function


def gather(op: Any) -> Function:
    def function(x: Any, indices: Any) -> Any:
        at = indices.long() % x.shape[op.axis]
        picked = torch.index_select(x, op.axis, at.reshape(-1))
        axis = op.axis % x.ndim
        return picked.reshape(*x.shape[:axis], *at.shape, *x.shape[axis + 1 :])

    return function


def scattered(op: Any) -> Function | None:
    if op.reduction not in ("none", "add"):
        return None

    def function(x: Any, indices: Any, updates: Any) -> Any:
        at = indices.long() % x.shape[op.axis]
        return (x.scatter_add if op.reduction == "add" else x.scatter)(op.axis, at, updates)

    return function


def grid_sample(op: Any) -> Function | None:
    mode = {"linear": "bilinear", "nearest": "nearest", "cubic": "bicubic"}[op.mode]

    def function(x: Any, grid: Any) -> Any:
        if x.ndim not in (4, 5) or (x.ndim == 5 and op.mode == "cubic"):
            return NotImplemented
        return F.grid_sample(x, grid, mode, op.padding_mode, op.align_corners)

    return function


def of(function: Function) -> Callable[[Any], Function]:
    """For ops without attributes."""
    return lambda op: function


UNARY = (
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Cos", "Cosh", "Erf", "Exp", "Floor", "Log",
    "Neg", "Reciprocal", "Sigmoid", "Sin", "Sinh", "Sqrt", "Tan", "Tanh", "Relu",
)  # fmt: skip
PYTORCH: dict[str, Callable[[Any], Function | None]] = {
    "Conv": conv, "ConvTranspose": conv_transpose, "MaxPool": max_pool, "AveragePool": average_pool,
    "GlobalAveragePool": of(lambda x: x.mean(tuple(range(2, x.ndim)), keepdim=True)),
    "GlobalMaxPool": of(lambda x: x.amax(tuple(range(2, x.ndim)), keepdim=True)),
    "BatchNormalization": batch_norm, "LayerNormalization": layer_norm, "RMSNormalization": rms_norm,
    "InstanceNormalization": lambda op: lambda x, scale, b: F.instance_norm(x, weight=scale, bias=b, eps=op.epsilon),
    "GroupNormalization": group_norm, "LRN": local_response_norm, "Attention": attention,
    "RNN": recurrent, "GRU": recurrent, "LSTM": recurrent,
    "SoftmaxCrossEntropyLoss": loss(F.cross_entropy), "NegativeLogLikelihoodLoss": loss(F.nll_loss),
    **{name: of(getattr(torch, name.lower())) for name in UNARY},
    "LeakyRelu": lambda op: lambda x: F.leaky_relu(x, op.alpha), "Elu": lambda op: lambda x: F.elu(x, op.alpha),
    "Celu": lambda op: lambda x: F.celu(x, op.alpha), "Softplus": of(F.softplus), "Softsign": of(F.softsign),
    "Mish": of(F.mish), "HardSwish": of(F.hardswish),
    "Gelu": lambda op: lambda x: F.gelu(x, approximate=op.approximate),
    "ThresholdedRelu": lambda op: lambda x: F.threshold(x, op.alpha, 0.0),
    "Softmax": lambda op: lambda x: F.softmax(x, op.axis), "LogSoftmax": lambda op: lambda x: F.log_softmax(x, op.axis),
    "Add": of(torch.add), "Sub": of(torch.sub), "Mul": of(torch.mul), "Div": of(torch.div), "Pow": of(torch.pow),
    "MatMul": of(torch.matmul), "Einsum": lambda op: lambda *xs: torch.einsum(op.equation, *xs),
    "Gemm": lambda op: lambda a, b, c=None: (
        op.alpha * (a.T if op.transA else a) @ (b.T if op.transB else b) + (0 if c is None else op.beta * c)),
    "Where": of(torch.where), "Transpose": lambda op: lambda x: x.permute(op.perm or tuple(range(x.ndim))[::-1]),
    "Concat": lambda op: lambda *xs: torch.cat(xs, op.axis),
    "ReduceSum": reduction(lambda x, axes, keep: x.sum(axes, keepdim=keep)),
    "ReduceMean": reduction(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
    "ReduceMax": reduction(lambda x, axes, keep: x.amax(axes, keepdim=keep)),
    "ReduceMin": reduction(lambda x, axes, keep: x.amin(axes, keepdim=keep)),
    "ReduceSumSquare": reduction(lambda x, axes, keep: (x * x).sum(axes, keepdim=keep)),
    "ReduceL1": reduction(lambda x, axes, keep: x.abs().sum(axes, keepdim=keep)),
    "ReduceL2": reduction(lambda x, axes, keep: torch.linalg.vector_norm(x, dim=axes, keepdim=keep)),
    "ReduceLogSumExp": reduction(lambda x, axes, keep: torch.logsumexp(x, axes, keep)),
    "Pad": padded, "Gather": gather, "ScatterElements": scattered, "GridSample": grid_sample,
    "GatherElements": lambda op: lambda x, at: torch.gather(x, op.axis, at.long() % x.shape[op.axis]),
    "TopK": lambda op: lambda x, k: torch.topk(x, int(k), op.axis, op.largest)[0],
}  # fmt: skip


def in_pytorch(case: Case) -> Function | None:
    """The op of a row as a function of PyTorch, which refuses many empty tensors and has three spatial axes at most."""
    made = PYTORCH.get(case.op.name) if case.op.domain == "" else None
    if made is None or not case.grad or float_types(case) != ({float32},) * 2:
        return None
    if any(np.size(x) == 0 for x in case.inputs if x is not None) or case.id == "4d":
        return None
    return made(case.op)


CASES = [c for c in all_cases() if in_pytorch(c) is not None]


def autograd(case: Case) -> tuple[list[np.ndarray], list[np.ndarray | None]] | None:
    """The seeds of the outputs and the gradients of the floating-point inputs; None for what PyTorch does not say."""
    function = in_pytorch(case)
    assert function is not None
    tensors = [None if x is None else torch.from_numpy(np.array(x)) for x in case.inputs]
    floats = [t for i, t in enumerate(tensors) if t is not None and t.is_floating_point() and i not in case.const]
    for t in floats:
        t.requires_grad_()
    results = function(*tensors)
    if results is NotImplemented:
        return None
    outputs: Sequence[Any] = results if isinstance(results, tuple) else (results,)
    rng = np.random.default_rng(0)
    seeds = [rng.uniform(0.5, 1.5, tuple(y.shape)).astype(np.float32) for y in outputs]
    if not any(y.requires_grad for y in outputs):
        return None
    found = torch.autograd.grad(outputs, floats, [torch.from_numpy(s) for s in seeds], allow_unused=True)
    return seeds, [None if g is None else g.numpy() for g in found]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_gradient(case: Case) -> None:
    said = autograd(case)
    if said is None:
        return
    seeds, expected = said
    graph = case.graph()
    gradient = grad(graph)
    scalar = len(gradient.inputs) == len(graph.inputs)
    results = interpret(gradient, [*case.feeds(), *([] if scalar else seeds)])
    for got, want in zip(results, expected, strict=True):
        if want is None:
            continue
        wanted = want / seeds[0] if scalar else want
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5 * max(1.0, np.abs(wanted).max(initial=0)))


def test_most_rows_are_compared() -> None:
    assert {c.op.name for c in CASES if autograd(c) is not None} >= set(PYTORCH) - {"Ceil", "Floor"}
