"""Choose what answers for a generator, by its tier.

Knows tiers; knows nothing of how an answer is made. A module that needs torch is imported only for
a generator that needs it, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from ragcore.answering.answerability import AnswerabilityAnswerer, answerability_of
from ragcore.answering.drawing import sampling_of
from ragcore.answering.one_prompt import OnePromptAnswerer
from ragcore.answering.refusals import refuse_impossible
from ragcore.contracts import AnyGenerator, gives_scores, gives_texts, gives_tops, name_of, steps_of
from ragcore.errors import PluginError
from ragcore.registry.installation import install_hint

if TYPE_CHECKING:
    from ragcore.answering.evidence import Retrieved
    from ragcore.answering.stopwatch import Stopwatch
    from ragcore.config import RagConfig
    from ragcore.tiers import Meter
    from ragcore.types import Answer, Correction, Token

__all__ = ["QuestionAnswerer", "answerer_for"]


class QuestionAnswerer(Protocol):
    """Turns retrieved passages into answers, by a generator of one tier; safe for threads."""

    def answers(
        self, retrieved: Sequence[Retrieved], version: str, stopwatch: Stopwatch | None = None
    ) -> list[Answer]:
        """Answer each of B questions from its passages of one version of the memory."""
        ...

    def events(
        self, retrieved: Retrieved, version: str, stopwatch: Stopwatch
    ) -> Iterator[Token | Correction | Answer]:
        """Yield the tokens of one answer as soon as they are decided, then the answer."""
        ...

    def log_probs(
        self,
        retrieved: Sequence[Retrieved],
        answers: Sequence[str],
        stopwatch: Stopwatch | None = None,
        meters: Sequence[Meter] = (),
    ) -> list[float]:
        """Score one answer for each question: log p(y|x), end of sequence included.

        What a server counts is added to `meters`, one for each question, if there are any.

        Raises:
            UnsupportedOperation: the generator's tier is `top` or `text`.
        """
        ...


def answerer_for(
    generator: AnyGenerator, config: RagConfig, check: Callable[[], None] = lambda: None
) -> QuestionAnswerer:
    """Return what answers with a generator by these settings.

    Args:
        generator: of any tier.
        config: the section `rag` of a pipeline, changed as a request says.
        check: called before each batch, before it is decoded, and before each token or call of a
            server; what it raises ends the request.

    Raises:
        UnsupportedOperation: the generator cannot answer by these settings, or
            `rag.abstain.scorer` cannot tell whether a passage answers.
        ComponentError: it declares no known tier.
        PluginError: torch is not installed.
    """
    config = _closed_book(generator, config) if config.k == 0 else config
    scorer = answerability_of(config)
    refuse_impossible(generator, config)
    answerer: QuestionAnswerer = _by_tier(generator, config, check)
    if config.one_prompt:
        answerer = OnePromptAnswerer(answerer, cite=config.cite)
    if scorer is None:
        return answerer
    return AnswerabilityAnswerer(answerer, scorer, generator, config, check)


def _closed_book(generator: AnyGenerator, config: RagConfig) -> RagConfig:
    """Return settings without the scorer of passages: the generator says whether it knows."""
    if config.abstain is None or config.abstain.scorer is None:
        return config
    own = None if gives_tops(generator) else config.abstain.model_copy(update={"scorer": None})
    return config.model_copy(update={"abstain": own})


def _by_tier(
    generator: AnyGenerator, config: RagConfig, check: Callable[[], None]
) -> QuestionAnswerer:
    """Return what answers with a generator of its tier; see `answerer_for`."""
    if gives_scores(generator):
        from ragcore.answering.scored import ScoringAnswerer

        return ScoringAnswerer(generator, config, check)
    if gives_tops(generator) and sampling_of(config) is None:
        from ragcore.answering.tops import TopAnswerer

        return TopAnswerer(generator, config, check)
    if gives_texts(generator):
        from ragcore.answering.votes import VotingAnswerer

        return VotingAnswerer(generator, config, check)
    try:
        from ragcore.answering.answerer import Answerer
    except ModuleNotFoundError as missing:
        if missing.name != "torch":
            raise
        raise PluginError(
            f"answering with generator {name_of(generator)} needs torch, which is not "
            f"installed: {install_hint('ragcore-transformers')}, which brings it"
        ) from None
    return Answerer(steps_of(generator, "answering by steps"), config, check)
