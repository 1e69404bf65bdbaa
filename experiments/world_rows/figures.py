"""Compute figures of judged answers, with 95 % intervals.

Answers about one country, or one article, depend on each other: where a country's passage is hard
to find, all of its questions suffer. So whole groups are drawn with replacement (cluster bootstrap;
Efron and Tibshirani, 1993, section 8.6), and an interval is the 2.5th to the 97.5th percentile.
Knows answers; knows nothing of pipelines and of how questions are made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import isnan, nan
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from ragcore.evaluation.confidence import bin_of
from ragcore.evaluation.shadow import wilson_interval

__all__ = [
    "Asked",
    "Figure",
    "Judged",
    "Target",
    "auroc",
    "calibration_error",
    "share",
    "statistic",
]

DRAWS: Final = 1000
BINS: Final = 10

Column = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with what is right.

    Attributes:
        question: as it is typed.
        answers: any of them is right; none where the question has no answer in the memory.
        group: the country's code or the article's title, by which intervals draw.
        kind: such as the kind of fact, for the list of answers.
        gold: id of a passage that answers, or that a person would have read; may be empty.
        regex: whether the answers are patterns, searched in an answer.
    """

    question: str
    answers: tuple[str, ...]
    group: str
    kind: str = ""
    gold: str = ""
    regex: bool = False


@dataclass(frozen=True, slots=True)
class Judged:
    """A question with what a pipeline answered.

    Attributes:
        asked: the question.
        text: the answer; the best guess where it is withheld.
        right: whether the text is a right answer; False for the abstaining one.
        answered: whether users get an answer: not abstained, not withheld and not empty.
        abstained: whether it is the abstaining answer.
        confidence: `answer.confidence`; NaN where it has none.
        log_prob: `answer.log_prob`; NaN where it has none.
        unknown: p(unknown|x), or NaN.
        hit: whether a passage that was read holds a right answer; None where there is none.
        titles: of the passages.
    """

    asked: Asked
    text: str
    right: bool
    answered: bool
    abstained: bool
    confidence: float
    log_prob: float
    unknown: float
    hit: bool | None
    titles: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "question": self.asked.question,
            "answers": list(self.asked.answers),
            "group": self.asked.group,
            "kind": self.asked.kind,
            "answer": self.text,
            "right": self.right,
            "answered": self.answered,
            "abstained": self.abstained,
            "confidence": _rounded(self.confidence),
            "log_prob": _rounded(self.log_prob),
            "unknown": _rounded(self.unknown),
            "hit": self.hit,
            "titles": list(self.titles),
        }


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure should reach: `>= 92`."""

    sign: Literal["≥", "≤"]
    value: float

    def reached(self, value: float) -> bool:
        """Tell whether a value is good enough; NaN is not."""
        return value >= self.value if self.sign == "≥" else value <= self.value

    def __str__(self) -> str:
        return f"{self.sign} {self.value:g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of a row of the table.

    Attributes:
        row: the row's name.
        name: what is counted.
        value: the figure.
        low: lower end of the 95 % interval; NaN where there is none.
        high: its upper end.
        n: the number of questions.
        target: what it should reach; None where nothing is asked of it.
        hits: of the same questions, the percentage that had a right answer in what was read.
        answers: those that it was computed of.
        in_percent: whether value and interval are.
    """

    row: str
    name: str
    value: float
    low: float
    high: float
    n: int
    target: Target | None = None
    hits: float = nan
    answers: tuple[Judged, ...] = field(default=(), repr=False)
    in_percent: bool = True

    def line(self) -> str:
        """Format the figure for a terminal."""
        digits = 1 if self.in_percent else 3
        interval = "" if isnan(self.low) else f"{self.low:.{digits}f} to {self.high:.{digits}f}"
        mark = ""
        if self.target is not None:
            mark = f"{self.target}{'  reached' if self.target.reached(self.value) else ''}"
        hits = "" if isnan(self.hits) else f"{self.hits:.0f}"
        return (
            f"{self.row:14} {self.name:58} {self.value:7.{digits}f}  {interval:16} "
            f"{self.n:5}  {hits:>5}  {mark}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, without the answers."""
        return {
            "row": self.row,
            "name": self.name,
            "value": _rounded(self.value),
            "low": _rounded(self.low),
            "high": _rounded(self.high),
            "n": self.n,
            "target": None if self.target is None else str(self.target),
            "reached": None if self.target is None else self.target.reached(self.value),
            "hits": _rounded(self.hits),
        }


def share(
    row: str,
    name: str,
    judged: Iterable[Judged],
    counts: Callable[[Judged], bool] = lambda answer: answer.right,
    target: Target | None = None,
) -> Figure:
    """Compute the percentage of answers that count.

    With one question a group, or with no answer that counts or all, where a bootstrap has no width,
    the interval is Wilson's.
    """
    answers = tuple(judged)
    flags = [counts(answer) for answer in answers]
    groups = {answer.asked.group for answer in answers}
    hits = [answer.hit for answer in answers if answer.hit is not None]
    value = 100 * sum(flags) / len(flags) if flags else nan
    if len(groups) == len(answers) or sum(flags) in (0, len(flags)):
        low, high = (100 * end for end in wilson_interval(sum(flags), len(flags)))
    else:
        low, high = _interval(answers, lambda drawn: 100 * sum(map(counts, drawn)) / len(drawn))
    return Figure(
        row,
        name,
        value,
        low,
        high,
        len(flags),
        target,
        100 * sum(hits) / len(hits) if hits else nan,
        answers,
    )


def statistic(
    row: str,
    name: str,
    judged: Iterable[Judged],
    compute: Callable[[Sequence[Judged]], float],
    target: Target | None = None,
) -> Figure:
    """Compute any figure of answers, with a bootstrapped interval."""
    answers = tuple(judged)
    if not answers:
        return Figure(row, name, nan, nan, nan, 0, target, in_percent=False)
    low, high = _interval(answers, compute)
    return Figure(
        row, name, compute(answers), low, high, len(answers), target, nan, answers, in_percent=False
    )


def auroc(
    judged: Sequence[Judged], score: Callable[[Judged], float] = lambda answer: answer.unknown
) -> float:
    """Compute how probably a question without an answer has a higher score than one with.

    Ties count half (Mann and Whitney, 1947).

    Returns:
        0 to 1; NaN where a score is missing, or one of the two kinds of question is.
    """
    scores = np.array([score(answer) for answer in judged])  # [n]
    without = np.array([not answer.asked.answers for answer in judged])  # [n]
    positive, negative = int(without.sum()), int((~without).sum())
    if not positive or not negative or np.isnan(scores).any():
        return nan
    ranks = rankdata(scores)  # [n]
    above = float(ranks[without].sum()) - positive * (positive + 1) / 2
    return above / (positive * negative)


def calibration_error(judged: Sequence[Judged]) -> float:
    """Compute the expected calibration error (Guo et al., 2017), in ten bins of equal width.

    The answers that have no confidence are left out.
    """
    answers = [answer for answer in judged if not isnan(answer.confidence)]
    if not answers:
        return nan
    confidence: Column = np.array([answer.confidence for answer in answers])  # [n]
    right: Column = np.array([answer.right for answer in answers], np.float64)  # [n]
    index = bin_of(confidence, BINS)  # [n]
    gaps = np.bincount(index, confidence - right, BINS)  # [bins], count times (confidence - right)
    return float(np.abs(gaps).sum() / len(answers))


def _interval(
    answers: Sequence[Judged], compute: Callable[[Sequence[Judged]], float]
) -> tuple[float, float]:
    groups: dict[str, list[Judged]] = {}
    for answer in answers:
        groups.setdefault(answer.asked.group, []).append(answer)
    members = list(groups.values())
    random = np.random.default_rng(0)
    values = []
    for _ in range(DRAWS):
        picked = random.integers(len(members), size=len(members))
        values.append(compute([answer for index in picked for answer in members[index]]))
    finite = [value for value in values if not isnan(value)]
    if not finite:
        return nan, nan
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)


def _rounded(value: float) -> float | None:
    return None if isnan(value) else round(value, 5)
