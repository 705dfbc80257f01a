"""A first walk over a model, before anything is built: nesting, names that bodies read from outside, order, limits.

Everything here is iterative: depth and length come from the file.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import onnx

from graphc.errors import InvalidModel, escape
from graphc.frozen import Frozen
from graphc.limits import Limits

from .gradient import values_read

FunctionKey = tuple[str, str, str]  # domain, name, overload


def text(value: str | bytes, what: str) -> str:
    """A string field of the model. protobuf gives bytes where it is not UTF-8; names must be text."""
    if isinstance(value, bytes):
        raise InvalidModel(f"the {what} {value[:40]!r} is not UTF-8")
    return value


def standard_domain(domain: str) -> str:
    """The domain with one spelling for ONNX's own: `ai.onnx` is ``."""
    return "" if domain == "ai.onnx" else domain


@dataclass(eq=False)
class Region:
    """A GraphProto or FunctionProto and the bodies in it.

    Attributes:
        proto: the graph or function.
        opsets: domain -> version, as the model or the function imports them.
        depth: how many regions are around it.
        bodies: (node number, attribute name) -> the region of that attribute.
        free: the names that it reads from outside, bodies included, in order of occurrence.
        used: the names that anything in it reads, outputs included.
        order: node numbers in topological order.
        sorted: False where that is not the order in the file.
    """

    proto: onnx.GraphProto | onnx.FunctionProto
    opsets: Mapping[str, int]
    depth: int
    bodies: dict[tuple[int, str], Region] = field(default_factory=dict)
    free: dict[str, None] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    order: Sequence[int] = ()
    sorted: bool = True

    def given(self) -> list[str]:
        """The names that are there before the first node: inputs and initialisers."""
        if isinstance(self.proto, onnx.FunctionProto):
            return list(self.proto.input)
        return [
            *(i.name for i in self.proto.input),
            *(i.name for i in self.proto.initializer),
            *(i.values.name for i in self.proto.sparse_initializer),
        ]

    def results(self) -> list[str]:
        """The names of the outputs."""
        if isinstance(self.proto, onnx.FunctionProto):
            return list(self.proto.output)
        return [o.name for o in self.proto.output]

    def everything(self) -> Iterator[Region]:
        """This region and all bodies in it, outer before inner."""
        waiting = [self]
        while waiting:
            region = waiting.pop()
            yield region
            waiting.extend(reversed(region.bodies.values()))


class Survey(Frozen):
    """The regions of a model: its graph and its functions."""

    main: Region
    functions: Mapping[FunctionKey, Region]

    def function(self, node: onnx.NodeProto) -> FunctionKey | None:
        """The model-local function that `node` calls, or None when it is an operator."""
        key = (standard_domain(node.domain), node.op_type, node.overload)
        return key if key in self.functions else None


def survey(model: onnx.ModelProto, opsets: Mapping[str, int], limits: Limits) -> Survey:
    """The regions of `model`, each with its nodes in order.

    Raises `InvalidModel` for cycles, doubled names and doubled functions, `ResourceLimit` past `max_nodes` and
    `max_depth`.
    """
    main = _region(model.graph, opsets, limits)
    functions: dict[FunctionKey, Region] = {}
    for function in model.functions:
        key = (standard_domain(function.domain), function.name, function.overload)
        if key in functions:
            raise InvalidModel(f"the function {function_label(key)} is defined twice")
        functions[key] = function_region(function, opsets, limits)
    return Survey(main, functions)


def function_region(function: onnx.FunctionProto, opsets: Mapping[str, int], limits: Limits) -> Region:
    """The region of a function, which imports opsets of its own. Raises as `survey` does."""
    for name in (*function.input, *function.output, *function.attribute, *(a.name for a in function.attribute_proto)):
        text(name, "name in a function")
    if len(set(function.input)) < len(function.input):
        raise InvalidModel(f"the function {escape(function.name)} has an input twice: {list(function.input)}")
    imported = {standard_domain(o.domain): int(o.version) for o in function.opset_import}
    return _region(function, {**opsets, **imported}, limits)


def function_label(key: FunctionKey) -> str:
    """What messages call a function: `domain.Name` or `domain.Name:overload`."""
    domain, name, overload = key
    return escape(f"{domain}.{name}:{overload}" if overload else f"{domain}.{name}")


def _region(proto: onnx.GraphProto | onnx.FunctionProto, opsets: Mapping[str, int], limits: Limits) -> Region:
    root = Region(proto, opsets, 0)
    found, waiting, nodes = [], [root], 0
    while waiting:
        region = waiting.pop()
        found.append(region)
        nodes += len(region.proto.node)
        limits.check("number of nodes", nodes, "max_nodes")
        limits.check("nesting depth of sub-graphs", region.depth, "max_depth")
        for i, node in enumerate(region.proto.node):
            text(node.op_type, "op_type")
            text(node.domain, "domain")
            text(node.name, "node name")
            for name in (*node.input, *node.output):
                text(name, "value name")
            for attribute in node.attribute:
                text(attribute.name, "attribute name")
                text(attribute.ref_attr_name, "attribute name")
                if attribute.type == onnx.AttributeProto.GRAPH or attribute.HasField("g"):
                    body = Region(attribute.g, opsets, region.depth + 1)
                    region.bodies[i, attribute.name] = body
                    waiting.append(body)
    for region in reversed(found):  # bodies before what is around them
        _find_order(region)
    return root


def _find_order(region: Region) -> None:
    nodes = region.proto.node
    bodies: dict[int, list[Region]] = {}
    for (i, _), body in region.bodies.items():
        bodies.setdefault(i, []).append(body)
    uses = [values_read(node) for node in nodes]
    for i, inner in bodies.items():
        uses[i].extend(name for body in inner for name in body.free)
    producer: dict[str, int] = {}
    given = set(region.given())
    for i, node in enumerate(nodes):
        for name in node.output:
            if name and (name in producer or name in given):
                raise InvalidModel(
                    f"the name '{escape(name)}' is given twice: by {_label(node)} and by "
                    + (_label(nodes[producer[name]]) if name in producer else "an input or initialiser"),
                    node=_label(node),
                    value=name,
                )
            producer[name] = i
    names = dict.fromkeys(name for group in (*uses, region.results()) for name in group)
    region.used = set(names)
    region.free = {n: None for n in names if n and n not in producer and n not in given}
    needs = [{producer[name] for name in group if name in producer and name} for group in uses]
    region.sorted = all(all(j < i for j in before) for i, before in enumerate(needs))
    region.order = range(len(nodes)) if region.sorted else _topological(nodes, needs)


def _topological(nodes: Sequence[onnx.NodeProto], needs: Sequence[Iterable[int]]) -> list[int]:
    """Producers before consumers, otherwise in file order. Raises `InvalidModel` with the path of a cycle."""
    missing = [len(set(before)) for before in needs]
    users: list[list[int]] = [[] for _ in nodes]
    for i, before in enumerate(needs):
        for j in before:
            users[j].append(i)
    ready = [i for i, n in enumerate(missing) if n == 0]
    order = []
    while ready:
        i = heapq.heappop(ready)
        order.append(i)
        for j in users[i]:
            missing[j] -= 1
            if missing[j] == 0:
                heapq.heappush(ready, j)
    if len(order) == len(nodes):
        return order
    cycle = _cycle([(j, i) for i, n in enumerate(missing) if n for j in needs[i] if missing[j]])
    shown = [*cycle[:8], *(cycle[-2:] if len(cycle) > 10 else cycle[8:])]
    path = " -> ".join(_label(nodes[i]) for i in (*shown, cycle[0]))
    raise InvalidModel(f"the graph has a cycle of {len(cycle)} nodes: {path}", node=_label(nodes[cycle[0]]))


def _cycle(edges: Iterable[tuple[int, int]]) -> list[int]:
    """A cycle of the graph with these edges, from its lowest node on."""
    import networkx  # takes longer to import than most models to load

    cycle: list[int] = [edge[0] for edge in networkx.find_cycle(networkx.DiGraph(edges))]
    first = cycle.index(min(cycle))
    return cycle[first:] + cycle[:first]


def _label(node: onnx.NodeProto) -> str:
    return node_label(node.op_type, node.name or next((o for o in node.output if o), ""))


def node_label(op: str, name: str) -> str:
    """What errors call a node: `Conv 'conv1'`."""
    return f"{escape(op)} '{escape(name)}'" if name else escape(op)
