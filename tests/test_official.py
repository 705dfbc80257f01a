"""ONNX's official test suite on graphc's backends, and its models saved.

`official_failures.txt` names the cases that fail, and why, and is exact.
"""

from __future__ import annotations

import warnings

import pytest
from official import BACKENDS, RANDOM, SUITES, cases, expected_failures, failure, run_case, run_random_case
from official_saved import check_saved

EXPECTED = expected_failures()


@pytest.mark.parametrize("name", list(cases()))
def test_official(name: str) -> None:
    """What passes with NumPy's kernels passes with native ones, and can be saved."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_results(name)
        check_saved(name)


def check_results(name: str) -> None:
    """graphc gives what the case expects; of random numbers, their types and shapes."""
    case = cases()[name]
    if name in EXPECTED and not EXPECTED[name].startswith(RANDOM):
        assert failure(case) is not None, "passes now; take it out of official_failures.txt"
        return
    run = run_random_case if name in EXPECTED else run_case
    for backend in BACKENDS:
        run(case, backend)


def test_the_list_names_only_cases_that_exist() -> None:
    assert set(EXPECTED) <= set(cases())
    assert all(EXPECTED.values())


def test_most_cases_pass() -> None:
    assert len(cases()) >= 2024
    assert len(EXPECTED) <= 20
    for suite in SUITES[2:]:
        assert not any(name.startswith(f"{suite}/") for name in EXPECTED)
