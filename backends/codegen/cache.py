"""Compiled code on disk, for later processes: found by a key, used only if the whole key and the content are right.

Nothing here may break a compilation: what is wrong with a file or a folder is said once in a process, as a warning, and
the code is made again. Files are replaced as a whole, so processes may share the folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import threading
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

from graphc import debug

MAGIC = b"graphc1\n"
HEAD = len(MAGIC) + 32 + 8  # the magic, the hash of what follows the head, the length of the key
MAX_BYTES = 1 << 30  # of the folder
MAX_ENTRY = 1 << 28
STALE = 3600.0  # seconds after which a file that was never finished is nobody's any more


class CacheWarning(UserWarning):
    """The compile cache on disk cannot be used as it should; results are right all the same."""


@dataclass
class Counters:
    """What became of the requests of this process."""

    hits: int = 0
    misses: int = 0


class Store:
    """A folder of entries, the least recently used ones removed when they are too many bytes together.

    The folder is made with access for its owner only; one that belongs to another user is not used.
    """

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES):
        self.folder, self.max_bytes = folder, max_bytes
        self.counters = Counters()
        self._warned = False
        self._bytes: int | None = None  # in the folder, as far as is known
        self._lock = threading.Lock()
        self._usable = self._prepare()

    def get(self, key: bytes) -> bytes | None:
        """The content stored for `key`, or None."""
        content = self._read(key) if self._usable else None
        with self._lock:
            if content is None:
                self.counters.misses += 1
            else:
                self.counters.hits += 1
        return content

    def put(self, key: bytes, content: bytes) -> None:
        """Store `content` for `key`."""
        if not self._usable:
            return
        body = key + content
        data = b"".join([MAGIC, hashlib.sha256(body).digest(), len(key).to_bytes(8, "little"), body])
        path = self._path(key)
        temporary = self.folder / f"{path.name}.{os.getpid()}.{threading.get_ident()}.tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        try:
            with open(os.open(temporary, flags, 0o600), "wb") as file:
                file.write(data)
            os.replace(temporary, path)
        except OSError as e:
            with contextlib.suppress(OSError):
                temporary.unlink()
            self._usable = False
            self._warn(f"cannot write to it: {e.strerror or e}; what is compiled is not kept")
            return
        self._grow(len(data))

    def _path(self, key: bytes) -> Path:
        return self.folder / f"{hashlib.sha256(key).hexdigest()}.o"

    def _prepare(self) -> bool:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.folder.stat()
            if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
                self._warn("it belongs to another user, so it is not used")
                return False
            if os.name == "posix" and stat.S_IMODE(found.st_mode) & 0o077:
                self.folder.chmod(0o700)
        except OSError as e:
            self._warn(f"it cannot be used: {e.strerror or e}")
            return False
        return True

    def _read(self, key: bytes) -> bytes | None:
        path = self._path(key)
        try:
            flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
            with open(os.open(path, flags), "rb") as file:
                found = os.fstat(file.fileno())
                if hasattr(os, "geteuid") and (not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid()):
                    raise ValueError("not a file of this user's")
                if found.st_size > MAX_ENTRY:
                    raise ValueError("too large")
                data = file.read()
            os.utime(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as e:
            self._warn(f"{path.name} cannot be read ({e}); it is made again")
            return None
        body = data[HEAD:]
        start = HEAD + int.from_bytes(data[HEAD - 8 : HEAD], "little")
        if data[: len(MAGIC)] != MAGIC or data[len(MAGIC) : HEAD - 8] != hashlib.sha256(body).digest():
            self._warn(f"{path.name} is damaged; it is made again")
            return None
        return data[start:] if data[HEAD:start] == key else None

    def _grow(self, size: int) -> None:
        """Count `size` bytes more, and make room when they are too many."""
        with self._lock:
            if self._bytes is not None and self._bytes + size <= self.max_bytes:
                self._bytes += size
                return
            entries = self._scan()
            total = sum(n for _, n, _ in entries)
            if total > self.max_bytes:
                for _, n, path in sorted(entries):
                    if total <= self.max_bytes * 3 // 4:
                        break
                    with contextlib.suppress(OSError):
                        path.unlink()
                        total -= n
            self._bytes = total

    def _scan(self) -> list[tuple[float, int, Path]]:
        """When each entry was used last, its size and its path. Removes what writers that died left behind."""
        entries = []
        with contextlib.suppress(OSError), os.scandir(self.folder) as found:
            for item in found:
                with contextlib.suppress(OSError):
                    about = item.stat(follow_symlinks=False)
                    if item.name.endswith(".o"):
                        entries.append((about.st_mtime, about.st_size, Path(item.path)))
                    elif item.name.endswith(".tmp") and time.time() - about.st_mtime > STALE:
                        os.unlink(item.path)
        return entries

    def _warn(self, message: str) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(f"compile cache {self.folder}: {message}", CacheWarning, stacklevel=2)


_stores: dict[Path, Store] = {}


def store() -> Store | None:
    """The store in the folder that GRAPHC_CACHE names, or None where it says `off`."""
    folder = debug.cache_dir()
    if folder is None:
        return None
    if folder not in _stores:
        _stores[folder] = Store(folder)
    return _stores[folder]
