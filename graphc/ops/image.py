"""Images from their files. Decoding needs Pillow, an optional package."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from graphc.dims import unknown
from graphc.errors import BackendUnavailable, InvalidModel, ResourceLimit
from graphc.ir import Op
from graphc.limits import check_tensor
from graphc.ops.base import Array, TensorType, Value, check_dtype, check_rank
from graphc.types import uint8

# What ONNX names. Pillow knows more formats, some of which run other programs.
FORMATS = ("BMP", "JPEG", "JPEG2000", "TIFF", "PNG", "WEBP", "PPM")
CHANNELS = {"RGB": 3, "BGR": 3, "Grayscale": 1}


def _pillow() -> Any:
    """The module PIL.Image. Raises `BackendUnavailable`."""
    try:
        from PIL import Image
    except ImportError as e:
        raise BackendUnavailable(
            "decoding an image needs Pillow, which is not installed", hint='Run: pip install "graphc[image]"'
        ) from e
    return Image


class ImageDecoder(Op):
    """The image (height, width, channels) in the bytes of a file. ONNX ImageDecoder-20.

    A file that cannot be decoded gives an image of (0, 0, channels).

    Formats: BMP, JPEG, JPEG 2000, TIFF, PNG, WebP and the portable ones. Images with other channels (grey, palettes,
    transparency) are converted.

    Attributes:
        pixel_format: RGB, BGR or Grayscale.
    """

    pixel_format: str = "RGB"

    def infer(self, encoded_stream: Value) -> TensorType:
        check_dtype(encoded_stream, (uint8,), "encoded_stream")
        check_rank(encoded_stream, "encoded_stream", 1)
        if self.pixel_format not in CHANNELS:
            raise InvalidModel(f"pixel_format is '{self.pixel_format}', expected one of {', '.join(CHANNELS)}")
        return TensorType(uint8, (unknown(), unknown(), CHANNELS[self.pixel_format]))

    def eval(self, encoded_stream: Array) -> Array:
        pillow = _pillow()
        channels = CHANNELS[self.pixel_format]
        mode = "L" if channels == 1 else "RGB"
        try:
            with pillow.open(io.BytesIO(encoded_stream.tobytes()), formats=FORMATS) as image:
                check_tensor((image.height, image.width, channels), 1, "the image")
                pixels = np.array(image.convert(mode), np.uint8)
        except (ResourceLimit, MemoryError):
            raise
        except pillow.DecompressionBombError as e:
            raise ResourceLimit(f"the image is too large: {e}") from e
        except Exception:  # decoders raise anything on broken files, and ONNX asks for an empty image
            return np.zeros((0, 0, channels), np.uint8)
        pixels = pixels.reshape(*pixels.shape[:2], channels)
        return pixels[:, :, ::-1] if self.pixel_format == "BGR" else pixels
