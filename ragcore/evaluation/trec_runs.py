"""Read and write TREC's run files: `question Q0 passage rank score tag`.

Scores decide the order, as for trec_eval: in single precision, and of equal ones the greater id
first. Knows rankings; knows nothing of measures.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ragcore.disk.paths import usable_path
from ragcore.disk.replacing import replacing
from ragcore.errors import QuestionError
from ragcore.evaluation.prediction import Ranking
from ragcore.questions.trec import checked_lines, refuse
from ragcore.questions.trec_run import run_lines
from ragcore.questions.unpacking import read_text

__all__ = ["TrecRun", "read_trec_run", "write_run"]


@dataclass(frozen=True, slots=True)
class TrecRun:
    """A run file that was read.

    Attributes:
        path: the file.
        hits: by question id the ids of its passages with their scores, best first.
        tied: how many questions have passages of equal scores.
    """

    path: Path
    hits: Mapping[str, Sequence[tuple[str, float]]]
    tied: int

    @property
    def depth(self) -> int:
        """The most passages of a question."""
        return max(map(len, self.hits.values()))


def read_trec_run(path: str | Path) -> TrecRun:
    """Read a run file; a name that ends in .gz is unpacked.

    Raises:
        QuestionError: the file cannot be read or is empty, a line has other columns, a score is no
            finite number, or a passage occurs twice for a question; names file and line.
    """
    path = usable_path(path, QuestionError)
    scores: dict[str, dict[str, float]] = {}
    faults = []
    for number, line in checked_lines(read_text(path)):
        columns = line.split()
        if len(columns) != 6:
            faults.append(
                f"{path}:{number}: {len(columns)} columns, expected 6: question, Q0, passage, "
                "rank, score, tag"
            )
            continue
        question, _, passage, _, written, _ = columns
        try:
            score = float(written)
        except ValueError:
            score = math.nan
        if not math.isfinite(score):
            faults.append(f"{path}:{number}: the score is {written!r:.40}, expected a number")
            continue
        own = scores.setdefault(question, {})
        if passage in own:
            faults.append(
                f"{path}:{number}: passage {passage!r} occurs a second time for question "
                f"{question!r}: keep one of the lines"
            )
            continue
        own[passage] = score
    if not scores and not faults:
        faults = [f"{path}: no hit: expected lines of question, Q0, passage, rank, score, tag"]
    refuse(faults)
    tied = 0
    hits = {}
    for question, own in scores.items():
        hits[question] = _ordered(own)
        singles = np.array([score for _, score in hits[question]]).astype(np.float32)
        tied += len(np.unique(singles)) < len(singles)
    return TrecRun(path, hits, tied)


def write_run(path: Path, rankings: Mapping[str, Ranking], tag: str) -> None:
    """Write rankings; see `run_lines`.

    Args:
        path: replaced if it is a file; one whose name ends in .gz is compressed.
        rankings: by question id.
        tag: the run's name.

    Raises:
        QuestionError: an id or the tag has white space or is empty.
        StoreError: at the path is no regular file.
    """
    lines = (
        f"{line}\n"
        for question, ranking in rankings.items()
        for line in run_lines(question, ranking.ids, ranking.scores, tag)
    )
    data = "".join(lines).encode("utf-8")
    with replacing(path) as file:
        # Without the time, so that the same run is the same file.
        file.write(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def _ordered(scores: Mapping[str, float]) -> list[tuple[str, float]]:
    """Order as trec_eval does: by falling score, then by falling id."""
    with np.errstate(over="ignore"):
        return sorted(
            scores.items(), key=lambda hit: (float(np.float32(hit[1])), hit[0]), reverse=True
        )
