"""The benchmark that sets graphc beside other engines: what it measures, and that their results agree."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from graphc.models import NETWORKS

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"

# Billions of operations of the convolutions and products at batch 1, a multiply-add being two. Those of FCN-32s are
# with the published padding by 100, which makes 422 pixels of 224.
GFLOP = {
    "mlp": 0.0013, "lenet5": 0.0008, "alexnet": 1.4, "nin": 2.2, "vgg16": 31, "googlenet": 3.2, "resnet18": 3.6,
    "resnet50": 8.2, "mobilenet_v1": 1.1, "fcn32s": 126, "context_module": 56, "bert_base": 22.4, "vit_b16": 35,
}  # fmt: skip


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("compare")


def test_the_networks_and_what_they_compute(compare: ModuleType) -> None:
    assert list(compare.NAMES) == list(GFLOP)
    for name, options in compare.NAMES.items():
        flops = sum(f for f, _ in compare.layers(NETWORKS[name](**options)))
        assert flops / 1e9 == pytest.approx(GFLOP[name], rel=0.06), name


def test_engines_take_turns_and_agree(compare: ModuleType) -> None:
    options = argparse.Namespace(engines=["graphc", "onnxruntime"], rounds=2, seconds=0.01, seed=0)
    versions: dict[str, str] = {}
    row: Any = compare.measure("lenet5", 1, options, versions)
    assert row.errors == {}
    assert set(row.ms) == set(versions) == {"graphc", "onnxruntime"}
    assert min(row.ms.values()) > 0
    assert 0 <= row.difference["graphc"] < 1e-5
    assert row.limit_gflops > 0
