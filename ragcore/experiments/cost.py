"""Measure what a system costs by itself: in a new process, one question after another.

Knows processes and pipelines; knows nothing of figures. The process imports no more than the
system needs, so that its memory is the system's.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from ragcore.disk.replacing import write_file
from ragcore.errors import ComponentError, ConfigError
from ragcore.evaluation.runs import faults_of
from ragcore.experiments.resources import Pipeline
from ragcore.experiments.results import Cost

__all__ = ["measure_cost", "recorded_cost"]

_FILE: Final = "cost.json"
_LONGEST: Final = 300
"""Characters of a failed process's error that a message shows."""


@dataclass(frozen=True, slots=True)
class _Record:
    """What the file has: how many questions the experiment wanted, how deep, and the cost."""

    asked: int
    cost: Cost
    depth: int | None = None


def recorded_cost(folder: Path, asked: int, depth: int | None) -> Cost | None:
    """Return the cost that was measured with so many questions, from a run's folder, or None.

    Args:
        folder: of the run.
        asked: how many questions the experiment wants.
        depth: as for `measure_cost`; a run is used again for less deep measures, its cost is not.

    Raises:
        ConfigError: the file is damaged.
    """
    path = folder / _FILE
    try:
        record = TypeAdapter(_Record).validate_json(path.read_bytes(), strict=True)
        fault = _fault(record.cost)
    except FileNotFoundError:
        return None
    except OSError as error:
        fault = f"cannot be read ({error.strerror})"
    except ValidationError as error:
        fault = faults_of(error)
    if fault is not None:
        raise ConfigError(f"{path}: {fault}: remove it, and the cost is measured again")
    return record.cost if (record.asked, record.depth) == (asked, depth) else None


def measure_cost(
    pipeline: Pipeline, questions: Sequence[str], asked: int, folder: Path, *, depth: int | None
) -> Cost:
    """Measure a system in a new process, and write the cost into the folder of its run.

    Args:
        pipeline: the system.
        questions: the first is asked to warm up, the others are measured; a single one is both.
        asked: how many the experiment wants; recorded.
        folder: of the run.
        depth: how deep is searched, where retrieval alone is measured; None where it answers.

    Raises:
        ComponentError: the process failed; has the last line of what it wrote.
    """
    request = {
        "pipeline": str(pipeline.path),
        "overrides": list(pipeline.overrides),
        "questions": list(questions),
        "depth": depth,
        "path": sys.path,
    }
    result = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    cost, fault = _result(result.stdout)
    if result.returncode or cost is None:
        fault = fault or _last_line(result.stderr) or "it wrote nothing"
        raise ComponentError(
            f"{pipeline.path}: the process that measures the cost ended with "
            f"{result.returncode}: {fault[:_LONGEST]}"
        )
    write_file(folder / _FILE, json.dumps(asdict(_Record(asked, cost, depth))) + "\n")
    return cost


def _result(output: str) -> tuple[Cost | None, str | None]:
    """Return the cost that the process wrote in its last line, or the error that it wrote there."""
    line = _last_line(output)
    if not line:
        return None, None
    try:
        cost = TypeAdapter(Cost).validate_json(line, strict=True)
    except ValidationError:
        return None, line.removeprefix(_ERROR) if line.startswith(_ERROR) else None
    fault = _fault(cost)
    return (cost, None) if fault is None else (None, fault)


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def _fault(cost: Cost) -> str | None:
    """Say which value no measurement has; None where all are sound."""
    for name, value in asdict(cost).items():
        least = 1 if name == "questions" else 0
        if value is not None and not (math.isfinite(value) and value >= least):
            return f"cost.{name} is {value}, expected a finite number of at least {least}"
    return None


_ERROR: Final = "error: "
_PROGRAM: Final = f"""\
import json, sys
request = json.load(sys.stdin)
sys.path[:] = request["path"]
from ragcore.experiments.alone import cost_alone
try:
    print(json.dumps(cost_alone(request)))
except Exception as error:
    # One line: the message of an error may have many, and its traceback is no user's.
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    print({_ERROR!r} + first)
    sys.exit(1)
"""
