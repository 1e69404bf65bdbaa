"""Compile the library that kills a process at a call that changes a folder: see killer.c."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

__all__ = ["KILLER_MARKS", "compiled_killer"]

_COMPILER = shutil.which("cc")
KILLER_MARKS = [
    pytest.mark.skipif(_COMPILER is None, reason="no C compiler to make the killer with"),
    pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD and /proc are Linux's"),
]
"""The marks of tests that kill processes so."""


def compiled_killer(folder: Path) -> Path:
    """Compile the library into a folder, and return it: for LD_PRELOAD."""
    library, source = folder / "killer.so", Path(__file__).with_name("killer.c")
    assert _COMPILER is not None
    subprocess.run(
        [_COMPILER, "-O1", "-shared", "-fPIC", source, "-o", library, "-ldl"], check=True
    )
    return library
