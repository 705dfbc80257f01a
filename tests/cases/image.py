"""Images, in the formats that can be written down here; the official cases have the others."""

from __future__ import annotations

import struct

import numpy as np
from conformance import Case, random

from graphc.ops.image import ImageDecoder

pixels = random(3, 2, 3, dtype=np.uint8, high=256, low=0)
PPM = b"P6 2 3 255\n" + pixels.tobytes()
PGM = b"P5 2 3 255\n" + pixels[:, :, 0].tobytes()
BMP = (
    b"BM" + struct.pack("<IHHI", 14 + 40 + 24, 0, 0, 54)
    + struct.pack("<IiiHHIIiiII", 40, 2, 3, 1, 24, 0, 24, 0, 0, 0, 0)
    + b"".join(row.tobytes() + b"\0\0" for row in pixels[::-1, :, ::-1])
)  # fmt: skip


def stream(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


def grey(image: np.ndarray) -> np.ndarray:
    """ITU-R 601-2, as Pillow rounds it."""
    weights = np.array([19595, 38470, 7471])
    return ((image.astype(np.int64) @ weights + 0x8000) >> 16).astype(np.uint8)[..., None]


CASES = [
    Case(ImageDecoder(), [stream(PPM)], lambda _: pixels, "ppm"),
    Case(ImageDecoder(), [stream(BMP)], lambda _: pixels, "bmp"),
    Case(ImageDecoder("BGR"), [stream(BMP)], lambda _: pixels[:, :, ::-1], "bgr"),
    Case(ImageDecoder("Grayscale"), [stream(PPM)], lambda _: grey(pixels), "grey"),
    Case(ImageDecoder("Grayscale"), [stream(PGM)], lambda _: pixels[:, :, :1], "grey-as-it-is"),
    Case(ImageDecoder(), [stream(PGM)], lambda _: np.repeat(pixels[:, :, :1], 3, 2), "grey-to-rgb"),
    Case(ImageDecoder(), [stream(BMP[:60])], lambda _: np.zeros((0, 0, 3), np.uint8), "cut-off"),
    Case(ImageDecoder("Grayscale"), [stream(b"%!PS-Adobe")], lambda _: np.zeros((0, 0, 1), np.uint8), "not-an-image"),
    Case(ImageDecoder(), [stream(b"")], lambda _: np.zeros((0, 0, 3), np.uint8), "nothing"),
]
