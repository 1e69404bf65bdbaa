"""Measurements as JSON lines: one for each stage, kind and size, with how it was measured."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ragcore.process.cpus import usable_cpus

__all__ = ["Log", "Record", "circumstances", "time_of"]

Record = dict[str, Any]

ALL_CORES = ("encode", "train")
"""Stages that compute with all cores most of the time."""

_KEY = ("stage", "kind", "passages", "dim", "shard", "shards", "text", "cores")


def circumstances() -> Record:
    """Return what a measurement depends on besides its job: the commit, the cores, other programs.

    The machine is busy where more programs want to run than there are cores.
    """
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(git, capture_output=True, text=True, check=False)
    cores = usable_cpus()
    busy = hasattr(os, "getloadavg") and os.getloadavg()[0] > cores + 0.5
    return {"commit": done.stdout.strip() or "unknown", "cores": cores, "busy": busy}


def time_of(record: Record, figure: str = "seconds") -> float:
    """Return a time of a record: the clock's, or where the machine was busy the processor's.

    The latter is of all threads together, so that it is divided where all cores computed.
    """
    if not record["busy"]:
        return float(record[figure])
    name = {"seconds": "processor_seconds", "p99": "processor_p99"}[figure]
    return float(record[name]) / (record["cores"] if record["stage"] in ALL_CORES else 1)


class Log:
    """Measurements in a file, to which each is appended when it is done; or in memory alone."""

    def __init__(self, path: Path | None, *, fresh: bool = False) -> None:
        self._path = path
        self._records: dict[tuple[Any, ...], Record] = {}
        if path is not None and fresh:
            path.unlink(missing_ok=True)
        if path is not None and path.exists():
            # A line that a kill cut short is measured again.
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    record = json.loads(line)
                except json.JSONDecodeError:
                    continue
                self._records[_key(record)] = record

    def add(self, record: Record) -> None:
        """Append a record, and print it as one line of JSON."""
        self._records[_key(record)] = record
        line = json.dumps(record)
        print(line, flush=True)
        if self._path is not None:
            text = self._path.read_text(encoding="utf-8") if self._path.exists() else ""
            with self._path.open("a", encoding="utf-8") as file:
                file.write(("" if text.endswith("\n") or not text else "\n") + line + "\n")

    def has(self, records: Iterable[Record]) -> bool:
        """Return whether all of these were measured, whatever their figures."""
        return all(_key(record) in self._records for record in records)

    def all(self) -> list[Record]:
        """Return the records, the latest of each key."""
        return list(self._records.values())


def _key(record: Record) -> tuple[Any, ...]:
    return tuple(record.get(name) for name in _KEY)
