"""Test that threads share heaps, and that freed memory goes back to the system."""

from __future__ import annotations

import os
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

HEAPS = """
import ctypes, threading
from ragcore.process.heap import limit_heaps

limit_heaps(2)
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
together = threading.Barrier(8)
heaps = set()

def allocate():
    together.wait()  # a thread that ends leaves its heap to the next
    block = libc.malloc(ctypes.c_size_t(1000))
    heaps.add(block >> 26)  # heaps of threads are aligned to 64 MiB
    together.wait()

threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(heaps))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heap")
@pytest.mark.parametrize(("environment", "most"), [({}, 2), ({"MALLOC_ARENA_MAX": "1"}, 1)])
def test_threads_share_heaps(environment, most):
    done = subprocess.run(
        [sys.executable, "-c", HEAPS],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    assert int(done.stdout) <= most


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
