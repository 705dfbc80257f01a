"""Arrays and a description in one file, which is either whole or not there."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from graphc.errors import ExecutionError
from graphc.types import Array

META = "meta"


def write_checkpoint(path: Path, arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> None:
    """Write to a file beside `path`, force it to the disk, then put it in the place of `path` in one step.

    A crash at any moment leaves what was there before, or what is there now. Raises `OSError`.
    """
    text = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        np.savez(file, **{META: text}, **{f"array {n}": a for n, a in arrays.items()})  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync_folder(path.parent)


def read_checkpoint(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """The arrays and the description. Raises `ExecutionError` for what is no checkpoint, or damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {n: file[n] for n in file.files}
        meta: dict[str, Any] = json.loads(found.pop(META).tobytes())
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as e:
        raise ExecutionError(f"{path} is not a checkpoint: {e}", hint="Name another file, or remove it") from e
    return {n.removeprefix("array "): a for n, a in found.items()}, meta


def _sync_folder(folder: Path) -> None:
    """Make the new name last; not every system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
