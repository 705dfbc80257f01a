"""ImageDecoder: what it refuses, and a machine without Pillow."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from graphc.errors import BackendUnavailable, InvalidModel, ResourceLimit
from graphc.ir import Value
from graphc.limits import Limits, limited
from graphc.ops.image import ImageDecoder
from graphc.types import TensorType, uint8


def stream(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


def test_without_pillow_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(BackendUnavailable, match=r'pip install "graphc\[image\]"'):
        ImageDecoder().eval(stream(b"P6 1 1 255\n123"))


def test_a_few_bytes_do_not_make_a_huge_image() -> None:
    with pytest.raises(ResourceLimit, match="too large"):
        ImageDecoder().eval(stream(b"P6 99999 99999 255\n123"))
    with limited(Limits(max_tensor_bytes=1000)), pytest.raises(ResourceLimit, match="the image"):
        ImageDecoder().eval(stream(b"P6 99 99 255\n123"))


def test_an_unknown_format_of_pixels_is_refused() -> None:
    with pytest.raises(InvalidModel, match="RGBA"):
        ImageDecoder("RGBA")(Value(TensorType(uint8, (3,))))
