"""`Graph` to ONNX."""

from __future__ import annotations

import os
from collections import ChainMap, Counter
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

import onnx
from google.protobuf.message import DecodeError, EncodeError
from onnx import helper

from graphc.dims import SymDim, substitute, sym, symbols
from graphc.errors import GraphcError, ResourceLimit, UnsupportedVersion
from graphc.ir import Graph, Node, Value, rebuild
from graphc.ops.base import Constant
from graphc.ops.fused import Fused
from graphc.ops.logic import Barrier, Identity, StopGradient
from graphc.types import Tensor, TensorType, Type

from .attributes import tensor_to_proto
from .downgrade import Form, form_of, in_opset
from .names import UniqueNames
from .schema import FOREIGN, NEWEST, domains, newest_schema
from .valuetypes import read_dim, write_type
from .visits import Visit, run
from .write import keep_aside, write_model

Target = str | os.PathLike[str] | BinaryIO

# The opset that models get unless they need a newer one: runtimes of the last years read it.
USUAL_OPSET = 21

# Depth of sub-graphs that protobuf reads whatever is in them.
_SURELY_READ = 24

# The first IR version that knows an element type.
_IR_OF = {
    "float8e4m3fn": 9, "float8e4m3fnuz": 9, "float8e5m2": 9, "float8e5m2fnuz": 9, "uint4": 10, "int4": 10,
    "float4e2m1": 11, "float8e8m0": 12, "uint2": 13, "int2": 13, "float6e2m3": 14, "float6e3m2": 14,
}  # fmt: skip


def save(
    graph: Graph,
    target: Target | None = None,
    *,
    opset: int | None = None,
    ir_version: int | None = None,
    external_data: bool | int | None = None,
    aside: MutableMapping[str, Tensor] | None = None,
) -> onnx.ModelProto:
    """The ONNX model of `graph`, also written to `target` when one is given.

    Constants become initialisers, graphc's own operators are written as what they are made of, bodies refer to outer
    values by name. A symbolic size is written as a dim_param.

    Args:
        graph: any graph whose operators ONNX has.
        target: a path or a binary file.
        opset: of ONNX's own domain; by default 21, or the oldest one after it that has every operator as it is used.
        ir_version: by default the oldest that goes with the opset.
        external_data: keep weights in `<target>.data`: True for those of 1 KiB and more, a number for another bound;
            by default only when the model would pass protobuf's limit of 2 GiB.
        aside: where to put the weights of 1 KiB and more, by the names of their initialisers, which then have none: for
            a runtime that takes them from memory.

    Raises:
        UnsupportedVersion: the graph cannot be said in that opset; the message says why.
        ResourceLimit: bodies nest deeper than protobuf reads from a file.
    """
    if opset is not None and not 7 <= opset <= NEWEST:
        raise UnsupportedVersion(f"opset {opset} cannot be written, possible 7–{NEWEST}")
    graph = inline_own(graph)
    writer = _Writer({**_newest_with_all(graph), "": _choose_opset(graph) if opset is None else opset})
    model = onnx.ModelProto(producer_name="graphc")
    run(writer.graph(graph, model.graph))
    model.opset_import.extend(helper.make_opsetid(d, writer.versions[d]) for d in sorted(writer.domains))
    oldest = max(4, helper.find_min_ir_version_for(model.opset_import, ignore_unknown=True), writer.ir_version)
    if ir_version is not None and not oldest <= ir_version <= onnx.IR_VERSION:
        raise UnsupportedVersion(f"ir_version {ir_version} does not fit, possible {oldest}–{onnx.IR_VERSION}")
    model.ir_version = ir_version or oldest
    if target is not None and writer.depth > _SURELY_READ:
        _check_depth(model, writer.depth)
    places = writer.places if aside is None else keep_aside(model, writer.places, aside)
    write_model(model, places, target, external_data)
    return model


def _check_depth(model: onnx.ModelProto, depth: int) -> None:
    """Raise `ResourceLimit` unless protobuf reads what it writes: it stops at a fixed depth of messages."""
    try:
        onnx.ModelProto.FromString(model.SerializeToString())
    except (DecodeError, EncodeError) as e:
        raise ResourceLimit(
            f"sub-graphs nest {depth} deep, more than protobuf reads from a file",
            hint="Flatten the model, or use the ModelProto that save returns without a target",
        ) from e


def inline_own(graph: Graph) -> Graph:
    """`graph` without graphc's own operators: Fused is its body, others are what they decompose to, or Identity."""

    def visit(node: Node, xs: tuple[Value | None, ...]) -> Sequence[Value] | None:
        if isinstance(node.op, Fused):
            return node.op.body(*(x for x in xs if x is not None))
        if isinstance(node.op, (StopGradient, Barrier)):
            return Identity().apply(xs[:1], node.name)
        parts = node.op.decompose(*xs) if node.op.domain == Fused.domain else None
        return [parts] if isinstance(parts, Value) else parts

    while (after := rebuild(graph, visit)) is not graph:
        graph = after
    return graph


def _regions(graph: Graph) -> Iterable[Graph]:
    """`graph` and all bodies in it."""
    waiting = [graph]
    while waiting:
        region = waiting.pop()
        yield region
        for node in region.nodes:
            waiting.extend(inline_own(body) for body in node.op.graphs().values())


def _choose_opset(graph: Graph) -> int:
    """The usual opset, or the oldest one after it that takes every node."""
    nodes = [n for region in _regions(graph) for n in region.nodes if not isinstance(n.op, Constant)]
    forms = [form_of(node, captured_inputs(node)) for node in nodes if node.op.domain == ""]
    for region in _regions(graph):
        named = zip(region.outputs, region.output_names, strict=True)
        forms += [_copy(v) for v, name in named if _is_given(v) and v.name != name]
    fault: GraphcError | None = None
    for opset in range(min(USUAL_OPSET, NEWEST), NEWEST + 1):
        try:
            for form in forms:
                in_opset(form, opset)
            return opset
        except UnsupportedVersion as e:
            fault = e
    assert fault is not None
    raise fault


def _newest_with_all(graph: Graph) -> dict[str, int]:
    """For each domain its newest version in which no operator of the graph is deprecated."""
    versions = domains() | FOREIGN
    for region in _regions(graph):
        for op in {(n.op.domain, n.op.name) for n in region.nodes if n.op.domain}:
            schema = newest_schema(op[1], op[0])
            if schema is not None and schema.deprecated:
                versions[op[0]] = min(versions[op[0]], schema.since_version - 1)
    return versions


def _is_given(v: Value) -> bool:
    """True for an input or a constant: as an output it may have to be copied."""
    return v.node is None or isinstance(v.node.op, Constant)


def _copy(v: Value) -> Form:
    """A node that gives `v` under another name."""
    return Form("Identity", "", (v,), (v,), {})


def captured_inputs(node: Node) -> int:
    """How many of the inputs, at the end, are values that the bodies read from outside."""
    if node.op.name == "If":
        return len(node.inputs) - 1
    return int(getattr(node.op, "captured", 0))


@dataclass(eq=False)
class _Names:
    """The names in one region. What regions around it took is taken here too."""

    values: ChainMap[Value, str] = field(default_factory=ChainMap)
    taken: ChainMap[str, None] = field(default_factory=ChainMap)
    nodes: UniqueNames = field(default_factory=UniqueNames)  # of nodes, whose names runtimes want distinct
    tensors: ChainMap[int, str] = field(default_factory=ChainMap)  # id of a Tensor -> the initialiser that holds it
    numbers: dict[str, int] = field(default_factory=dict)  # wanted name -> the last number that was put after it

    def inner(self) -> _Names:
        """The names in a body of this region."""
        return _Names(
            self.values.new_child(), self.taken.new_child(), tensors=self.tensors.new_child(), numbers=self.numbers
        )

    @property
    def depth(self) -> int:
        """How many regions are around this one."""
        return len(self.taken.maps) - 1

    def new(self, wanted: str) -> str:
        """`wanted`, made different from every name that is taken."""
        wanted = wanted.encode("utf-8", "replace").decode() or "value"
        name = wanted
        while name in self.taken:
            self.numbers[wanted] = k = self.numbers.get(wanted, 0) + 1
            name = f"{wanted}_{k}"
        self.taken[name] = None
        return name


class _Writer:
    """The state of one `save`.

    Attributes:
        versions: domain -> opset.
        domains: those that occur.
        places: each initialiser, without data, and its contents.
        ir_version: the oldest that knows every element type.
        depth: how deep bodies nest.
    """

    def __init__(self, versions: Mapping[str, int]) -> None:
        self.versions = versions
        self.domains = {""}
        self.places: list[tuple[onnx.TensorProto, Tensor]] = []
        self.ir_version = 0
        self.depth = 0
        self._unknown: dict[str, str] = {}  # names for unknown sizes that occur more than once in the inputs

    def graph(self, graph: Graph, proto: onnx.GraphProto) -> Visit:
        """Fill `proto` with the main graph."""
        self._unknown = _repeated(v.type for v in graph.inputs)
        shared = _shared_constants(graph)
        yield from self._region(graph, graph.inputs, _Names(), proto, shared)

    def _body(self, graph: Graph, outside: Sequence[Value], outer: _Names, proto: onnx.GraphProto) -> Visit:
        """Fill `proto` with a body; its last inputs are the captured values `outside`, which keep their outer names."""
        graph = inline_own(graph)
        names = outer.inner()
        self.depth = max(self.depth, names.depth)
        formal = graph.inputs[: len(graph.inputs) - len(outside)]
        for inside, value in zip(graph.inputs[len(formal) :], outside, strict=True):
            names.values[inside] = outer.values[value]
        yield from self._region(graph, formal, names, proto, ())

    def _region(
        self,
        graph: Graph,
        inputs: Sequence[Value],
        names: _Names,
        proto: onnx.GraphProto,
        shared: Iterable[Node],
    ) -> Visit:
        proto.name = graph.name or "graph"
        for i, v in enumerate(inputs):
            names.values[v] = names.new(v.name or f"input{i}")
            self._info(proto.input.add(), names.values[v], v.type)
        outputs, copies = _output_names(graph, inputs, names)
        for node in (*graph.constants(), *shared):
            self._constant(node, names, proto)
        nodes = [n for n in graph.nodes if not isinstance(n.op, Constant)]
        for node in nodes:
            for v in node.outputs:
                if v not in names.values:
                    base = node.name or node.op.name
                    names.values[v] = names.new(f"{base}_{v.index}" if v.index else base)
        for node in nodes:
            yield from self._node(node, graph, names, proto)
        for k, (v, name) in enumerate(zip(graph.outputs, outputs, strict=True)):
            if k in copies or names.values[v] != name:
                in_opset(_copy(v), self.versions[""])
                proto.node.add(op_type="Identity", name=names.nodes.new(name), input=[names.values[v]], output=[name])
            self._info(proto.output.add(), name, v.type)

    def _constant(self, node: Node, names: _Names, proto: onnx.GraphProto) -> None:
        """An initialiser, unless one around it holds the same tensor under the same name."""
        assert isinstance(node.op, Constant)
        tensor = node.op.value
        known = names.tensors.get(id(tensor))
        if known is not None and known == (node.name or known):
            names.values[node.output] = known
            return
        name = names.values[node.output] = names.new(node.name or "constant")
        self._note(tensor.type)
        if node.name and name != node.name:  # another value has the name: the node keeps it, its output does not
            made = proto.node.add(op_type="Constant", name=names.nodes.new(node.name), output=[name])
            made.attribute.append(helper.make_attribute("value", tensor_to_proto(tensor)))
            return
        names.tensors[id(tensor)] = name
        self.places.append((proto.initializer.add(name=name, data_type=tensor.dtype.onnx, dims=tensor.shape), tensor))

    def _node(self, node: Node, graph: Graph, names: _Names, proto: onnx.GraphProto) -> Visit:
        captured = captured_inputs(node)
        form = form_of(node, captured)
        version = self.versions.get(form.domain)
        try:
            if version is None:
                raise UnsupportedVersion(f"{form.label} is not in ONNX")
            form = in_opset(form, version)
        except GraphcError as e:
            e.node = e.node or node.label
            raise
        self.domains.add(form.domain)
        made = proto.node.add(op_type=form.op, domain=form.domain or None, name=names.nodes.new(node.name) or None)
        made.input.extend("" if x is None else names.values[x] for x in form.inputs)
        made.output.extend(names.values[v] for v in node.outputs)
        made.attribute.extend(form.attributes.values())
        for v in node.outputs:
            self._note(v.type)
        outside = [x for x in node.inputs[len(node.inputs) - captured :] if x is not None]
        for attribute, body in node.op.graphs().items():
            place = made.attribute.add(name=attribute, type=onnx.AttributeProto.GRAPH)
            yield self._body(body, outside, names, place.g)

    def _info(self, info: onnx.ValueInfoProto, name: str, type: Type) -> None:
        info.name = name
        self._note(type)
        write_type(type, info.type, self._dim)

    def _note(self, type: Type) -> None:
        self.ir_version = max(self.ir_version, _IR_OF.get(_element(type).dtype.name, 0))

    def _dim(self, d: SymDim) -> str:
        """The dim_param; "" for an unknown size."""
        named = substitute(d, lambda s: sym(self._unknown[s.name]) if s.name in self._unknown else None)
        if any(s.is_unknown and s.name not in self._unknown.values() for s in symbols(named)):
            return ""
        only = next(symbols(named))
        return only.name if named == read_dim(only.name) else str(named)


def _output_names(graph: Graph, inputs: Sequence[Value], names: _Names) -> tuple[list[str], set[int]]:
    """The name of each output, and the numbers of those that have to be copies: ONNX takes each value once.

    An input or constant that has the output's name already stands for itself.
    """
    found: list[str] = []
    copies: set[int] = set()
    own = set(inputs)
    for k, (v, wanted) in enumerate(zip(graph.outputs, graph.output_names, strict=True)):
        if v not in names.values and v.node is not None and not isinstance(v.node.op, Constant):
            names.values[v] = names.new(wanted)
            found.append(names.values[v])
        elif (v in own and names.values[v] == wanted) or (_is_free_constant(v, names) and v.name == wanted):
            found.append(wanted)
        else:
            found.append(names.new(wanted))
            copies.add(k)
    return found, copies


def _is_free_constant(v: Value, names: _Names) -> bool:
    """True when `v` is a constant that becomes an initialiser of this region under its own name."""
    return (
        v.node is not None
        and isinstance(v.node.op, Constant)
        and id(v.node.op.value) not in names.tensors
        and v.node.name not in names.taken
    )


def _shared_constants(graph: Graph) -> list[Node]:
    """Constants that several regions hold: one initialiser of the main graph serves them all."""
    found: dict[int, Node] = {}
    counts: Counter[int] = Counter()
    for region in _regions(graph):
        here = {id(n.op.value): n for n in region.constants() if isinstance(n.op, Constant)}
        counts.update(here.keys())
        found = here | found
    return [node for key, node in found.items() if counts[key] > 1]


def _repeated(types: Iterable[Type]) -> dict[str, str]:
    """Unknown sizes that occur more than once -> names for them in the file."""
    counts: Counter[str] = Counter()
    for type in types:
        for d in _element(type).shape or ():
            counts.update(s.name for s in symbols(d) if s.is_unknown)
    return {name: f"?{k}" for k, name in enumerate(n for n, c in counts.items() if c > 1)}


def _element(type: Type) -> TensorType:
    while not isinstance(type, TensorType):
        type = type.element
    return type
