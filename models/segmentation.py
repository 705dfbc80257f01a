"""Dense prediction: fully convolutional networks and dilated convolutions."""

from __future__ import annotations

from graphc.dims import Dim
from graphc.ir import Graph, Value
from graphc.ops.base import const
from graphc.ops.slicing import Slice
from graphc.types import Shape

from .builder import Builder, images, max_pool, network
from .vgg import block

DEPTHS = (2, 2, 3, 3, 3)


def fcn32s(*, batch: int | str = 1, image_size: int = 224, classes: int = 21, pad: int = 100, seed: int = 0) -> Graph:
    """FCN-32s (Long et al. 2015): VGG-16 made convolutional, one up-convolution by 32. See `fcn8s`."""
    return _fcn("fcn32s", 32, batch, image_size, classes, pad, seed)


def fcn16s(*, batch: int | str = 1, image_size: int = 224, classes: int = 21, pad: int = 100, seed: int = 0) -> Graph:
    """FCN-16s (Long et al. 2015): adds scores of pool4. See `fcn8s`."""
    return _fcn("fcn16s", 16, batch, image_size, classes, pad, seed)


def fcn8s(*, batch: int | str = 1, image_size: int = 224, classes: int = 21, pad: int = 100, seed: int = 0) -> Graph:
    """FCN-8s (Long et al. 2015): adds scores of pool4 and pool3. Output: class scores [batch, classes, size, size].

    As published, the first convolution pads by 100, so that every image is large enough for the 7×7 layer fc6, and the
    scores are cropped back to the image.
    """
    return _fcn("fcn8s", 8, batch, image_size, classes, pad, seed)


def _fcn(name: str, stride: int, batch: int | str, image_size: int, classes: int, pad: int, seed: int) -> Graph:
    net, x = Builder(seed), images(batch, 3, image_size)
    y, pools = x, []
    for stage, depth in enumerate(DEPTHS):
        y = block(net, y, stage, depth, first_pad=pad if stage == 0 else None)
        y = max_pool(y, 2, 2, ceil=True)
        pools.append(y)
    y = net.conv_relu("fc7", net.conv_relu("fc6", y, 4096, 7), 4096, 1)
    y = net.conv("score_fr", y, classes, 1)
    # Up-convolve by two and add the scores of an earlier pooling, as often as the stride asks for.
    for level, offset in ((3, 5), (2, 9))[: {32: 0, 16: 1, 8: 2}[stride]]:
        y = net.up_conv(f"upscore_pool{level + 1}", y, classes, 4, stride=2)
        y = y + crop(net.conv(f"score_pool{level + 1}", pools[level], classes, 1), y, offset)
    y = net.up_conv(f"upscore{stride}", y, classes, 2 * stride, stride=stride)
    return network(name, x, crop(y, x, {32: 19, 16: 27, 8: 31}[stride], name="score"))


def crop(x: Value, like: Value, offset: int, name: str = "") -> Value:
    """The window of `x` at (offset, offset) that has the height and width of `like`."""
    ends = [offset + _known(like.shape, axis) for axis in (2, 3)]
    return Slice().apply((x, const([offset, offset]), const(ends), const([2, 3])), name)[0]


def _known(shape: Shape | None, axis: int) -> int:
    d: Dim | None = None if shape is None else shape[axis]
    assert isinstance(d, int), "the image size of a zoo network is a number"
    return d


def dilated_front_end(*, batch: int | str = 1, image_size: int = 396, classes: int = 21, seed: int = 0) -> Graph:
    """The front-end module of Yu and Koltun (ICLR 2016): VGG-16 without pool4, pool5 and padding, dilated instead.

    `image_size` includes the margin: 372 pixels go to the unpadded convolutions, and each 8 that remain give one score.
    """
    net, x = Builder(seed), images(batch, 3, image_size)
    y = x
    for stage, depth in enumerate(DEPTHS):
        y = block(net, y, stage, depth, pad=0, dilation=2 if stage == 4 else 1)
        y = max_pool(y, 2, 2) if stage < 3 else y
    y = net.conv_relu("fc6", y, 4096, 7, dilation=4)
    y = net.conv_relu("fc7", y, 4096, 1)
    return network("dilated_front_end", x, net.conv("final", y, classes, 1))


# Dilation and output channels (in multiples of the classes) of each 3×3 layer; table 1 of the paper.
CONTEXT = ((1, 2), (1, 2), (2, 4), (4, 8), (8, 16), (16, 32), (1, 32))


def context_module(
    *, batch: int | str = 1, image_size: int = 64, classes: int = 21, large: bool = False, seed: int = 0
) -> Graph:
    """The context module of Yu and Koltun (ICLR 2016): dilations 1, 1, 2, 4, 8, 16, 1; a 67×67 receptive field.

    Score maps go in and come out at the same size. The basic form keeps the number of channels C and has about 64·C²
    weights; the large one widens to 32·C.
    """
    net, x = Builder(seed), images(batch, classes, image_size)
    y = x
    for i, (dilation, width) in enumerate(CONTEXT):
        channels = classes * (width if large else 1)
        y = net.conv_relu(f"ctx_conv{i + 1}", y, channels, 3, pad=dilation, dilation=dilation)
    return network("context_module", x, net.conv("ctx_final", y, classes, 1))
