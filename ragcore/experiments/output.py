"""Check the folder of an experiment's results before anything is computed.

Knows which paths in it an experiment writes, and whose results are there; knows nothing of how
they are computed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ragcore.errors import StoreError
from ragcore.experiments.folders import SEARCHES
from ragcore.experiments.systems import Experiment
from ragcore.experiments.writing import CSV, JSON, LATEX
from ragcore.questions.sources import is_dataset

__all__ = ["REPORT", "check_results", "output_faults"]

REPORT: Final = "report.html"
_FILES: Final = (JSON, CSV, LATEX, REPORT)
_FOLDERS: Final = ("runs", SEARCHES, "memories")
_ELSEWHERE: Final = "move it away, or name another folder for the output"


def output_faults(output: Path) -> Iterator[str]:
    """Yield what is in the way of writing results and runs into a folder, and what to do.

    Args:
        output: the folder, which may be missing.
    """
    nearest = output
    while not os.path.lexists(nearest) and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.exists():
        yield f"{nearest} is a link to nothing: {_ELSEWHERE}"
    elif not nearest.is_dir():
        below = "" if nearest == output else f", and {output} would be in it"
        yield f"{nearest} is a file{below}: name a folder"
    elif not os.access(nearest, os.W_OK | os.X_OK):
        yield f"no permission to write in {nearest}: name another folder"
    elif nearest == output:
        yield from _faults_inside(output)


def _faults_inside(output: Path) -> Iterator[str]:
    for name in _FILES:
        path = output / name
        if path.is_symlink():
            yield f"{path} is a symbolic link, and a file is to be written there: {_ELSEWHERE}"
        elif os.path.lexists(path) and not path.is_file():
            kind = "a folder" if path.is_dir() else "no regular file"
            yield f"{path} is {kind}, and a file is to be written there: {_ELSEWHERE}"
    for name in _FOLDERS:
        path = output / name
        if path.is_symlink() and (name == SEARCHES or not path.exists()):
            # What was searched is removed at the end: never what a link leads to.
            what = "a symbolic link" if path.exists() else "a link to nothing"
        elif os.path.lexists(path) and not path.is_dir():
            what = "a file"
        else:
            if path.is_dir() and not os.access(path, os.W_OK | os.X_OK):
                yield f"no permission to write in {path}: name another folder for the output"
            continue
        yield f"{path} is {what}, and a folder is to be there: {_ELSEWHERE}"


def check_results(experiment: Experiment, *, fresh: bool) -> None:
    """Refuse to replace results that are not of the same experiment.

    The same is one of the same name and questions; `fresh` replaces results of any experiment.

    Raises:
        StoreError: there are results of another experiment, or files of another program; or
            something is in the way of writing.
    """
    output = experiment.output
    for fault in output_faults(output):
        raise StoreError(fault)
    present = [name for name in _FILES if os.path.lexists(output / name)]
    if not present:
        return
    table = _table(output / JSON)
    if table is None:
        raise StoreError(
            f"{output} has {', '.join(present)}, and no {JSON} of an experiment: what may be of "
            "another program is not replaced: move the files away, or name another folder for the "
            "output"
        )
    if fresh or _same(table, experiment):
        return
    raise StoreError(
        f"{output / JSON} has the results of another experiment ({table['experiment']!r}, "
        f"questions {table['questions']['path']}), and this one is {experiment.name!r}, questions "
        f"{experiment.questions.path}: name another folder for the output, or replace them with "
        "--fresh"
    )


def _table(path: Path) -> dict[str, Any] | None:
    """Read the results of an experiment; None where the file is none, or not of one."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        # Of what kind it is does not matter: it is not replaced.
        return None
    if not isinstance(table, dict) or not isinstance(table.get("questions"), dict):
        return None
    texts = table.get("experiment"), table["questions"].get("path")
    ours = all(isinstance(text, str) for text in texts) and {"method", "systems"} <= set(table)
    return table if ours else None


def _same(table: dict[str, Any], experiment: Experiment) -> bool:
    before, now = table["questions"]["path"], str(experiment.questions.path)
    if table["experiment"] != experiment.name:
        return False
    if before == now:
        return True
    if is_dataset(before) or is_dataset(now):
        return False
    # The project may have been moved.
    return Path(before).name == Path(now).name and not os.path.lexists(before)
