"""LLVM IR to machine code in this process."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from graphc import debug
from graphc.errors import CompileError

from .target import Target, llvm

_numbers = itertools.count()


def optimize(text: str, target: Target) -> Any:
    """The module that `text` describes, checked and optimised. Raises `CompileError` for text that is not LLVM IR."""
    binding = llvm()
    machine = target.machine()
    try:
        module = binding.parse_assembly(f'target triple = "{target.triple}"\n{text}')
        module.verify()
    except RuntimeError as e:
        raise CompileError(f"the emitter wrote invalid LLVM IR: {e}") from e
    # The emitter has hoisted, merged and unrolled already. What is left is to put register buffers into registers and to
    # tidy up; LLVM's whole O2 makes the same code of it in eight times the time.
    builder = binding.create_pass_builder(machine, binding.create_pipeline_tuning_options(speed_level=2))
    passes = binding.create_new_function_pass_manager()
    passes.add_sroa_pass()
    passes.add_instruction_combine_pass()
    passes.add_simplify_cfg_pass()
    for function in module.functions:
        if not function.is_declaration:
            passes.run(function, builder)
    return module


def compile_object(text: str, target: Target) -> bytes:
    """The object code of the module that `text` describes."""
    module = optimize(text, target)
    if debug.level() >= 4:
        debug.log(4, target.machine().emit_assembly(module))
    code: bytes = target.machine().emit_object(module)
    return code


def assembly(text: str, target: Target) -> str:
    """The assembly of the module that `text` describes."""
    result: str = target.machine().emit_assembly(optimize(text, target))
    return result


@dataclass(frozen=True)
class Library:
    """Functions in memory; it must be alive as long as they are used."""

    addresses: dict[str, int]
    _trackers: Any


@cache
def _jit() -> Any:
    binding = llvm()
    machine = binding.Target.from_default_triple().create_target_machine(jit=True)
    return binding.create_lljit_compiler(machine)


def link(objects: Sequence[bytes], names: Sequence[str]) -> Library:
    """Load object files, which may call each other and the C library, and find the functions called `names`."""
    binding = llvm()
    jit = _jit()
    builder = binding.JITLibraryBuilder()
    for code in objects:
        builder.add_object_img(code)
    builder.add_current_process()
    for name in names:
        builder.export_symbol(name)
    tracker = builder.link(jit, f"graphc{next(_numbers)}")
    return Library({name: tracker[name] for name in names}, tracker)
