"""External tensor data: files beside the model, and nothing else.

A location is a plain relative path. Every part of it is opened without following links, from the model's real folder
down; a link counts only if what it leads to lies in that folder. The size is checked when the model is loaded, the
bytes are read when the tensor is first used, and by then the file must still be the same.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx

from graphc.errors import ExternalDataError, escape
from graphc.frozen import Frozen
from graphc.types import Array

from .source import READ

_KEYS = frozenset({"location", "offset", "length", "checksum"})
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_DIRECTORY = getattr(os, "O_DIRECTORY", 0)


class ExternalFiles(Frozen):
    """Where external data may be read from.

    Attributes:
        folder: the model's folder; None when the model did not come from a file.
        allow_links: also read files that have several hard links.
        warn: called with a message for what is ignored.
    """

    folder: Path | None
    allow_links: bool
    warn: Callable[[str], None]

    def open(self, entries: Iterable[onnx.StringStringEntryProto], nbytes: int, name: str) -> Callable[[], Array]:
        """A function that reads the `nbytes` bytes which `entries` name; existence and size are checked now.

        Raises `ExternalDataError`.
        """
        fields = self._fields(entries, name)
        location = fields.get("location", "")
        _check_location(location, name)
        offset, length = _decimal(fields.get("offset", "0"), "offset", name), fields.get("length")
        if length is not None and (given := _decimal(length, "length", name)) != nbytes:
            raise ExternalDataError(f"length is {given:,}, the tensor has {nbytes:,} bytes", value=name)
        if self.folder is None:
            raise ExternalDataError(
                f"the data are in {escape(location)!r}, but the model did not come from a file",
                value=name,
                hint="Load the model from its path, or pass folder=",
            )
        folder = Path(os.path.realpath(self.folder))
        descriptor, identity = self._open(folder, location, name)
        os.close(descriptor)
        size = identity[2]
        if offset + nbytes > size:
            raise ExternalDataError(
                f"{escape(location)!r} has {size:,} bytes, the tensor needs {nbytes:,} from byte {offset:,}", value=name
            )

        def read() -> Array:
            descriptor, now = self._open(folder, location, name)
            with open(descriptor, "rb") as file:
                if now != identity:
                    raise ExternalDataError(f"{escape(location)!r} has changed since the model was loaded", value=name)
                file.seek(offset)
                data = np.empty(nbytes, np.uint8)
                if file.readinto(data.data) != nbytes:
                    raise ExternalDataError(f"{escape(location)!r} ends too early", value=name)
            return data

        return read

    def _fields(self, entries: Iterable[onnx.StringStringEntryProto], name: str) -> dict[str, str]:
        fields: dict[str, str] = {}
        for entry in entries:
            key, value = (_text(part, name) for part in (entry.key, entry.value))
            if key not in _KEYS:
                self.warn(f"tensor '{escape(name)}': external data key {escape(key)!r} is not known, and ignored")
            elif key in fields:
                raise ExternalDataError(f"{key} is given twice", value=name)
            else:
                fields[key] = value
        return fields

    def _open(self, folder: Path, location: str, name: str) -> tuple[int, tuple[int, ...]]:
        """A descriptor of the file, and what it is known by: device, inode, size, time of change."""
        real = Path(os.path.realpath(folder / location))
        where = escape(location)
        if not real.is_relative_to(folder) or real == folder:
            raise ExternalDataError(f"{where!r} leads out of the model's folder", value=name)
        try:
            descriptor = _open_below(folder, real.relative_to(folder).parts)
        except OSError as e:
            raise ExternalDataError(f"cannot open {where!r}: {(e.strerror or str(e)).lower()}", value=name) from e
        status = os.fstat(descriptor)
        fault = None
        if not stat.S_ISREG(status.st_mode):
            fault = f"{where!r} is not a regular file"
        elif status.st_nlink > 1 and not self.allow_links:
            fault = f"{where!r} has {status.st_nlink} hard links"
        if fault is not None:
            os.close(descriptor)
            hint = "Pass allow_links=True if that is intended" if "links" in fault else None
            raise ExternalDataError(fault, value=name, hint=hint)
        return descriptor, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _open_below(folder: Path, parts: tuple[str, ...]) -> int:
    """A descriptor of folder/parts, no part of which is a link at the moment it is opened."""
    if os.open not in os.supports_dir_fd:
        return os.open(folder.joinpath(*parts), READ | _NOFOLLOW)
    at = os.open(folder, READ | _DIRECTORY)
    for i, part in enumerate(parts):
        kind = _DIRECTORY if i < len(parts) - 1 else 0
        try:
            deeper = os.open(part, READ | _NOFOLLOW | kind, dir_fd=at)
        finally:
            os.close(at)
        at = deeper
    return at


def _check_location(location: str, name: str) -> None:
    """Raise `ExternalDataError` unless `location` is a relative path with `/` that stays below its start."""
    fault = None
    if not location:
        fault = "is empty or missing"
    elif any(not c.isprintable() for c in location):
        fault = "has a control character in it"
    elif "\\" in location:
        fault = "has a backslash in it"
    elif location.startswith("/"):
        fault = "is an absolute path"
    elif re.match(r"[A-Za-z]:", location):
        fault = "starts with a drive letter"
    elif ".." in location.split("/"):
        fault = "has '..' in it"
    elif location.split("/")[-1] in ("", "."):
        fault = "names a folder"
    if fault is not None:
        raise ExternalDataError(
            f"external location {escape(location)!r} {fault}, expected a file in the model's folder", value=name
        )


def _text(part: str | bytes, name: str) -> str:
    if isinstance(part, bytes):
        raise ExternalDataError(f"an entry is not UTF-8: {part[:40]!r}", value=name)
    return part


def _decimal(text: str, key: str, name: str) -> int:
    """A non-negative decimal number that fits 64 bits."""
    if not re.fullmatch(r"[0-9]{1,19}", text):
        raise ExternalDataError(f"{key} is {escape(text)!r}, expected a non-negative decimal number", value=name)
    return int(text)
