"""docs/conformance.md says of graphc what the list of failures says."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from conformance_page import PAGE, domain_of, graphc_failures, graphc_reasons, suite_of, table
from official import cases

TEXT = PAGE.read_text("utf-8")


@pytest.mark.parametrize("key", [suite_of, domain_of])
def test_numbers(key: Callable[[str], str]) -> None:
    for row in table("", key, graphc_failures(), None):
        assert f"\n{row} " in TEXT, "measure again: python tests/conformance_page.py"


def test_numbers_together() -> None:
    total = len(cases())
    numbers = tuple([f"{n:,}" for n in (total, *(total - len(fails) for fails in graphc_failures()))])
    assert re.findall(r"\| together \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|", TEXT) == [numbers] * 2


def test_reasons() -> None:
    assert "\n".join(graphc_reasons()) in TEXT


def test_onnxruntime_numbers_add_up() -> None:
    """Passes and reasons for failures are all cases."""
    passed = re.search(r"\| together \|.* ([\d,]+) \|\n", TEXT)
    reasons = re.findall(r"\| [^|]+ \| ([\d,]+) \|\n", TEXT[TEXT.index("| reason |") :])
    assert passed is not None
    numbers = [int(n.replace(",", "")) for n in (passed[1], *reasons)]
    assert sum(numbers) == len(cases())
