"""Ask two versions of a memory the same questions with the same generator: what changes.

An answer counts as changed if it differs once normalised (questions/matching.py). Where the texts
differ at all, each is scored under both versions, so that a change can be weighed:

                        log p by the old    log p by the new
    the old answer      old.log_prob        new.other_log_prob
    the new answer      old.other_log_prob  new.log_prob

Passages are compared by title and text, not by id: an id may stay where a text has changed, and
the reverse. Knows answers and their scores; knows nothing of how a comparison is shown.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from ragcore.config import PipelineConfig, load_config
from ragcore.contracts import scores_texts
from ragcore.errors import QuestionError
from ragcore.evaluation.candidate import open_candidate
from ragcore.evaluation.checks import absent_passages
from ragcore.evaluation.prediction import is_right
from ragcore.evaluation.searching import BATCH
from ragcore.questions import LabelledQuestion
from ragcore.questions.matching import is_relevant, same_answer
from ragcore.rag import Rag
from ragcore.types import Answer

__all__ = ["CitedPassage", "ComparedQuestion", "Comparison", "Side", "Tally", "compare"]

_LOG: Final = logging.getLogger("ragcore.evaluation")


@dataclass(frozen=True, slots=True)
class CitedPassage:
    """A passage that one version's answer was read from.

    Attributes:
        id: in that version.
        title: of the passage.
        text: of the passage.
        prior: p(z|x).
        posterior: p(z|x,y), as in `Evidence`.
        alone: whether the other version retrieved no passage of this title and text.
    """

    id: str
    title: str
    text: str
    prior: float
    posterior: float | None
    alone: bool


@dataclass(frozen=True, slots=True)
class Side:
    """One version's answer to one question.

    Attributes:
        text: the answer.
        log_prob: its log p(y|x) by this version, as served; None where the generator gives none.
        other_log_prob: log p by this version of the other version's answer.
        passages: what it was read from, by falling prior.
        correct: whether the answer is right (`is_correct`); None where that is not known.
        recalled: whether a passage that answers was retrieved (`is_relevant`); None where neither
            right answers nor the ids of passages that answer are known.
    """

    text: str
    log_prob: float | None
    other_log_prob: float | None
    passages: tuple[CitedPassage, ...]
    correct: bool | None
    recalled: bool | None

    @property
    def best(self) -> CitedPassage | None:
        """The passage of the highest posterior, the first of equals; None if none was found."""
        return max(self.passages, key=lambda passage: passage.posterior or 0.0, default=None)


@dataclass(frozen=True, slots=True)
class ComparedQuestion:
    """One question's answers by both versions."""

    question: str
    old: Side
    new: Side

    @property
    def changed(self) -> bool:
        """Whether the answers differ once normalised."""
        return not same_answer(self.old.text, self.new.text)


@dataclass(frozen=True, slots=True)
class Tally:
    """How many questions one version answered right.

    Attributes:
        correct: questions whose answer is right.
        with_answers: questions whose right answers are known, or known not to exist.
        recalled: questions for which a passage that answers was retrieved.
        with_gold: questions whose right answers, or the ids of passages that answer, are known.
    """

    correct: int
    with_answers: int
    recalled: int
    with_gold: int

    @property
    def exact_match(self) -> float | None:
        """Share of right answers; None where no right answer is known."""
        return self.correct / self.with_answers if self.with_answers else None

    @property
    def recall(self) -> float | None:
        """Recall at k; None where nothing is known to be right."""
        return self.recalled / self.with_gold if self.with_gold else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """All questions' answers by two versions.

    Attributes:
        old: name of the one version.
        new: name of the other.
        k: how many passages were retrieved for a question, at most.
        pairs: one for each question, in the order of the questions.
    """

    old: str
    new: str
    k: int
    pairs: tuple[ComparedQuestion, ...]

    @property
    def changed(self) -> list[ComparedQuestion]:
        """The questions whose answer changes."""
        return [pair for pair in self.pairs if pair.changed]

    @property
    def old_tally(self) -> Tally:
        """How many questions the old version answered right."""
        return _tally([pair.old for pair in self.pairs])

    @property
    def new_tally(self) -> Tally:
        """How many questions the new version answered right."""
        return _tally([pair.new for pair in self.pairs])

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain JSON-ready values: a summary, and each question."""
        return {
            "summary": {
                "old": _summary(self.old, self.old_tally),
                "new": _summary(self.new, self.new_tally),
                "k": self.k,
                "questions": len(self.pairs),
                "changed": len(self.changed),
            },
            "questions": [
                {
                    "question": pair.question,
                    "changed": pair.changed,
                    "old": _side(pair.old),
                    "new": _side(pair.new),
                }
                for pair in self.pairs
            ],
        }


def compare(
    pipeline: Rag | PipelineConfig | str | Path,
    questions: Sequence[str | LabelledQuestion],
    old: str,
    new: str,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Ask two versions of a pipeline's memory the same questions.

    Both are open at the same time and closed afterwards; the generator is loaded once. Questions
    are answered batch by batch: only the comparison itself grows with their number.

    Args:
        pipeline: a running one, which goes on serving its version, or the file of one.
        questions: at least one, each as a text or with what is right.
        old: name of a version in the pipeline's store.
        new: name of another.
        progress: called after each batch with the questions done and all questions.

    Raises:
        QuestionError: there is no question, one is empty, or what is right is known by version
            and for neither of the two.
        ConfigError: the pipeline is faulty, or has no generator or no store.
        StoreError: there is no such version, or it was built by another encoder.
    """
    labelled = [
        LabelledQuestion(question) if isinstance(question, str) else question
        for question in questions
    ]
    _check(labelled, old, new)
    pairs: list[ComparedQuestion] = []
    with _opened(pipeline, old, new) as (old_rag, new_rag):
        for rag in (old_rag, new_rag):
            with rag.memory.reading() as memory:
                for warning in absent_passages(labelled, memory):
                    _LOG.warning("%s", warning)
        for begin in range(0, len(labelled), BATCH):
            pairs += _compared(old_rag, new_rag, labelled[begin : begin + BATCH])
            if progress is not None:
                progress(len(pairs), len(labelled))
        return Comparison(old, new, old_rag.config.k, tuple(pairs))


@contextmanager
def _opened(
    pipeline: Rag | PipelineConfig | str | Path, old: str, new: str
) -> Iterator[tuple[Rag, Rag]]:
    """Open a pipeline over each of the two versions, with one generator."""
    if isinstance(pipeline, Rag):
        with open_candidate(pipeline, old) as old_rag, open_candidate(pipeline, new) as new_rag:
            yield old_rag, new_rag
        return
    config = pipeline if isinstance(pipeline, PipelineConfig) else load_config(pipeline)
    memory = config.memory.model_copy(update={"version": old})
    at_old = config.model_copy(update={"memory": memory})
    with Rag.from_config(at_old) as old_rag, open_candidate(old_rag, new) as new_rag:
        yield old_rag, new_rag


def _compared(
    old_rag: Rag, new_rag: Rag, questions: Sequence[LabelledQuestion]
) -> list[ComparedQuestion]:
    """Answer a batch of questions by both versions."""
    texts = [question.question for question in questions]
    old_answers, new_answers = old_rag.answer(texts), new_rag.answer(texts)
    answers = list(zip(old_answers, new_answers, strict=True))
    differing = [index for index, (old, new) in enumerate(answers) if old.text != new.text]
    new_by_old = _log_probs(old_rag, new_answers, differing)
    old_by_new = _log_probs(new_rag, old_answers, differing)
    return [
        ComparedQuestion(
            question.question,
            _judged(question, old, new, new_by_old.get(index, old.log_prob)),
            _judged(question, new, old, old_by_new.get(index, new.log_prob)),
        )
        for index, (question, (old, new)) in enumerate(zip(questions, answers, strict=True))
    ]


def _log_probs(
    rag: Rag, answers: Sequence[Answer], indices: Sequence[int]
) -> Mapping[int, float | None]:
    """Score the other version's answers at `indices` by one version: log p by index."""
    if not scores_texts(rag.generator):
        return dict.fromkeys(indices)
    if not indices:
        return {}
    chosen = [answers[index] for index in indices]
    scores = rag.log_prob(
        [answer.question for answer in chosen], [answer.text for answer in chosen]
    )
    return dict(zip(indices, scores, strict=True))


def _judged(
    question: LabelledQuestion, answer: Answer, other: Answer, other_log_prob: float | None
) -> Side:
    """Judge one version's answer, and mark the passages that the other version did not retrieve."""
    others = {(evidence.passage.title, evidence.passage.text) for evidence in other.evidence}
    passages = tuple(
        CitedPassage(
            evidence.passage.id,
            evidence.passage.title,
            evidence.passage.text,
            evidence.prior,
            evidence.posterior,
            (evidence.passage.title, evidence.passage.text) not in others,
        )
        for evidence in (answer.evidence[z] for z in answer.by_prior())
    )
    version = answer.memory
    right, ids = question.answers_by(version), question.passage_ids_by(version)
    correct = None
    if question.judged_by(version):
        correct = is_right(answer, question)
    recalled = None
    if right or ids:
        recalled = any(
            is_relevant(evidence.passage, question, version) for evidence in answer.evidence
        )
    return Side(answer.text, answer.log_prob, other_log_prob, passages, correct, recalled)


def _tally(sides: Sequence[Side]) -> Tally:
    correct = [side.correct for side in sides if side.correct is not None]
    recalled = [side.recalled for side in sides if side.recalled is not None]
    return Tally(sum(correct), len(correct), sum(recalled), len(recalled))


def _summary(version: str, tally: Tally) -> dict[str, Any]:
    shares = {"exact_match": tally.exact_match, "recall": tally.recall}
    return {"version": version, **asdict(tally), **shares}


def _side(side: Side) -> dict[str, Any]:
    best = side.best
    return {**asdict(side), "best": None if best is None else best.id}


def _check(questions: Sequence[LabelledQuestion], old: str, new: str) -> None:
    if not questions:
        raise QuestionError("no question to compare versions on: give one or more")
    for number, question in enumerate(questions, 1):
        for key, gold in (("answers", question.answers), ("passage_ids", question.passage_ids)):
            if not isinstance(gold, tuple) and not {old, new} & gold.keys():
                raise QuestionError(
                    f"question {number} of {len(questions)} ({question.question!r}) has {key} for "
                    f"{', '.join(map(repr, gold)) or 'no version'}: expected {old!r} or {new!r}, "
                    "or a list, which is for every version"
                )
