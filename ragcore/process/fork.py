"""What a forked child needs before it can compute: free locks and one OpenMP thread.

A fork copies one thread. The threads of OpenMP's pool are not in the child, and its runtime waits
for them for ever; a lock that another thread held is never released. Servers fork after loading
(gunicorn's `preload_app`), and so does `multiprocessing` by its start method `fork`.

Importing this module registers the hook with `os.register_at_fork`.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable, MutableSet
from types import MethodType
from typing import Any, Final

__all__ = ["call_in_child", "new_lock", "new_rlock"]

_LOCKS: Final[MutableSet[Any]] = weakref.WeakSet()
_ACTIONS: Final[list[Callable[[], Callable[[], object] | None]]] = []


def new_lock() -> threading.Lock:
    """Return a lock that is free in every forked child, even if a thread of the parent holds it."""
    lock = threading.Lock()
    _LOCKS.add(lock)
    return lock


_REGISTERING: Final = new_lock()


def new_rlock() -> threading.RLock:  # type: ignore[valid-type, unused-ignore]
    """Return a reentrant lock that is free in every forked child."""
    lock = threading.RLock()
    _LOCKS.add(lock)
    return lock


def call_in_child(action: Callable[[], object]) -> None:
    """Call this in every child that is forked from now on, before the child goes on.

    Args:
        action: a function; or a bound method, which is called as long as its object lives.
    """
    with _REGISTERING:
        _ACTIONS[:] = [reference for reference in _ACTIONS if reference() is not None]
        if isinstance(action, MethodType):
            _ACTIONS.append(weakref.WeakMethod(action))
        else:
            _ACTIONS.append(lambda: action)


def _prepare_child() -> None:
    for lock in list(_LOCKS):
        # The standard library frees its own locks in the same way.
        lock._at_fork_reinit()
    _use_one_thread()
    for reference in list(_ACTIONS):
        action = reference()
        if action is not None:
            action()


def _use_one_thread() -> None:
    """Let torch, where it is loaded, compute in the calling thread."""
    set_num_threads = getattr(sys.modules.get("torch"), "set_num_threads", None)
    if set_num_threads is not None:
        set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_prepare_child)
