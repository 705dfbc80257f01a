"""The processor that this process runs on."""

from __future__ import annotations

import math
import os
import platform
from functools import cache
from pathlib import Path


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def cpu_count() -> int:
    """The cores that this process may use: those of its affinity mask, no more than its control group's quota."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = cgroup_quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


@cache
def cgroup_quota(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float | None:
    """Seconds of processor time a second that the control groups around this process allow; None for no bound."""
    found = []
    for line in _read(own).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root if not controllers else root / "cpu"
        place = base / path.lstrip("/")
        for folder in (place, *place.parents):
            found.append(_quota(folder))
            if folder == base:
                break
    # In a container the path may be that of the host; then the root is the container's own group.
    found += [_quota(root), _quota(root / "cpu")]
    return min((q for q in found if q is not None), default=None)


def _quota(folder: Path) -> float | None:
    """Of one group: version 2 says `max` or `quota period` in cpu.max, version 1 has a file for each."""
    words = _read(folder / "cpu.max").split() or [
        _read(folder / "cpu.cfs_quota_us").strip(),
        _read(folder / "cpu.cfs_period_us").strip(),
    ]
    if len(words) != 2 or not all(w.isdecimal() for w in words) or int(words[1]) == 0:
        return None
    return int(words[0]) / int(words[1])


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
