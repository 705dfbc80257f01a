"""ONNX to `Graph`: one walk over the surveyed model that applies each operator to values.

Bodies and calls of functions are visited without recursion: a visit that needs another one first yields it to
`visits.run`.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from types import MappingProxyType

import onnx
from onnx import AttributeProto

from graphc.errors import GraphcError, InvalidModel, UnsupportedOp, escape
from graphc.ir import Graph, Value
from graphc.limits import Limits, limited
from graphc.names import did_you_mean
from graphc.ops import BY_NAME
from graphc.ops.base import Constant
from graphc.types import Array, Type

from . import bodies
from .adapters.call import Call
from .attributes import python_value
from .definitions import default_attributes, definition, is_defined
from .external import ExternalFiles
from .functions import check_functions
from .gradient import differentiate, is_gradient
from .messages import ModelWarning, caller_level
from .names import UniqueNames
from .schema import (
    Schema,
    attribute_type,
    check_arity,
    check_attributes,
    check_opset,
    old_defaults,
    read_opsets,
    schema_of,
)
from .source import Model, Source, read_model
from .support import raise_unsupported, unsupported_reason
from .survey import FunctionKey, Region, function_label, function_region, node_label, survey, text
from .tensors import TensorReader
from .valuetypes import TypeReader, disagreement, without_sizes
from .versions import ADAPTERS, RENAMED
from .visits import Visit, run


def load(
    source: Source,
    *,
    strict: bool = False,
    limits: Limits | None = None,
    allow_links: bool = False,
    folder: str | PathLike[str] | None = None,
) -> Graph:
    """The graph of an ONNX model, opset 1 to the newest that the installed onnx knows.

    Operators come out in their newest form, initialisers as constants (an input that has an initialiser is one too),
    calls of model-local functions inlined; names of inputs, outputs, nodes and initialisers are kept.

    Args:
        source: a path, bytes, a binary file, or a ModelProto.
        strict: raise for what is otherwise repaired with a `ModelWarning`: nodes out of order, wrong declared shapes,
            names of a body that hide outer ones.
        limits: what the model may cost.
        allow_links: read external data also from files with several hard links.
        folder: where external data are, when the model does not come from a path.

    Raises:
        ModelError: `InvalidModel`, `UnsupportedOp` (naming all), `UnsupportedVersion`, `ExternalDataError` or
            `ResourceLimit`.
    """
    limits = limits or Limits()
    with limited(limits):
        model = read_model(source, limits)
        repairs = _Repairs(strict)
        files = ExternalFiles(model.folder if folder is None else Path(folder), allow_links, repairs.warn)
        graph = _Loader(model, limits, files, repairs).load()
    for message, count in repairs.found.items():
        times = f" ({count} times)" if count > 1 else ""
        warnings.warn(f"{message}{times}", ModelWarning, stacklevel=caller_level())
    return graph


@dataclass(eq=False)
class Scope:
    """The names that nodes of one region see.

    Attributes:
        region: the graph, body or function.
        values: name -> value; None for an omitted input of a function.
        outer: the scope around a body; None for the main graph, and for functions, which see only their inputs.
        unused: the region never runs, and need not fit sizes that it is there to avoid.
        prefix: what node names start with, in an inlined function.
        attributes: in a function, the attributes of the call.
        declared: name -> declared type, for values that nodes make.
        captured: outer value -> the body's input for it.
        constants: outer constant -> the same constant in the body.
        nodes: the names of the nodes made so far.
    """

    region: Region
    values: dict[str, Value | None] = field(default_factory=dict)
    outer: Scope | None = None
    unused: bool = False
    prefix: str = ""
    attributes: Mapping[str, AttributeProto] | None = None
    declared: dict[str, Type] = field(default_factory=dict)
    captured: dict[Value, Value] = field(default_factory=dict)
    constants: dict[Value, Value] = field(default_factory=dict)
    nodes: UniqueNames = field(default_factory=UniqueNames)

    def find(self, name: str) -> Value | None:
        """The value called `name`; one from outside becomes a captured value, or the constant again."""
        crossed: list[Scope] = []
        scope: Scope | None = self
        while scope is not None and name not in scope.values:
            crossed.append(scope)
            scope = scope.outer
        if scope is None:
            raise InvalidModel(f"the value '{escape(name)}' does not exist", value=name, hint=self._near(name))
        value = scope.values[name]
        for inner in reversed(crossed):
            if value is not None:
                value = inner._capture(value, name)
            inner.values[name] = value
        return value

    def _capture(self, value: Value, name: str) -> Value:
        node = value.node
        if node is not None and isinstance(node.op, Constant):
            if value not in self.constants:
                self.constants[value] = node.op.apply((), node.name)[0]
            return self.constants[value]
        if value not in self.captured:
            known = value.type if not self.unused else without_sizes(value.type)
            self.captured[value] = Value(known, name=name, content=None if self.unused else value.content)
        return self.captured[value]

    def _near(self, name: str) -> str | None:
        seen: list[str] = []
        scope: Scope | None = self
        while scope is not None:
            seen.extend(scope.values)
            scope = scope.outer
        return did_you_mean(name, seen).strip()


@dataclass(frozen=True)
class _Repairs:
    """What was repaired, and how often; an error when `strict`."""

    strict: bool
    found: Counter[str] = field(default_factory=Counter)

    def warn(self, message: str) -> None:
        if self.strict:
            raise InvalidModel(message)
        self.found[message] += 1


class _Loader:
    """The state of one `load`. Nothing that it makes refers to it, so that the file's memory is free when it goes."""

    def __init__(self, model: Model, limits: Limits, files: ExternalFiles, repairs: _Repairs):
        self._model, self._weights, self._limits, self.warn = model.proto, model.weights, limits, repairs.warn
        self._types = TypeReader(limits)
        self._tensors = TensorReader(limits, files)
        self._expanded = 0

    def load(self) -> Graph:
        opsets = read_opsets(self._model)
        if not self._model.HasField("graph"):
            raise InvalidModel("the model has no graph")
        self._survey = survey(self._model, opsets, self._limits)
        reached = check_functions(self._survey, self._limits)
        for key in reached:
            for domain, version in self._survey.functions[key].opsets.items():
                check_opset(domain, version)
        self._check_operators([self._survey.main, *(self._survey.functions[key] for key in reached)])
        if len({p.key for p in self._model.metadata_props}) < len(self._model.metadata_props):
            self.warn("metadata_props has a key twice")
        main = self._survey.main
        if not main.proto.output:
            raise InvalidModel("the graph has no outputs")
        graph: Graph = run(self._graph(main))
        return graph

    def _check_operators(self, roots: Iterable[Region]) -> None:
        found: Counter[str] = Counter()
        reasons: dict[tuple[object, ...], str | None] = {}
        for root in roots:
            for region in root.everything():
                for node in region.proto.node:
                    if self._survey.functions and self._survey.function(node) is not None:
                        continue
                    domain = "" if node.domain == "ai.onnx" else node.domain
                    key = (node.op_type, domain, id(region.opsets))
                    if key not in reasons:
                        reasons[key] = unsupported_reason(node.op_type, domain, region.opsets)
                    if (reason := reasons[key]) is not None:
                        found[reason] += 1
        raise_unsupported(found)

    # -- graphs -------------------------------------------------------------------------------------------------------
    def _graph(self, region: Region) -> Visit:
        """The main graph."""
        scope = Scope(region)
        proto = region.proto
        assert isinstance(proto, onnx.GraphProto)
        initialised = self._initialisers(scope, proto, self._weights)
        inputs: list[Value] = []
        for info in proto.input:
            name = self._input_name(info, scope, initialised)
            declared = self._types.read(info.type, name)
            if declared is None:
                raise InvalidModel(f"the input '{escape(name)}' has no type", value=name)
            if name in initialised:
                self._check_declared(name, declared, initialised[name].type)
                continue
            scope.values[name] = value = Value(declared, name=name)
            inputs.append(value)
        yield from self._nodes(scope)
        return Graph(inputs, *self._outputs(scope, proto), name=text(proto.name, "graph name"))

    def _body(self, scope: Scope, given: Sequence[Type | None], label: str) -> Visit:
        """The body of `scope`, whose inputs have the types `given`."""
        proto = scope.region.proto
        assert isinstance(proto, onnx.GraphProto)
        initialised = self._initialisers(scope, proto)
        infos = [info for info in proto.input if info.name not in initialised]
        if len(infos) != len(given):
            raise InvalidModel(
                f"body '{escape(proto.name)}' takes {len(infos)} inputs, expected {len(given)}", node=label
            )
        inputs: list[Value] = []
        for info, type in zip(infos, given, strict=True):
            name = self._input_name(info, scope, initialised)
            declared = self._types.read(info.type, name)
            if declared is not None and type is not None and disagreement(declared, type) == "dtype":
                raise InvalidModel(f"input '{escape(name)}' is declared {declared}, but given {type}", node=label)
            known = type or declared
            if known is None:
                raise InvalidModel(f"input '{escape(name)}' of body '{escape(proto.name)}' has no type", node=label)
            scope.values[name] = value = Value(known, name=name)
            inputs.append(value)
        for name in (*scope.values, *(o for n in proto.node for o in n.output if o)):
            if _is_hiding(name, scope.outer):
                self.warn(f"'{escape(name)}' in body '{escape(proto.name)}' hides an outer value of that name")
        yield from self._nodes(scope)
        outputs, names = self._outputs(scope, proto)
        captured = bodies.read_from_outside(outputs, scope.captured)
        return bodies.Body(inputs, outputs, names, text(proto.name, "graph name"), captured)

    def _initialisers(
        self, scope: Scope, proto: onnx.GraphProto, weights: Mapping[int, Array] = MappingProxyType({})
    ) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for number, tensor in enumerate(proto.initializer):
            name = text(tensor.name, "initialiser name")
            self._new_name(name, found, "initialiser")
            made = self._tensors.tensor(tensor, name, weights.get(number))
            found[name] = Constant(made).apply((), scope.prefix + name)[0]
        for sparse in proto.sparse_initializer:
            name = text(sparse.values.name, "initialiser name")
            self._new_name(name, found, "initialiser")
            found[name] = Constant(self._tensors.sparse(sparse, name)).apply((), scope.prefix + name)[0]
        scope.values.update(found)
        for info in proto.value_info:
            declared = self._types.read(info.type, text(info.name, "value name"))
            if declared is not None:
                scope.declared[info.name] = declared
        for info in proto.output:
            declared = self._types.read(info.type, text(info.name, "value name"))
            if declared is not None:
                scope.declared[info.name] = declared
        return found

    def _new_name(self, name: str, found: Mapping[str, object], what: str) -> None:
        if not name:
            raise InvalidModel(f"an {what} has no name")
        if name in found:
            raise InvalidModel(f"the {what} '{escape(name)}' is there twice", value=name)

    def _input_name(self, info: onnx.ValueInfoProto, scope: Scope, initialised: Mapping[str, Value]) -> str:
        name = text(info.name, "input name")
        self._new_name(name, {} if name in initialised else scope.values, "input")
        return name

    def _outputs(self, scope: Scope, proto: onnx.GraphProto) -> tuple[list[Value], list[str]]:
        values: list[Value] = []
        names = [text(o.name, "output name") for o in proto.output]
        for name in names:
            value = scope.find(name)
            if value is None:
                raise InvalidModel(f"the output '{escape(name)}' is an omitted input of a function", value=name)
            if name in scope.declared:
                self._check_declared(name, scope.declared[name], value.type)
            values.append(value)
        if len(set(names)) < len(names):
            twice = next(n for n in names if names.count(n) > 1)
            raise InvalidModel(f"the output '{escape(twice)}' is there twice", value=twice)
        return values, names

    def _check_declared(self, name: str, declared: Type, inferred: Type, label: str | None = None) -> None:
        wrong = disagreement(declared, inferred)
        if wrong is None:
            return
        message = f"'{escape(name)}' is declared {declared}, but is {inferred}"
        if wrong == "dtype":
            raise InvalidModel(message, value=name, node=label)
        self.warn(message)

    # -- nodes --------------------------------------------------------------------------------------------------------
    def _nodes(self, scope: Scope) -> Visit:
        """Make the nodes of `scope`'s region and bind their outputs."""
        nodes = scope.region.proto.node
        if not scope.region.sorted:
            name = getattr(scope.region.proto, "name", "")
            self.warn(f"the nodes of graph '{escape(name)}' are not in topological order; they were sorted")
        for i in scope.region.order:
            proto = nodes[i]
            own = scope.prefix + scope.nodes.new(proto.name or next((o for o in proto.output if o), proto.op_type))
            label = node_label(proto.op_type, own)
            try:
                inputs = [scope.find(name) if name else None for name in proto.input]
                key = self._survey.function(proto) if self._survey.functions else None
                if key is not None:
                    values = yield self._call_function(key, proto, inputs, scope, own)
                else:
                    values = yield from self._operator(i, proto, inputs, scope, own)
            except GraphcError as e:
                if e.node is None:
                    e.node = label
                raise
            for name, value in zip(proto.output, values, strict=False):
                if name:
                    scope.values[name] = value
                    if name in scope.declared:
                        self._check_declared(name, scope.declared[name], value.type, label)
            if any(name in scope.region.used for name in proto.output[len(values) :] if name):
                raise InvalidModel(f"has {len(proto.output)} outputs, gives {len(values)}", node=label)

    def _operator(
        self, i: int, proto: onnx.NodeProto, inputs: Sequence[Value | None], scope: Scope, name: str
    ) -> Visit:
        domain = "" if proto.domain == "ai.onnx" else proto.domain
        schema = schema_of(proto.op_type, scope.region.opsets[domain], domain)
        attributes = self._attributes(proto, scope)
        if schema is not None:
            check_arity(proto, schema)
            check_attributes(attributes, schema)
        values = {a.name: python_value(a, self._tensors, self._types, name) for a in attributes if not _is_graph(a)}
        own = (domain, RENAMED.get(proto.op_type, proto.op_type)) in BY_NAME
        if schema is not None and not own and is_defined(schema):
            return (yield self._expand(schema, proto, attributes, inputs, scope, name))
        if is_gradient(proto.op_type, domain):
            return differentiate(scope.find, values, inputs)
        captured: dict[Value, None] = {}
        graphs = {a.name: scope.region.bodies[i, a.name] for a in attributes if _is_graph(a)}
        if graphs:
            given = bodies.input_types(proto.op_type, schema.since_version if schema else 0, values, inputs, graphs)
            found: dict[str, bodies.Body] = {}
            for attribute, region in graphs.items():
                unused = bodies.is_never_run(proto.op_type, attribute, inputs)
                inner = Scope(region, outer=scope, unused=unused, prefix=scope.prefix, attributes=scope.attributes)
                found[attribute] = yield self._body(inner, given[attribute], node_label(proto.op_type, name))
            for attribute in sorted(found):
                captured.update(dict.fromkeys(found[attribute].captured))
            values.update({attribute: body.close(captured) for attribute, body in found.items()})
        call = Call(
            op=proto.op_type,
            inputs=(*bodies.padded(proto.op_type, inputs, bool(captured)), *captured),
            attributes=values,
            outputs=len(proto.output),
            used=_used_outputs(proto, schema, scope.region),
            name=name,
            domain=domain,
            captured=len(captured),
        )
        return self._apply(call, schema)

    def _apply(self, call: Call, schema: Schema | None) -> Sequence[Value]:
        """The outputs of `call`, brought to the newest form first."""
        if schema is None:
            return call.apply()
        missing = {k: v for k, v in old_defaults(schema).items() if k not in call.attributes}
        call = call.with_attributes(**missing) if missing else call
        adapter = ADAPTERS.get((call.op, schema.since_version))
        adapted = call if adapter is None else adapter(call)
        if not isinstance(adapted, Call):
            return adapted
        renamed = RENAMED.get(adapted.op)
        return (adapted if renamed is None else replace(adapted, op=renamed)).apply()

    def _attributes(self, proto: onnx.NodeProto, scope: Scope) -> list[AttributeProto]:
        """The attributes of a node; in a function, references to the call's attributes are resolved."""
        resolved: list[AttributeProto] = []
        for attribute in proto.attribute:
            if not attribute.ref_attr_name:
                resolved.append(attribute)
                continue
            if scope.attributes is None:
                raise InvalidModel(f"attribute '{escape(attribute.name)}' refers to a function's, but is not in one")
            source = scope.attributes.get(attribute.ref_attr_name)
            if source is not None and _is_graph(source):
                raise UnsupportedOp(f"the sub-graph '{escape(attribute.name)}' comes from a function's attribute")
            if source is not None:
                copy = AttributeProto()
                copy.CopyFrom(source)
                copy.name = attribute.name
                resolved.append(copy)
        return resolved

    # -- functions ----------------------------------------------------------------------------------------------------
    def _call_function(
        self, key: FunctionKey, proto: onnx.NodeProto, inputs: Sequence[Value | None], caller: Scope, name: str
    ) -> Visit:
        """The outputs of a model-local function on `inputs`: its nodes, made here."""
        region = self._survey.functions[key]
        function = region.proto
        assert isinstance(function, onnx.FunctionProto)
        label = function_label(key)
        if len(inputs) > len(function.input) or len(proto.output) > len(function.output):
            raise InvalidModel(
                f"{label} takes {len(function.input)} inputs and gives {len(function.output)} outputs, the call has "
                f"{len(inputs)} and {len(proto.output)}"
            )
        known = {*function.attribute, *(a.name for a in function.attribute_proto)}
        given = {a.name: a for a in self._attributes(proto, caller)}
        for attribute in given:
            if attribute not in known:
                raise InvalidModel(
                    f"{label} has no attribute '{escape(attribute)}'", hint=did_you_mean(attribute, known).strip()
                )
        defaults = {a.name: a for a in function.attribute_proto}
        scope = Scope(region, prefix=f"{name}/", attributes={**defaults, **given})
        values = yield from self._inline(scope, function, inputs)
        return values[: len(proto.output)]

    def _expand(
        self,
        schema: Schema,
        proto: onnx.NodeProto,
        attributes: Sequence[AttributeProto],
        inputs: Sequence[Value | None],
        caller: Scope,
        name: str,
    ) -> Visit:
        """The outputs of an operator that graphc has only by ONNX's definition in terms of others."""
        version = caller.region.opsets[schema.domain]
        function = definition(schema, version, proto, attributes, inputs)
        region = function_region(function, caller.region.opsets, self._limits)
        self._expanded += len(function.node)
        self._limits.check("number of nodes that definitions of operators make", self._expanded, "max_inlined_nodes")
        self._check_operators([region])
        given = {**default_attributes(schema), **{a.name: a for a in attributes}}
        scope = Scope(region, prefix=f"{name}/", attributes=given)
        values = yield from self._inline(scope, function, inputs)
        return values[: len(proto.output)]

    def _inline(self, scope: Scope, function: onnx.FunctionProto, inputs: Sequence[Value | None]) -> Visit:
        """The outputs of a function on `inputs`."""
        for i, formal in enumerate(function.input):
            scope.values[formal] = inputs[i] if i < len(inputs) else None
        for info in function.value_info:
            declared = self._types.read(info.type, text(info.name, "value name"))
            if declared is not None:
                scope.declared[info.name] = declared
        yield from self._nodes(scope)
        return [scope.find(formal) for formal in function.output]


def _is_graph(attribute: AttributeProto) -> bool:
    return attribute_type(attribute) == AttributeProto.GRAPH


def _is_hiding(name: str, outer: Scope | None) -> bool:
    while outer is not None:
        if name in outer.values:
            return True
        outer = outer.outer
    return False


def _used_outputs(proto: onnx.NodeProto, schema: Schema | None, region: Region) -> int | None:
    """How many outputs the node has to make: up to the last that is read; None for all, where they are variadic."""
    if schema is None or schema.max_output > 1 << 30:
        return None
    read = (i + 1 for i, name in enumerate(proto.output) if name in region.used)
    return max(read, default=1)
