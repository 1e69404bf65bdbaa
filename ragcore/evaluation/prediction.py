"""One answer to one question and its ranked passages, with all that a metric may use.

Knows answers, rankings and what is right; knows nothing of metrics.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, cast

from pydantic import TypeAdapter

from ragcore.errors import MetricError
from ragcore.questions import LabelledQuestion
from ragcore.questions.matching import is_correct, is_relevant
from ragcore.types import Answer

__all__ = [
    "Prediction",
    "RankedPassage",
    "Ranking",
    "has_abstained",
    "is_right",
    "make_predictions",
    "unique_ids",
]


@dataclass(frozen=True, slots=True)
class RankedPassage:
    """A retrieved passage; its rank is its index among the prediction's passages.

    Attributes:
        id: in the memory.
        title: of the passage.
        score: the retriever's.
        prior: p(z|x).
        posterior: p(z|x,y); None where the answer has no log p.
        answers: whether it answers the question (`is_relevant`).
    """

    id: str
    title: str
    score: float
    prior: float
    posterior: float | None
    answers: bool


@dataclass(frozen=True, slots=True)
class Ranking:
    """The passages that a search found for a question, best first, with their judgments.

    Attributes:
        ids: of the passages, each once.
        scores: the retriever's, one for each.
        depth: how many passages were searched for; fewer were found where no more match.
        grades: of judged passages by id, found or not; where `by_text`, of found ones only.
        by_text: whether passages were judged by their texts, as it was not known before the search
            which ones are relevant.
    """

    ids: tuple[str, ...]
    scores: tuple[float, ...]
    depth: int
    grades: Mapping[str, int] = field(default_factory=dict)
    by_text: bool = False


@dataclass(frozen=True, slots=True)
class Prediction:
    """The pipeline's answer to a question, and the passages ranked for it, with what is right.

    Attributes:
        id: of the question, unique within the run.
        question: the question's text.
        right: right answers; empty where none is known.
        regex: whether these are patterns.
        relevant: ids of all passages that answer; empty where they are not known.
        answer: the pipeline's, without marks of citations; None where retrieval alone is measured.
        log_prob: log p(y|x); None without an answer, and for one that has none.
        correct: whether the answer is right; None where that is not known.
        passages: those that the answer was read from (`rag.k`), best first.
        unanswerable: whether the question is known to have no answer; `right` is empty then.
        abstained: whether no answer is given: it is the abstaining one of `rag.abstain`, or it is
            withheld.
        ranking: what metrics of passages see, as deep as the deepest of them; None where none was
            asked for.
        confidence: as `Answer.confidence`; None without an answer, and for one without log p.
        withheld: whether `answer` is a best guess that is withheld for its low confidence.
        log_p_unknown: log p(unknown|x), natural, with `rag.abstain`; None without it, and where it
            is not known.
    """

    id: str
    question: str
    right: tuple[str, ...]
    regex: bool
    relevant: tuple[str, ...]
    answer: str | None
    log_prob: float | None
    correct: bool | None
    passages: tuple[RankedPassage, ...]
    unanswerable: bool = False
    abstained: bool = False
    ranking: Ranking | None = None
    confidence: float | None = None
    withheld: bool = False
    log_p_unknown: float | None = None

    @property
    def text(self) -> str:
        """The answer, for metrics of answers; empty where it is withheld.

        Raises:
            MetricError: there is none.
        """
        if self.answer is None:
            raise _unanswered(self)
        return "" if self.withheld else self.answer

    @property
    def log_p(self) -> float | None:
        """The answer's log p(y|x), for metrics of answers; None where the generator gives none.

        Raises:
            MetricError: there is no answer.
        """
        if self.answer is None:
            raise _unanswered(self)
        return self.log_prob

    @property
    def judged(self) -> bool:
        """Whether enough is known to tell which passages answer."""
        if self.right or self.relevant:
            return True
        # Passages may be judged without one that is relevant.
        return self.ranking is not None and not self.ranking.by_text and bool(self.ranking.grades)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, JSON-ready."""
        # By hand: `asdict` copies each score and id of a ranking, which takes longer than a search.
        row = {name: getattr(self, name) for name in self.__slots__}
        row["passages"] = tuple(
            {name: getattr(passage, name) for name in passage.__slots__}
            for passage in self.passages
        )
        if self.ranking is not None:
            ranking = self.ranking
            row["ranking"] = {name: getattr(ranking, name) for name in ranking.__slots__}
            row["ranking"]["grades"] = dict(ranking.grades)
        return row

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Self:
        """Return the prediction that `to_dict` gave; further keys, such as `scores`, are ignored.

        Raises:
            ValueError: a value is missing or of another type (pydantic's ValidationError), or a
                ranking has not one score for each passage.
        """
        return cls.from_json(json.dumps(row))

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Return the prediction of a line of predictions.jsonl; see `from_dict`."""
        prediction: Self = _adapter(cast(Any, cls)).validate_json(line, strict=True)
        ranking = prediction.ranking
        if ranking is not None and len(ranking.ids) != len(ranking.scores):
            raise ValueError(
                f"ranking: {len(ranking.ids)} ids and {len(ranking.scores)} scores, expected one "
                "score for each"
            )
        return prediction


@functools.cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def has_abstained(answer: Answer) -> bool:
    """Tell whether no answer is given: it was decoded to the abstaining one, or is withheld."""
    if answer.withheld or answer.abstains:
        return True
    unknown = answer.abstention
    # Answers without token ids never are the abstaining one, unless they are marked as that.
    return unknown is not None and bool(unknown.token_ids) and unknown.token_ids == answer.token_ids


def is_right(answer: Answer, question: LabelledQuestion) -> bool:
    """Tell whether what a pipeline answers is right; see `is_correct`.

    To withhold an answer is right where there is none, and else wrong.
    """
    version = answer.memory
    if answer.withheld:
        return question.unanswerable_by(version) and not question.answers_by(version)
    return is_correct(answer.unmarked, question, version, abstained=has_abstained(answer))


def _unanswered(prediction: Prediction) -> MetricError:
    return MetricError(
        f"question {prediction.id!r} has no answer, as retrieval alone was measured: use "
        "metrics of passages, or evaluate a pipeline with a generator"
    )


def unique_ids(questions: Sequence[LabelledQuestion]) -> list[str]:
    """Return an id for each question, unique among them.

    One without an id, or with the id of an earlier one, gets its number as id, from 1 as
    `read_questions` counts, with a mark behind it where that is taken too.
    """
    ids: dict[str, None] = {}
    for number, question in enumerate(questions, 1):
        name = question.id if question.id and question.id not in ids else f"{number}"
        while name in ids:
            name += "'"
        ids[name] = None
    return list(ids)


def make_predictions(
    questions: Sequence[LabelledQuestion],
    answers: Sequence[Answer] | None,
    rankings: Sequence[Ranking] | None = None,
    *,
    version: str = "",
    names: Sequence[str] | None = None,
) -> list[Prediction]:
    """Join each answer and ranking with what is right by the version of the memory that was read.

    Args:
        questions: as many as answers and rankings, in the same order; see `unique_ids`.
        answers: the pipeline's; None where retrieval alone is measured.
        rankings: what was found for each question; None where no metric needs it.
        version: of the memory that was searched, where there are no answers, which name theirs.
        names: ids of the questions, where they are some of many; `unique_ids` where None.
    """
    return [
        _prediction(
            name,
            question,
            None if answers is None else answers[index],
            None if rankings is None else rankings[index],
            version,
        )
        for index, (name, question) in enumerate(
            zip(unique_ids(questions) if names is None else names, questions, strict=True)
        )
    ]


def _prediction(
    name: str,
    question: LabelledQuestion,
    answer: Answer | None,
    ranking: Ranking | None,
    version: str,
) -> Prediction:
    version = version if answer is None else answer.memory
    correct = None
    if answer is not None and question.judged_by(version):
        correct = is_right(answer, question)
    return Prediction(
        id=name,
        question=question.question,
        right=question.answers_by(version),
        regex=question.regex,
        relevant=question.passage_ids_by(version),
        answer=None if answer is None else answer.unmarked,
        log_prob=None if answer is None else answer.log_prob,
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
            for evidence in (() if answer is None else answer.evidence)
        ),
        unanswerable=question.unanswerable_by(version),
        abstained=answer is not None and has_abstained(answer),
        ranking=ranking,
        confidence=None if answer is None else answer.confidence,
        withheld=answer is not None and answer.withheld,
        log_p_unknown=None
        if answer is None or answer.abstention is None
        else answer.abstention.log_prob,
    )
