"""ONNX's official test suite; `official_failures.txt` names the cases that fail, and why, and is exact."""

from __future__ import annotations

import warnings

import pytest
from official import RANDOM, SUITES, cases, expected_failures, run_case, run_random_case

EXPECTED = expected_failures()


@pytest.mark.parametrize("name", list(cases()))
def test_official(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name not in EXPECTED:
            run_case(cases()[name])
            return
        if EXPECTED[name].startswith(RANDOM):
            run_random_case(cases()[name])
            return
        try:
            run_case(cases()[name])
        except Exception:
            return
    pytest.fail("passes now; take it out of official_failures.txt", pytrace=False)


@pytest.mark.parametrize("name", [n for n in cases() if n not in EXPECTED or EXPECTED[n].startswith(RANDOM)])
def test_official_on_llvm(name: str) -> None:
    """What passes with NumPy's kernels passes with native ones."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if EXPECTED.get(name, "").startswith(RANDOM):
            run_random_case(cases()[name], "llvm")
        else:
            run_case(cases()[name], "llvm")


def test_the_list_names_only_cases_that_exist() -> None:
    assert set(EXPECTED) <= set(cases())
    assert all(EXPECTED.values())


def test_most_cases_pass() -> None:
    assert len(cases()) >= 2024
    assert len(EXPECTED) <= 20
    for suite in SUITES[2:]:
        assert not any(name.startswith(f"{suite}/") for name in EXPECTED)
