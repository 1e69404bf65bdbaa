"""From what decoding found to what a caller gets: an `Answer` with its evidence, a `Token`.

Knows hypotheses and passages; nothing of memories, searching or configs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ragcore.contracts import Generator
from ragcore.decoding.beam import Hypothesis, Step
from ragcore.decoding.context import Context
from ragcore.decoding.grounding import Grounding
from ragcore.decoding.scoring import Marginal
from ragcore.decoding.surface import surface_form
from ragcore.types import Answer, Evidence, Passage, Token

__all__ = ["Found", "make_answer", "make_token"]


@dataclass(frozen=True, slots=True)
class Found:
    """One question with the passages that were found for it, best first.

    With nothing found the generator answers alone: no passage, and a prior of one 1.

    Attributes:
        question: as it was asked.
        passages: the k passages.
        scores: the retriever's, k of them.
        log_prior: log p(z|x), float32 [max(k, 1)].
    """

    question: str
    passages: list[Passage]
    scores: list[float]
    log_prior: Tensor


def make_answer(
    generator: Generator,
    marginalize: Marginal,
    found: Found,
    context: Context,
    best: Hypothesis,
    version: str,
    grounding: Grounding | None = None,
) -> Answer:
    """The hypothesis that won, as an answer.

    Args:
        generator: turns its tokens into text.
        marginalize: says what a passage's posterior is; see `Evidence`.
        found: the question and its passages.
        context: the same as they were decoded over, with the prior that was used.
        best: the hypothesis.
        version: of the memory.
        grounding: what kept the answer to the passages' words, if anything did.
    """
    rows = [step.posterior if found.passages else () for step in best.steps]
    if marginalize == "token":
        posterior = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    else:
        posterior = list(rows[-1])
    priors = context.log_prior.exp().tolist() if found.passages else []
    spans = grounding.spans(best.tokens) if grounding else [()] * len(found.passages)
    evidence = tuple(
        Evidence(*weighed)
        for weighed in zip(found.passages, found.scores, priors, posterior, spans, strict=True)
    )
    return Answer(
        question=found.question,
        text=_text(generator, best.tokens, evidence),
        log_prob=best.log_prob,
        evidence=evidence,
        memory=version,
        tokens=tuple(generator.decode_tokens([token]) for token in best.tokens),
        token_posteriors=tuple(rows),
        token_ids=best.tokens,
    )


def make_token(generator: Generator, steps: Sequence[Step]) -> Token:
    """The last of `steps`, its text as what it adds to the text so far."""
    tokens = [step.token for step in steps]
    before, after = (generator.decode_tokens(ids) for ids in (tokens[:-1], tokens))
    text = after[len(before) :] if after.startswith(before) else f" {after.split()[-1]}"
    return Token(text, steps[-1].log_prob, steps[-1].posterior)


def _text(generator: Generator, tokens: Sequence[int], evidence: Sequence[Evidence]) -> str:
    """The answer as the passage that supports it best spells it, where that is known."""
    supporting = sorted(evidence, key=lambda one: one.posterior, reverse=True)
    for one in supporting:
        if one.spans:
            start, end = one.spans[0]
            return one.passage.text[start:end]
    text = generator.decode_tokens(tokens)
    if "uncased" not in generator.capabilities:
        return text
    return surface_form(text, (one.passage.text for one in supporting)) or text
