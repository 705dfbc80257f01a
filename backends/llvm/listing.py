"""What became of nodes: loop nests, LLVM IR, assembly, as text."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.errors import CompileError
from graphc.names import did_you_mean, quote
from graphc.ops.fused import called

from ..codegen.emit import emit
from ..codegen.jit import assembly, prepare
from ..codegen.target import Target
from .kernels import is_brief
from .program import Program, Step


def show_kernels(programs: Sequence[Program], target: Target, stage: str, node: str | None) -> str:
    """Each distinct kernel of the node called `node` (None: of all) at `stage`: loops, llvm or asm.

    Raises `CompileError` where there is none.
    """
    steps = [s for p in programs for s in p.kernels]
    found = [s for s in steps if node is None or node in names(s)]
    if not found:
        known = [n for s in steps for n in names(s)]
        raise CompileError(
            f"no native kernel is made for a node {quote(node or '')}",
            hint=f"{did_you_mean(node or '', known)}`graphc profile` lists the nodes",
        )
    distinct: dict[str, list[Step]] = {}
    for s in found:
        distinct.setdefault(s.call.kernel, []).append(s)
    return "\n\n".join(_show(kernel, users, target, stage) for kernel, users in distinct.items())


def names(step: Step) -> list[str]:
    """What a user may call the node of a step; nothing for a copy."""
    return [] if step.node is None else list(called(step.node))


def _show(kernel: str, steps: Sequence[Step], target: Target, stage: str) -> str:
    users = ", ".join(dict.fromkeys(", ".join(names(s)) or "copy" for s in steps))
    comment = {"loops": "#", "llvm": ";"}.get(stage, "#")
    nest = steps[0].nest
    if stage == "loops":
        text = str(nest)
    else:
        source, quick = emit(nest, kernel, target), is_brief(nest)
        text = str(prepare(source, target, quick=quick)) if stage == "llvm" else assembly(source, target, quick=quick)
    return f"{comment} {kernel}: {users}\n{text.rstrip()}"
