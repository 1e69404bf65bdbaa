"""Fits a memory's temperature: the one number between the retriever's scores and the prior p(z|x).

On questions with answers it maximises the mean over questions of

    log p(a right answer|x) = log Σ_y p(y|x),    p(z|x) ∝ exp(score(z, x) / temperature),

by the pipeline's own marginalisation over its own k passages; y goes over a question's answers.
The generator reads and scores each (question, passage, answer) once: the temperature only weighs
what it said, so that the search for the best one is arithmetic on a table. It is tried from 0.001
to 1000, then refined by golden sections around the best; 1 is always among those that are tried,
and so the fitted temperature is never worse than that.

With `rag.abstain` the prior is conditioned on a passage's answering, and a question may abstain;
both depend on the temperature and are done anew at each (ragcore/decoding/abstention.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from ragcore.answering.evidence import Retrieved
from ragcore.answering.reading import read_passages
from ragcore.answering.retrieve import retrieve
from ragcore.decoding.abstention import prior_of_answering
from ragcore.decoding.scoring import Marginal, score_targets
from ragcore.errors import QuestionError
from ragcore.marginalization import log_prior, sequence_log_prob, token_log_prob
from ragcore.questions import read_questions
from ragcore.rag import Rag

__all__ = ["Calibration", "Fit", "calibrate", "read_pairs"]

PER_DECADE: Final = 10
DECADES: Final = 3
"""Temperatures are tried from 10 ** -DECADES to 10 ** DECADES."""

_GOLDEN: Final = (math.sqrt(5) - 1) / 2
_STEPS: Final = 24
"""Golden sections; they narrow two steps of the grid to 2e-6 in log10."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How one temperature does.

    Attributes:
        temperature: what scores are divided by.
        log_prob: mean over questions of log p(a right answer|x), natural.
        top_prior: mean over questions of the first passage's p(z|x), abstaining aside.
    """

    temperature: float
    log_prob: float
    top_prior: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """A fitted temperature beside 1 and beside the pipeline's own.

    Attributes:
        fitted: the best; never of less `log_prob` than `one`.
        one: temperature 1.
        current: the pipeline's temperature as it was loaded.
        top_best: share of questions whose first passage is the one that makes an answer most
            probable; where `top_prior` is near, the prior trusts the first passage as it deserves.
        questions: how many.
        answers: how many, no answer of a question counted twice.
        found: questions for which a passage was found; the temperature is of no matter to others.
        memory: the version that was read.
    """

    fitted: Fit
    one: Fit
    current: Fit
    top_best: float
    questions: int
    answers: int
    found: int
    memory: str

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain JSON-ready values."""
        return asdict(self)


def calibrate(
    rag: Rag, questions: Sequence[str], answers: Sequence[str | Sequence[str]]
) -> Calibration:
    """Fit the temperature of a pipeline's memory on questions with answers.

    Args:
        rag: the pipeline; it is left as it is.
        questions: at least one.
        answers: for each question its right answer, or several of which any is right.

    Returns:
        The fitted temperature, and how it compares. Where no temperature is better than 1, it is 1.

    Raises:
        QuestionError: there is no question, or not as many answers, or a question or its answers
            are empty.
    """
    wanted = [[one] if isinstance(one, str) else list(one) for one in answers]
    _check(questions, wanted)
    with rag.memory.reading() as memory, torch.inference_mode():
        version, current = memory.version, memory.temperature
        found = retrieve(memory, questions, rag.config)
        table = _Table(rag, found, wanted)
    one, now = table.fit(1.0), table.fit(current)
    best = _best(lambda exponent: table.log_prob(10.0**exponent))
    # As it is written into a file.
    fits = [one, now, table.fit(float(f"{10.0**best:.4g}"))]
    return Calibration(
        # Of equals the first, so that it is 1 where the temperature is of no matter.
        fitted=max(fits, key=lambda fit: round(fit.log_prob, 9)),
        one=one,
        current=now,
        top_best=table.top_best(),
        questions=len(questions),
        answers=len(table.owners),
        found=sum(bool(one.passages) for one in found),
        memory=version,
    )


def read_pairs(path: str | Path) -> tuple[list[str], list[list[str]]]:
    """Questions and their answers from a file of JSON lines, `question` and `answer` or `answers`.

    Raises:
        QuestionError: it cannot be read, or lines are wrong; all of them, by number.
    """
    asked = read_questions(path, plain=True)
    answers = [list(one.answers) for one in asked]
    return [one.question for one in asked], answers


class _Table:
    """What the generator says of all answers under all passages; Q questions, N answers in all.

    Double precision; where a question has fewer than k passages its scores are -inf.
    """

    def __init__(
        self, rag: Rag, found: Sequence[Retrieved], answers: Sequence[Sequence[str]]
    ) -> None:
        abstain, config = rag.config.abstain, rag.config
        self._marginal: Marginal = config.marginalize
        self._above = None if abstain is None else abstain.above
        (unknown,) = rag.generator.encode_answers([abstain.answer]) if abstain else ([],)
        encoded = [list(map(tuple, rag.generator.encode_answers(own))) for own in answers]
        targets = [list(dict.fromkeys(own)) for own in encoded]
        rows: list[Tensor] = []
        abstaining: list[Tensor] = []
        for begin in range(0, len(found), config.batch_size):
            here = slice(begin, begin + config.batch_size)
            asked = [[*own, *([tuple(unknown)] if abstain else [])] for own in targets[here]]
            for own, scored in zip(targets[here], _scored(rag, found[here], asked), strict=True):
                rows.extend(scored[: len(own)])
                abstaining.extend(scored[len(own) :])
        self.owners = torch.tensor([at for at, own in enumerate(targets) for _ in own])
        self._places = torch.tensor([place for own in targets for place in range(len(own))])
        self._abstains = torch.tensor([list(one) == unknown for own in targets for one in own])
        self._scores = _padded([torch.tensor(one.scores or [0.0]) for one in found], -math.inf)
        self._rows = self._stacked(rows)
        self._unknown = self._stacked(abstaining) if abstain else None

    def _stacked(self, rows: Sequence[Tensor]) -> Tensor:
        """Tables [k, T] as one [N, k, T]; RAG-Sequence needs no more than their sums, T = 1."""
        if self._marginal == "sequence":
            rows = [row.sum(dim=-1, keepdim=True) for row in rows]
        return _padded(rows, 0.0)

    def priors(self, temperature: float) -> tuple[Tensor, Tensor]:
        """log p(z|x) of all passages, and as answers are conditioned by; [Q, k] both."""
        prior = log_prior(self._scores, temperature)
        if self._above is None or self._unknown is None:
            return prior, prior
        unknown = self._marginalized(prior, self._unknown)
        among = prior_of_answering(prior, self._unknown.sum(dim=-1))
        return prior, torch.where((unknown.exp() > self._above).unsqueeze(-1), prior, among)

    def log_prob(self, temperature: float) -> float:
        """Mean over questions of log Σ_y p(y|x)."""
        prior, used = self.priors(temperature)
        chosen = torch.where(self._abstains.unsqueeze(-1), prior[self.owners], used[self.owners])
        log_probs = self._marginalized(chosen, self._rows)
        width = int(self._places.max()) + 1
        each = torch.full((len(self._scores), width), -math.inf, dtype=torch.float64)
        each[self.owners, self._places] = log_probs
        return float(each.logsumexp(dim=-1).mean())

    def fit(self, temperature: float) -> Fit:
        """How a temperature does."""
        prior, _ = self.priors(temperature)
        return Fit(temperature, self.log_prob(temperature), float(prior[:, 0].exp().mean()))

    def top_best(self) -> float:
        """Share of questions whose first passage makes one of its answers most probable."""
        sums = self._rows.sum(dim=-1).masked_fill(self._scores.isneginf()[self.owners], -math.inf)
        best = torch.full_like(self._scores, -math.inf)
        best = best.scatter_reduce(0, self.owners.unsqueeze(-1).expand_as(sums), sums, "amax")
        return float((best.argmax(dim=-1) == 0).double().mean())

    def _marginalized(self, prior: Tensor, rows: Tensor) -> Tensor:
        marginal = token_log_prob if self._marginal == "token" else sequence_log_prob
        return marginal(prior, rows)


def _scored(
    rag: Rag, retrieved: Sequence[Retrieved], targets: Sequence[Sequence[tuple[int, ...]]]
) -> list[Tensor]:
    """Score each question's targets in one reading: log p(y_i|x,z,y_<i), [targets, k, T] each."""
    read, priors = read_passages(rag.generator, retrieved)
    scored = score_targets(rag.generator, read, priors, targets)
    return [log_p.double().cpu() for log_p in scored]


def _best(log_prob: Callable[[float], float]) -> float:
    """The exponent of ten of the best temperature: of a grid, then between its neighbours."""
    grid = [step / PER_DECADE for step in range(-DECADES * PER_DECADE, DECADES * PER_DECADE + 1)]
    values = [log_prob(exponent) for exponent in grid]
    at = values.index(max(values))
    low, high = grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)]
    tried = [(values[at], grid[at])]
    for _ in range(_STEPS):
        inner = [high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)]
        left, right = (log_prob(exponent) for exponent in inner)
        tried += [(left, inner[0]), (right, inner[1])]
        low, high = (low, inner[1]) if left >= right else (inner[0], high)
    return max(tried)[1]


def _padded(tables: Sequence[Tensor], value: float) -> Tensor:
    """Tables of one or two dimensions as one tensor, double, filled up with a value."""
    sizes = [max(table.shape[axis] for table in tables) for axis in range(tables[0].ndim)]
    whole = torch.full((len(tables), *sizes), value, dtype=torch.float64)
    for at, table in enumerate(tables):
        place: tuple[int | slice, ...] = (at, *map(slice, table.shape))
        whole[place] = table.double()
    return whole


def _check(questions: Sequence[str], answers: Sequence[Sequence[str]]) -> None:
    if not questions or len(questions) != len(answers):
        raise QuestionError(
            f"{len(questions)} questions with {len(answers)} answers: calibrating takes one or "
            "more questions, each with its answer or its answers"
        )
    for place, own in enumerate(answers):
        if not own or not all(one.strip() for one in own):
            raise QuestionError(
                f"question {place + 1} of {len(questions)} ({questions[place]!r}) has "
                f"{'an empty answer' if own else 'no answer'}: give what is right"
            )
