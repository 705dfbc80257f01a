"""How errors end a command: one line on stderr, and an exit code that scripts can tell apart."""

from __future__ import annotations

import sys
import traceback

from rich.text import Text

from graphc import debug
from graphc.cli.console import stderr
from graphc.errors import (
    BackendUnavailable,
    ExecutionError,
    GraphcError,
    ModelError,
    ResourceLimit,
    Timeout,
    UnsupportedOp,
    UnsupportedVersion,
    VerificationError,
)

FAILED, USAGE, BAD_MODEL, UNSUPPORTED, LIMIT, INTERNAL, INTERRUPTED = 1, 2, 3, 4, 5, 70, 130

# The first class that fits decides.
CODES: tuple[tuple[type[BaseException], int], ...] = (
    (VerificationError, FAILED),
    (ResourceLimit, LIMIT),
    (Timeout, LIMIT),
    (UnsupportedOp, UNSUPPORTED),
    (UnsupportedVersion, UNSUPPORTED),
    (BackendUnavailable, UNSUPPORTED),
    (ModelError, BAD_MODEL),
    (ExecutionError, BAD_MODEL),
    (GraphcError, USAGE),
    (OSError, USAGE),
    (MemoryError, LIMIT),
)


def exit_code(e: BaseException) -> int:
    """The process's exit code for an exception."""
    return next((code for kind, code in CODES if isinstance(e, kind)), INTERNAL)


def report(e: BaseException) -> None:
    """Print what went wrong on stderr; with GRAPHC_DEBUG, where in the code as well."""
    if debug.level() >= 1:
        traceback.print_exception(e, file=sys.stderr)
    message = f"out of memory: {e}" if isinstance(e, MemoryError) else str(e)
    if exit_code(e) == INTERNAL:
        message = f"internal error: {type(e).__name__}: {e}"
        if debug.level() < 1:
            message += ". Please report it, with the output of GRAPHC_DEBUG=1"
    stderr.print(Text.assemble(("error: ", "bold red"), message), soft_wrap=True)
