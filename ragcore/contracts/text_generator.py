"""A generator that gives texts, and what it may give besides: log-probs of texts or of few tokens.

Such are models behind an API, whose servers show less than the whole vocabulary at each step. What
a generator gives is its tier; `Generator` is the tier `steps`.
"""

from __future__ import annotations

import re
from collections.abc import Generator as Generator_
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeAlias, TypeGuard, runtime_checkable

from ragcore.contracts.component import Component, name_of
from ragcore.contracts.generator import Generator
from ragcore.errors import ComponentError, UnsupportedOperation
from ragcore.tiers import TIERS, Meter, Tier
from ragcore.types import Passage

__all__ = [
    "TIER_CONTRACTS",
    "AnyGenerator",
    "Completion",
    "Prompted",
    "ScoringGenerator",
    "StreamingGenerator",
    "TextGenerator",
    "TextScore",
    "TopGenerator",
    "TopToken",
    "Writing",
    "gives_scores",
    "gives_steps",
    "gives_texts",
    "gives_tops",
    "scores_texts",
    "steps_of",
    "tier_of",
    "whole_text",
]


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
        seeds: of the draws of each prompt, in place of `seed`; empty where `seed` holds for all.
    """

    max_new_tokens: int
    count: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()

    def of_prompt(self, number: int) -> Writing:
        """Return how the text of one prompt is written, which has a `seed` and no `seeds`."""
        return replace(self, seed=self.seeds[number], seeds=()) if self.seeds else self


@dataclass(frozen=True, slots=True)
class TopToken:
    """One of the most probable next tokens.

    Attributes:
        text: as it is written; empty for an end token. Bytes that are no whole character are lone
            surrogates, as Python's error handler "surrogateescape" decodes them (see
            `whole_text`). Two tokens are the same one if their ids are, or, without ids, their
            texts.
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
        is added to meters[i], which may be the same for several prompts. The text of prompts[i]
        is written as `writing.of_prompt(i)` says. Who waits for a server ends where
        `ragcore.process.cancellation.current_check` raises.

        Raises:
            QuestionError: a question is longer than the model's input.
            GeneratorError: the server does not answer, or not as expected.
        """
        ...


@runtime_checkable
class StreamingGenerator(TextGenerator, Protocol):
    """A generator of texts with the capability `stream`: it yields a text as it is written."""

    def write_parts(
        self, prompt: Prompted, writing: Writing, meter: Meter
    ) -> Generator_[Completion, None, None]:
        """Yield the text of one prompt so far, whenever it has grown; at last the whole.

        Each begins with the one before, as far as that can be known; the last is what `write`
        returns, where the same request has the same text. A generator that is closed before its
        end ends the request.

        Raises:
            QuestionError: the question is longer than the model's input.
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


_NO_BYTE: Final = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Lone surrogates that stand for no byte."""

AnyGenerator: TypeAlias = Generator | TextGenerator
"""A generator of any tier."""

TIER_CONTRACTS: Final[Mapping[Tier, type[AnyGenerator]]] = {
    "steps": Generator,
    "score": ScoringGenerator,
    "top": TopGenerator,
    "text": TextGenerator,
}
"""The protocol that a generator of each tier follows."""


def tier_of(generator: object) -> Tier:
    """Return what a generator gives, its member `tier`; one that does not say gives `steps`.

    Raises:
        ComponentError: the member is none of the tiers.
    """
    declared = getattr(generator, "tier", "steps")
    for known in TIERS:
        if declared == known:
            return known
    name = generator.__name__ if isinstance(generator, type) else name_of(generator)
    raise ComponentError(f"{name}.tier is {declared!r}: expected one of {', '.join(TIERS)}")


def gives_steps(generator: object) -> TypeGuard[Generator]:
    """Return whether a generator is of the tier `steps`."""
    return tier_of(generator) == "steps"


def gives_texts(generator: object) -> TypeGuard[TextGenerator]:
    """Return whether a generator writes texts: it is of any tier but `steps`."""
    return tier_of(generator) != "steps"


def gives_scores(generator: object) -> TypeGuard[ScoringGenerator]:
    """Return whether a generator is of the tier `score`."""
    return tier_of(generator) == "score"


def gives_tops(generator: object) -> TypeGuard[TopGenerator]:
    """Return whether a generator is of the tier `top`."""
    return tier_of(generator) == "top"


def scores_texts(generator: object) -> bool:
    """Return whether a generator gives log p(y|x) of any text."""
    return tier_of(generator) in ("steps", "score")


def steps_of(generator: object, purpose: str) -> Generator:
    """Return a generator of the tier `steps`.

    Args:
        generator: of any tier.
        purpose: what needs it, as a message begins.

    Raises:
        UnsupportedOperation: it is of another tier.
    """
    if gives_steps(generator):
        return generator
    raise UnsupportedOperation(
        f"{purpose} needs log-probs of the whole vocabulary at each step (tier 'steps'), and "
        f"generator {name_of(generator)} is of tier {tier_of(generator)!r}: choose a "
        "generator that runs in this process"
    )


def whole_text(tokens: Iterable[str]) -> str:
    """Join the texts of tokens, of which some may be parts of a character (see `TopToken`)."""
    data = _NO_BYTE.sub("\ufffd", "".join(tokens)).encode("utf-8", "surrogateescape")
    return data.decode("utf-8", "replace")
