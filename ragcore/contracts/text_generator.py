"""A generator that gives texts, and what it may give besides: log-probs of texts or of few tokens.

Such are models behind an API, whose servers show less than the whole vocabulary at each step. What
a generator gives is its tier; `Generator` is the tier `steps`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, get_args, runtime_checkable

from ragcore.contracts.component import Component
from ragcore.errors import ComponentError
from ragcore.tiers import Meter, Tier
from ragcore.types import Passage

__all__ = [
    "Completion",
    "Prompted",
    "ScoringGenerator",
    "TextGenerator",
    "TextScore",
    "TopGenerator",
    "TopToken",
    "Writing",
    "scores_texts",
    "tier_of",
]

_TIERS: Final[tuple[Tier, ...]] = get_args(Tier)


@dataclass(frozen=True, slots=True)
class Prompted:
    """What a generator of texts reads: a question with the passages of one prompt.

    Attributes:
        question: the question.
        passages: none for the question alone; one to marginalise over passages; several for the one
            prompt of `rag.marginalize: none`.
        cite: whether the answer is to name its passages by `[n]`, n from 1 in their order.
    """

    question: str
    passages: tuple[Passage, ...] = ()
    cite: bool = False


@dataclass(frozen=True, slots=True)
class Writing:
    """How texts are written.

    Attributes:
        max_new_tokens: the longest, in tokens.
        count: how many texts for each prompt; with a temperature of 0 they may be fewer.
        temperature: 0 takes the most probable token each time.
        top_p: tokens are drawn from the smallest set of this probability.
        seed: of the draws; None leaves it to the server.
        stop: texts before which a text ends.
    """

    max_new_tokens: int
    count: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TopToken:
    """One of the most probable next tokens.

    Attributes:
        text: as it is written; empty for an end token. Two tokens are the same one if their ids
            are, or, without ids, their texts.
        log_prob: log p(y_i|x,z,y_<i), over the whole vocabulary.
        id: in the model's vocabulary; None where the server does not say.
        ends: whether it ends the answer.
    """

    text: str
    log_prob: float
    id: int | None = None
    ends: bool = False


@dataclass(frozen=True, slots=True)
class Completion:
    """A text that a generator wrote.

    Attributes:
        text: the answer, without end token, stop text and thinking.
        finished: whether it ended by itself; not so where it was cut at `max_new_tokens`.
        steps: with tier `top`, for each token of the text, its end included where it ended: the
            most probable tokens there, by falling log-prob. The token that was written is first.
    """

    text: str
    finished: bool = True
    steps: tuple[tuple[TopToken, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class TextScore:
    """The log-probs of a given text after a prompt.

    Attributes:
        tokens: T texts of its tokens, the end token last.
        log_probs: [T], log p(y_i|x,z,y_<i), float32 or better.
    """

    tokens: tuple[str, ...]
    log_probs: tuple[float, ...]


@runtime_checkable
class TextGenerator(Component, Protocol):
    """Writes texts for prompts; the tier `text`, and the base of `score` and `top`."""

    @property
    def tier(self) -> Tier:
        """Return what it gives. It is known once the generator is constructed."""
        ...

    def write(
        self, prompts: Sequence[Prompted], writing: Writing, meters: Sequence[Meter]
    ) -> list[list[Completion]]:
        """Write at least one text for each of P prompts; the requests may run side by side.

        Passages are cut where a prompt is too long; the question never is. What prompts[i] costs
        is added to meters[i], which may be the same for several prompts.

        Raises:
            QuestionError: a question is longer than the model's input.
            GeneratorError: the server does not answer, or not as expected.
        """
        ...


@runtime_checkable
class ScoringGenerator(TextGenerator, Protocol):
    """The tier `score`: also scores given texts."""

    def score_texts(
        self, prompts: Sequence[Prompted], texts: Sequence[str], meters: Sequence[Meter]
    ) -> list[TextScore]:
        """Score texts[i] after prompts[i], its end included.

        The same text has the same tokens after every prompt.

        Raises:
            QuestionError: a question is longer than the model's input.
            GeneratorError: the server does not answer, or its log-probs cannot be right.
        """
        ...


@runtime_checkable
class TopGenerator(TextGenerator, Protocol):
    """The tier `top`: also continues given tokens, and gives each step's most probable ones."""

    def go_on(
        self,
        prompts: Sequence[Prompted],
        prefixes: Sequence[Sequence[TopToken]],
        writing: Writing,
        meters: Sequence[Meter],
    ) -> list[Completion]:
        """Continue prompts[i] after the tokens prefixes[i], which may be empty.

        Returns:
            For each prompt the most probable continuation with its `steps`, from the token after
            the prefix on; at least one step.

        Raises:
            QuestionError: a question is longer than the model's input.
            GeneratorError: the server does not answer, or its log-probs cannot be right.
        """
        ...


def tier_of(generator: Any) -> Tier:
    """Return what a generator gives; one that does not say gives `steps`.

    Raises:
        ComponentError: its member `tier` is none of the tiers.
    """
    declared = getattr(generator, "tier", "steps")
    for tier in _TIERS:
        if declared == tier:
            return tier
    raise ComponentError(
        f"{type(generator).__name__}.tier is {declared!r}: expected one of {', '.join(_TIERS)}"
    )


def scores_texts(generator: Any) -> bool:
    """Return whether a generator gives log p(y|x) of any text."""
    return tier_of(generator) in ("steps", "score")
