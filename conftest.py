"""Settings for all tests, the plugins' included: deterministic, and one thread a process."""

from __future__ import annotations

import gc
import os
import sys

import pytest
from hypothesis import settings

# Tiny models run faster on one thread, and parallel sums would differ from run to run.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"
# No test finds what another has encoded, or writes into the user's folder.
os.environ["RAGCORE_CACHE"] = "off"

# Where no bytecode is written, as in many containers, each of the hundreds of processes that tests
# start would compile ragcore again, which takes as long as its other imports.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Examples are derived from the test itself: a run today tries what a run tomorrow tries.
settings.register_profile("ragcore", deadline=None, derandomize=True, max_examples=30)
settings.load_profile("ragcore")


def _look_at(descriptor: int) -> None:
    """Raise what `os.fsync` does if a descriptor is not open, and do not wait for the disk."""
    os.fstat(descriptor)


# Whether a file was synced shows after a loss of power alone, which no test has, while waiting for
# the disk takes half the time of many tests of stores.
os.fsync = _look_at


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Leave tests and modules, which live to the end, out of each later garbage collection."""
    gc.collect()
    gc.freeze()
