"""docs/conformance.md: how many official cases graphc passes, and how many onnxruntime passes.

`python tests/conformance_page.py` runs all cases with both and writes the page. onnxruntime runs in child processes,
so that a case that ends the process is one that has not passed.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
from conformance import type_of
from official import (
    BACKENDS,
    RANDOM,
    SUITES,
    array,
    cases,
    check_outputs,
    contents,
    expected_failures,
    failure,
)
from onnx.backend.test.case.test_case import TestCase

from graphc.backends.onnxruntime.values import from_ort, needs_ort_values, to_ort

PAGE = Path(__file__).parent.parent / "docs" / "conformance.md"
SECONDS = 600  # for all that one child runs

# The first of these that is in onnxruntime's message, or in that of `run_onnxruntime`, says why a case fails.
REASONS = {
    "wrong result": "another result than the expected one",
    "ended the process": "the process ends",
    "arrays": "no arrays of the element type in its Python interface",
    "NOT_IMPLEMENTED": "no kernel for the op's version or element types",
    "not a registered function/op": "not an op that it knows",
    "Failed to construct locale": "the locale that the op asks for is not installed",
    RANDOM: "random numbers",
}
OTHER = "refused in another way"


def suite_of(name: str) -> str:
    return name.partition("/")[0]


def domain_of(name: str) -> str:
    """The operator domain that a case is about: the one of its nodes' that is not ONNX's default, if there is one."""
    model, _ = contents(cases()[name])
    return max(node.domain for node in model.graph.node) or "ai.onnx"


# -- onnxruntime ------------------------------------------------------------------------------------------------------
def run_onnxruntime(case: TestCase, model: onnx.ModelProto | None = None) -> None:
    """Raise unless onnxruntime gives what the case expects, by the suite's own rules."""
    import onnxruntime as ort

    own, sets = contents(case)
    model = model or own
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [x.name for x in session.get_inputs()]
    for inputs, outputs in sets:
        # The data of some 0-d inputs are NumPy's numbers, which onnxruntime does not take for arrays.
        given = [np.asarray(x) if isinstance(x, np.generic) else x for x in map(array, inputs)]
        feeds = dict(zip(names, given, strict=True))
        want = [array(x) for x in outputs]
        if any(isinstance(x, np.ndarray) and needs_ort_values(type_of(x)) for x in (*given, *want)):
            values = {name: to_ort(ort, x, type_of(x)) for name, x in feeds.items()}
            found = session.run_with_ort_values([y.name for y in session.get_outputs()], values)
            got = [from_ort(y, type_of(w)) for y, w in zip(found, want, strict=True)]
        else:
            got = session.run(None, feeds)
        check_outputs(case, got, want)


def serve(start: int) -> None:
    """Print [name, why onnxruntime fails or null] for each case from number `start` on."""
    for name, case in list(cases().items())[start:]:
        why = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                run_onnxruntime(case)
        except AssertionError:
            why = "wrong result"
        except Exception as e:
            why = f"{type(e).__name__}: {e}"
        print(json.dumps([name, why]), flush=True)


def onnxruntime_failures() -> dict[str, str]:
    """suite/name -> why. When a child dies, the case that it was at has failed, and another child goes on after it."""
    names = list(cases())
    failures: dict[str, str] = {}
    done = 0
    # Without this it refuses opsets that were published after it, whatever the op.
    environment = {**os.environ, "ALLOW_RELEASED_ONNX_OPSET_ONLY": "0"}
    while done < len(names):
        command = [sys.executable, __file__, "--onnxruntime-from", str(done)]
        child = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=SECONDS)
        results = dict(json.loads(line) for line in child.stdout.splitlines())
        done += len(results)
        failures |= {name: why for name, why in results.items() if why is not None}
        if done < len(names):
            failures[names[done]] = f"ended the process with status {child.returncode}: {child.stderr}"
            done += 1
    # The rule for graphc: where numbers are random, comparing results says nothing.
    return failures | {name: why for name, why in expected_failures().items() if why.startswith(RANDOM)}


# -- the page ---------------------------------------------------------------------------------------------------------
def table(
    what: str, key: Callable[[str], str], ours: Sequence[Collection[str]], theirs: Collection[str] | None
) -> list[str]:
    """Cases and passes for each `key`.

    `ours` and `theirs` are the cases that fail, with each of graphc's backends and with onnxruntime. Without `theirs`
    rows end early.
    """
    total = Counter(map(key, cases()))
    order = [k for k in SUITES if k in total] or sorted(total)
    columns = [total] + [total - Counter(map(key, fails)) for fails in (*ours, *([] if theirs is None else [theirs]))]
    rows = [[k, *(f"{c[k]:,}" for c in columns)] for k in order]
    rows.append(["together", *(f"{c.total():,}" for c in columns)])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    if theirs is None:
        return lines
    heads = [what, "cases", *(f"graphc, {b}" for b in BACKENDS), "onnxruntime"]
    return [f"| {' | '.join(heads)} |", "|---" + "|---:" * len(columns) + "|", *lines]


def graphc_failures() -> list[Collection[str]]:
    """The cases that fail with each of graphc's backends, as the list has them: the same."""
    return [expected_failures()] * len(BACKENDS)


def graphc_reasons() -> list[str]:
    """The cases that graphc does not pass, by reason."""
    groups: dict[str, list[str]] = {}
    for name, reason in expected_failures().items():
        groups.setdefault(reason, []).append(f"`{name}`")
    return [f"- {reason}: {', '.join(names)}" for reason, names in groups.items()]


def page(theirs: Mapping[str, str]) -> str:
    ours = graphc_failures()
    said = [next((r for part, r in REASONS.items() if part in why), OTHER) for why in theirs.values()]
    versions = ", ".join(f"{name} {version(name)}" for name in ("graphc", "onnx", "onnxruntime", "numpy"))
    return "\n".join([
        "# Conformance",
        "",
        f"The {len(cases()):,} official cases of onnx, run by graphc's backends and by onnxruntime on the CPU,",
        "each within the tolerances that the suite gives it. `python tests/conformance_page.py` runs them and writes",
        "this page; a test holds graphc's numbers to `tests/official_failures.txt`, and another that list to the code.",
        "",
        f"Measured with {versions} on {platform.machine()}.",
        "",
        *table("suite", suite_of, ours, theirs),
        "",
        *table("operator domain", domain_of, ours, theirs),
        "",
        "A case is of the domain of its operators that is not the default one, if there is such an operator.",
        "",
        "## What graphc does not pass",
        "",
        *graphc_reasons(),
        "",
        "## What onnxruntime does not pass",
        "",
        "It gets every model as it is, with its check for newer opsets switched off.",
        "",
        "| reason | cases |",
        "|---|---:|",
        *(f"| {reason} | {n:,} |" for reason, n in Counter(said).most_common()),
        "",
    ])  # fmt: skip


def main() -> None:
    random = {name for name, why in expected_failures().items() if why.startswith(RANDOM)}
    for backend, known in zip(BACKENDS, graphc_failures(), strict=True):
        ours = {name for name, case in cases().items() if failure(case, backend) is not None}
        if wrong := (ours ^ set(known)) - random:
            sys.exit(f"the lists of failures with {backend} are not right about {sorted(wrong)}; see official.py")
    PAGE.write_text(page(onnxruntime_failures()), "utf-8")


if __name__ == "__main__":
    np.seterr(all="ignore")
    if sys.argv[1:2] == ["--onnxruntime-from"]:
        serve(int(sys.argv[2]))
    else:
        main()
