"""What training reports as it goes, and where it is kept: log.jsonl, and TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["Log", "DevScores", "Report", "TrainingStep"]


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """One update of the weights.

    Attributes:
        step: counted from 1.
        steps: how many there will be.
        loss: what was minimised, the mean over the batch's questions.
        nll: -log p(y|x), the same mean, without smoothing and distillation.
        recall: share of the questions of whose passages one holds a right answer.
        seconds: how long it took.
    """

    step: int
    steps: int
    loss: float
    nll: float
    recall: float
    seconds: float


@dataclass(frozen=True, slots=True)
class DevScores:
    """How the weights do on `dev`, as the pipeline would answer.

    Attributes:
        step: after how many steps.
        exact_match: share of right answers.
        recall: share of questions of whose passages one holds a right answer.
        best: whether no look before was as good.
    """

    step: int
    exact_match: float
    recall: float
    best: bool


Report = Callable[[TrainingStep | DevScores], object]


class Log:
    """Keeps events, and passes them on; of several processes the first has one."""

    def __init__(self, folder: Path, accelerator: Any, report: Report) -> None:
        """`accelerator` logs to whatever trackers it has; `report` is called with each event."""
        self._path = folder / "log.jsonl"
        self._accelerator = accelerator
        self._report = report

    def note(self, event: TrainingStep | DevScores) -> None:
        """An event; it is in the file when this returns."""
        row = asdict(event)
        with self._path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(row) + "\n")
        kind = "train" if isinstance(event, TrainingStep) else "dev"
        left_out = {"step", "steps", "best"}
        values = {f"{kind}/{name}": value for name, value in row.items() if name not in left_out}
        self._accelerator.log(values, step=event.step)
        self._report(event)

    def cut(self, done: int) -> None:
        """Keep of an earlier log what a checkpoint of so many steps knows."""
        if self._path.exists():
            lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if json.loads(line)["step"] <= done]
            self._path.write_text("".join(kept), encoding="utf-8")
