"""Images become rows of pixels where a grouped convolution looks at one pixel at a time, and few channels at that."""

from __future__ import annotations

import math
from collections.abc import Sequence

from graphc.ir import Graph, Node, Value, rebuild, substitute
from graphc.ops.base import Constant, const, static_shape
from graphc.ops.conv import Conv
from graphc.ops.fused import Fused
from graphc.ops.reshaping import Reshape
from graphc.passes.record import fired
from graphc.types import Tensor, TensorType, int64

LANES = 16  # a group with a multiple of so many channels fills the vectors of any machine

Sizes = tuple[int, ...]


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
    given = [x for x in inputs if x is not None]
    if isinstance(node.op, Fused):
        flat = _flat_body(node.op.body)
    elif isinstance(node.op, Conv) and node.op.group > 1:
        own = [Value(x.type, name=f"x{i}") for i, x in enumerate(given)]
        flat = _flat_body(Graph(own, node.op.apply(own)))
    else:
        return None
    if flat is None:
        return None
    rows = [_reshaped(x, static_shape(y)) for x, y in zip(given, flat.inputs, strict=True)]
    op = Fused(flat) if isinstance(node.op, Fused) else flat.nodes[-1].op
    (made,) = op.apply(rows, node.name)
    fired("flatten_pixels", [node], str(made.node.label if made.node else ""))
    return [_reshaped(made, static_shape(node.output))]


def _flat_body(body: Graph) -> Graph | None:
    """`body` on rows of pixels; None where it has no such convolution, or does something else with images."""
    convs = [n for n in body.nodes if isinstance(n.op, Conv)]
    image = static_shape(body.outputs[0])
    if len(convs) != 1 or len(body.outputs) > 1 or image is None or not _is_awkward(convs[0], image):
        return None
    (conv,) = convs
    bias = conv.inputs[2] if len(conv.inputs) > 2 else None
    shapes = [static_shape(x) if x is bias else _flat(static_shape(x), image) for x in body.inputs]
    if bias is not None and len(body.uses[bias]) > 1:
        return None
    inputs = [
        Value(TensorType(x.dtype, s), name=x.name) for x, s in zip(body.inputs, shapes, strict=True) if s is not None
    ]
    if len(inputs) < len(body.inputs):
        return None
    assert isinstance(conv.op, Conv)
    op = Conv(group=conv.op.group)
    outputs = substitute(
        body,
        dict(zip(body.inputs, inputs, strict=True)),
        lambda node, xs: op.apply(xs, node.name) if node is conv else None,
    )
    return Graph(inputs, outputs) if static_shape(outputs[0]) == _flat(image, image) else None


def _is_awkward(conv: Node, image: Sizes) -> bool:
    """True if each pixel is computed of one, and the channels of a group are several, but do not fill vectors."""
    op, x, w = conv.op, conv.inputs[0], conv.inputs[1]
    assert isinstance(op, Conv)
    assert x is not None
    assert w is not None
    weights = static_shape(w)
    if (
        op.group == 1
        or len(image) < 4
        or weights is None
        or math.prod(weights[2:]) > 1
        or static_shape(conv.output) != image
    ):
        return False
    plain = not any(op.pads or ()) and set(op.strides or ()) <= {1}
    maps = weights[0] // op.group
    return plain and maps > 1 and weights[1] > 1 and maps % LANES > 0


def _flat(shape: Sizes | None, image: Sizes) -> Sizes | None:
    """`shape` of what is broadcast to `image`, with one axis for pixels; None where it has some of their axes only."""
    if shape is None:
        return None
    whole = (1,) * (len(image) - len(shape)) + shape
    if whole[2:] != image[2:] and math.prod(whole[2:]) != 1:
        return None
    return (*whole[:2], math.prod(whole[2:]))


def _reshaped(x: Value, shape: Sizes | None) -> Value:
    assert shape is not None
    if x.node is not None and isinstance(x.node.op, Constant):
        tensor = x.node.op.value
        return const(Tensor(tensor.array.reshape(shape), tensor.dtype), name=x.name)
    return x if static_shape(x) == shape else Reshape().apply([x, const(list(shape), int64)])[0]
