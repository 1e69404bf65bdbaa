"""Refuse settings that a generator cannot follow, before anything is asked.

A setting that was ignored would be believed, and so would an answer that no setting can change. One
that asks for what the generator's tier does anyway is none of these: so a pipeline can exchange its
generator without a change of `rag`. Knows tiers, what generators say of themselves, and the section
`rag`; knows nothing of how answers are computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ragcore.answering.drawing import sampling_of
from ragcore.config import RagConfig
from ragcore.contracts import (
    AnyGenerator,
    gives_steps,
    name_of,
    needs_passages,
    scores_texts,
    tier_of,
    unknown_answer,
)
from ragcore.errors import UnsupportedOperation
from ragcore.questions.matching import answer_key
from ragcore.tiers import Tier

__all__ = ["refuse_impossible", "refuse_unscored"]

_GIVES: Final[dict[Tier, str]] = {
    "steps": "the log-probs of the whole vocabulary at each step",
    "score": "texts, and the log-probs of texts",
    "top": "the most probable tokens of each step",
    "text": "texts alone",
}

_WITHOUT_SEARCH: Final = (1, RagConfig.model_fields["beams"].default)
"""Beams of a text that is written whole: one, as it is, and those of a pipeline that sets none."""


def refuse_impossible(generator: AnyGenerator, config: RagConfig) -> None:
    """Refuse the settings that the generator, or its tier, leaves no way to follow.

    Args:
        generator: of any tier.
        config: the section `rag`, changed as a request says.

    Raises:
        UnsupportedOperation: there is such a setting; names all, and what to do.
    """
    tier = tier_of(generator)
    faults = list(_faults(tier, config))
    if config.cite and tier == "steps" and "cite" not in generator.capabilities:
        faults.append(
            "rag.cite needs the capability `cite`, a prompt that can ask for it, as that of "
            "causal models: leave it out"
        )
    if faults:
        raise UnsupportedOperation(
            f"generator {name_of(generator)} gives {_GIVES[tier]} (tier {tier!r}): "
            f"{'; '.join(faults)}"
        )
    if contradictions := list(_contradictions(generator, config)):
        raise UnsupportedOperation(f"generator {name_of(generator)}: {'; '.join(contradictions)}")


def refuse_unscored(generator: AnyGenerator, purpose: str) -> None:
    """Refuse what needs log p(y|x) of given answers, unless the generator gives it.

    Args:
        generator: of any tier.
        purpose: what needs it, as a message begins.

    Raises:
        UnsupportedOperation: the generator's tier is `top` or `text`.
    """
    if not scores_texts(generator):
        tier = tier_of(generator)
        raise UnsupportedOperation(
            f"{purpose} needs log p(y|x) of given answers, and generator "
            f"{name_of(generator)} gives {_GIVES[tier]} (tier {tier!r}): choose a generator "
            "of tier steps or score"
        )


def _contradictions(generator: AnyGenerator, config: RagConfig) -> Iterator[str]:
    """Yield a clause for each setting that contradicts what a generator says of itself."""
    unknown, abstain = unknown_answer(generator), config.abstain
    if config.k == 0 and needs_passages(generator):
        instead = "no answer" if unknown is None else repr(unknown)
        yield (
            f"rag.k is 0, and it answers from passages alone: every question would get {instead}; "
            "set rag.k to 1 or more, or choose a generator that answers without passages"
        )
    if unknown is None or abstain is None or _is_same(generator, unknown, abstain.answer):
        return
    without = ", or generator.unknown to null" if config.abstains_by_scorer else ""
    yield (
        f"rag.abstain.answer is {abstain.answer!r}, and generator.unknown is {unknown!r}, which it "
        "answers where a passage has no answer: that would count as an answer, and not as "
        f"abstaining; set both to the same{without}"
    )


def _is_same(generator: AnyGenerator, unknown: str, answer: str) -> bool:
    """Return whether two answers are the same to a generator, such as one of another case."""
    if gives_steps(generator):
        first, second = generator.encode_answers([unknown, answer])
        return first == second
    return answer_key(unknown) == answer_key(answer)


def _faults(tier: Tier, config: RagConfig) -> Iterator[str]:
    """Yield a clause for each setting that cannot be followed."""
    write = config.write
    if tier in ("steps", "top") and write is not None and write.temperature:
        yield "rag.write is for texts that are drawn, and it decodes with rag.beams: leave it out"
    if tier == "steps":
        return
    if config.grounded:
        yield (
            "rag.grounded needs the log-probs of the passages' words at each step: leave it out, "
            "or choose a generator of tier steps"
        )
    sampling = sampling_of(config)
    if sampling is not None:
        if config.marginalize == "token":
            yield (
                "rag.sample draws whole texts, each from one passage, and RAG-Token draws each "
                "token from all passages: set rag.marginalize to sequence or none, or leave "
                "rag.sample out"
            )
        if sampling.top_k:
            yield (
                f"rag.sample.top_k: {sampling.top_k} is no parameter of the servers' API: set it "
                "to 0, and use rag.sample.top_p"
            )
        # What is drawn is a text alone.
        tier = "text" if tier == "top" else tier
    if config.repetition_penalty != 1:
        yield "rag.repetition_penalty ranks by tokens' ids, which tier steps alone has: set it to 1"
    if config.drop_below:
        yield (
            "rag.drop_below drops passages from decoding, which tier steps alone does: set it to 0"
        )
    if tier == "top":
        if config.stop:
            yield (
                "rag.stop ends an answer by the text of its token ids, which it may not have: "
                "leave it out"
            )
        if config.marginal == "sequence" and config.decode != "joint":
            yield (
                f"rag.decode: {config.decode} scores whole answers, which it cannot: set "
                "rag.decode to joint, or rag.marginalize to token"
            )
        if config.abstain is not None and not config.abstains_by_scorer:
            yield (
                "rag.abstain needs log p of the abstaining answer, which it cannot score: set "
                "rag.abstain.scorer, or leave rag.abstain out"
            )
        return
    if sampling is None and config.beams not in _WITHOUT_SEARCH:
        yield (
            f"rag.beams: {config.beams} is of a beam search, and its texts are written whole: "
            "leave it out, and set rag.write.candidates for more texts"
        )
    for name in ("min_new_tokens", "no_repeat_ngram"):
        if value := getattr(config, name):
            yield (
                f"rag.{name}: {value} restricts tokens, and its texts are written whole: set it "
                "to 0"
            )
    if tier == "score":
        return
    if config.length_penalty:
        yield (
            f"rag.length_penalty: {config.length_penalty:g} weighs log p, which it does not give: "
            "set it to 0"
        )
    if _weighs_passages(config):
        yield (
            "rag.abstain.mean: geometric weighs log p of the abstaining answer for each passage, "
            "which it does not give: set it to arithmetic, or set rag.abstain.scorer"
        )
    if config.confidence is not None:
        yield "rag.confidence is made of log p, which it does not give: leave it out"


def _weighs_passages(config: RagConfig) -> bool:
    """Return whether `rag.abstain` compares what only the log p of several passages gives.

    Of one prompt, and without passages, both means are the same; a scorer has its own log p.
    """
    abstain = config.abstain
    if abstain is None or config.abstains_by_scorer or config.one_prompt or config.k == 0:
        return False
    return abstain.mean == "geometric"
