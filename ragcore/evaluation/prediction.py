"""One answer to one question, with all that a metric may use.

Knows answers and what is right; knows nothing of metrics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ragcore.questions import LabelledQuestion
from ragcore.questions.matching import is_correct, is_relevant
from ragcore.types import Answer

__all__ = ["RankedPassage", "Prediction", "has_abstained", "make_predictions"]


@dataclass(frozen=True, slots=True)
class RankedPassage:
    """A retrieved passage; its rank is its index among the prediction's passages.

    Attributes:
        id: in the memory.
        title: of the passage.
        score: the retriever's.
        prior: p(z|x).
        posterior: p(z|x,y).
        answers: whether it answers the question (`is_relevant`).
    """

    id: str
    title: str
    score: float
    prior: float
    posterior: float
    answers: bool


@dataclass(frozen=True, slots=True)
class Prediction:
    """The pipeline's answer to a question, with what is right.

    Attributes:
        id: of the question, unique within the run.
        question: the question's text.
        right: right answers; empty where none is known.
        regex: whether these are patterns.
        relevant: ids of all passages that answer; empty where they are not known.
        answer: the pipeline's.
        log_prob: log p(y|x).
        correct: whether the answer is right; None where that is not known.
        passages: those retrieved, best first.
        unanswerable: whether the question is known to have no answer; `right` is empty then.
        abstained: whether the answer is the abstaining one of `rag.abstain`.
    """

    id: str
    question: str
    right: tuple[str, ...]
    regex: bool
    relevant: tuple[str, ...]
    answer: str
    log_prob: float
    correct: bool | None
    passages: tuple[RankedPassage, ...]
    unanswerable: bool = False
    abstained: bool = False

    @property
    def judged(self) -> bool:
        """Whether enough is known to tell which passages answer."""
        return bool(self.right or self.relevant)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, JSON-ready."""
        from dataclasses import asdict

        return asdict(self)


def has_abstained(answer: Answer) -> bool:
    """Tell whether an answer is the abstaining one: it was decoded to the same tokens."""
    return answer.abstention is not None and answer.abstention.token_ids == answer.token_ids


def make_predictions(
    questions: Sequence[LabelledQuestion], answers: Sequence[Answer]
) -> list[Prediction]:
    """Join each answer with what is right by the version of the memory that was read.

    Args:
        questions: as many as answers, in the same order. One without an id, or with the id of an
            earlier one, gets its index as id, with a mark behind it where that is taken too.
        answers: the pipeline's.
    """
    predictions = []
    ids: set[str] = set()
    for index, (question, answer) in enumerate(zip(questions, answers, strict=True)):
        unique_id = question.id if question.id and question.id not in ids else f"{index}"
        while unique_id in ids:
            unique_id += "'"
        ids.add(unique_id)
        version = answer.memory
        right = question.answers_by(version)
        abstained = has_abstained(answer)
        correct = None
        if question.judged_by(version):
            correct = is_correct(answer.text, question, version, abstained=abstained)
        predictions.append(
            Prediction(
                id=unique_id,
                question=question.question,
                right=right,
                regex=question.regex,
                relevant=question.passage_ids_by(version),
                answer=answer.text,
                log_prob=answer.log_prob,
                correct=correct,
                passages=tuple(
                    RankedPassage(
                        evidence.passage.id,
                        evidence.passage.title,
                        evidence.score,
                        evidence.prior,
                        evidence.posterior,
                        is_relevant(evidence.passage, question, version),
                    )
                    for evidence in answer.evidence
                ),
                unanswerable=question.unanswerable_by(version),
                abstained=abstained,
            )
        )
    return predictions
