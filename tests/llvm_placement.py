"""llvm_placement.txt: the rows of the conformance table that the LLVM backend leaves to NumPy's kernels, and why.

`python tests/llvm_placement.py` prints how many rows of each op are native; with `--write` it also writes the list.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

from conformance import Case, all_cases

from graphc.backends.codegen.target import Target
from graphc.backends.llvm import LlvmBackend
from graphc.backends.llvm.backend import LlvmExecutable, why_not
from graphc.backends.llvm.control import check_code
from graphc.runtime.backend import Options

LIST = Path(__file__).with_name("llvm_placement.txt")
# The same reason with other names and sizes.
TYPE = re.compile(r"\b[a-z]+\d*\[[^]]*\]")


def rows() -> dict[str, Case]:
    """The conformance table by name; the second row of a name is called `name (2)`."""
    found: dict[str, Case] = {}
    seen: Counter[str] = Counter()
    for case in all_cases():
        seen[case.name] += 1
        found[case.name if seen[case.name] == 1 else f"{case.name} ({seen[case.name]})"] = case
    return found


def placement() -> dict[str, str]:
    """Row -> reason, as the list has it."""
    found: dict[str, str] = {}
    reason = ""
    for line in LIST.read_text("utf-8").splitlines():
        if line.startswith("# "):
            reason = line[2:]
        elif line:
            found[line] = reason
    return found


def reasons(executable: LlvmExecutable, target: Target) -> str | None:
    """Why nodes of what was compiled last are not native; None where all are."""
    compiled = executable.signatures.values()[-1]
    left = [n for r in compiled.regions if r.program is None for n in r.nodes]
    said = [why_not(n, target, check_code) or "native by itself" for n in left]
    return "; ".join(dict.fromkeys(TYPE.sub("a tensor", s) for s in said)) or None


def main(arguments: list[str]) -> None:
    backend = LlvmBackend()
    count: Counter[str] = Counter()
    native: Counter[str] = Counter()
    groups: dict[str, list[str]] = {}
    for name, case in rows().items():
        executable = backend.compile(case.graph(), Options())
        assert isinstance(executable, LlvmExecutable)
        if not executable.signatures.values():
            executable.run(case.feeds())
        reason = reasons(executable, backend.target)
        count[case.op.name] += 1
        native[case.op.name] += reason is None
        if reason is not None:
            groups.setdefault(reason, []).append(name)
    for op, n in sorted(count.items()):
        print(f"{op:30} {native[op]:4} of {n:4}")
    print(f"{'together':30} {native.total():4} of {count.total():4}")
    if "--write" in arguments:
        lines = [line for r in sorted(groups) for line in (f"# {r}", *sorted(groups[r]), "")]
        LIST.write_text("\n".join(lines), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
