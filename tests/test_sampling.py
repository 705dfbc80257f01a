"""The distributions of random tensors, and what a seed means."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from graphc.ir import Op
from graphc.ops.sampling import (
    Bernoulli,
    Multinomial,
    RandomNormal,
    RandomNormalLike,
    RandomUniform,
    RandomUniformLike,
)
from graphc.types import bfloat16, float16

N = 40_000


def test_normal_has_its_mean_and_deviation() -> None:
    for y in (RandomNormal((N,), mean=2.0, scale=3.0, seed=1.0).eval(),
              RandomNormalLike(mean=2.0, scale=3.0, seed=2.0).eval(np.zeros(N, np.float32))):  # fmt: skip
        assert y.dtype == np.float32
        assert abs(y.mean() - 2) < 0.06
        assert abs(y.std() - 3) < 0.06


def test_uniform_fills_its_interval() -> None:
    for y in (RandomUniform((N,), low=-1.0, high=3.0, seed=1.0).eval(),
              RandomUniformLike(low=-1.0, high=3.0, seed=2.0).eval(np.zeros(N, np.float32))):  # fmt: skip
        assert y.min() >= -1
        assert y.max() < 3
        counts, _ = np.histogram(y, 8, (-1, 3))
        assert np.all(abs(counts - N / 8) < 5 * np.sqrt(N / 8))


@pytest.mark.parametrize("dtype", [float16, bfloat16], ids=str)
def test_uniform_stays_below_high_in_narrow_types(dtype: object) -> None:
    y = RandomUniform((N,), dtype, seed=3.0).eval()  # type: ignore[arg-type]
    assert y.dtype in (np.float16, ml_dtypes.bfloat16)
    assert y.astype(np.float32).max() < 1


def test_bernoulli_has_its_probability() -> None:
    y = Bernoulli(seed=1.0).eval(np.full(N, 0.3, np.float32))
    assert set(np.unique(y)) == {0, 1}
    assert abs(y.mean() - 0.3) < 0.012


def test_multinomial_draws_by_weight() -> None:
    y = Multinomial(sample_size=N, seed=1.0).eval(np.log(np.array([[1, 2, 5], [4, 4, 0.001]], np.float32)))
    frequencies = np.stack([np.bincount(row, minlength=3) / N for row in y])
    np.testing.assert_allclose(frequencies, [[0.125, 0.25, 0.625], [0.5, 0.5, 0]], atol=0.015)


OPS: list[tuple[type[Op], dict[str, object], list[np.ndarray]]] = [
    (RandomNormal, {"shape": (8,)}, []),
    (RandomUniform, {"shape": (8,)}, []),
    (RandomNormalLike, {}, [np.zeros(8, np.float32)]),
    (RandomUniformLike, {}, [np.zeros(8, np.float32)]),
    (Bernoulli, {}, [np.full(64, 0.5, np.float32)]),
    (Multinomial, {"sample_size": 64}, [np.zeros((1, 9), np.float32)]),
]


@pytest.mark.parametrize(("op", "attributes", "inputs"), OPS, ids=lambda v: getattr(v, "__name__", ""))
def test_seed(op: type[Op], attributes: dict[str, object], inputs: list[np.ndarray]) -> None:
    seeded, other, free = op(**attributes, seed=1.0), op(**attributes, seed=1.5), op(**attributes)
    np.testing.assert_array_equal(seeded.eval(*inputs), seeded.eval(*inputs))
    assert not np.array_equal(seeded.eval(*inputs), other.eval(*inputs))
    assert not np.array_equal(free.eval(*inputs), free.eval(*inputs))
    assert not op.pure
