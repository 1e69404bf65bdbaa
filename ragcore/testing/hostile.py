"""Change saved files byte by byte, and load and use them in child processes.

A file whose digest is right may still have what its writer never wrote: who can write a store can
write its digests. With any bytes, loading or using it must end in a `RagcoreError` or work; it must
not crash, hang, raise anything else, or fill the memory. Knows folders and functions;
knows nothing of components.
"""

from __future__ import annotations

import logging
import os
import random
import resource
import shutil
import signal
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ragcore.errors import RagcoreError

__all__ = ["Outcomes", "attack"]

_SECONDS: Final = 30
_ROOM: Final = 1 << 29
"""Bytes that a child may allocate beyond what its parent has: far more than small files need."""

_NUMBERS: Final = tuple(
    number + change for number in (0, 2**7, 2**8, 2**16, 2**31, 2**32, 2**63) for change in (-1, 0)
)
_FLOATS: Final = (b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\0\0\x80\xff", b"\xff\xff\x7f\x7f")
"""NaN, both infinities and the largest number, as float32."""

_FINE, _REFUSED, _FAILED = 0, 1, 2


@dataclass
class Outcomes:
    """What became of files that were changed.

    Attributes:
        fine: how many could be used all the same.
        refused: how many ended in a `RagcoreError`.
        failures: of each other one, which file, what was changed, and how it ended.
    """

    fine: int = 0
    refused: int = 0
    failures: list[str] = field(default_factory=list)


def attack(folder: Path, use: Callable[[Path], object], *, count: int, seed: int = 0) -> Outcomes:
    """Change one file of a folder at a time, and use the folder in a child process.

    Call it in a program that has one thread, since it forks.

    Args:
        folder: files as a component has saved them; they stay as they are.
        use: loads and uses a copy of the folder; may write to it.
        count: how many changes to try.
        seed: of the changes.
    """
    outcomes = Outcomes()
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    with tempfile.TemporaryDirectory() as room:
        for number in range(count):
            choices = random.Random(f"{seed} {number}")
            name = choices.choice(names)
            copy = Path(room) / "copy"
            shutil.copytree(folder, copy)
            content, change = _changed((folder / name).read_bytes(), choices)
            (copy / name).write_bytes(content)
            status, message = _in_child(copy, use)
            shutil.rmtree(copy)
            if status == _FINE:
                outcomes.fine += 1
            elif status == _REFUSED:
                outcomes.refused += 1
            else:
                outcomes.failures.append(f"{name}, {change}: {message}")
    return outcomes


def _changed(content: bytes, choices: random.Random) -> tuple[bytes, str]:
    """Change a file's bytes in one way; return them, and how they were changed."""
    data = bytearray(content)
    # Counts and sizes are mostly at the beginning.
    reach = len(data) if choices.random() < 0.5 else min(len(data), 400)
    offset = choices.randrange(max(reach, 1))
    match choices.randrange(6):
        case 0:
            data[offset : offset + 1] = bytes([choices.randrange(256)])
            return bytes(data), f"byte {offset}"
        case 1:
            width = choices.choice((4, 8))
            offset = offset // 4 * 4 + choices.randrange(4) * choices.randrange(2)
            value = choices.choice(_NUMBERS) % 256**width
            data[offset : offset + width] = value.to_bytes(width, "little")
            return bytes(data), f"number {value} at {offset}"
        case 2:
            offset = offset // 4 * 4
            data[offset : offset + 4] = choices.choice(_FLOATS)
            return bytes(data), f"{bytes(data[offset : offset + 4])!r} at {offset}"
        case 3:
            return bytes(data[:offset]), f"cut at {offset}"
        case 4:
            del data[offset : offset + choices.choice((1, 4, 8, 64))]
            return bytes(data), f"shortened at {offset}"
        case _:
            data[offset:offset] = data[offset : offset + choices.choice((1, 4, 8, 64))]
            return bytes(data), f"repeated at {offset}"


def _in_child(folder: Path, use: Callable[[Path], object]) -> tuple[int, str]:
    """Use a folder in a forked child; return how it ended, and with which message."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        status, message = _FAILED, ""
        try:
            status, message = _outcome(folder, use)
        finally:
            os.write(writer, message[-4_000:].encode("utf-8", "replace"))
            # Without the parent's clean-up.
            os._exit(status)
    os.close(writer)
    with open(reader, "rb") as pipe:
        message = pipe.read().decode("utf-8", "replace")
    _, ended = os.waitpid(child, 0)
    if os.WIFSIGNALED(ended):
        return _FAILED, f"ended by {signal.Signals(os.WTERMSIG(ended)).name}"
    return os.WEXITSTATUS(ended), message


def _outcome(folder: Path, use: Callable[[Path], object]) -> tuple[int, str]:
    logging.disable(logging.CRITICAL)
    signal.alarm(_SECONDS)
    if hasattr(resource, "RLIMIT_AS"):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + _ROOM
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        use(folder)
    except RagcoreError as error:
        # Libraries would have filled the memory if they could.
        starved = any(isinstance(cause, MemoryError) for cause in (error.__cause__, error))
        return (_FAILED if starved else _REFUSED), str(error)
    except BaseException:
        return _FAILED, traceback.format_exc()
    return _FINE, ""
