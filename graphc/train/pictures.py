"""Pictures of training and of what was learned. Each takes a path, whose suffix says the format (png, svg, …).

They need matplotlib: pip install 'graphc[plot]'.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graphc.autodiff.gradient import grad
from graphc.errors import BackendUnavailable, CompileError
from graphc.interpret import interpret
from graphc.ir import Graph
from graphc.names import did_you_mean, quote
from graphc.train.loop import Record
from graphc.types import Array

POINTS = 200  # of a curve that is drawn


def figure(path: Path, draw: Callable[[Any], None], *, size: tuple[float, float] = (8, 4.5)) -> None:
    """Write what `draw` draws on a matplotlib figure. Raises `BackendUnavailable` without matplotlib."""
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as e:
        raise BackendUnavailable(f"matplotlib cannot be imported: {e}", hint="pip install 'graphc[plot]'") from e
    # The same picture is the same file: no date in it, no random names.
    with matplotlib.rc_context({"svg.hashsalt": "graphc"}):
        page = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(page)
        draw(page)
        try:
            page.savefig(path, dpi=120, metadata={"Date": None} if path.suffix == ".svg" else None)
        except (OSError, ValueError) as e:
            raise CompileError(f"cannot write {path}: {e}") from e


def smooth(values: Sequence[float], window: int) -> Array:
    """The mean of the last `window` values at each place."""
    sums = np.cumsum([0.0, *values])
    last = np.arange(1, len(values) + 1)
    first = np.maximum(last - window, 0)
    mean: Array = (sums[last] - sums[first]) / (last - first)
    return mean


@dataclass(frozen=True, eq=False)
class Chart:
    """Curves with one meaning.

    Attributes:
        of: what the values are.
        runs: name -> values at 1, 2, … .
        along: what is counted.
        window: the mean of so many last values is drawn.
        log: on a logarithmic scale.
    """

    of: str
    runs: Mapping[str, Sequence[float]]
    along: str = "step"
    window: int = 1
    log: bool = False


def curves(path: Path, *charts: Chart) -> None:
    """Charts side by side; of long curves every so many points are drawn."""

    def draw(page: Any) -> None:
        for axes, chart in zip(page.subplots(1, len(charts), squeeze=False)[0], charts, strict=True):
            for name, values in chart.runs.items():
                every = slice(None, None, max(len(values) // POINTS, 1))
                line = smooth(values, chart.window)[every]
                axes.plot(np.arange(1, len(values) + 1)[every], line, label=name)
            axes.set(xlabel=chart.along, ylabel=chart.of, yscale="log" if chart.log else "linear")
            axes.grid(alpha=0.3)
            axes.legend()

    figure(path, draw, size=(6 * len(charts), 4))


def training(path: Path, losses: Sequence[float], rates: Sequence[float], history: Sequence[Record]) -> None:
    """The loss of each step, that of validation after each epoch, and the learning rate."""

    def draw(page: Any) -> None:
        top, bottom = page.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        every = slice(None, None, max(len(losses) // POINTS, 1))
        steps = np.arange(1, len(losses) + 1)[every]
        top.plot(steps, losses[every], alpha=0.3, label="loss of a step")
        top.plot(steps, smooth(losses, max(len(losses) // 50, 1))[every], label="smoothed")
        if history and "validation_loss" in history[0]:
            top.plot([r["step"] for r in history], [r["validation_loss"] for r in history], "o-", label="validation")
        top.set(ylabel="loss", yscale="log")
        top.legend()
        bottom.plot(steps, rates[every])
        bottom.set(xlabel="step", ylabel="learning rate")
        for axes in (top, bottom):
            axes.grid(alpha=0.3)

    figure(path, draw, size=(8, 5.5))


def tiles(images: Array) -> Array:
    """Images [n, h, w], each scaled to 0 … 1, side by side in a near-square with lines of NaN between."""
    n, h, w = images.shape
    columns = math.ceil(math.sqrt(n))
    page = np.full((math.ceil(n / columns) * (h + 1) - 1, columns * (w + 1) - 1), np.nan)
    for k, image in enumerate(images):
        row, column = divmod(k, columns)
        low, high = image.min(), image.max()
        scaled = (image - low) / (high - low if high > low else 1)
        page[row * (h + 1) : row * (h + 1) + h, column * (w + 1) : column * (w + 1) + w] = scaled
    return page


def filters(path: Path, graph: Graph, weight: str) -> None:
    """The kernels of a convolution, of one input channel after the other: `weight` names a constant [o, i, h, w]."""
    found = {n.name: n.output for n in graph.constants() if n.name}
    if weight not in found or found[weight].rank != 4:
        raise CompileError(f"there is no kernel {quote(weight)}", hint=did_you_mean(weight, found) or None)
    node = found[weight].node
    assert node is not None
    kernels: Array = node.op.eval()
    _show(path, tiles(kernels.reshape(-1, *kernels.shape[2:])), f"{weight}: {len(kernels)} kernels")


def activations(path: Path, graph: Graph, node: str, x: Array) -> None:
    """What the channels of the first image become at `node`, whose output is [n, c, h, w]."""
    made = {n.name: n.output for n in graph.nodes if n.name and n.output.rank == 4 and n.inputs}
    if node not in made:
        raise CompileError(f"no node {quote(node)} makes images", hint=did_you_mean(node, made) or None)
    (y,) = interpret(graph.with_outputs([made[node]]), [x])
    _show(path, tiles(y[0]), f"{node}: {y.shape[1]} channels")


def confusion(path: Path, matrix: Array, names: Sequence[str] | None = None) -> None:
    """A confusion matrix: rows are classes, columns what they were taken for."""

    def draw(page: Any) -> None:
        axes = page.add_subplot()
        axes.imshow(np.sqrt(matrix / np.maximum(matrix.sum(1, keepdims=True), 1)), cmap="Blues")
        for (i, j), count in np.ndenumerate(matrix):
            if count:
                axes.text(j, i, str(count), ha="center", va="center", color="white" if i == j else "black")
        labels = names or [str(k) for k in range(len(matrix))]
        axes.set(xlabel="taken for", ylabel="class", xticks=range(len(matrix)), yticks=range(len(matrix)))
        axes.set_xticklabels(labels)
        axes.set_yticklabels(labels)

    figure(path, draw, size=(5.5, 5))


def receptive_field(graph: Graph, node: str, x: Array) -> Array:
    """|d y / d x| for the central element y of each channel of `node` and the first image: [h, w], over all channels.

    Where it is not zero is the region that the element sees.
    """
    made = {n.name: n.output for n in graph.nodes if n.name and n.output.rank == 4 and n.inputs}
    if node not in made:
        raise CompileError(f"no node {quote(node)} makes images", hint=did_you_mean(node, made) or None)
    partial = graph.with_outputs([made[node]], ["y"])
    (y,) = interpret(partial, [x])
    seed = np.zeros_like(y)
    seed[0, :, y.shape[2] // 2, y.shape[3] // 2] = 1
    (dx,) = interpret(grad(partial), [x, seed])
    seen: Array = np.abs(dx[0]).sum(0)
    return seen


def field(path: Path, graph: Graph, node: str, x: Array) -> None:
    """The receptive field of the central element of `node`."""
    seen = receptive_field(graph, node, x)
    rows, columns = np.nonzero(seen)
    size = f"{np.ptp(rows) + 1}×{np.ptp(columns) + 1}" if len(rows) else "nothing"
    _show(path, seen / max(seen.max(), 1e-30), f"{node} sees {size}")


def _show(path: Path, image: Array, title: str) -> None:
    def draw(page: Any) -> None:
        axes = page.add_subplot()
        axes.imshow(image, cmap="viridis")
        axes.set_title(title)
        axes.set_axis_off()

    figure(path, draw, size=(5, 5))
