"""Fit a memory's temperature: the one number between the retriever's scores and the prior p(z|x).

On questions with answers it maximises the mean over questions of

    log p(a right answer|x) = log Σ_y p(y|x),    p(z|x) ∝ exp(score(z, x) / temperature),

by the pipeline's own marginalisation over its own k passages; y runs over a question's answers.
The generator reads and scores each (question, passage, answer) once. The temperature only changes
the weights of these scores, so that the search for the best one is arithmetic on a table. It is
tried from 0.001 to 1000 on a grid, then refined by golden-section search around the best. 1 is on
the grid, and so the fitted temperature is never worse than 1.

With `rag.abstain` the prior is conditioned on a passage's answering, and a question may abstain.
Both depend on the temperature and are computed again for each (ragcore/decoding/abstention.py).

The table and all sums on it are NumPy; only a generator of tier `steps` needs torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from ragcore.answering.answerability import answerability_of, log_unanswerable
from ragcore.answering.choose import answerer_for
from ragcore.answering.evidence import Retrieved
from ragcore.answering.refusals import refuse_unscored
from ragcore.answering.retrieve import retrieve
from ragcore.answering.together import joined
from ragcore.arrays import FloatArray, logsumexp
from ragcore.errors import QuestionError
from ragcore.evaluation.target_scores import padded, target_scores, targets_of
from ragcore.marginalization import (
    Marginal,
    geometric_log_prob,
    log_prior,
    prior_of_answering,
    sequence_log_prob,
    token_log_prob,
)
from ragcore.questions import read_questions
from ragcore.rag import Rag

__all__ = [
    "Calibration",
    "Fit",
    "calibrate",
    "check_right_answers",
    "fit_temperature",
    "read_answered_questions",
]

PER_DECADE: Final = 10
DECADES: Final = 3
"""Temperatures are tried from 10 ** -DECADES to 10 ** DECADES."""

_GOLDEN: Final = (math.sqrt(5) - 1) / 2
_STEPS: Final = 24
"""Golden sections; they narrow two steps of the grid to 2e-6 in log10."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How well one temperature fits.

    Attributes:
        temperature: what scores are divided by.
        log_prob: mean over questions of log p(a right answer|x), natural.
        top_prior: mean over questions of the first passage's p(z|x), without abstention.
    """

    temperature: float
    log_prob: float
    top_prior: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """A fitted temperature, compared with 1 and with the pipeline's own.

    Attributes:
        fitted: the best; its `log_prob` is never less than that of `one`.
        one: temperature 1.
        current: the pipeline's temperature as it was loaded.
        top_best: share of questions whose first passage is the one that makes an answer most
            probable; where `top_prior` is near, the prior trusts the first passage as it deserves.
        questions: number of questions.
        answers: number of answers, each answer of a question counted once.
        found: number of questions for which a passage was found; others do not depend on the
            temperature.
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
        """Return all of it as plain JSON-ready values."""
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
        UnsupportedOperation: the generator gives no log p of given answers.
    """
    right = [[answer] if isinstance(answer, str) else list(answer) for answer in answers]
    check_right_answers(questions, right)
    answerer_for(rag.generator, rag.config)
    with rag.memory.reading() as memory:
        version, temperature = memory.version, memory.temperature
        retrieved = retrieve(memory, questions, rag.config)
    return fit_temperature(rag, retrieved, right, version, temperature)


def fit_temperature(
    rag: Rag,
    retrieved: Sequence[Retrieved],
    answers: Sequence[Sequence[str]],
    version: str,
    temperature: float,
) -> Calibration:
    """Fit the temperature as `calibrate` does, on passages that are retrieved already.

    With `rag.marginalize: none` no answer depends on it, and it stays the memory's own.

    Args:
        rag: the pipeline whose generator reads the passages.
        retrieved: the questions with their passages, by any temperature.
        answers: for each question its right answers.
        version: of the memory that was searched.
        temperature: the memory's own.
    """
    refuse_unscored(rag.generator, "fitting a temperature")
    if rag.config.one_prompt:
        retrieved = [joined(question, cite=rag.config.cite) for question in retrieved]
    table = _Table(rag, retrieved, answers)
    one, current = table.fit(1.0), table.fit(temperature)
    best = _best_exponent(lambda exponent: table.log_prob(10.0**exponent))
    # Four digits, as the temperature is written into a file.
    fits = [one, current, table.fit(float(f"{10.0**best:.4g}"))]
    return Calibration(
        # The first of equals, so that it is 1 where the temperature makes no difference; it stays
        # where no answer depends on it.
        fitted=current
        if rag.config.one_prompt
        else max(fits, key=lambda fit: round(fit.log_prob, 9)),
        one=one,
        current=current,
        top_best=table.top_best(),
        questions=len(retrieved),
        answers=len(table.owners),
        found=sum(bool(question.passages) for question in retrieved),
        memory=version,
    )


def read_answered_questions(path: str | Path) -> tuple[list[str], list[list[str]]]:
    """Read questions and their right answers from a file, as `calibrate` takes them.

    Args:
        path: JSON lines, each with `question` and `answer` or `answers`, or another of the formats
            of `ragcore.questions.read_questions`.

    Raises:
        QuestionError: the file cannot be read, or lines are wrong; lists all of them by number.
    """
    questions = read_questions(path, plain=True)
    answers = [list(question.answers) for question in questions]
    return [question.question for question in questions], answers


class _Table:
    """The generator's scores of all answers under all passages, in double precision.

    Shapes: Q questions, N answers in all, k passages, T tokens. Where a question has fewer than k
    passages, its retriever's scores are -inf.
    """

    def __init__(
        self, rag: Rag, retrieved: Sequence[Retrieved], answers: Sequence[Sequence[str]]
    ) -> None:
        config, abstain = rag.config, rag.config.abstain
        scorer = answerability_of(config)
        if scorer is not None and (config.one_prompt or not config.k):
            # No prior is conditioned there (answering/answerability.py).
            abstain = scorer = None
        self._marginal: Marginal = config.marginal
        self._above = None if abstain is None else abstain.above
        self._mean = None if abstain is None else abstain.mean
        targets = [list(dict.fromkeys(targets_of(rag.generator, texts))) for texts in answers]
        unknown = targets_of(rag.generator, [abstain.answer]) if abstain else []
        rows: list[FloatArray] = []
        abstaining_rows: list[FloatArray] = []
        for begin in range(0, len(retrieved), config.batch_size):
            batch = slice(begin, begin + config.batch_size)
            with_abstaining = [
                # A scorer's abstaining answer is none of the generator's.
                question_targets if scorer is not None else [*question_targets, *unknown]
                for question_targets in targets[batch]
            ]
            scored = target_scores(rag.generator, retrieved[batch], with_abstaining)
            judged: Sequence[FloatArray | None] = [None] * len(scored)
            if scorer is not None:
                judged = log_unanswerable(scorer, retrieved[batch])
            for question_targets, log_p, of_scorer in zip(
                targets[batch], scored, judged, strict=True
            ):
                # [max(k, 1), T]; of the scorer's number T is 1.
                abstaining = list(log_p[len(question_targets) :])
                if of_scorer is not None:
                    abstaining = [of_scorer[:, None]]
                rows.extend(
                    abstaining[0] if target in unknown else row
                    for target, row in zip(question_targets, log_p, strict=False)
                )
                abstaining_rows.extend(abstaining)
        self.owners = np.array(
            [number for number, question_targets in enumerate(targets) for _ in question_targets]
        )  # [N], the question of each answer
        self._columns = np.array(
            [column for question_targets in targets for column in range(len(question_targets))]
        )  # [N], its index among the question's answers
        self._abstains = np.array(
            [target in unknown for question_targets in targets for target in question_targets]
        )  # [N], whether it is the abstaining answer
        scores = [np.array(question.scores or [0.0]) for question in retrieved]
        self._scores = padded(scores, -math.inf)  # [Q, k]
        self._log_p = self._stacked(rows)  # [N, k, T]
        self._abstaining = self._stacked(abstaining_rows) if abstain else None  # [Q, k, T]

    def _stacked(self, rows: Sequence[FloatArray]) -> FloatArray:
        """Stack tables [k, T] to one [N, k, T]; RAG-Sequence needs only their sums, T = 1."""
        if self._marginal == "sequence":
            rows = [row.sum(axis=-1, keepdims=True) for row in rows]  # [k, 1]
        return padded(rows, 0.0)

    def priors(self, temperature: float) -> tuple[FloatArray, FloatArray]:
        """Compute log p(z|x) of all passages, and as answers are conditioned by; [Q, k] both."""
        prior = log_prior(self._scores, temperature)  # [Q, k]
        if self._above is None or self._abstaining is None:
            return prior, prior
        of_passages = self._abstaining.sum(axis=-1)  # [Q, k], log p(unknown|x,z)
        unknown = self._marginalized(prior, self._abstaining)  # [Q]
        if self._mean == "geometric":
            unknown = geometric_log_prob(prior, of_passages)  # [Q]
        answering = prior_of_answering(prior, of_passages)  # [Q, k]
        abstains = (np.exp(unknown) > self._above)[:, None]  # [Q, 1]
        return prior, np.where(abstains, prior, answering)

    def log_prob(self, temperature: float) -> float:
        """Compute the mean over questions of log Σ_y p(y|x)."""
        prior, conditioned = self.priors(temperature)
        abstains = self._abstains[:, None]  # [N, 1]
        used = np.where(abstains, prior[self.owners], conditioned[self.owners])  # [N, k]
        log_probs = self._marginalized(used, self._log_p)  # [N]
        width = int(self._columns.max()) + 1
        by_question = np.full((len(self._scores), width), -math.inf)
        by_question[self.owners, self._columns] = log_probs  # [Q, most answers]
        return float(logsumexp(by_question, -1).mean())

    def fit(self, temperature: float) -> Fit:
        """Compute how well a temperature fits."""
        prior, _ = self.priors(temperature)
        return Fit(temperature, self.log_prob(temperature), float(np.exp(prior[:, 0]).mean()))

    def top_best(self) -> float:
        """Compute the share of questions whose first passage makes an answer most probable."""
        missing = np.isneginf(self._scores)[self.owners]  # [N, k]
        sums = np.where(missing, -math.inf, self._log_p.sum(axis=-1))  # [N, k]
        best = np.full_like(self._scores, -math.inf)  # [Q, k]
        np.maximum.at(best, self.owners, sums)
        return float((best.argmax(axis=-1) == 0).mean())

    def _marginalized(self, prior: FloatArray, log_p: FloatArray) -> FloatArray:
        """Compute log p(y|x), [n], from a log prior [n, k] and log p(y_i|x,z,y_<i), [n, k, T]."""
        marginal = token_log_prob if self._marginal == "token" else sequence_log_prob
        return marginal(prior, log_p)


def _best_exponent(log_prob: Callable[[float], float]) -> float:
    """Find the exponent of ten of the best temperature: on a grid, then between its neighbours."""
    grid = [step / PER_DECADE for step in range(-DECADES * PER_DECADE, DECADES * PER_DECADE + 1)]
    values = [log_prob(exponent) for exponent in grid]
    peak = values.index(max(values))
    low, high = grid[max(peak - 1, 0)], grid[min(peak + 1, len(grid) - 1)]
    tried = [(values[peak], grid[peak])]
    for _ in range(_STEPS):
        inner = [high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)]
        left, right = (log_prob(exponent) for exponent in inner)
        tried += [(left, inner[0]), (right, inner[1])]
        low, high = (low, inner[1]) if left >= right else (inner[0], high)
    return max(tried)[1]


def check_right_answers(questions: Sequence[str], answers: Sequence[Sequence[str]]) -> None:
    """Refuse questions that no temperature can be fitted on.

    Raises:
        QuestionError: as `calibrate`.
    """
    if not questions or len(questions) != len(answers):
        raise QuestionError(
            f"{len(questions)} questions with {len(answers)} answers: calibrating takes one or "
            "more questions, each with its answer or its answers"
        )
    for number, (question, texts) in enumerate(zip(questions, answers, strict=True), 1):
        if not texts or not all(text.strip() for text in texts):
            raise QuestionError(
                f"question {number} of {len(questions)} ({question!r}) has "
                f"{'an empty answer' if texts else 'no answer'}: give a right answer"
            )
