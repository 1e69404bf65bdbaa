"""What a component shares with the rest of its process: global state, and standard output."""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import os
import random
import sys
import tempfile
import unittest
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["global_state", "open_files", "printed_by", "seeded"]


def global_state() -> dict[str, Any]:
    """Return the global state that a component has no business to change, by its name.

    Where torch is not imported yet, its modes are those that it starts with, and the state of its
    random generator is left out.
    """
    state = {
        "the state of `random`": random.getstate(),
        "the state of `numpy.random`": repr(np.random.get_state(legacy=False)) + _numpy_key(),
        "numpy's error handling (`numpy.seterr`)": np.geterr(),
        "the working folder": Path.cwd(),
        "the root logger's level": logging.root.level,
        "the root logger's handlers": list(logging.root.handlers),
        "torch's gradient mode (`torch.set_grad_enabled`)": True,
        "torch's default type": "torch.float32",
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        state |= {
            "the state of torch's random generator": torch.get_rng_state().numpy().tobytes(),
            "torch's gradient mode (`torch.set_grad_enabled`)": torch.is_grad_enabled(),
            "torch's default type": str(torch.get_default_dtype()),
        }
    return state


@contextlib.contextmanager
def seeded(number: int) -> Iterator[None]:
    """Seed the global random generators; afterwards all global state is as it was before."""
    torch = sys.modules.get("torch")
    python, numbers, errors = random.getstate(), np.random.get_state(), np.geterr()
    tensors = None if torch is None else torch.get_rng_state()
    modes = None if torch is None else (torch.is_grad_enabled(), torch.get_default_dtype())
    folder, level, handlers = Path.cwd(), logging.root.level, list(logging.root.handlers)
    random.seed(number)
    np.random.seed(number)
    if torch is not None:
        torch.manual_seed(number)
    try:
        yield
    finally:
        os.chdir(folder)
        logging.root.setLevel(level)
        logging.root.handlers[:] = handlers
        random.setstate(python)
        np.random.set_state(numbers)
        np.seterr(**errors)
        torch = sys.modules.get("torch")
        if torch is not None:
            # Where it was imported meanwhile, it had the modes that it starts with.
            grad, dtype = modes or (True, torch.float32)
            torch.set_grad_enabled(grad)
            torch.set_default_dtype(dtype)
        if torch is not None and tensors is not None:
            torch.set_rng_state(tensors)


def open_files() -> set[str]:
    """Return the numbers of the file descriptors that this process has open.

    Raises:
        SkipTest: the system does not list them in /dev/fd.
    """
    try:
        return set(os.listdir("/dev/fd"))
    except OSError:
        raise unittest.SkipTest("this system does not list open files in /dev/fd") from None


def printed_by(call: Callable[[], object]) -> str:
    """Return what a call writes to standard output, by Python or below it."""
    text = io.StringIO()
    with tempfile.TemporaryFile() as file:
        with contextlib.redirect_stdout(text), _descriptor_to(file.fileno()):
            call()
        file.seek(0)
        below = file.read().decode("utf-8", errors="replace")
    return text.getvalue() + below


@contextlib.contextmanager
def _descriptor_to(target: int) -> Iterator[None]:
    """Send what is written to file descriptor 1 to another; nothing where 1 is closed."""
    _flush()
    try:
        before = os.dup(1)
    except OSError:
        yield
        return
    os.dup2(target, 1)
    try:
        yield
    finally:
        _flush()
        os.dup2(before, 1)
        os.close(before)


def _flush() -> None:
    """Write out what Python and the C library still hold back."""
    for stream in (sys.stdout, sys.__stdout__):
        # A stream may be closed, or missing, where a program has no terminal.
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.flush()  # type: ignore[union-attr]
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).fflush(None)


def _numpy_key() -> str:
    """Return numpy's random state in full, which its repr shortens."""
    state: Any = np.random.get_state(legacy=False)
    return str(state["state"]["key"].tobytes().hex()) if "key" in state["state"] else ""
