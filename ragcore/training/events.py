"""Report the progress of training, and log it to log.jsonl and TensorBoard.

Knows events and trackers; knows nothing of models.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ragcore.disk.replacing import write_file

__all__ = ["Log", "DevScores", "Report", "TrainingStep"]


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """One update of the weights.

    Attributes:
        step: counted from 1.
        steps: how many the training has.
        loss: what is minimised, the mean over the batch's questions.
        nll: -log p(y|x), the same mean, without smoothing and distillation.
        recall: share of the questions with a passage that contains a right answer.
        seconds: how long the step took.
    """

    step: int
    steps: int
    loss: float
    nll: float
    recall: float
    seconds: float


@dataclass(frozen=True, slots=True)
class DevScores:
    """Scores on the questions of `dev`, answered as the pipeline would with the current weights.

    Attributes:
        step: after how many steps.
        exact_match: share of right answers.
        recall: share of the questions with a passage that contains a right answer.
        best: whether this exact match is higher than all before.
    """

    step: int
    exact_match: float
    recall: float
    best: bool


Report = Callable[[TrainingStep | DevScores], object]


class Log:
    """Writes events to the log and passes them on; only the first of several processes uses it."""

    def __init__(self, folder: Path, accelerator: Any, report: Report) -> None:
        """Log into `folder` and to the accelerator's trackers; pass each event to `report`."""
        self._path = folder / "log.jsonl"
        self._accelerator = accelerator
        self._report = report

    def note(self, event: TrainingStep | DevScores) -> None:
        """Log an event; it is in the file when this returns."""
        row = asdict(event)
        with self._path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(row) + "\n")
        kind = "train" if isinstance(event, TrainingStep) else "dev"
        not_tracked = {"step", "steps", "best"}
        values = {f"{kind}/{name}": v for name, v in row.items() if name not in not_tracked}
        self._accelerator.log(values, step=event.step)
        self._report(event)

    def cut(self, done: int) -> None:
        """Remove from an earlier log all events after step `done`."""
        if self._path.exists():
            lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
            remaining = [line for line in lines if json.loads(line)["step"] <= done]
            write_file(self._path, "".join(remaining))
