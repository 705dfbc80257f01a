"""ONNX's official test suite: 2,024 cases, held against what the standard says.

`python tests/official.py` prints how many cases of each suite pass; with `--write` it also writes the list of those
that fail, official_failures.txt.
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

from graphc.errors import UnsupportedOp
from graphc.frontends.onnx.backend import GraphcBackend

SUITES = ("node", "simple", "pytorch-converted", "pytorch-operator")
FAILURES = Path(__file__).with_name("official_failures.txt")
BACKENDS = ("numpy", "llvm")
RANDOM = "random"  # how the reason begins where any result has a chance: only dtypes and shapes are compared


@cache
def cases() -> dict[str, TestCase]:
    """suite/name -> case, in order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some cases divide by zero on purpose while they are made
        found = {f"{suite}/{case.name}": case for suite in SUITES for case in load_model_tests(kind=suite)}
    return dict(sorted(found.items()))


@cache
def expected_failures() -> dict[str, str]:
    """suite/name -> reason, for the cases that are known to fail."""
    failures: dict[str, str] = {}
    reason = ""
    for line in FAILURES.read_text("utf-8").splitlines():
        if line.startswith("# "):
            reason = line[2:]
        elif line:
            failures[line] = reason
    return failures


def run_case(case: TestCase, backend: str = "numpy") -> None:
    """Raise unless graphc gives what the case expects, by the suite's own rules."""
    model, sets = contents(case)
    rep = GraphcBackend.prepare(model, backend=backend)
    for inputs, outputs in sets:
        check_outputs(case, rep.run([array(x) for x in inputs]), [array(x) for x in outputs])


def check_outputs(case: TestCase, got: Sequence[Any], want: Sequence[Any]) -> None:
    """Raise unless `got` is `want`, by the suite's own rules."""
    assert _lengths(got) == _lengths(want)
    Runner.assert_similar_outputs(_flat(want), _flat(got), rtol=case.rtol, atol=case.atol)


def _lengths(values: Sequence[Any]) -> list[Any]:
    """How many elements each sequence in `values` has; None for what is none."""
    return [_lengths(v) if isinstance(v, (list, tuple)) else None for v in values]


def _flat(values: Sequence[Any]) -> list[Any]:
    """The arrays in `values`, also those in sequences, in which the suite's runner cannot compare 0-d ones."""
    return [leaf for v in values for leaf in (_flat(v) if isinstance(v, (list, tuple)) else [v])]


def run_random_case(case: TestCase, backend: str = "numpy") -> None:
    """Raise unless graphc gives arrays of the dtypes and shapes that the case expects."""
    model, sets = contents(case)
    for inputs, outputs in sets:
        got = GraphcBackend.prepare(model, backend=backend).run([array(x) for x in inputs])
        assert [(x.dtype, x.shape) for x in got] == [(array(x).dtype, array(x).shape) for x in outputs]


def contents(case: TestCase) -> tuple[onnx.ModelProto, list[tuple[Sequence[Any], Sequence[Any]]]]:
    """The model of a case and its data sets: inputs and expected outputs."""
    if case.model is not None:
        assert case.data_sets is not None
        return case.model, list(case.data_sets)
    assert case.model_dir is not None
    folder = Path(case.model_dir)
    model = onnx.load(folder / "model.onnx")
    sets = []
    for data in sorted(folder.glob("test_data_set*")):
        inputs = list(_read(data, "input", [i.type for i in model.graph.input]))
        outputs = list(_read(data, "output", [o.type for o in model.graph.output]))
        sets.append((inputs, outputs))
    return model, sets


def _read(folder: Path, what: str, types: Sequence[onnx.TypeProto]) -> Iterator[Any]:
    for i, type in enumerate(types):
        path = folder / f"{what}_{i}.pb"
        if not path.exists():
            return
        data = path.read_bytes()
        if type.HasField("sequence_type"):
            yield numpy_helper.to_list(onnx.SequenceProto.FromString(data))
        elif type.HasField("optional_type"):
            yield numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
        else:
            yield numpy_helper.to_array(onnx.TensorProto.FromString(data))


def array(x: Any) -> Any:
    """The array, or list of arrays, that a data set has as `x`."""
    return numpy_helper.to_array(x) if isinstance(x, onnx.TensorProto) else x


def failure(case: TestCase, backend: str = "numpy") -> str | None:
    """Why a case fails, in a few words, or None when it passes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run_case(case, backend)
    except UnsupportedOp as e:
        return "no " + str(e).partition("not supported: ")[2]
    except AssertionError as e:
        return "wrong result: " + " ".join(str(e).split())[:120]
    except Exception as e:
        return f"{type(e).__name__}: {e}".split("\n")[0]
    return None


def main(arguments: Sequence[str]) -> None:
    passed: Counter[str] = Counter()
    failed: dict[str, str] = {}
    for name, case in cases().items():
        suite = name.split("/")[0]
        reason = failure(case)
        if reason is None:
            passed[suite] += 1
        else:
            failed[name] = reason
            if "-v" in arguments:
                print(f"{name}: {reason}")
    for suite in SUITES:
        total = sum(name.startswith(f"{suite}/") for name in cases())
        print(f"{suite:20} {passed[suite]:5} of {total:5}")
    print(f"{'together':20} {passed.total():5} of {len(cases()):5}")
    if "--write" in arguments:
        write(failed)


def write(failed: dict[str, str]) -> None:
    """Write the list of failures, grouped by reason; cases that were listed before keep theirs."""
    known = expected_failures() if FAILURES.exists() else {}
    known = {name: reason for name, reason in known.items() if name in failed or reason.startswith(RANDOM)}
    groups: dict[str, list[str]] = {}
    for name, reason in {**failed, **known}.items():
        groups.setdefault(reason, []).append(name)
    lines = [line for reason in sorted(groups) for line in (f"# {reason}", *sorted(groups[reason]), "")]
    FAILURES.write_text("\n".join(lines), "utf-8")


if __name__ == "__main__":
    np.seterr(all="ignore")
    main(sys.argv[1:])
