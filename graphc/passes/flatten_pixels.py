"""Images become rows of pixels where a grouped convolution looks at one pixel at a time, and few channels at that."""

from __future__ import annotations

import math
from collections.abc import Sequence

from graphc.ir import Graph, Node, Value, rebuild, substitute
from graphc.ops.base import Constant, const, static_shape
from graphc.ops.conv import Conv
from graphc.ops.fused import Fused
from graphc.ops.reshaping import Reshape
from graphc.passes.fuse import POINTWISE
from graphc.passes.record import fired
from graphc.passes.rewrite import Match, matched, maybe, p, value
from graphc.types import Tensor, TensorType, int64

LANES = 16  # a group with a multiple of so many channels fills the vectors of any machine

Sizes = tuple[int, ...]

x, w, b = value("x"), value("w"), maybe(value("b"))
grouped = p(
    Conv, x, w, b, group=lambda n: n > 1, pads=lambda n: not any(n or ()), strides=lambda n: {1}.issuperset(n or ())
)


def flatten_pixels(graph: Graph) -> Graph:
    """Conv(x: [n,c,h,w], v: [m,c/g,1,1]) = reshape(Conv(reshape(x): [n,c,h·w], v: [m,c/g,1])).

    With it goes what is fused to the convolution. Where the channels of a group do not fill vectors, lanes run over
    pixels: over all of them as one row, since a row of a small image does not fill vectors either. The reshapes are
    views. For backends that compile, after fusion.

    before:
        graph (%x: f32[1,8,5,7], %r: f32[1,12,5,7]) {
          %w: f32[12,4,1,1] = const @w
          %relu: f32[1,12,5,7] = Fused(%x, %w, %r) {
            %conv: f32[1,12,5,7] = Conv(%x, %w) {group=2}
            %0: f32[1,12,5,7] = Add(%conv, %r)
            %1: f32[1,12,5,7] = Relu(%0)
            yield %1
          }
          return %relu as "y"
        }
    after:
        graph (%x: f32[1,8,5,7], %r: f32[1,12,5,7]) {
          %0: i64[3] = const [1, 8, 35]
          %1: f32[1,8,35] = Reshape(%x, %0)
          %w: f32[12,4,1] = const @w
          %2: i64[3] = const [1, 12, 35]
          %3: f32[1,12,35] = Reshape(%r, %2)
          %relu: f32[1,12,35] = Fused(%1, %w, %3) {
            %conv: f32[1,12,35] = Conv(%1, %w) {group=2}
            %4: f32[1,12,35] = Add(%conv, %3)
            %5: f32[1,12,35] = Relu(%4)
            yield %5
          }
          %6: i64[4] = const [1, 12, 5, 7]
          %7: f32[1,12,5,7] = Reshape(%relu, %6)
          return %7 as "y"
        }
    """
    return rebuild(graph, _visit)


def _visit(node: Node, inputs: tuple[Value | None, ...]) -> Sequence[Value] | None:
    given = [v for v in inputs if v is not None]
    if isinstance(node.op, Fused):
        body = node.op.body
    elif isinstance(node.op, Conv):
        own = [Value(v.type, name=f"x{i}") for i, v in enumerate(given)]
        body = Graph(own, node.op.apply(own, node.name))
    else:
        return None
    flat = _flat_body(body)
    if flat is None:
        return None
    rows = [_reshaped(v, static_shape(row)) for v, row in zip(given, flat.inputs, strict=True)]
    (made,) = Fused(flat).apply(rows, node.name) if isinstance(node.op, Fused) else flat(*rows)
    fired("flatten_pixels", [node], str(made.node.label if made.node else ""))
    return [_reshaped(made, static_shape(node.output))]


def _flat_body(body: Graph) -> Graph | None:
    """`body` on rows of pixels; None where it has no such convolution, or does something else with images."""
    m, image = _convolution(body), static_shape(body.outputs[0])
    if m is None or image is None or not _is_awkward(m, image):
        return None
    rows = {v: row for v in body.inputs if (row := v if v is m.old(b) else _row(v, image)) is not None}
    if len(rows) < len(body.inputs):
        return None
    op = Conv(group=m.op(grouped).group)
    outputs = substitute(body, rows, lambda node, xs: op.apply(xs, node.name) if node is m.node else None)
    return Graph(list(rows.values()), outputs) if static_shape(outputs[0]) == _flat(image, image) else None


def _convolution(body: Graph) -> Match | None:
    """The grouped convolution in `body`, where nothing else tells pixels apart and nothing else reads its bias."""
    seeing = [n.outputs[0] for n in body.nodes if not _is_blind(n)]
    m = matched(body, seeing[0], grouped) if len(seeing) == len(body.outputs) == 1 else None
    return None if m is None or m.is_shared(b) else m


def _is_blind(node: Node) -> bool:
    """True if the node does the same at each pixel, wherever that is."""
    return isinstance(node.op, POINTWISE) or (isinstance(node.op, Constant) and node.op.value.size == 1)


def _is_awkward(m: Match, image: Sizes) -> bool:
    """True if each pixel is computed of one, and the channels of a group are several, but do not fill vectors."""
    weights = static_shape(m[w])
    if weights is None or math.prod(weights[2:]) > 1 or len(image) < 4 or static_shape(m.output(grouped)) != image:
        return False
    maps = weights[0] // m.op(grouped).group
    return maps > 1 and weights[1] > 1 and maps % LANES > 0


def _row(v: Value, image: Sizes) -> Value | None:
    """What stands for the input `v`, which is broadcast to `image`; None where that is not one row."""
    shape = static_shape(v)
    flat = None if shape is None else _flat(shape, image)
    return None if flat is None else Value(TensorType(v.dtype, flat), name=v.name)


def _flat(shape: Sizes, image: Sizes) -> Sizes | None:
    """`shape` of what is broadcast to `image`, with one axis for pixels; None where it has some of their axes only."""
    whole = (1,) * (len(image) - len(shape)) + shape
    if whole[2:] != image[2:] and math.prod(whole[2:]) != 1:
        return None
    return (*whole[:2], math.prod(whole[2:]))


def _reshaped(v: Value, shape: Sizes | None) -> Value:
    assert shape is not None
    if v.node is not None and isinstance(v.node.op, Constant):
        tensor = v.node.op.value
        return const(Tensor(tensor.array.reshape(shape), tensor.dtype), name=v.name)
    return v if static_shape(v) == shape else Reshape().apply([v, const(list(shape), int64)])[0]
