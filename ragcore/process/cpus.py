"""How many processors this process may use, and what OpenMP is told about them.

Knows the affinity mask, control groups (v1 and v2) and the variables that OpenMP's runtimes read
when they are loaded; imports no library that uses OpenMP.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Final

__all__ = ["configure_openmp", "usable_cpus"]

_WAIT_SETTINGS: Final = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Each of these says how long a waiting OpenMP thread spins."""

_THREAD_SETTINGS: Final = ("OMP_NUM_THREADS", "OMP_THREAD_LIMIT", "MKL_NUM_THREADS")


def usable_cpus(root: Path = Path("/")) -> int:
    """Return how many threads can compute at the same time: by affinity and the cgroup's quota.

    Args:
        root: where `proc` and `sys` are mounted.

    Returns:
        At least 1. A quota of 2.5 processors counts as 2: a third thread would be throttled.
    """
    return min(_affine_cpus(), *(max(1, int(quota)) for quota in _quotas(root)), sys.maxsize)


def configure_openmp(
    environment: MutableMapping[str, str] = os.environ, *, root: Path = Path("/")
) -> None:
    """Let waiting OpenMP threads sleep, and start no more of them than the quota allows.

    A thread of libgomp that waits for others spins; where processors are shared it keeps them from
    the thread that it waits for. What the user has set stays. OpenMP reads its settings once, so
    that this has an effect only before torch, faiss or another such library is loaded.

    Args:
        environment: is changed.
        root: as for `usable_cpus`.
    """
    if not any(name in environment for name in _WAIT_SETTINGS):
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
    # The runtimes know the affinity mask themselves, and which processors are one core's.
    cpus = usable_cpus(root)
    if cpus < _affine_cpus() and not any(name in environment for name in _THREAD_SETTINGS):
        environment["OMP_NUM_THREADS"] = str(cpus)


def _affine_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(root: Path) -> Iterator[float]:
    """Yield the processors that each control group above this process allows, where it limits."""
    try:
        groups = (root / "proc/self/cgroup").read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeError):
        return
    for line in groups:
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        mounts = root / "sys/fs/cgroup"
        if controllers and "cpu" not in controllers.split(","):
            continue
        # In a container the mounted tree often begins at the container's own group.
        base = mounts if not controllers else mounts / "cpu"
        folders = [base / part for part in _upwards(group)]
        for folder in dict.fromkeys([*folders, base]):
            quota = _quota_v1(folder) if controllers else _quota_v2(folder)
            if quota is not None:
                yield quota


def _upwards(group: str) -> Iterator[str]:
    """Yield a group's path and those of the groups above it, relative to the mount."""
    path = Path(group.lstrip("/"))
    if ".." in path.parts:
        return
    yield str(path)
    yield from (str(parent) for parent in path.parents)


def _quota_v2(folder: Path) -> float | None:
    match _words(folder / "cpu.max"):
        case [limit, period] if limit.isdigit() and period.isdigit() and int(period):
            return int(limit) / int(period)
    return None


def _quota_v1(folder: Path) -> float | None:
    match _words(folder / "cpu.cfs_quota_us"), _words(folder / "cpu.cfs_period_us"):
        # A quota of -1 is none.
        case [[limit], [period]] if limit.isdigit() and period.isdigit() and int(period):
            return int(limit) / int(period)
    return None


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except (OSError, UnicodeError):
        return []
