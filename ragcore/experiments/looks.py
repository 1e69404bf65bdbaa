"""Keep test questions apart from those that settings are chosen on, and remember looks at them.

    OUTPUT/looks.jsonl     a line a look: the settings, and a digest of each test question

Knows questions and settings; knows nothing of how settings are chosen or measured.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from ragcore.config.source import dump_line
from ragcore.disk.replacing import write_file
from ragcore.errors import ConfigError, QuestionError
from ragcore.evaluation.report import QuestionSource
from ragcore.experiments.apart import question_keys
from ragcore.questions import LabelledQuestion
from ragcore.questions.sources import is_dataset

__all__ = ["Look", "add_look", "check_not_one_file", "earlier_looks", "make_look"]

LOOKS: Final = "looks.jsonl"
_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Look:
    """One look at test questions.

    Attributes:
        pipeline: its file.
        overrides: changes to it.
        metric: what was measured.
        settings: that were chosen; empty for the pipeline as it is.
        test: where the questions came from.
        questions: a digest of each.
    """

    pipeline: str
    overrides: list[str]
    metric: str
    settings: dict[str, Any]
    test: str
    questions: list[str]

    @property
    def written(self) -> str:
        """Write what was looked at: `memory.retriever.k1=0.9 by nDCG@10`."""
        settings = ", ".join(f"{key}={dump_line(value)}" for key, value in self.settings.items())
        return f"{settings or 'the pipeline as it is'} by {self.metric}"


def check_not_one_file(dev: QuestionSource, test: QuestionSource) -> None:
    """Refuse dev and test questions of one file.

    Raises:
        QuestionError: names it.
    """
    if _same_file(dev.path, test.path):
        raise QuestionError(
            f"the dev and the test questions are one file, {test.path}: settings that are chosen "
            "on the questions that they are reported on look better than they are: split it"
        )


def earlier_looks(output: Path, look: Look) -> list[str]:
    """Say which other settings were looked at on these test questions, or on some of them.

    The same look again shows nothing new, and is none.

    Raises:
        ConfigError: the record is damaged.
    """
    mine = set(look.questions)
    seen: set[str] = set()
    others: dict[str, None] = {}
    for other in _read(output):
        common = mine & set(other.questions)
        if other != look and common:
            seen |= common
            others[other.written] = None
    if not seen:
        return []
    shown = "; ".join(list(others)[:_SHOWN])
    more = f"; and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
    return [
        f"{len(seen)} of the {len(mine)} test questions were looked at before, with {shown}{more}: "
        "what is chosen after a look is chosen on the test questions too, and its figure may be "
        "too good: report it on questions that nobody has seen"
    ]


def add_look(output: Path, look: Look) -> None:
    """Remember a look; one that is recorded already is not added.

    Raises:
        ConfigError: the record is damaged.
    """
    looks = _read(output)
    if look not in looks:
        rows = [*looks, look]
        lines = [TypeAdapter(Look).dump_json(each).decode() + "\n" for each in rows]
        write_file(output / LOOKS, "".join(lines))


def make_look(
    pipeline: Path,
    overrides: Sequence[str],
    metric: str,
    settings: Mapping[str, Any],
    test: QuestionSource,
    questions: Sequence[LabelledQuestion],
) -> Look:
    """Return the look at test questions with settings."""
    digests = {
        hashlib.sha256(key.encode("utf-8")).hexdigest()[:16] for key in question_keys(questions)
    }
    return Look(
        str(pipeline), list(overrides), metric, dict(settings), str(test.path), sorted(digests)
    )


def _read(output: Path) -> list[Look]:
    path = output / LOOKS
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: cannot be read ({error}): restore it, or name another folder for the output"
        ) from None
    looks = []
    for number, line in enumerate(lines, 1):
        try:
            looks.append(TypeAdapter(Look).validate_json(line))
        except ValidationError:
            raise ConfigError(
                f"{path}:{number}: not a look at test questions as ragcore writes it: restore the "
                "file, or name another folder for the output"
            ) from None
    return looks


def _same_file(one: str | Path, other: str | Path) -> bool:
    if is_dataset(one) or is_dataset(other):
        return str(one) == str(other)
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
