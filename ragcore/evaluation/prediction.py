"""One answer to one question, with all that a metric may look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ragcore.questions import LabelledQuestion
from ragcore.questions.matching import is_correct, is_relevant
from ragcore.types import Answer

__all__ = ["RankedPassage", "Prediction", "predictions"]


@dataclass(frozen=True, slots=True)
class RankedPassage:
    """A passage that was found.

    Attributes:
        id: in the memory.
        title: of the passage.
        score: the retriever's.
        prior: p(z|x).
        posterior: p(z|x,y).
        answers: whether it answers the question: see `is_relevant`.
    """

    id: str
    title: str
    score: float
    prior: float
    posterior: float
    answers: bool


@dataclass(frozen=True, slots=True)
class Prediction:
    """What was said to a question, and what is right.

    Attributes:
        id: the question's; unlike those of the others.
        question: as it was asked.
        right: right answers; empty where none is known.
        regex: whether these are patterns.
        relevant: ids of all passages that answer; empty where they are not known.
        answer: what was said.
        log_prob: log p(y|x).
        correct: whether it is right; None where no right answer is known.
        passages: those found, best first.
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

    @property
    def judged(self) -> bool:
        """Whether it is known of a passage whether it answers."""
        return bool(self.right or self.relevant)

    def to_dict(self) -> dict[str, Any]:
        """All of it, JSON-ready."""
        from dataclasses import asdict

        return asdict(self)


def predictions(asked: Sequence[LabelledQuestion], answers: Sequence[Answer]) -> list[Prediction]:
    """Answers beside what is right by the version of the memory that was read."""
    made = []
    seen: set[str] = set()
    for place, (one, answer) in enumerate(zip(asked, answers, strict=True)):
        name = one.id if one.id and one.id not in seen else f"{place}"
        seen.add(name)
        right = one.answers_by(answer.memory)
        made.append(
            Prediction(
                id=name,
                question=one.question,
                right=right,
                regex=one.regex,
                relevant=one.passage_ids_by(answer.memory),
                answer=answer.text,
                log_prob=answer.log_prob,
                correct=is_correct(answer.text, one, answer.memory) if right else None,
                passages=tuple(
                    RankedPassage(
                        each.passage.id,
                        each.passage.title,
                        each.score,
                        each.prior,
                        each.posterior,
                        is_relevant(each.passage, one, answer.memory),
                    )
                    for each in answer.evidence
                ),
            )
        )
    return made
