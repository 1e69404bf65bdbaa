"""Measure what a system costs by itself: in a new process, one question after another.

Knows processes and pipelines; knows nothing of figures. The process imports no more than the
system needs, so that its memory is the system's.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from ragcore.disk.replacing import write_file
from ragcore.errors import ComponentError, ConfigError
from ragcore.experiments.resources import Pipeline
from ragcore.experiments.results import Cost

__all__ = ["measure_cost", "recorded_cost"]

_FILE: Final = "cost.json"
_LAST: Final = 2000
"""Characters of a failed process's output that an error shows."""


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
    except FileNotFoundError:
        return None
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        raise ConfigError(
            f"{path}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}: remove the file, and the "
            "cost is measured again"
        ) from None
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
        ComponentError: the process failed; has the end of what it wrote.
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
    lines = result.stdout.splitlines()
    if result.returncode or not lines:
        raise ComponentError(
            f"{pipeline.path}: the process that measures the cost of {folder.name} ended with "
            f"{result.returncode}: {result.stderr[-_LAST:].strip() or 'it wrote nothing'}: run the "
            "experiment again without measuring costs (cost: 0), or fix that"
        )
    row: dict[str, Any] = json.loads(lines[-1])
    cost = Cost(**row)
    write_file(folder / _FILE, json.dumps(asdict(_Record(asked, cost, depth))) + "\n")
    return cost


_PROGRAM: Final = """\
import json, sys
request = json.load(sys.stdin)
sys.path[:] = request["path"]
from ragcore.experiments.alone import cost_alone
print(json.dumps(cost_alone(request)))
"""
