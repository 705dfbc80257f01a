"""LLVM IR to machine code in this process."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any

from graphc import debug
from graphc.errors import CompileError
from graphc.frozen import Frozen

from .cache import store
from .target import Target, llvm, llvm_version

# llvmlite lets one thread in at a time anyway. A fork waits until nobody is inside, so that the child can compile too.
COMPILING = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=COMPILING.acquire, after_in_parent=COMPILING.release, after_in_child=COMPILING.release)

_VERSION = "sroa, instcombine, simplifycfg, 1"  # what `prepare` does; part of what cached code is found by


# Target machines and builders of pass managers are made once: each would leave memory behind.
@cache
def _machine(target: Target, quick: bool) -> Any:
    """The target machine that makes the fastest code, or makes it in the least time."""
    return target.machine(speed=0 if quick else 3)


@cache
def _builder(target: Target) -> Any:
    binding = llvm()
    options = binding.create_pipeline_tuning_options(speed_level=2)
    return binding.create_pass_builder(_machine(target, quick=False), options)


@cache
def _linking_machine() -> Any:
    """The target machine that says for what objects are linked."""
    return llvm().Target.from_default_triple().create_target_machine(jit=True)


def prepare(text: str, target: Target, *, quick: bool = False) -> Any:
    """The module that `text` describes, checked, and optimised unless `quick`.

    Raises `CompileError` for text that is not LLVM IR.
    """
    binding = llvm()
    try:
        module = binding.parse_assembly(f'target triple = "{target.triple}"\n{text}')
        module.verify()
    except RuntimeError as e:
        raise CompileError(f"the emitter wrote invalid LLVM IR: {e}") from e
    if quick:
        return module
    # The emitter has hoisted, merged and unrolled already. What is left is to put register buffers into registers and
    # to tidy up; LLVM's whole O2 makes the same code of it in eight times the time.
    builder = _builder(target)
    passes = binding.create_new_function_pass_manager()
    passes.add_sroa_pass()
    passes.add_instruction_combine_pass()
    passes.add_simplify_cfg_pass()
    for function in module.functions:
        if not function.is_declaration:
            passes.run(function, builder)
    # llvmlite 0.50 never frees a pass manager by itself: the method that would is hidden by one that does nothing.
    binding.newpassmanagers.NewPassManager._dispose(passes)
    passes.detach()
    return module


def compile_object(text: str, target: Target, write: Callable[[], str] | None = None, *, quick: bool = False) -> bytes:
    """The object code of the module that `text` is, from the cache on disk if it is there.

    With `write`, which writes the module, `text` only has to determine it: then a hit does not need the module.
    With `quick` the code is made in a third of the time and is not optimised: right for what takes next to no time.
    """
    with COMPILING:
        kept = store()
        if kept is None or debug.level() >= 4:
            return _compile(write() if write else text, target, quick)
        how = "quick" if quick else _VERSION
        key = "\0".join([how, *map(str, llvm_version()), target.triple, target.cpu, target.features, text]).encode()
        code = kept.get(key)
        if code is None:
            code = _compile(write() if write else text, target, quick)
            kept.put(key, code)
        return code


def _compile(text: str, target: Target, quick: bool) -> bytes:
    machine, module = _machine(target, quick), prepare(text, target, quick=quick)
    if debug.level() >= 4:
        debug.log(4, machine.emit_assembly(module))
    code: bytes = machine.emit_object(module)
    return code


def assembly(text: str, target: Target, *, quick: bool = False) -> str:
    """The assembly of the module that `text` describes."""
    with COMPILING:
        result: str = _machine(target, quick).emit_assembly(prepare(text, target, quick=quick))
    return result


class Library(Frozen, eq=False):
    """Functions in memory; they are unloaded when the library is dropped."""

    addresses: dict[str, int]


def _unload(jit: Any, tracker: Any) -> None:
    with COMPILING:
        tracker.close()
        jit.close()


def link(objects: Sequence[bytes], names: Sequence[str], known: Mapping[str, int] = MappingProxyType({})) -> Library:
    """Load object files and find the functions called `names`.

    They may call each other, the C library, and the functions whose addresses `known` gives by name.
    """
    binding = llvm()
    with COMPILING:
        # A JIT of its own for each library: one that is kept holds on to some memory of libraries that are gone.
        jit = binding.create_lljit_compiler(_linking_machine())
        builder = binding.JITLibraryBuilder()
        for code in objects:
            builder.add_object_img(code)
        builder.add_current_process()
        for name, address in known.items():
            builder.import_symbol(name, address)
        for name in names:
            builder.export_symbol(name)
        tracker = builder.link(jit, "graphc")
    library = Library({name: tracker[name] for name in names})
    # Not at exit: threads may still be running in it.
    weakref.finalize(library, _unload, jit, tracker).atexit = False
    return library
