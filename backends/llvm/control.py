"""Control flow: If, Loop and Scan as branches and repetitions of the kernels of their bodies.

A body is lowered as if its nodes stood where the op does, on the values that are there. What comes of either branch, or
goes from one trip to the next, has memory of its own, a cell.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from graphc.errors import CompileError
from graphc.frozen import Frozen
from graphc.ir import Graph, Node, Value, substitute
from graphc.loops.compose import sizes
from graphc.loops.layout import row_major
from graphc.ops.base import Constant
from graphc.ops.bodies import Repetition
from graphc.ops.control import If, Loop, Scan
from graphc.passes.decompose import decompose
from graphc.passes.flatten_pixels import flatten_pixels
from graphc.passes.fuse import fuse
from graphc.passes.share_subexpressions import share_subexpressions
from graphc.types import TensorType, bool_

from ..codegen.emit import emit
from ..codegen.target import Target
from .alike import SharedLowering
from .kernels import Kernels, Lowered, touched
from .lowering import Lowering
from .steps import Branch, Repeat, leaves


def in_parts(graph: Graph) -> Graph:
    """`graph` after `decompose`; what it made of several nodes is shared and fused like the rest."""
    parts = decompose(graph)
    return flatten_pixels(graph if parts is graph else fuse(share_subexpressions(parts)))


def own_inputs(node: Node) -> list[Value | None]:
    """Values like the inputs of `node` that come from nowhere."""
    return [None if x is None else Value(x.type, name=f"x{i}", content=x.content) for i, x in enumerate(node.inputs)]


# -- what a node is ---------------------------------------------------------------------------------------------------
class Inlined(Frozen, eq=False):
    """A body on values from around it: its nodes in order, and its outputs."""

    nodes: list[Node]
    outputs: tuple[Value, ...]


class Choice(Frozen, eq=False):
    """An If: the branch is chosen by `condition`."""

    condition: Value
    branches: tuple[Inlined, Inlined]

    @property
    def parts(self) -> tuple[Inlined, ...]:
        return self.branches


class Trips(Frozen, eq=False):
    """A Loop or Scan: `body`, again and again, on the cells (going, number, *carried), which `start` fills first."""

    repetition: Repetition
    start: Inlined
    body: Inlined
    cells: tuple[Value, ...]

    @property
    def parts(self) -> tuple[Inlined, ...]:
        return self.start, self.body


def controlled(node: Node) -> Choice | Trips | None:
    """What the node is, if it is control flow. Raises `CompileError` where sizes are known only at run time."""
    op = node.op
    if not isinstance(op, (If, Loop, Scan)):
        return None
    for k, v in enumerate(node.outputs):
        if not (isinstance(v.type, TensorType) and v.type.is_static):
            raise CompileError(f"output {k}, {v.type}, has a shape that is known only at run time")
    given = [x for x in node.inputs if x is not None]
    if isinstance(op, If):
        then, otherwise = (_inlined(body, given[1:]) for body in (op.then_branch, op.else_branch))
        for branch in (then, otherwise):
            _check_sizes(branch.outputs, node.outputs)
        return Choice(given[0], (then, otherwise))
    form = op.repetition(*own_inputs(node))
    start = _inlined(form.start, given)
    carried = form.body.inputs[: len(form.body.inputs) - len(given)]
    cells = (Value(TensorType(bool_, ()), name="going"), *(Value(v.type, name=v.name) for v in carried))
    body = _inlined(form.body, [*cells[1:], *given])
    _check_sizes(start.outputs, cells)
    _check_sizes(body.outputs, cells)
    return Trips(form, start, body, cells)


def _inlined(graph: Graph, xs: Sequence[Value]) -> Inlined:
    """`graph` on `xs`, in parts; its nodes are made anew."""
    nodes: list[Node] = []

    def visit(node: Node, inputs: tuple[Value | None, ...]) -> tuple[Value, ...] | None:
        if isinstance(node.op, Constant):
            return None
        made = node.op.apply(inputs, node.name)  # again, if nothing changes as well: a body may stand in two places
        nodes.extend(v.node for v in made[:1] if v.node is not None)
        return made

    graph = in_parts(graph)
    return Inlined(nodes, substitute(graph, dict(zip(graph.inputs, xs, strict=True)), visit))


def _check_sizes(values: Sequence[Value], cells: Sequence[Value]) -> None:
    """Raise `CompileError` where a value has other sizes than the cell that it goes to."""
    for v, cell in zip(values, cells, strict=False):
        if sizes(v) != sizes(cell):
            raise CompileError(f"{v.type} takes the place of {cell.type}")


# -- kernels ----------------------------------------------------------------------------------------------------------
def lower_region(
    nodes: Sequence[Node],
    outputs: Sequence[Value],
    target: Target,
    threads: int = 1,
    winograd: bool | None = None,
) -> Lowered:
    """The kernels of `nodes`, which are in order; `outputs` end up row-major in memory of their own or of another.

    Args:
        nodes, outputs: a region, and those of its values that are read outside.
        target, threads, winograd: see `Lowering`.
    """
    region = _Region(SharedLowering(outputs, target, threads, winograd))
    region.analyse(nodes)
    region.lower(nodes)
    lowered = region.lowering.result
    lowered.kernels = lowered.read_kernels(outputs)
    return lowered


def check_code(node: Node, target: Target) -> None:
    """Raise `CompileError` where no code can be written for `node`."""
    for k in leaves(lower_region([node], list(node.outputs), target).kernels):
        emit(k.nest, "kernel", target)


class _Region:
    """Nodes that are lowered together, control flow among them: first all are looked at, then kernels are made."""

    def __init__(self, lowering: Lowering) -> None:
        self.lowering = lowering
        self.forms: dict[Node, Choice | Trips] = {}

    def analyse(self, nodes: Sequence[Node]) -> None:
        """Find out what is control flow, and have the others analysed, those of bodies as well."""
        for node in nodes:
            form = controlled(node)
            if form is not None:
                self.forms[node] = form
                for part in form.parts:
                    self.analyse(part.nodes)
            elif not isinstance(node.op, Constant):
                self.lowering.analyse(node)

    def lower(self, nodes: Sequence[Node]) -> None:
        """Add the kernels of `nodes` to the body that is open."""
        for node in nodes:
            form = self.forms.get(node)
            if form is not None:
                self.lowering.homes.update((v, self.lowering.kernels) for v in node.outputs)
            if isinstance(form, Choice):
                self._choose(node, form)
            elif form is not None:
                self._repeat(node, form)
            elif not isinstance(node.op, Constant):
                self.lowering.lower(node)

    def _choose(self, node: Node, form: Choice) -> None:
        """A branch. The outputs of `node` are its cells."""
        condition = self.lowering.hold(form.condition)
        made = []
        for branch in form.branches:
            with self._inside() as body:
                self.lower(branch.nodes)
                self._deliver(branch.outputs, node.outputs)
            made.append(body)
        self.lowering.kernels.append(Branch(condition, *made))

    def _repeat(self, node: Node, form: Trips) -> None:
        """A repetition. What it carries ends up in its cells, and slices are written where they belong as they come."""
        lowering, cells, repetition = self.lowering, form.cells, form.repetition
        going, number, *carried = cells
        last, stacked = node.outputs[: len(carried)], node.outputs[len(carried) :]
        self.lower(form.start.nodes)
        for x, cell in zip(form.start.outputs, cells, strict=True):
            lowering.move(x, cell)
        lowering.result.shared.update((v, (cell, 0)) for v, cell in zip(last, carried, strict=True))
        with self._inside() as body:
            lowering.homes.update((cell, body) for cell in cells)
            self.lower(form.body.nodes)
            after, slices = form.body.outputs[: len(cells)], form.body.outputs[len(cells) :]
            for x, y, axis, reverse in zip(slices, stacked, repetition.axes, repetition.reverse, strict=True):
                if 0 not in sizes(y):
                    lowering.move_slice(x, y, axis, number, reverse=reverse)
            self._deliver(after, cells)
        trips = repetition.trips if isinstance(repetition.trips, int) else None
        lowering.kernels.append(Repeat(going, number, body, trips, stacked))

    @contextmanager
    def _inside(self) -> Iterator[Kernels]:
        """What is lowered meanwhile goes into a body."""
        body: Kernels = []
        around, self.lowering.kernels = self.lowering.kernels, body
        try:
            yield body
        finally:
            self.lowering.kernels = around

    def _deliver(self, values: Sequence[Value], cells: Sequence[Value]) -> None:
        """Bring `values`, which the body that ends here has computed, into `cells`, all at once.

        A value is computed in its cell where nothing reads that any more by then; others are copied.
        """
        lowered = self.lowering.result
        roots = [lowered.find(y)[0] for y in values]
        written, read = _spans(lowered, self.lowering.kernels)
        moves = []
        for y, cell, root in zip(values, cells, roots, strict=True):
            if root is cell:
                continue
            free = cell not in roots and root in written and read.get(cell, -1) < written[root]
            if free and root not in cells and self._can_lie_elsewhere(root, y):
                lowered.shared[root] = cell, 0
            else:
                moves.append((y, cell, root in cells))
        self._copy(moves)

    def _can_lie_elsewhere(self, root: Value, y: Value) -> bool:
        """Whether `root`, in which `y` is, can be computed in a cell: it is `y`, row-major, in memory of its own."""
        lowered = self.lowering.result
        layout = lowered.layout(root)
        whole = layout.is_row_major and layout.size == row_major(sizes(y)).size
        return whole and root not in lowered.shared and root not in lowered.constants

    def _copy(self, moves: Sequence[tuple[Value, Value, bool]]) -> None:
        """Copy values into cells; those that are in a cell themselves, which may be overwritten, are put aside first.

        a, b = b, a is c = b; d = a; a = c; b = d.
        """
        safe = []
        for y, cell, is_in_cell in moves:
            if is_in_cell:
                aside = Value(y.type, name=y.name)
                self.lowering.move(y, aside)
                y = aside
            safe.append((y, cell))
        for y, cell in safe:
            self.lowering.move(y, cell)


def _spans(lowered: Lowered, body: Kernels) -> tuple[dict[Value, int], dict[Value, int]]:
    """The step of `body` that first writes to the memory of a value, and the one that last reads it."""
    written: dict[Value, int] = {}
    read: dict[Value, int] = {}
    for n, step in enumerate(body):
        for v, is_written in touched(step):
            root = lowered.find(v)[0]
            if is_written:
                written.setdefault(root, n)
            else:
                read[root] = n
    return written, read
