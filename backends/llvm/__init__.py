"""The LLVM backend: native code for the CPU, from loop nests."""

from __future__ import annotations

from .backend import LlvmBackend

__all__ = ["LlvmBackend"]
