"""Models exported by PyTorch, by both of its exporters: graphc against onnxruntime and PyTorch."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import pytest

import graphc

torch = pytest.importorskip("torch", reason="PyTorch exports the models: pip install torch onnxscript")
pytest.importorskip("onnxscript", reason="PyTorch exports with onnxscript: pip install onnxscript")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

Sizes = Sequence[int]
BATCH, SEQUENCE = {0: "batch"}, {0: "batch", 1: "sequence"}
IMAGE = {0: "batch", 2: "height", 3: "width"}


class Apply(nn.Module):
    """A function of tensors and modules: forward(*x) = function(*modules, *x)."""

    def __init__(self, function: Callable, *modules: nn.Module):
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(modules)

    def forward(self, *inputs):
        return self.function(*self.parts, *inputs)


@dataclass(frozen=True)
class Model:
    """What is exported: the network, its inputs for given sizes, which axes are dynamic, and two choices of sizes."""

    network: Callable[[], nn.Module]
    inputs: Callable[..., tuple]
    dims: Sequence[dict[int, str]]
    sizes: tuple[Sizes, Sizes]
    exporters: tuple[str, ...] = ("dynamo", "torchscript")


def vectors(*sizes: int) -> tuple:
    return (torch.randn(*sizes, 8),)


def images(batch: int, height: int, width: int) -> tuple:
    return (torch.randn(batch, 3, height, width),)


def words(*sizes: int) -> tuple:
    return (torch.randint(1, 20, sizes),)


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(8, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 16), nn.SiLU(), nn.Linear(16, 4), nn.LogSoftmax(-1)
    )


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True),
        nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8), nn.Hardswish(), nn.AvgPool2d(3, 2, padding=1),
        nn.Conv2d(8, 12, 3, stride=2, padding="valid", dilation=1), nn.GroupNorm(3, 12), nn.LeakyReLU(0.1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5), nn.Softmax(-1),
    )  # fmt: skip


class Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        self.skip = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        return F.relu(self.body(x) + self.skip(x))


def resnet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
        Residual(8, 8, 1), Residual(8, 16, 2), nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
        self.bottom = nn.Conv2d(8, 16, 3, padding=1)
        self.up2, self.up1 = nn.ConvTranspose2d(16, 8, 2, 2), nn.ConvTranspose2d(8, 4, 3, 2, 1, output_padding=1)
        self.merge2, self.merge1 = nn.Conv2d(16, 8, 3, padding=1), nn.Conv2d(8, 2, 1)
        self.norm = nn.InstanceNorm2d(8, affine=True)

    def forward(self, x):
        a = F.relu(self.down1(x))
        b = F.relu(self.norm(self.down2(F.max_pool2d(a, 2))))
        c = F.relu(self.bottom(F.max_pool2d(b, 2)))
        b = F.relu(self.merge2(torch.cat([self.up2(c), b], 1)))
        return torch.sigmoid(self.merge1(torch.cat([self.up1(b), a], 1)))


class Recurrent(nn.Module):
    """A recurrent network that returns its outputs and its last state."""

    def __init__(self, layer: type, **options: object):
        super().__init__()
        self.layer = layer(8, 6, batch_first=True, **options)

    def forward(self, x):
        y, state = self.layer(x)
        return (y, *state) if isinstance(state, tuple) else (y, state)


class Classifier(nn.Module):
    """Words with padding (0): the mean over the real ones of an embedding, through a mask."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(20, 8, padding_idx=0), nn.Linear(8, 3)

    def forward(self, words):
        mask = words != 0
        x = self.embedding(words).masked_fill(~mask.unsqueeze(-1), 0.0)
        mean = x.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        scores = (x @ mean.unsqueeze(-1)).squeeze(-1).masked_fill(~mask, float("-inf"))
        return self.head(mean), scores.softmax(-1)


class Attention(nn.Module):
    """Multi-head attention by hand, with scaled_dot_product_attention."""

    def __init__(self, causal: bool = False):
        super().__init__()
        self.qkv, self.out, self.causal = nn.Linear(8, 24), nn.Linear(8, 8), causal

    def forward(self, x):
        batch, length, _ = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(y.transpose(1, 2).reshape(batch, length, 8))


class SelfAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x)


def encoder(*, norm_first: bool = False) -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True, norm_first=norm_first)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


class Bert(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(20, 8), nn.Embedding(32, 8)
        self.norm, self.encoder, self.head = nn.LayerNorm(8), encoder(), nn.Linear(8, 3)

    def forward(self, words, mask):
        places = torch.arange(words.shape[1], device=words.device).unsqueeze(0)
        x = self.norm(self.words(words) + self.places(places))
        return self.head(torch.tanh(self.encoder(x, src_key_padding_mask=mask)[:, 0]))


def sentences(batch: int, length: int) -> tuple:
    mask = torch.arange(length).expand(batch, length) >= torch.arange(1, batch + 1).unsqueeze(1)
    return (*words(batch, length), mask)


class Vit(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches, self.encoder = nn.Conv2d(3, 8, 4, 4), encoder(norm_first=True)
        self.token, self.places = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(1, 10, 8))
        self.head = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 5))

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        return self.head(self.encoder(x)[:, 0])


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x):
        return torch.cond(x.sum() > 0, lambda x: self.linear(x).relu(), lambda x: (x - 1).sin(), (x,))


class Repeat(nn.Module):
    """A loop whose length is the input's, with a branch in it."""

    def forward(self, x):
        y = torch.zeros_like(x[0])
        for i in range(x.size(0)):
            if bool(y.sum() > 1.0):
                y = y * 0.5 - x[i]
            else:
                y = y + x[i].abs()
        return y


def top_k(x):
    values, indices = x.topk(3, dim=1)
    smallest, _ = x.topk(2, dim=-1, largest=False)
    order = x.argsort(-1, descending=True)
    return values, indices, smallest, order, x.argmax(1), x.max(-1).values


def gather_scatter(x, index):
    picked = x.gather(1, index)
    added = torch.zeros_like(x).scatter_add(1, index, picked * 2)
    put = x.scatter(1, index[:, :1], 7.0)
    largest = x.scatter_reduce(1, index, picked + 0.5, reduce="amax")
    rows = x[:, index[0]]
    return picked, added, put, largest, rows, x.index_select(1, index[0])


def slices(x):
    y = x.clone()
    y[:, 1:3] = 0
    y[..., -1] += 1
    a, b = x.chunk(2, -1)
    left, right = x.split([3, 5], -1)
    return y, a * b, left, right, x[:, ::2], x.flip(-1), x.roll(1, 1), F.pad(x, (1, 2)), x[:, None].repeat(1, 2, 1)


def reductions(x):
    return (
        x.mean(1), x.std(-1), x.var(1, keepdim=True, unbiased=False), x.norm(dim=-1), x.logsumexp(1), x.cumsum(1),
        x.prod(-1), x.amin((0, 1)), x.abs().max(), (x > 0).any(-1), (x > -2).all(-1), F.normalize(x, dim=-1),
    )  # fmt: skip


def elementwise(x):
    parts = [F.gelu(x), F.gelu(x, approximate="tanh"), F.mish(x), F.softplus(x), F.elu(x), F.selu(x), F.celu(x, 0.5)]
    parts += [F.hardsigmoid(x), F.hardtanh(x), F.relu6(x), F.softsign(x), F.logsigmoid(x), x.erf(), x.exp().log1p()]
    parts += [x.clamp(-1, 1), x.sign(), x.floor(), x.round(), x.fmod(0.7), torch.remainder(x, 0.7), x**2]
    parts += [x.abs().sqrt(), (x.abs() + 1).rsqrt(), x.sigmoid() * x.tanh(), torch.where(x > 0, x, x * 3), x.atan()]
    parts += [torch.atan2(x, x + 1), x.exp() - 1, (x.abs() + 1).log2(), (x.abs() + 1).log10(), x.tan()]
    return torch.stack(parts), x.long(), (x > 0).to(torch.int32), x.double().half().float(), x.long() * 2, x.isnan()


def resized(x):
    return (
        F.interpolate(x, scale_factor=2.0, mode="nearest"),
        F.interpolate(x, scale_factor=1.5, mode="bilinear", align_corners=False),
        F.interpolate(x, size=(7, 9), mode="bilinear", align_corners=True),
        F.interpolate(x, scale_factor=2.0, mode="bicubic", align_corners=False),
        F.pixel_shuffle(torch.cat([x, x[:, :1]], 1), 2),
        F.pad(x, (1, 1, 2, 2), mode="reflect"),
        F.pad(x, (1, 0, 0, 2), mode="replicate"),
    )


def upsampled_like(x, y):
    return F.interpolate(x, size=y.shape[2:], mode="bilinear", align_corners=False) + y.mean(1, keepdim=True)


def sampled(x):
    rows, columns = torch.meshgrid(torch.linspace(-1.1, 1, 6), torch.linspace(-1, 1.2, 5), indexing="ij")
    grid = torch.stack([columns + 0.1 * rows, rows], -1).expand(x.shape[0], -1, -1, -1)
    return F.grid_sample(x, grid, align_corners=False, padding_mode="border")


def einsums(x, y):
    return (
        torch.einsum("bij,bjk->bik", x, y), torch.einsum("bij,bij->b", x, y.transpose(1, 2)),
        torch.einsum("bij->bji", x), torch.einsum("bij,bjk->ik", x, y), torch.einsum("...ij->...i", x),
    )  # fmt: skip


def shapes(x):
    batch, length, width = x.shape
    grid = torch.arange(length, dtype=torch.float32) / length
    causal = torch.ones(length, length).tril().bool()
    pairs = torch.full((batch, length), 2.0).unsqueeze(-1) * x
    return (
        x.view(batch, length, 2, width // 2).transpose(1, 2).reshape(batch * 2, length, -1),
        x + grid[None, :, None], pairs.flatten(1), causal, x.new_zeros(length, batch), x.unflatten(2, (2, -1)),
        F.one_hot(x.argmax(-1), 8), torch.linspace(0, 1, 5) + x[0, 0, 0], x.movedim(0, 1),
        x.mean(1, keepdim=True).squeeze(1),
    )  # fmt: skip


MODELS = {
    "mlp": Model(mlp, vectors, [BATCH], ((3,), (5,))),
    "mlp_3d": Model(mlp, vectors, [SEQUENCE], ((3, 4), (2, 7))),
    "cnn": Model(cnn, images, [IMAGE], ((2, 20, 17), (3, 27, 22))),
    "resnet": Model(resnet, images, [IMAGE], ((2, 32, 24), (3, 40, 41))),
    "unet": Model(UNet, images, [BATCH], ((2, 16, 16), (3, 16, 16))),
    "conv1d": Model(
        lambda: Apply(
            lambda f, g, x: g(F.glu(f(x.transpose(1, 2)), 1)),
            nn.Conv1d(8, 12, 3, padding=2, dilation=2), nn.ConvTranspose1d(6, 4, 4, 2, groups=2),
        ), vectors, [SEQUENCE], ((2, 9), (3, 12)),
    ),
    "conv3d": Model(
        lambda: nn.Sequential(nn.Conv3d(3, 4, 3, 2, 1), nn.PReLU(4), nn.AvgPool3d(2), nn.Flatten()),
        lambda b: (torch.randn(b, 3, 8, 8, 8),), [BATCH], ((2,), (3,)),
    ),
    "lstm": Model(lambda: Recurrent(nn.LSTM, num_layers=2), vectors, [SEQUENCE], ((2, 5), (3, 4))),
    "gru": Model(lambda: Recurrent(nn.GRU), vectors, [SEQUENCE], ((2, 5), (3, 4))),
    "rnn": Model(
        lambda: Recurrent(nn.RNN, nonlinearity="relu"), vectors, [SEQUENCE], ((2, 5), (3, 4)), ("torchscript",)
    ),
    "rnn_unrolled": Model(  # the newer exporter unrolls nn.RNN
        lambda: Recurrent(nn.RNN, nonlinearity="relu"), vectors, [BATCH], ((2, 5), (3, 5)), ("dynamo",)
    ),
    "birnn": Model(
        lambda: Recurrent(nn.RNN, bidirectional=True), vectors, [SEQUENCE], ((2, 5), (3, 4)), ("torchscript",)
    ),
    "birnn_unrolled": Model(
        lambda: Recurrent(nn.RNN, bidirectional=True), vectors, [BATCH], ((2, 5), (3, 5)), ("dynamo",)
    ),
    "bilstm": Model(
        lambda: Recurrent(nn.LSTM, num_layers=2, bidirectional=True), vectors, [SEQUENCE], ((2, 5), (3, 4))
    ),
    "bigru": Model(lambda: Recurrent(nn.GRU, bidirectional=True), vectors, [SEQUENCE], ((2, 5), (3, 4))),
    "embedding": Model(Classifier, words, [SEQUENCE], ((2, 5), (3, 4))),
    "attention": Model(
        Attention, vectors, [SEQUENCE], ((2, 5), (3, 4)), ("dynamo", "dynamo at opset 24", "torchscript")
    ),
    "causal_attention": Model(
        lambda: Attention(causal=True), vectors, [SEQUENCE], ((2, 5), (3, 4)),
        ("dynamo", "dynamo at opset 24", "torchscript"),
    ),
    # The older exporter writes the length of the sequence into nn.MultiheadAttention.
    "multihead": Model(SelfAttention, vectors, [SEQUENCE], ((2, 5), (3, 4)), ("dynamo",)),
    "multihead_batch": Model(SelfAttention, vectors, [BATCH], ((2, 5), (3, 5)), ("torchscript",)),
    "encoder": Model(encoder, vectors, [SEQUENCE], ((2, 5), (3, 4)), ("dynamo",)),
    "encoder_batch": Model(encoder, vectors, [BATCH], ((2, 5), (3, 5)), ("torchscript",)),
    "bert": Model(Bert, sentences, [SEQUENCE, SEQUENCE], ((2, 5), (3, 7)), ("dynamo",)),
    "bert_batch": Model(Bert, sentences, [BATCH, BATCH], ((2, 5), (3, 5)), ("torchscript",)),
    "vit": Model(Vit, lambda b: images(b, 12, 12), [BATCH], ((2,), (3,))),
    "cond": Model(Branches, lambda b: (torch.rand(b, 8) * (4 - b),), [BATCH], ((3,), (5,)), ("dynamo",)),
    "loop": Model(lambda: torch.jit.script(Repeat()), vectors, [BATCH], ((3,), (5,)), ("torchscript",)),
    "top_k": Model(lambda: Apply(top_k), vectors, [SEQUENCE], ((2, 5), (3, 4))),
    "gather_scatter": Model(
        lambda: Apply(gather_scatter),
        lambda b, n: (torch.randn(b, 8), torch.stack([torch.randperm(8)[:n] for _ in range(b)])),
        [BATCH, {0: "batch", 1: "picks"}], ((3, 4), (5, 2)),
    ),
    "slices": Model(lambda: Apply(slices), vectors, [BATCH], ((3,), (5,))),
    "reductions": Model(lambda: Apply(reductions), vectors, [SEQUENCE], ((2, 5), (3, 4))),
    "elementwise": Model(lambda: Apply(elementwise), vectors, [BATCH], ((3,), (5,))),
    "resized": Model(lambda: Apply(resized), images, [IMAGE], ((2, 6, 4), (3, 4, 8))),
    "upsampled_like": Model(
        lambda: Apply(upsampled_like), lambda b, h, w: (torch.randn(b, 3, 3, 3), *images(b, h, w)),
        [BATCH, IMAGE], ((2, 6, 7), (3, 8, 5)),
    ),
    "sampled": Model(lambda: Apply(sampled), images, [IMAGE], ((2, 6, 4), (3, 4, 8))),
    "einsum": Model(
        lambda: Apply(einsums), lambda b, n: (torch.randn(b, n, 4), torch.randn(b, 4, n)),
        [SEQUENCE, {0: "batch", 2: "sequence"}], ((2, 5), (3, 6)),
    ),
    "shapes": Model(lambda: Apply(shapes), vectors, [SEQUENCE], ((2, 5), (3, 4))),
    "embedding_bag": Model(
        lambda: nn.EmbeddingBag(20, 8, mode="mean"), words, [SEQUENCE], ((2, 5), (3, 4)), ("dynamo",)
    ),
}  # fmt: skip
CASES = [pytest.param(n, e, id=f"{n}-{e}") for n, m in MODELS.items() for e in m.exporters]


def export(network: nn.Module, inputs: tuple, dims: Sequence[dict[int, str]], exporter: str) -> onnx.ModelProto:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if exporter != "torchscript":
            opset = 24 if exporter.endswith("24") else None  # opset 23 brought Attention
            shapes = tuple(dict.fromkeys(d, torch.export.Dim.DYNAMIC) for d in dims)
            if isinstance(network, Apply):
                shapes = (shapes,)  # forward(*inputs) has one parameter
            program = torch.onnx.export(
                network, inputs, dynamic_shapes=shapes, dynamo=True, opset_version=opset, verbose=False
            )
            return program.model_proto
        names = [f"input_{i}" for i in range(len(inputs))]
        file = io.BytesIO()
        axes = {name: dict(d) for name, d in zip(names, dims, strict=True)}
        torch.onnx.export(network, inputs, file, dynamo=False, input_names=names, dynamic_axes=axes, opset_version=18)
        return onnx.load_from_string(file.getvalue())


def close(got: object, want: object, names: str) -> None:
    got, want = np.asarray(got), np.asarray(want)
    assert (got.dtype, got.shape) == (want.dtype, want.shape), names
    scale = np.abs(want[np.isfinite(want)]).max(initial=1) if want.dtype.kind == "f" else 0
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * scale, err_msg=names)


@pytest.fixture(autouse=True)
def plain_attention():
    """The fused attention of PyTorch's eager mode is an operator that the older exporter does not know."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(before)


@pytest.mark.parametrize(("name", "exporter"), CASES)
def test_export(name: str, exporter: str) -> None:
    torch.manual_seed(0)
    model = MODELS[name]
    network = model.network().eval()
    inputs = [model.inputs(*sizes) for sizes in model.sizes]
    with torch.no_grad():
        proto = export(network, inputs[0], model.dims, exporter)
        expected = [network(*x) for x in inputs]
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    native = graphc.compile(proto, backend="llvm")
    compiled = {"level 0": graphc.compile(proto, level=0), "level 2": graphc.compile(proto), "native code": native}
    for x, result in zip(inputs, expected, strict=True):
        feeds = [a.numpy() for a in x]
        wants = session.run(None, dict(zip([i.name for i in session.get_inputs()], feeds, strict=True)))
        results = result if isinstance(result, tuple) else (result,)
        for port, want, r in zip(session.get_outputs(), wants, results, strict=True):
            close(want, r.numpy(), f"onnxruntime and PyTorch, {port.name}")
        for what, c in compiled.items():
            got = c(*feeds)
            for port, g, want in zip(c.outputs, got if isinstance(got, tuple) else (got,), wants, strict=True):
                close(g, want, f"{what} and onnxruntime, {port.name}")
        assert not [(p.op, p.reason) for p in native.placement() if p.backend != "llvm"]
