"""Answer or search questions one by one in a process that does nothing else, and time it.

Imports nothing that searching does not need. Knows pipelines and clocks.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from ragcore.process.cpus import configure_openmp

__all__ = ["cost_alone", "peak_bytes"]

_KIB: Final = 1024


def cost_alone(request: Mapping[str, Any]) -> dict[str, Any]:
    """Run a request of `measure_cost`; return the values of a `Cost`."""
    configure_openmp()
    with ExitStack() as opened:
        ask = _asker(request, opened)
        warm_up, *questions = request["questions"]
        ask(warm_up)
        walls, processor = [], time.process_time()
        for question in questions or [warm_up]:
            started = time.perf_counter()
            ask(question)
            walls.append(time.perf_counter() - started)
        processor = time.process_time() - processor
        return {
            "questions": len(walls),
            "seconds": statistics.median(walls),
            "cpu_seconds": processor / len(walls),
            "peak_bytes": peak_bytes(),
        }


def _asker(request: Mapping[str, Any], opened: ExitStack) -> Callable[[str], object]:
    """Open the system, and return what answers or searches one question."""
    from ragcore.build import open_memory
    from ragcore.config import load_config
    from ragcore.filters.expressions import read_where

    config = load_config(request["pipeline"], request["overrides"])
    depth = request["depth"]
    if depth is None:
        from ragcore.rag import Rag

        rag = opened.enter_context(Rag.from_config(config))
        return rag.answer
    memory = opened.enter_context(open_memory(config, verify=False))
    where = None if config.rag.where is None else read_where(config.rag.where)
    return lambda question: memory.hits([question], depth, where=where)


def peak_bytes() -> int | None:
    """Return the largest resident memory that this process has had; None where it is not known.

    Linux lets `ru_maxrss` begin with the size of the process that started this one, so that there
    the kernel's record for the program alone is read.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * _KIB
    except (OSError, ValueError, IndexError):
        pass
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if not largest:
        return None
    return largest if sys.platform == "darwin" else largest * _KIB
