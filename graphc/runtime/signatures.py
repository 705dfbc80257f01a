"""What is compiled for each signature of input shapes: bounded, counted, made once however many threads ask."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

from graphc.frozen import Frozen

T = TypeVar("T")

SIGNATURES = 16  # how many are kept

_caches: weakref.WeakSet[Signatures[Any]] = weakref.WeakSet()


class CacheInfo(Frozen):
    """Counters of a model's specialisations.

    Attributes:
        hits: runs whose input shapes had been compiled before; none of a model that has only one signature.
        misses: signatures that had to be compiled, again where they had been dropped.
        size, capacity: how many signatures are kept, and at most; the one that was unused for longest goes first.
    """

    hits: int
    misses: int
    size: int
    capacity: int


class Signatures(Generic[T]):
    """The least recently used one goes when there are more than `capacity`."""

    def __init__(self, capacity: int = SIGNATURES):
        self.capacity = capacity
        self._entries: OrderedDict[Hashable, T] = OrderedDict()
        self._hits = self._misses = 0
        self._lock, self._making = threading.Lock(), threading.RLock()
        _caches.add(self)

    def find(self, signature: Hashable, make: Callable[[], T]) -> T:
        """The entry for `signature`, made by `make` if there is none."""
        with self._lock:
            found = self._entries.get(signature)
            if found is not None:
                self._hits += 1
                self._entries.move_to_end(signature)
                return found
        with self._making:
            with self._lock:
                found = self._entries.get(signature)  # another thread may just have made it
                if found is not None:
                    self._hits += 1
                    return found
            found = make()
            dropped = []
            with self._lock:
                self._misses += 1
                self._entries[signature] = found
                while len(self._entries) > self.capacity:
                    dropped.append(self._entries.popitem(last=False))
        return found

    def values(self) -> list[T]:
        """The entries, the one used last at the end."""
        with self._lock:
            return list(self._entries.values())

    def clear(self) -> None:
        """Drop all entries; runs that use them go on."""
        with self._lock:
            dropped, self._entries = self._entries, OrderedDict()
        del dropped

    def info(self) -> CacheInfo:
        """The counters."""
        with self._lock:
            return CacheInfo(self._hits, self._misses, len(self._entries), self.capacity)


def _renew_locks() -> None:
    """After a fork nobody in the child holds them, whoever did in the parent."""
    for cache in _caches:
        cache._lock, cache._making = threading.Lock(), threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
