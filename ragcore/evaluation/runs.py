"""Read the folder of a run: run.json, and a line of predictions.jsonl for each question.

Knows what the two files hold; knows nothing of how a run is repeated or compared.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ragcore.disk.paths import usable_path
from ragcore.errors import ConfigError
from ragcore.evaluation.prediction import Prediction

__all__ = [
    "FORMAT",
    "PREDICTIONS",
    "RETRIEVAL_FORMAT",
    "RUN",
    "RecordedPrediction",
    "RecordedRun",
    "faults_of",
    "read_predictions",
    "read_run",
]

RUN: Final = "run.json"
PREDICTIONS: Final = "predictions.jsonl"
_AGAIN: Final = "evaluate again"
FORMAT: Final = 1
RETRIEVAL_FORMAT: Final = 2
"""The format of a run of retrieval alone, which has no answers; earlier releases cannot read it."""


class _Recorded(BaseModel):
    """Base of what is read; keys of later versions are ignored."""

    model_config = ConfigDict(frozen=True, strict=True)


class RecordedQuestions(_Recorded):
    """The questions: their path from the run's folder, how they were read, and their sha256."""

    path: str
    format: str
    limit: int | None
    sha256: str
    qrels: str | None = None


class RecordedFigure(_Recorded):
    """A metric's figure, as `Figure.to_dict` writes it."""

    metric: str
    value: float | None
    low: float | None
    high: float | None
    questions: int
    error: str | None


class RecordedRanking(_Recorded):
    """The ids of the passages that were found, best first, with their scores."""

    ids: list[str]
    scores: list[float]


class RecordedPrediction(_Recorded):
    """A question with its answer; `scores` has the numbers of each metric, by its name."""

    question: str
    answer: str | None
    log_prob: float | None
    ranking: RecordedRanking | None = None
    scores: dict[str, list[float] | None]


class _Run(_Recorded):
    pipeline: str
    overrides: list[str]
    questions: RecordedQuestions
    memory: str
    metrics: list[RecordedFigure]
    versions: dict[str, str]
    retrieval: bool = False
    depth: int | None = None


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A run that was read.

    Attributes:
        pipeline: path of the pipeline's file, from the run's folder.
        overrides: changes to it.
        questions: the file of questions.
        memory: the version that was read.
        figures: of the metrics, in order.
        versions: of the libraries, by name.
        predictions: one for each question, in order.
        retrieval: whether retrieval alone was measured, without answers.
        depth: how many passages were searched for; None where no metric needed a search, or where
            an earlier release wrote a run of answers. A run of retrieval alone always has one.
    """

    pipeline: str
    overrides: tuple[str, ...]
    questions: RecordedQuestions
    memory: str
    figures: tuple[RecordedFigure, ...]
    versions: dict[str, str]
    predictions: tuple[RecordedPrediction, ...]
    retrieval: bool = False
    depth: int | None = None


def read_run(folder: Path) -> RecordedRun:
    """Read the run in a folder.

    Raises:
        ConfigError: the folder holds no run, or a file of it is damaged; names file and line.
    """
    path = usable_path(folder, ConfigError) / RUN
    payload = _json(_text(folder, RUN), str(path))
    number = payload.get("format") if isinstance(payload, dict) else type(payload).__name__
    if number not in (FORMAT, RETRIEVAL_FORMAT):
        raise ConfigError(
            f"{path} has format {number!r}, this version reads {FORMAT} and {RETRIEVAL_FORMAT}: "
            "evaluate again"
        )
    run = _checked(_Run, payload, str(path))
    if run.retrieval and (run.depth is None or run.depth < 1):
        raise _damaged(str(path), f"the depth is {run.depth!r}, expected 1 or more")
    predictions = []
    for number, line in enumerate(_text(folder, PREDICTIONS).split("\n"), 1):
        if line.strip():
            where = f"{folder / PREDICTIONS}:{number}"
            predictions.append(_checked(RecordedPrediction, _json(line, where), where))
    return RecordedRun(
        run.pipeline,
        tuple(run.overrides),
        run.questions,
        run.memory,
        tuple(run.metrics),
        run.versions,
        tuple(predictions),
        run.retrieval,
        run.depth,
    )


def read_predictions(path: Path, begin: int = 1, advice: str = _AGAIN) -> list[Prediction]:
    """Read a file of predictions, a line each, with all that metrics may use.

    Args:
        path: predictions.jsonl of a run, or another file of such lines.
        begin: the number of the first line that is read, from 1.
        advice: what to do where it is damaged, for the message.

    Raises:
        ConfigError: the file cannot be read, or a line is no prediction; names file and line.
    """
    predictions = []
    lines = _text(usable_path(path.parent, ConfigError), path.name, advice).split("\n")
    for number, line in enumerate(lines[begin - 1 :], begin):
        if line.strip():
            predictions.append(_prediction(line, f"{path}:{number}", advice))
    return predictions


def _prediction(line: str, where: str, advice: str) -> Prediction:
    try:
        return Prediction.from_json(line)
    except ValidationError as error:
        raise _damaged(where, faults_of(error), advice) from None
    except ValueError as error:
        raise _damaged(where, str(error), advice) from None


def _text(folder: Path, name: str, advice: str = _AGAIN) -> str:
    try:
        return (folder / name).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise _damaged(str(folder / name), f"not UTF-8 at byte {error.start + 1}", advice) from None
    except OSError as error:
        raise ConfigError(
            f"{folder} holds no run that can be read ({name}: {error.strerror}): expected {RUN} "
            f"and {PREDICTIONS}, as `ragcore eval … --output FOLDER` and `ragcore train` write them"
        ) from None


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(where, f"not JSON ({error})") from None


_M = TypeVar("_M", bound=BaseModel)


def _checked(model: type[_M], payload: Any, where: str) -> _M:
    try:
        return model.model_validate(payload)
    except ValidationError as error:
        raise _damaged(where, faults_of(error)) from None


def faults_of(error: ValidationError) -> str:
    """Return what pydantic found in a file of a run, each fault with its key."""
    faults = [
        f"{'.'.join(map(str, fault['loc'])) or 'the value'}: {fault['msg']}"
        for fault in error.errors(include_url=False, include_input=False)
    ]
    return "; ".join(faults[:5])


def _damaged(where: str, reason: str, advice: str = _AGAIN) -> ConfigError:
    return ConfigError(f"{where}: the run is damaged: {reason}: {advice}")
