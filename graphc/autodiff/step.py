"""The train step: prediction, loss, gradients and update as one graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from graphc.autodiff.losses import Loss, Mean, Metric
from graphc.autodiff.optimisers import Clipping, Optimiser
from graphc.autodiff.regularisers import Regulariser, penalty
from graphc.autodiff.schedules import Schedule
from graphc.autodiff.training import NEW, SEED, STEP, inference_mode, training_mode
from graphc.errors import CompileError, InvalidModel
from graphc.ir import Graph, Value, expect_graph, substitute
from graphc.names import did_you_mean, quote
from graphc.ops.base import Constant, const
from graphc.ops.softmax import Softmax
from graphc.ops.vjp import differentiable, vjp
from graphc.types import Array, Tensor, TensorType, float32, int64

TARGET, WEIGHTS, RATE = "target", "weights", "learning_rate"
WEIGHT = ".weight"  # the output m.weight is what the mean m counts for when batches are joined


def train_step(
    graph: Graph,
    loss: Loss,
    optimiser: Optimiser,
    *,
    schedule: Schedule | None = None,
    parameters: Sequence[str] | None = None,
    regulariser: Regulariser | None = None,
    clipping: Clipping | None = None,
    metrics: Mapping[str, Metric] | None = None,
    weighted: bool = False,
) -> Graph:
    """One update of the parameters of `graph` as a graph: (batch, state) -> (loss, metrics, new state).

    An input x of the result is state if there is an output `new_x`, of its type; it is fed back in the next step.
    These are the parameters under their own names, for each of them the optimiser's `<parameter>.<slot>`, the running
    averages of batch normalisation, and `step`, an int64 scalar that counts updates. `initial_state` has first values.
    The other inputs are those of `graph`, then `target`, `weights` (with `weighted`), `seed` (where there is dropout;
    int64) and `learning_rate` (float32, without a `schedule`). Before the state come the outputs `loss`, those of
    `metrics`, for each of them that is a weighted mean `<name>.weight`, and `learning_rate` (with a `schedule`).

    Args:
        graph: what infers; its first output is the prediction. It is trained in training mode. Where the loss is one of
            logits and the prediction is a softmax, the loss reads what the softmax does.
        loss: of prediction and target (and weights).
        optimiser: how parameters follow their gradients.
        schedule: the learning rate for each step; without one it is an input.
        parameters: the names of constants or inputs to train; by default all named floating-point constants that are
            not scalars and have a gradient.
        regulariser: what is added to the loss for each weight.
        clipping: a bound on gradients.
        metrics: name -> what else is reported of prediction and target.
        weighted: loss and metrics are means in which each position counts what the input `weights` has for it.

    Raises:
        InvalidModel: there is no such parameter, or none.
        GraphcError: naming the node, when the path to the loss passes an op without a gradient.
    """
    expect_graph(graph)
    graph = training_mode(graph)
    state = {name.removeprefix(NEW) for name in graph.output_names if name.startswith(NEW)}
    sources = {n.name: n.output for n in graph.constants() if n.name} | {v.name: v for v in graph.inputs}
    chosen = _parameters(graph, sources, state) if parameters is None else _checked(parameters, sources)
    # What was constant becomes an input.
    held = {name: Value(sources[name].type, name=name) for name in [*chosen, *sorted(state)]}
    outputs = substitute(graph, {sources[name]: v for name, v in held.items()})
    feeds = [v for v in graph.inputs if v.name not in held and v.name != STEP]
    step = next((v for v in graph.inputs if v.name == STEP), Value(TensorType(int64, ()), name=STEP))
    kept = dict(zip(graph.output_names, outputs, strict=True))

    prediction = _logits(outputs[0]) if loss.of_logits else outputs[0]
    target = Value(loss.target_type(prediction), name=TARGET)
    weights = _weights(prediction, target, loss) if weighted else None
    measured = {name: m(prediction, target, weights) for name, m in {"loss": loss, **(metrics or {})}.items()}
    total = measured["loss"].value
    if regulariser is not None:
        extra = penalty(regulariser, [held[name] for name in chosen])
        total = total if extra is None else total + extra

    gradients = vjp([total], [const(1.0, total.dtype)], [held[name] for name in chosen])
    trained = {name: g for name, g in zip(chosen, gradients, strict=True) if g is not None}
    if not trained:
        raise InvalidModel("the loss depends on no parameter")
    if clipping is not None:
        trained = dict(zip(trained, clipping(list(trained.values())), strict=True))

    rate = Value(TensorType(float32, ()), name=RATE) if schedule is None else schedule(step)
    slots, new = _updates(optimiser, optimiser.factors(rate, step), held, trained)
    new |= {name: kept[NEW + name] for name in sorted(state)}
    new[STEP] = step + 1

    reported = _reports(measured) | {"loss": total}
    if schedule is not None:
        reported[RATE] = rate
    fixed = [v for v in (target, weights) if v is not None] + [v for v in feeds if v.name == SEED]
    inputs = [v for v in feeds if v.name != SEED] + fixed + ([rate] if schedule is None else [])
    inputs += [held[name] for name in (*trained, *sorted(state))] + [*slots.values(), step]
    results = reported | {NEW + name: new[name] for name in (v.name for v in inputs) if name in new}
    return Graph(inputs, list(results.values()), list(results), name=f"train_{graph.name}" if graph.name else "")


def evaluation(
    graph: Graph,
    loss: Loss,
    parameters: Sequence[str],
    *,
    metrics: Mapping[str, Metric] | None = None,
    weighted: bool = False,
) -> Graph:
    """The loss and the metrics of `graph` in inference mode, its constants called `parameters` being inputs.

    Inputs: those of `graph`, `target`, `weights` (with `weighted`), and the parameters; outputs: `loss`, those of
    `metrics`, and for each of them that is a weighted mean `<name>.weight`.
    """
    graph = inference_mode(graph)
    held = {n.output: Value(n.output.type, name=n.name) for n in graph.constants() if n.name in parameters}
    (prediction, *_) = substitute(graph, held)
    prediction = _logits(prediction) if loss.of_logits else prediction
    target = Value(loss.target_type(prediction), name=TARGET)
    weights = [_weights(prediction, target, loss)] if weighted else []
    results = _reports({k: m(prediction, target, *weights) for k, m in {"loss": loss, **(metrics or {})}.items()})
    inputs = [*graph.inputs, target, *weights, *held.values()]
    return Graph(inputs, list(results.values()), list(results), name=graph.name)


def initial_state(step: Graph, graph: Graph) -> dict[str, Array]:
    """The first values of the state of `step`: the constants of `graph` that have its names, and zeros."""
    known = {n.name: n.op.value for n in graph.constants() if n.name and isinstance(n.op, Constant)}
    state: dict[str, Array] = {}
    for v in step.inputs:
        if NEW + v.name in step.output_names:
            first = known[v.name].array if v.name in known else np.zeros(_sizes(v), v.dtype.numpy)
            state[v.name] = np.array(first, order="C")
    return state


def with_constants(graph: Graph, values: Mapping[str, Array]) -> Graph:
    """`graph` with other numbers in the constants called so; names of others are passed over."""
    found = [n for n in graph.constants() if n.name in values]
    new = {n.output: const(Tensor(np.array(values[n.name]), n.output.dtype), name=n.name) for n in found}
    return Graph(graph.inputs, substitute(graph, new), graph.output_names, name=graph.name)


def trained(graph: Graph, state: Mapping[str, Array]) -> Graph:
    """`graph` for inference, with the parameters and running averages in `state`."""
    return with_constants(inference_mode(graph), state)


def _parameters(graph: Graph, sources: Mapping[str, Value], state: set[str]) -> list[str]:
    """Named floating-point constants with axes."""
    return [
        name
        for name, v in sources.items()
        if v.node is not None and name not in state and differentiable(v.type) and v.tensor.shape not in (None, ())
    ]


def _checked(parameters: Sequence[str], sources: Mapping[str, Value]) -> list[str]:
    """The names of parameters, after a look whether there are such."""
    for name in parameters:
        if name not in sources or not differentiable(sources[name].type):
            raise InvalidModel(
                f"there is no parameter {quote(name)}",
                hint=did_you_mean(name, sources) or "A parameter is a named floating-point constant or input",
            )
    return list(parameters)


def _updates(
    optimiser: Optimiser, factors: Sequence[Value], held: Mapping[str, Value], gradients: Mapping[str, Value]
) -> tuple[dict[str, Value], dict[str, Value]]:
    """The optimiser's slots as inputs, and what parameters and slots are after the update, by name."""
    slots: dict[str, Value] = {}
    new: dict[str, Value] = {}
    for name, g in gradients.items():
        x = held[name]
        own = {f"{name}.{slot}": Value(x.type, name=f"{name}.{slot}") for slot in optimiser.slots}
        slots |= own
        scaled = [f if f.dtype is x.dtype else f.cast(x.dtype) for f in factors]
        new |= zip([name, *own], optimiser.update(x, g, list(own.values()), scaled), strict=True)
    return slots, new


def _logits(prediction: Value) -> Value:
    """What a final softmax over classes reads; the prediction itself where there is none."""
    node = prediction.node
    if node is None or not isinstance(node.op, Softmax):
        return prediction
    (x,) = node.inputs
    assert x is not None
    if node.op.axis not in (1, 1 - (x.rank or 0)):
        raise CompileError(f"the softmax is over axis {node.op.axis}, expected 1: classes", node=node.label)
    return x


def _weights(prediction: Value, target: Value, loss: Loss) -> Value:
    """One for each position: where there are logits, these have no classes."""
    shape = target.shape
    if loss.of_logits and target.dtype.is_float and shape is not None:
        shape = (shape[0], *shape[2:])
    return Value(TensorType(prediction.dtype, shape), name=WEIGHTS)


def _reports(measured: Mapping[str, Mean]) -> dict[str, Value]:
    """The means, then what they count for."""
    weights = {name + WEIGHT: m.weight for name, m in measured.items() if m.weight is not None}
    return {name: m.value for name, m in measured.items()} | weights


def _sizes(v: Value) -> tuple[int, ...]:
    if not v.tensor.is_static:
        raise CompileError(f"the state {quote(v.name)} is {v.type}, expected known sizes")
    return v.tensor.sizes
