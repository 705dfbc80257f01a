"""Transformer encoders: BERT (Devlin et al. 2018) and ViT (Dosovitskiy et al. 2020)."""

from __future__ import annotations

from graphc.dims import sym
from graphc.ir import Graph, Value
from graphc.ops.activation import Gelu
from graphc.ops.base import const
from graphc.ops.indexing import Gather
from graphc.ops.linear import MatMul
from graphc.ops.math import Tanh
from graphc.ops.movement import Concat, Transpose
from graphc.ops.reshaping import Expand, Reshape
from graphc.ops.shape import Shape
from graphc.ops.softmax import Softmax
from graphc.types import TensorType, int64

from .builder import Builder, images, network, size, softmax

STD = 0.02  # of weights and embeddings, as in both papers' code


def bert_base(
    *, batch: int | str = 1, length: int = 128, layers: int = 12, width: int = 768, heads: int = 12,
    vocabulary: int = 30522, seed: int = 0,
) -> Graph:  # fmt: skip
    """BERT-base, uncased, for sequences of `length` tokens of one segment. 109,482,240 parameters.

    `input_ids` are numbers of tokens, [batch, length]; the outputs are those of the last layer, [batch, length, width],
    and the pooled first token, [batch, width].
    """
    net = Builder(seed)
    x = Value(TensorType(int64, (sym(batch) if isinstance(batch, str) else batch, length)), name="input_ids")
    words = net.weights("embeddings.word.weight", (vocabulary, width), STD)
    positions = net.weights("embeddings.position.weight", (512, width), STD)
    segments = net.weights("embeddings.segment.weight", (2, width), STD)
    y = _gather(words, x) + _gather(positions, const(range(length))) + _gather(segments, const([0]))
    y = net.layer_norm("embeddings.norm", y, epsilon=1e-12)
    for i in range(layers):
        name = f"layer{i}"
        y = net.layer_norm(f"{name}.norm1", y + attention(net, f"{name}.attention", y, heads), epsilon=1e-12)
        y = net.layer_norm(f"{name}.norm2", y + feed_forward(net, name, y, 4 * width), epsilon=1e-12)
    pooled = Tanh().apply((net.linear("pooler", _gather(y, const(0), axis=1), width, std=STD),))[0]
    return Graph([x], [y, pooled], ["last_hidden_state", "pooler_output"], name="bert_base")


def vit_b16(
    *, batch: int | str = 1, image_size: int = 224, layers: int = 12, width: int = 768, heads: int = 12,
    classes: int = 1000, seed: int = 0,
) -> Graph:  # fmt: skip
    """ViT-B/16: the image as 16×16 patches and a class token. 86,567,656 parameters at 224×224."""
    net, x = Builder(seed), images(batch, 3, image_size)
    patches = (image_size // 16) ** 2
    y = net.conv("patch", x, width, 16, stride=16)
    y = Transpose(perm=(0, 2, 1))(Reshape()(y, const([0, width, patches])))
    token = net.weights("class_token.weight", (1, 1, width), STD)
    if isinstance(batch, str):
        token = Expand()(token, Concat(axis=0)(Shape(end=1)(x), const([1, width])))
    elif batch != 1:
        token = Expand()(token, const([batch, 1, width]))
    y = Concat(axis=1)(token, y) + net.weights("position.weight", (1, patches + 1, width), STD)
    for i in range(layers):
        name = f"layer{i}"
        y = y + attention(net, f"{name}.attention", net.layer_norm(f"{name}.norm1", y, epsilon=1e-6), heads)
        y = y + feed_forward(net, name, net.layer_norm(f"{name}.norm2", y, epsilon=1e-6), 4 * width)
    first = _gather(net.layer_norm("norm", y, epsilon=1e-6), const(0), axis=1)
    return network("vit_b16", x, softmax(net.linear("head", first, classes, std=STD)))


def attention(net: Builder, name: str, x: Value, heads: int) -> Value:
    """softmax(Q Kᵀ / √d) V for each head, d = width / heads, and the projection of all of them."""
    length, width = size(x, 1), size(x, 2)
    depth = width // heads

    def project(part: str, *perm: int) -> Value:
        y = net.linear(f"{name}.{part}", x, width, std=STD)
        split: Value = Reshape()(y, const([0, length, heads, depth]))
        return Transpose(perm=perm).apply((split,))[0]

    q, k, v = project("query", 0, 2, 1, 3), project("key", 0, 2, 3, 1), project("value", 0, 2, 1, 3)
    shares = Softmax(axis=-1).apply((MatMul().apply((q, k))[0] / depth**0.5,))[0]
    y = Transpose(perm=(0, 2, 1, 3))(MatMul()(shares, v))
    return net.linear(f"{name}.output", Reshape()(y, const([0, length, width])), width, std=STD)


def feed_forward(net: Builder, name: str, x: Value, hidden: int) -> Value:
    """Two linear layers with a GELU between them."""
    y = Gelu().apply((net.linear(f"{name}.intermediate", x, hidden, std=STD),))[0]
    return net.linear(f"{name}.output", y, size(x, 2), std=STD)


def _gather(table: Value, index: Value, axis: int = 0) -> Value:
    return Gather(axis=axis).apply((table, index))[0]
