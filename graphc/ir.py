"""The graph IR: `Value`, `Node`, `Op`, `Graph`. Everything is immutable, and types are inferred at construction.

Calling an op on values makes a node: `y = Relu()(x)`. A graph is its inputs and outputs; its nodes are whatever the
outputs need, in the order that follows. Sub-graphs (bodies of If, Loop, Scan, Fused) are attributes of their op. A body
is closed: what it reads from outside is passed to it as further inputs of the node.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from typing import Any, ClassVar

import numpy as np

from graphc.dims import Dim, SymDim
from graphc.errors import CompileError, GraphcError, InvalidModel, TypeMismatch, escape
from graphc.frozen import Frozen
from graphc.types import Array, DType, Shape, TensorType, Type, int32, int64

MAX_CONTENT = 64  # elements of an integer tensor up to which its contents are followed through shape computations

# Two things that the IR offers and layers above it know how to do. Op name -> function on values, filled by
# `graphc.ops`, so that `a + b` can be written on values; and the listing, set by `graphc.text`, for `print(graph)`.
OPERATORS: dict[str, Callable[..., Value]] = {}
FORMATTERS: dict[str, Callable[[Graph], str]] = {}


class Value:
    """An edge of the graph: an input of the graph, or one output of a node. Compared by identity.

    Attributes:
        type: the inferred type.
        node: the node that makes it; None for an input of a graph.
        index: which output of `node` it is.
        content: what is known of its elements: the array of a constant, or an object array of dims for a small
            integer tensor that is computed from shapes; None where nothing is known.
    """

    __slots__ = ("_name", "content", "index", "node", "type")

    def __init__(
        self, type: Type, node: Node | None = None, index: int = 0, *, name: str = "", content: Array | None = None
    ):
        self.type, self.node, self.index, self.content, self._name = type, node, index, content, name

    @property
    def name(self) -> str:
        """The input's name, or its node's name; with `#1`, `#2` … for further outputs. May be empty."""
        if self.node is None or not self.node.name:
            return self._name
        return f"{self.node.name}#{self.index}" if self.index else self.node.name

    @property
    def tensor(self) -> TensorType:
        """The type, which must be a tensor's. Raises `TypeMismatch`."""
        if not isinstance(self.type, TensorType):
            raise TypeMismatch(f"expected a tensor, got {self.type}", value=self.name)
        return self.type

    @property
    def dtype(self) -> DType:
        return self.tensor.dtype

    @property
    def shape(self) -> Shape | None:
        return self.tensor.shape

    @property
    def rank(self) -> int | None:
        return self.tensor.rank

    @property
    def const(self) -> Array | None:
        """The elements, where all are known numbers; else None."""
        if self.content is None or self.content.dtype != object or not isinstance(self.type, TensorType):
            return self.content
        if self.dtype.kind == "string":
            return self.content
        if any(isinstance(d, SymDim) for d in self.content.flat):
            return None
        return self.content.astype(self.dtype.numpy)

    @property
    def dims(self) -> Array | None:
        """The elements of a small integer tensor as an object array of dims; None where they are not known."""
        if self.content is None or not isinstance(self.type, TensorType) or self.type.dtype not in (int32, int64):
            return None
        if self.content.size > MAX_CONTENT:
            return None
        if self.content.dtype == object:
            return self.content
        return np.array([int(v) for v in self.content.flat], object).reshape(self.content.shape)

    def __repr__(self) -> str:
        return f"%{escape(self.name) or '?'}: {self.type}"

    # Arithmetic makes nodes; a number on either side becomes a constant of the other side's type.
    def __add__(self, other: Operand) -> Value:
        return OPERATORS["Add"](self, other)

    def __radd__(self, other: Operand) -> Value:
        return OPERATORS["Add"](other, self)

    def __sub__(self, other: Operand) -> Value:
        return OPERATORS["Sub"](self, other)

    def __rsub__(self, other: Operand) -> Value:
        return OPERATORS["Sub"](other, self)

    def __mul__(self, other: Operand) -> Value:
        return OPERATORS["Mul"](self, other)

    def __rmul__(self, other: Operand) -> Value:
        return OPERATORS["Mul"](other, self)

    def __truediv__(self, other: Operand) -> Value:
        return OPERATORS["Div"](self, other)

    def __rtruediv__(self, other: Operand) -> Value:
        return OPERATORS["Div"](other, self)

    def __pow__(self, other: Operand) -> Value:
        return OPERATORS["Pow"](self, other)

    def __matmul__(self, other: Operand) -> Value:
        return OPERATORS["MatMul"](self, other)

    def __neg__(self) -> Value:
        return OPERATORS["Neg"](self)

    def __gt__(self, other: Operand) -> Value:
        return OPERATORS["Greater"](self, other)

    def __ge__(self, other: Operand) -> Value:
        return OPERATORS["GreaterOrEqual"](self, other)

    def __lt__(self, other: Operand) -> Value:
        return OPERATORS["Less"](self, other)

    def __le__(self, other: Operand) -> Value:
        return OPERATORS["LessOrEqual"](self, other)

    def __and__(self, other: Operand) -> Value:
        return OPERATORS["And"](self, other)

    def __invert__(self) -> Value:
        return OPERATORS["Not"](self)

    def sum(self, axes: Axes = None, *, keepdims: bool = False) -> Value:
        """The sum over `axes` (all when None)."""
        return OPERATORS["ReduceSum"](self, axes, keepdims=keepdims)

    def mean(self, axes: Axes = None, *, keepdims: bool = False) -> Value:
        """The mean over `axes` (all when None)."""
        return OPERATORS["ReduceMean"](self, axes, keepdims=keepdims)

    def max(self, axes: Axes = None, *, keepdims: bool = False) -> Value:
        """The maximum over `axes` (all when None)."""
        return OPERATORS["ReduceMax"](self, axes, keepdims=keepdims)

    def reshape(self, shape: Value | Sequence[Dim]) -> Value:
        """The same elements in `shape`; -1 stands for what is left."""
        return OPERATORS["Reshape"](self, shape)

    def transpose(self, perm: Sequence[int]) -> Value:
        """The axes in the order of `perm`."""
        return OPERATORS["Transpose"](self, perm)

    def cast(self, dtype: DType) -> Value:
        """The elements converted to `dtype`."""
        return OPERATORS["Cast"](self, dtype)


Operand = Value | int | float | bool
Axes = int | Sequence[int] | None


class Node:
    """One application of an op. `outputs` are made with it."""

    __slots__ = ("inputs", "name", "op", "outputs")

    def __init__(self, op: Op, inputs: tuple[Value | None, ...], types: Sequence[Type], name: str = ""):
        self.op, self.inputs, self.name = op, inputs, name
        self.outputs = tuple(Value(t, self, i) for i, t in enumerate(types))

    @property
    def output(self) -> Value:
        """The first output."""
        return self.outputs[0]

    @property
    def label(self) -> str:
        """What errors call it: `Conv 'conv1'`."""
        return f"{self.op.name} '{escape(self.name)}'" if self.name else self.op.name

    def on(self, inputs: Sequence[Value | None]) -> tuple[Value, ...] | None:
        """The outputs of this op on inputs of which the same is known, so that types are what they are; else None."""
        pairs = zip(inputs, self.inputs, strict=True)
        alike = all(x is y or (x and y and x.type == y.type and x.content is y.content) for x, y in pairs)
        static = all(isinstance(v.type, TensorType) and v.type.is_static for v in self.outputs)
        if not (alike and static and self.outputs) or self.op.graphs():
            return None
        node = Node(self.op, tuple(inputs), [v.type for v in self.outputs], self.name)
        node.output.content = self.output.content
        return node.outputs

    def __repr__(self) -> str:
        return f"<{self.label}>"


class Cost(Frozen):
    """What one evaluation takes: arithmetic operations (a multiply-add is two) and bytes read and written."""

    flops: Dim
    bytes: Dim


class Op(Frozen):
    """An operator. A subclass is a frozen dataclass (see `Frozen`) whose fields are the attributes, under ONNX's names.

    A subclass defines `infer` and `eval`, and where it applies `grad`, `cost`, and `element` or `decompose`. The
    positional parameters of `infer` are the op's inputs: those with the default None are optional, `*xs` takes any
    number.
    """

    domain: ClassVar[str] = ""
    on_dims: ClassVar[bool] = False  # `eval` also works on object arrays of dims: a step of shape computations
    pure: ClassVar[bool] = True  # equal inputs give equal outputs; False for random generators
    no_gradient: ClassVar[str] = ""  # why there is none, where outputs are floating-point

    @property
    def name(self) -> str:
        return type(self).__name__

    # -- what a subclass defines --------------------------------------------------------------------------------------
    def infer(self, *xs: Any) -> Type | tuple[Type, ...]:
        """The output type(s) for input values `xs`. Raises `ShapeError`, `TypeMismatch` or `InvalidModel`."""
        raise NotImplementedError(f"{self.name}.infer")

    def eval(self, *xs: Any) -> Any:
        """The output array (or a tuple of them) for input arrays: the semantics every backend is held to."""
        raise NotImplementedError(f"{self.name}.eval")

    def is_pure(self, *xs: Value | None) -> bool:
        """True when the op, on these inputs, gives equal outputs for equal inputs."""
        return self.pure

    def grad(self, dy: Any, y: Any, *xs: Any) -> Sequence[Value | None]:
        """Graph code for the vector-Jacobian product: one value, or None, for each input.

        `dy` and `y` are the output's gradient and the output; tuples of them when the node has several outputs (a
        gradient is None when nothing depends on that output).
        """
        why = f": {self.no_gradient}" if self.no_gradient else ""
        raise GraphcError(f"{self.name} has no gradient{why}", node=self.name)

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        """Arithmetic and traffic; by default one operation for each output element."""
        return Cost(sum((elements(y) for y in ys), 0), traffic(xs, ys))

    def element(self, y: Any, *xs: Any) -> Any:
        """What one element is, for backends that compile: a function `(i, j, …) -> Expr`; a tuple for several outputs.

        Where elements depend on one another it is a `Scatter`, a `Prefix` or an `Ordering` of `graphc.expr` instead.
        `y` is the output's type (or a tuple), with numbers for sizes; each of `xs` is a `graphc.expr.Source`, or None.
        Raises `CompileError` where these inputs have no such form.
        """
        raise CompileError("has no loop-level form", node=self.name)

    def decompose(self, *xs: Any) -> Value | Sequence[Value] | None:
        """The outputs as graph code in terms of simpler ops, for backends that compile; None where there is no such."""
        return None

    def contents(self, xs: Sequence[Value | None], types: Sequence[Type]) -> Array | None:
        """What is known of the (first) output's elements, as `Value.content`; None for nothing."""
        if not self.on_dims or not xs:
            return None
        known = [None if x is None else x.dims for x in xs]
        if any(k is None for k, x in zip(known, xs, strict=True) if x is not None):
            return None
        size = types[0].shape if isinstance(types[0], TensorType) else None
        if size is None or any(isinstance(d, SymDim) or d > MAX_CONTENT for d in size):
            return None
        # Plain numbers are computed in their own element type, which wraps and truncates as it does at run time.
        symbolic = any(isinstance(d, SymDim) for k in known if k is not None for d in k.flat)
        try:
            with np.errstate(all="ignore"):
                found = self.eval(*(known if symbolic else [None if x is None else x.const for x in xs]))
            result = np.asarray(found, object if symbolic else None)
        except (GraphcError, ArithmeticError):  # an error of the run, if it comes to that
            return None
        return result if result.size <= MAX_CONTENT else None

    def refine(self, xs: Sequence[Value | None]) -> Op:
        """This op made to fit the types of `xs`: ops with bodies re-infer them."""
        return self

    # -- what every op has --------------------------------------------------------------------------------------------
    def __call__(self, *xs: Value | None, name: str = "") -> Any:
        """Apply the op: one `Value`, or a tuple of them when the op has several outputs."""
        outputs = self.apply(xs, name)
        return outputs[0] if len(outputs) == 1 else outputs

    def apply(self, xs: Sequence[Value | None], name: str = "") -> tuple[Value, ...]:
        """Apply the op to `xs` and return the outputs as a tuple, however many there are."""
        xs = tuple(xs)
        while xs and xs[-1] is None:
            xs = xs[:-1]
        label = f"{self.name} '{escape(name)}'" if name else self.name
        try:
            self._check_arity(xs)
            op = self.refine(xs)
            inferred = op.infer(*xs)
            types = inferred if isinstance(inferred, tuple) else (inferred,)
            node = Node(op, xs, types, name)
            if types:
                node.outputs[0].content = op.contents(xs, types)
        except GraphcError as e:
            if e.node is None:
                e.node = label
            raise
        except (ValueError, TypeError, IndexError, KeyError, ArithmeticError, AttributeError) as e:
            given = ", ".join("_" if x is None else str(x.type) for x in xs)
            raise InvalidModel(f"invalid inputs ({given}) or attributes: {e}", node=label) from e
        return node.outputs

    def _check_arity(self, xs: Sequence[Value | None]) -> None:
        names, required, variadic = signature(type(self))
        if len(xs) > len(names) and not variadic:
            raise InvalidModel(f"takes at most {len(names)} inputs ({', '.join(names)}), got {len(xs)}")
        for i, parameter in enumerate(names[:required]):
            if i >= len(xs) or xs[i] is None:
                raise InvalidModel(f"needs input {parameter} (number {i}), got {len(xs)} inputs")
        if variadic and any(x is None for x in xs[len(names) :]):
            raise InvalidModel("a variadic input is missing")

    def attributes(self) -> dict[str, Any]:
        """The attributes that differ from their defaults."""
        return {
            f.name: v for f in dataclasses.fields(self) if not same_attribute(v := getattr(self, f.name), f.default)
        }

    def graphs(self) -> dict[str, Graph]:
        """The attributes that are sub-graphs."""
        op: type = type(self)
        names = _graph_attributes(op)
        return {name: g for name in names if (g := getattr(self, name)) is not None} if names else {}


@cache
def _graph_attributes(op: type) -> tuple[str, ...]:
    """Which attributes are sub-graphs: asked of each node in each walk."""
    return tuple(f.name for f in dataclasses.fields(op) if "Graph" in str(f.type).split(" | "))


def same_attribute(a: object, b: object) -> bool:
    """Equality that tells 1 from True and 1.0, and takes a NaN as equal to itself."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(same_attribute, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))


@cache
def _signature(infer: Callable[..., object]) -> tuple[list[str], int, bool]:
    parameters = list(inspect.signature(infer).parameters.values())[1:]
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    required = sum(p.default is p.empty for p in positional)
    return [p.name for p in positional], required, any(p.kind is p.VAR_POSITIONAL for p in parameters)


def signature(op: type[Op]) -> tuple[list[str], int, bool]:
    """The input names of an op class, how many of them are required, and whether more may follow."""
    return _signature(op.infer)


def elements(x: Value | None) -> Dim:
    """The number of elements; 0 where it is not known."""
    if x is None or not isinstance(x.type, TensorType) or x.type.shape is None:
        return 0
    total: Dim = 1
    for d in x.type.shape:
        total = total * d
    return total


def traffic(xs: Sequence[Value | None], ys: Sequence[Value]) -> Dim:
    """Bytes of the inputs and outputs together."""
    total: Dim = 0
    for x in (*xs, *ys):
        if x is not None and isinstance(x.type, TensorType):
            total = total + elements(x) * x.type.dtype.numpy.itemsize
    return total


class Graph:
    """A dataflow graph: `inputs`, `outputs`, and the nodes that the outputs need, in topological order.

    Args:
        inputs: values without a node, each with a name of its own.
        outputs: values that depend on nothing but `inputs`. One value may stand in several places.
        output_names: one for each output; by default the values' own names, made unique.
        name: the graph's name.
    """

    __slots__ = ("__dict__", "inputs", "name", "nodes", "output_names", "outputs")

    def __init__(
        self, inputs: Sequence[Value], outputs: Sequence[Value], output_names: Sequence[str] = (), *, name: str = ""
    ):
        self.inputs, self.outputs, self.name = tuple(inputs), tuple(outputs), name
        self.output_names = tuple(output_names) or _unique([v.name or f"output{i}" for i, v in enumerate(outputs)])
        if len(self.output_names) != len(self.outputs) or len(set(self.output_names)) != len(self.outputs):
            raise InvalidModel(f"output names {list(self.output_names)} are not one distinct name for each output")
        if len({v.name for v in self.inputs}) != len(self.inputs):
            raise InvalidModel(f"input names are not distinct: {[v.name for v in self.inputs]}")
        self.nodes = tuple(topological(self.outputs))
        known = {None, *self.inputs}
        for node, values in [*((n, n.inputs) for n in self.nodes), (None, self.outputs)]:
            for v in values:
                if v not in known and v is not None and v.node is None:
                    what = f"%{escape(v.name)} is used but is not an input of graph '{name}'"
                    raise InvalidModel(what, node=None if node is None else node.label)

    @cached_property
    def uses(self) -> Mapping[Value, list[tuple[Node | None, int]]]:
        """Value -> where it is read: (node, input number), or (None, output number of the graph)."""
        found: dict[Value, list[tuple[Node | None, int]]] = {}
        for node in self.nodes:
            for i, x in enumerate(node.inputs):
                if x is not None:
                    found.setdefault(x, []).append((node, i))
        for i, v in enumerate(self.outputs):
            found.setdefault(v, []).append((None, i))
        return found

    @cached_property
    def last_uses(self) -> list[list[Value]]:
        """For each node, the values that nothing reads after it (outputs of the graph are never among them)."""
        seen = set(self.outputs)
        freed: list[list[Value]] = []
        for node in reversed(self.nodes):
            dead: list[Value] = []
            for v in (*node.outputs, *node.inputs):
                if v is not None and v not in seen:
                    seen.add(v)
                    dead.append(v)
            freed.append(dead)
        return freed[::-1]

    def constants(self) -> list[Node]:
        """The Constant nodes, in order; those of bodies are not among them."""
        return [n for n in self.nodes if not n.inputs and n.op.name == "Constant"]

    def with_outputs(self, outputs: Sequence[Value], output_names: Sequence[str] = ()) -> Graph:
        """The same inputs and name with other outputs."""
        return Graph(self.inputs, outputs, output_names, name=self.name)

    def __call__(self, *xs: Value) -> tuple[Value, ...]:
        """The outputs as functions of `xs`: the nodes are built again on those values."""
        return substitute(self, dict(zip(self.inputs, xs, strict=True)))

    def __str__(self) -> str:
        return FORMATTERS["listing"](self) if "listing" in FORMATTERS else repr(self)

    def __repr__(self) -> str:
        return f"<Graph '{escape(self.name)}': {len(self.inputs)} inputs, {len(self.nodes)} nodes>"

    def __reduce__(self) -> tuple[object, ...]:
        """Flat, because pickling a long chain of nodes or deep bodies as nested objects would exhaust the stack."""
        numbers: dict[Graph, int] = {}
        return _restore_graphs, ([_parts(g, numbers) for g in _bodies_first(self)],)


def expect_graph(given: object) -> None:
    """Raise `CompileError` unless `given` is a graph."""
    if not isinstance(given, Graph):
        hint = "graphc.load makes one of a model; a compiled model has .source and .graph"
        raise CompileError(f"expected a Graph, got {type(given).__name__}", hint=hint)


def _bodies_first(graph: Graph) -> list[Graph]:
    """`graph` and the bodies in it, each once, bodies before what is around them. Iterative."""
    done: dict[Graph, None] = {}
    stack = [graph]
    while stack:
        inner = [b for n in stack[-1].nodes for b in n.op.graphs().values() if b not in done]
        if not inner:
            done[stack.pop()] = None
        stack += inner
    return list(done)


def _parts(graph: Graph, numbers: dict[Graph, int]) -> tuple[Any, ...]:
    """What `graph` is made of, without references between nodes; bodies are stated by their `numbers`."""
    at = {v: (-1, i) for i, v in enumerate(graph.inputs)}
    nodes = []
    for k, node in enumerate(graph.nodes):
        bodies = {f: numbers[g] for f, g in node.op.graphs().items()}
        plain = {f.name: getattr(node.op, f.name) for f in dataclasses.fields(node.op) if f.name not in bodies}
        nodes.append((type(node.op), plain, bodies, [None if x is None else at[x] for x in node.inputs], node.name))
        at.update({v: (k, v.index) for v in node.outputs})
    numbers[graph] = len(numbers)
    outputs = [at[v] for v in graph.outputs]
    return [(v.type, v.name) for v in graph.inputs], nodes, outputs, graph.output_names, graph.name


def _restore_graphs(parts: list[tuple[Any, ...]]) -> Graph:
    graphs: list[Graph] = []
    for input_types, nodes, outputs, output_names, name in parts:
        made = {-1: tuple(Value(t, name=n) for t, n in input_types)}
        for k, (cls, plain, bodies, refs, node_name) in enumerate(nodes):
            op = cls(**plain, **{f: graphs[i] for f, i in bodies.items()})
            made[k] = op.apply([None if r is None else made[r[0]][r[1]] for r in refs], node_name)
        graphs.append(Graph(made[-1], [made[k][i] for k, i in outputs], output_names, name=name))
    return graphs[-1]


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    result: dict[str, None] = {}
    for name in names:
        candidate, k = name, 1
        while candidate in result:
            candidate, k = f"{name}_{k}", k + 1
        result[candidate] = None
    return tuple(result)


def topological(outputs: Sequence[Value]) -> Iterator[Node]:
    """Nodes that `outputs` need, producers first, in the order of a depth-first walk. Iterative."""
    done: set[Node] = set()
    for output in outputs:
        if output.node is None or output.node in done:
            continue
        stack = [(output.node, iter(output.node.inputs))]
        open_nodes = {output.node}
        while stack:
            node, inputs = stack[-1]
            for x in inputs:
                if x is not None and x.node is not None and x.node not in done and x.node not in open_nodes:
                    stack.append((x.node, iter(x.node.inputs)))
                    open_nodes.add(x.node)
                    break
            else:
                stack.pop()
                done.add(node)
                yield node


Visit = Callable[[Node, tuple[Value | None, ...]], Sequence[Value] | None]


def substitute(graph: Graph, replaced: Mapping[Value, Value], visit: Visit | None = None) -> tuple[Value, ...]:
    """The outputs of `graph` after replacing values, building again only what that changes.

    Args:
        graph: where to start.
        replaced: old value -> new value, typically for inputs.
        visit: called for each node, in order, with its new inputs; returns the new outputs, or None for "as it was".
    """
    new: dict[Value, Value] = dict(replaced)
    for node in graph.nodes:
        inputs = tuple(None if x is None else new.get(x, x) for x in node.inputs)
        outputs = visit(node, inputs) if visit is not None else None
        if outputs is None:
            if all(a is b for a, b in zip(inputs, node.inputs, strict=True)):
                continue
            outputs = node.on(inputs) or node.op.apply(inputs, node.name)
        for old, value in zip(node.outputs, outputs, strict=True):
            if old not in replaced:
                new[old] = value
    return tuple(new.get(v, v) for v in graph.outputs)


def rebuild(graph: Graph, visit: Visit, *, inputs: Sequence[Value] | None = None) -> Graph:
    """`graph` with each node replaced by what `visit` returns (see `substitute`); `graph` itself if nothing changed."""
    if inputs is None or all(a is b for a, b in zip(inputs, graph.inputs, strict=True)):
        outputs = substitute(graph, {}, visit)
        if all(a is b for a, b in zip(outputs, graph.outputs, strict=True)):
            return graph
        return graph.with_outputs(outputs, graph.output_names)
    outputs = substitute(graph, dict(zip(graph.inputs, inputs, strict=True)), visit)
    return Graph(inputs, outputs, graph.output_names, name=graph.name)


def retype(graph: Graph, types: Sequence[Type], contents: Sequence[Array | None] = ()) -> Graph:
    """`graph` with inputs of other types (and known contents), everything after them inferred again."""
    known = tuple(contents) or (None,) * len(types)
    inputs = [
        v if v.type == t and v.content is c else Value(t, name=v.name, content=c)
        for v, t, c in zip(graph.inputs, types, known, strict=True)
    ]
    return rebuild(graph, lambda node, xs: None, inputs=inputs)
