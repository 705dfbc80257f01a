"""Rules: a pattern, and a function that builds what stands in its place; and the driver that applies them.

    x, w, b = value("x"), constant("w"), maybe(constant("b"))
    conv = p(Conv, x, w, b)
    relu = p(Relu, conv)

    @rule(relu)
    def conv_relu(m: Match) -> Value:
        if m.op(conv).group != 1:
            m.decline("the convolution is grouped")
        return ConvRelu(group=1)(m[x], m[w], m[b])

Rules match on the old graph, whose use counts are true, and build on the new one: `m[x]` is the new value. A node
inside a match that is used elsewhere too, or is an output of the graph, never matches. What a rule computes from
constants is graph code; the pass `fold_constants` evaluates it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import Generic, NoReturn, TypeVar, overload

from graphc.errors import CompileError
from graphc.frozen import Frozen
from graphc.ir import Graph, Node, Op, Value, rebuild
from graphc.ops.base import Constant
from graphc.passes.bodies import over_bodies
from graphc.passes.record import fired, refused
from graphc.types import Array, TensorType, Type

MAX_SWEEPS = 64  # a chain of n nodes that merge pairwise needs log2(n)

O = TypeVar("O", bound=Op)  # noqa: E741
O_co = TypeVar("O_co", bound=Op, covariant=True)


# -- patterns ---------------------------------------------------------------------------------------------------------
class Leaf(Frozen, eq=False):
    """Matches a value (with `constant`, one that is computed from constants only); twice in a pattern, the same one."""

    name: str
    constant: bool = False


class Maybe(Frozen, eq=False):
    """Matches what `leaf` matches, and an omitted input."""

    leaf: Leaf


@dataclass(frozen=True, eq=False)
class Pattern(Generic[O_co]):
    """Matches the first output of a node with an op of one of the classes `ops` and with matching inputs."""

    ops: tuple[type[O_co], ...]
    inputs: tuple[Part, ...]
    attributes: Mapping[str, object]
    open: bool  # the node may have inputs beyond these


Part = Leaf | Maybe | Pattern[Op]


def value(name: str) -> Leaf:
    """Matches any value."""
    return Leaf(name)


def constant(name: str) -> Leaf:
    """Matches a value that depends on constants only."""
    return Leaf(name, constant=True)


def maybe(leaf: Leaf) -> Maybe:
    """Matches what `leaf` does, or an input that is not there."""
    return Maybe(leaf)


def p(op: type[O] | tuple[type[O], ...], *inputs: Part | EllipsisType, **attributes: object) -> Pattern[O]:
    """The pattern `op(*inputs)`.

    Args:
        op: an op class, or several of which the node's op is one.
        inputs: a part for each input, in order; a last `...` leaves the rest open.
        attributes: what an attribute must be equal to, or a predicate on it.
    """
    parts = [i for i in inputs if not isinstance(i, EllipsisType)]
    return Pattern(op if isinstance(op, tuple) else (op,), tuple(parts), attributes, len(parts) < len(inputs))


# -- matches ----------------------------------------------------------------------------------------------------------
class Declined(Exception):
    """Raised by a rule that matched but does not apply."""


class Match:
    """What a pattern matched: `m[leaf]` is a value of the new graph, `m.op(pattern)` the op with its attributes.

    Attributes:
        graph: the old graph.
        node: the old node that the whole pattern matched.
        nodes: every old node of the match, `node` last.
    """

    def __init__(self, graph: Graph, node: Node, new: Mapping[Value, Value], constants: set[Value]):
        self.graph, self.node, self.nodes, self._new, self._constants = graph, node, [node], new, constants
        self._values: dict[Leaf, Value | None] = {}
        self._nodes: dict[Pattern[Op], Node] = {}

    @overload
    def __getitem__(self, part: Leaf) -> Value: ...
    @overload
    def __getitem__(self, part: Maybe) -> Value | None: ...
    def __getitem__(self, part: Leaf | Maybe) -> Value | None:
        """The new graph's value at `part`; None for an input that is omitted."""
        found = self.old(part)
        return None if found is None else self._new.get(found, found)

    def old(self, part: Leaf | Maybe) -> Value | None:
        """The old graph's value at `part`."""
        return self._values[part.leaf if isinstance(part, Maybe) else part]

    @property
    def inputs(self) -> tuple[Value | None, ...]:
        """The new graph's values that the matched node reads, for patterns with open inputs."""
        return tuple(None if x is None else self._new.get(x, x) for x in self.node.inputs)

    def op(self, pattern: Pattern[O]) -> O:
        """The op that `pattern` matched."""
        return self._nodes[pattern].op  # type: ignore[return-value]

    def output(self, pattern: Pattern[O]) -> Value:
        """The old graph's value that `pattern` matched; its type is what a replacement has to have."""
        return self._nodes[pattern].output

    def is_constant(self, part: Leaf) -> bool:
        """True when the value at `part` depends on constants only."""
        return self.old(part) in self._constants

    def array(self, part: Leaf | Maybe) -> Array | None:
        """The elements of the value at `part`, where they are known and few."""
        found = self.old(part)
        return None if found is None else found.const

    def is_shared(self, part: Leaf | Maybe) -> bool:
        """True when something outside the match reads the value too."""
        found = self.old(part)
        return found is not None and any(user not in self.nodes for user, _ in self.graph.uses[found])

    def decline(self, reason: str) -> NoReturn:
        """Leave this match as it is; `reason` is shown by `GRAPHC_DEBUG=3` and `explain()`."""
        raise Declined(reason)

    def require(self, condition: bool, reason: str) -> None:
        """Decline unless `condition` holds."""
        if not condition:
            raise Declined(reason)

    # -- matching -----------------------------------------------------------------------------------------------------
    def fits(self, pattern: Pattern[Op], node: Node) -> bool:
        """Match `node` against `pattern`, filling this match."""
        if not isinstance(node.op, pattern.ops):
            return False
        count = len(pattern.inputs)
        if len(node.inputs) > count and not pattern.open:
            return False
        for name, wanted in pattern.attributes.items():
            attribute = getattr(node.op, name)
            if not (wanted(attribute) if callable(wanted) else attribute == wanted):
                return False
        self._nodes[pattern] = node
        inputs = node.inputs[:count] + (None,) * (count - len(node.inputs))
        return all(self._fits(part, x) for part, x in zip(pattern.inputs, inputs, strict=True))

    def _fits(self, part: Part, x: Value | None) -> bool:
        if isinstance(part, Maybe):
            if x is None:
                self._values[part.leaf] = None
                return True
            part = part.leaf
        if x is None:
            return False
        if isinstance(part, Leaf):
            return self._values.setdefault(part, x) is x and (not part.constant or x in self._constants)
        node = x.node
        if (
            node is None
            or len(self.graph.uses[x]) != 1
            or any(v in self.graph.uses for v in node.outputs if v is not x)
        ):
            return False
        if x.index or not self.fits(part, node):
            return False
        self.nodes.insert(len(self.nodes) - 1, node)
        return True


def matched(graph: Graph, v: Value | None, pattern: Pattern[Op]) -> Match | None:
    """What `pattern` matches at `v`, however often that is read: for passes that are no rules. Values stay old ones."""
    if v is None or v.node is None or v.index:
        return None
    match = Match(graph, v.node, {}, set())
    return match if match.fits(pattern, v.node) else None


# -- rules ------------------------------------------------------------------------------------------------------------
Build = Callable[[Match], Value | Sequence[Value]]


class Rule(Frozen, eq=False):
    """`pattern` is replaced by what `build` returns. The docstring states the equation, the before and the after."""

    name: str
    pattern: Pattern[Op]
    build: Build
    doc: str

    def apply(self, match: Match) -> tuple[Value, ...] | None:
        """The replacements of the matched node's outputs, or None when the rule declines."""
        try:
            result = self.build(match)
        except Declined as reason:
            refused(self.name, match.node, str(reason))
            return None
        values = (result,) if isinstance(result, Value) else tuple(result)
        unused = match.node.outputs[len(values) :]
        if any(v in match.graph.uses for v in unused):
            refused(self.name, match.node, "a further output of the node is used")
            return None
        for old, new in zip(match.node.outputs, values, strict=False):
            problem = misfit(old.type, new.type)
            if problem is not None:
                refused(self.name, match.node, problem)
                return None
        self._inherit_name(match, values)
        fired(self.name, match.nodes, values[0].node.label if values[0].node is not None else f"%{values[0].name}")
        # Unused outputs stay as they are: nothing will ask for them.
        return values + unused

    def _inherit_name(self, match: Match, values: Sequence[Value]) -> None:
        read = {x for node in match.nodes for x in node.inputs if x is not None}
        known = {match._new.get(x, x) for x in read}
        node = values[0].node
        if node is not None and not node.name and not known & set(node.outputs):
            node.name = match.node.name  # made by the rule just now: nobody else has seen it


def rule(pattern: Pattern[O]) -> Callable[[Build], Rule]:
    """Make a rule of a function that builds the replacement of what `pattern` matches."""

    def make(build: Build) -> Rule:
        return Rule(build.__name__, pattern, build, build.__doc__ or "")

    return make


def misfit(old: Type, new: Type) -> str | None:
    """Why a value of type `new` may not stand where one of type `old` stood; None when it may.

    Raises `CompileError` when the types contradict each other, which is a fault of the rule.
    """
    if not isinstance(old, TensorType) or not isinstance(new, TensorType):
        return None if old == new else f"the type would change from {old} to {new}"
    if old.dtype is not new.dtype:
        raise CompileError(f"a rewrite changes the type from {old} to {new}")
    if old.shape is None or old.shape == new.shape:
        return None
    if new.shape is None:
        return f"the type would be known less well: {new} for {old}"
    if len(old.shape) != len(new.shape):
        raise CompileError(f"a rewrite changes the type from {old} to {new}")
    for m, n in zip(old.shape, new.shape, strict=True):
        if isinstance(m, int) and isinstance(n, int) and m != n:
            raise CompileError(f"a rewrite changes the type from {old} to {new}")
        if isinstance(m, int) and not isinstance(n, int):
            return f"the type would be known less well: {new} for {old}"
    return None


# -- the driver -------------------------------------------------------------------------------------------------------
def rewrite(graph: Graph, rules: Sequence[Rule]) -> Graph:
    """`graph`, and its bodies, after applying `rules` until none fires; `graph` itself if none does.

    Each sweep visits each node once. The first rule of the list that matches and does not decline wins.
    """
    return over_bodies(graph, lambda g: _fixed_point(g, rules))


def _fixed_point(graph: Graph, rules: Sequence[Rule]) -> Graph:
    for _ in range(MAX_SWEEPS):
        after = _sweep(graph, rules)
        if after is graph:
            break
        graph = after
    return graph


def _sweep(graph: Graph, rules: Sequence[Rule]) -> Graph:
    by_op = {cls: [r for r in rules if issubclass(cls, r.pattern.ops)] for cls in {type(n.op) for n in graph.nodes}}
    if not any(by_op.values()):
        return graph
    constants = constant_values(graph)
    new: dict[Value, Value] = {}

    def visit(node: Node, inputs: tuple[Value | None, ...]) -> tuple[Value, ...]:
        outputs = None
        for candidate in by_op[type(node.op)]:
            match = Match(graph, node, new, constants)
            if match.fits(candidate.pattern, node):
                outputs = candidate.apply(match)
                if outputs is not None:
                    break
        if outputs is None:
            same = all(a is b for a, b in zip(inputs, node.inputs, strict=True))
            outputs = node.outputs if same else node.on(inputs) or node.op.apply(inputs, node.name)
        new.update(zip(node.outputs, outputs, strict=True))
        return outputs

    return rebuild(graph, visit)


def constant_values(graph: Graph) -> set[Value]:
    """The values that depend on constants only, and on no random generator."""
    found: set[Value] = set()
    for node in graph.nodes:
        if isinstance(node.op, Constant) or (
            node.inputs and node.op.pure and not node.op.graphs() and all(x is None or x in found for x in node.inputs)
        ):
            found.update(node.outputs)
    return found
