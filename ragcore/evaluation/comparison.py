"""Two versions of a memory, asked the same questions by the same generator: what changes.

An answer counts as changed if it differs once normalised (matching.py). Where the texts differ at
all, each is scored under both versions, so that a change can be conditioned:

                        log p by the old    log p by the new
    the old answer      old.log_prob        new.other_log_prob
    the new answer      old.other_log_prob  new.log_prob

Passages are told apart by title and text, not by id: an id may stay where a text has changed, and
the other way round. How a comparison is shown, this file does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from ragcore.config import PipelineConfig, load_config
from ragcore.errors import QuestionError
from ragcore.evaluation.candidate import open_candidate
from ragcore.questions import LabelledQuestion
from ragcore.questions.matching import exact_match, holds_answer, same_answer
from ragcore.rag import Rag
from ragcore.types import Answer

__all__ = ["Cited", "Comparison", "Pair", "Side", "Tally", "compare"]

BATCH: Final = 32
"""Questions that are searched for at once; what is read at once, `rag.batch_size` says."""


@dataclass(frozen=True, slots=True)
class Cited:
    """A passage that one version's answer was read from.

    Attributes:
        id: in that version.
        title: of the passage.
        text: of the passage.
        prior: p(z|x).
        posterior: p(z|x,y), as in `Evidence`.
        alone: whether the other version found no passage of this title and text.
    """

    id: str
    title: str
    text: str
    prior: float
    posterior: float
    alone: bool


@dataclass(frozen=True, slots=True)
class Side:
    """What one version says to one question.

    Attributes:
        text: the answer.
        log_prob: its log p(y|x) by this version, as served.
        other_log_prob: log p by this version of the other version's answer.
        passages: what it was read from, by falling prior.
        correct: whether the answer is right; None where no right answer is given.
        recalled: whether a passage that answers was found: one of the ids given, or else one that
            holds a right answer; None where neither is given.
    """

    text: str
    log_prob: float
    other_log_prob: float
    passages: tuple[Cited, ...]
    correct: bool | None
    recalled: bool | None

    @property
    def best(self) -> Cited | None:
        """The passage of the highest posterior, the first of equals; None if none was found."""
        return max(self.passages, key=lambda one: one.posterior, default=None)


@dataclass(frozen=True, slots=True)
class Pair:
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
    """How one version did.

    Attributes:
        correct: questions whose answer is right, by exact match.
        with_answers: questions that have a right answer to be held against.
        recalled: questions for which a passage that answers was found.
        with_gold: questions that have a right answer or the ids of passages that answer.
    """

    correct: int
    with_answers: int
    recalled: int
    with_gold: int

    @property
    def exact_match(self) -> float | None:
        """Share of right answers; None where there is nothing to hold them against."""
        return self.correct / self.with_answers if self.with_answers else None

    @property
    def recall(self) -> float | None:
        """Recall at k; None where no gold is given."""
        return self.recalled / self.with_gold if self.with_gold else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """All questions' answers by two versions.

    Attributes:
        old: name of the one version.
        new: name of the other.
        k: how many passages were asked for.
        pairs: one for each question, in the order in which they were asked.
    """

    old: str
    new: str
    k: int
    pairs: tuple[Pair, ...]

    @property
    def changed(self) -> list[Pair]:
        """The questions whose answer changes."""
        return [pair for pair in self.pairs if pair.changed]

    @property
    def old_tally(self) -> Tally:
        """How the old version did."""
        return _tally([pair.old for pair in self.pairs])

    @property
    def new_tally(self) -> Tally:
        """How the new version did."""
        return _tally([pair.new for pair in self.pairs])

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain JSON-ready values: a summary, and each question."""
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

    Both are opened beside each other and closed afterwards; the generator is loaded once. It is
    done batch by batch: what grows with the number of questions is the comparison itself.

    Args:
        pipeline: a running one, which goes on serving what it serves, or the file of one.
        questions: each alone, or with what is right; at least one.
        old: name of a version in the pipeline's store.
        new: name of another.
        progress: called after each batch with the questions done and all questions.

    Raises:
        QuestionError: there is no question, one is empty, or what is right is told by version
            and for neither of the two.
        ConfigError: the pipeline is faulty, or has no generator or no store.
        StoreError: there is no such version, or it was built by another encoder.
    """
    asked = [LabelledQuestion(one) if isinstance(one, str) else one for one in questions]
    _check(asked, old, new)
    pairs: list[Pair] = []
    with _opened(pipeline, old, new) as (one, other):
        for begin in range(0, len(asked), BATCH):
            pairs += _pairs(one, other, asked[begin : begin + BATCH])
            if progress is not None:
                progress(len(pairs), len(asked))
        return Comparison(old, new, one.config.k, tuple(pairs))


@contextmanager
def _opened(
    pipeline: Rag | PipelineConfig | str | Path, old: str, new: str
) -> Iterator[tuple[Rag, Rag]]:
    """A pipeline over each of the two versions, with one generator."""
    if isinstance(pipeline, Rag):
        with open_candidate(pipeline, old) as one, open_candidate(pipeline, new) as other:
            yield one, other
        return
    config = pipeline if isinstance(pipeline, PipelineConfig) else load_config(pipeline)
    memory = config.memory.model_copy(update={"version": old})
    at_old = config.model_copy(update={"memory": memory})
    with Rag.from_config(at_old) as one, open_candidate(one, new) as other:
        yield one, other


def _pairs(one: Rag, other: Rag, asked: Sequence[LabelledQuestion]) -> list[Pair]:
    """A batch of questions, answered by both; `one` is the old."""
    questions = [each.question for each in asked]
    olds, news = one.answer(questions), other.answer(questions)
    differ = [at for at, (a, b) in enumerate(zip(olds, news, strict=True)) if a.text != b.text]
    of_new, of_old = _crossed(one, news, differ), _crossed(other, olds, differ)
    return [
        Pair(
            each.question,
            _said(a, b, each, of_new.get(at, a.log_prob)),
            _said(b, a, each, of_old.get(at, b.log_prob)),
        )
        for at, (each, a, b) in enumerate(zip(asked, olds, news, strict=True))
    ]


def _crossed(rag: Rag, answers: Sequence[Answer], places: Sequence[int]) -> dict[int, float]:
    """log p by one version of the other's answers at `places`, by place."""
    if not places:
        return {}
    given = [answers[at] for at in places]
    scores = rag.log_prob([each.question for each in given], [each.text for each in given])
    return dict(zip(places, scores, strict=True))


def _said(answer: Answer, other: Answer, asked: LabelledQuestion, other_log_prob: float) -> Side:
    """One version's side: its answer, held against the other's and against what is right."""
    there = {(piece.passage.title, piece.passage.text) for piece in other.evidence}
    passages = tuple(
        Cited(
            piece.passage.id,
            piece.passage.title,
            piece.passage.text,
            piece.prior,
            piece.posterior,
            (piece.passage.title, piece.passage.text) not in there,
        )
        for piece in answer.evidence
    )
    right, ids = asked.answers_by(answer.memory), asked.passage_ids_by(answer.memory)
    recalled = None
    if ids:
        recalled = any(one.id in ids for one in passages)
    elif right:
        recalled = any(holds_answer(one.text, right) for one in passages)
    correct = exact_match(answer.text, right) if right else None
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


def _check(asked: Sequence[LabelledQuestion], old: str, new: str) -> None:
    if not asked:
        raise QuestionError("no question to compare versions on: give one or more")
    for place, each in enumerate(asked):
        for key, gold in (("answers", each.answers), ("passage_ids", each.passage_ids)):
            if not isinstance(gold, tuple) and not {old, new} & gold.keys():
                raise QuestionError(
                    f"question {place + 1} of {len(asked)} ({each.question!r}) has {key} for "
                    f"{', '.join(map(repr, gold)) or 'no version'}: expected {old!r} or {new!r}, "
                    "or a list, which is for every version"
                )
