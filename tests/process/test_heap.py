"""Test that freed memory goes back to the system, not only to the C library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ragcore.process.heap import release_free_memory

BLOCKS = """
from pathlib import Path
from ragcore.process.heap import release_free_memory

def resident():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) // 1024

blocks = [bytearray(b"x") * 60_000 for _ in range(2000)]  # too small for maps of their own
last = bytearray(b"x") * 60_000  # keeps the end of the heap
del blocks
before = resident()
release_free_memory()
print(before - resident())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to measure by")
@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heap")
def test_freed_blocks_inside_the_heap_are_given_back():
    done = subprocess.run(
        [sys.executable, "-c", BLOCKS], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) > 80


def test_it_may_be_called_any_time():
    release_free_memory()
    release_free_memory()
