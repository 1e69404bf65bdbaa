"""From what decoding found to what a caller gets: an `Answer` with its evidence, a `Token`.

Knows hypotheses and passages; nothing of memories, searching or configs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from ragcore.answering.spelling import surface_form
from ragcore.contracts import Generator
from ragcore.decoding.abstention import Conditioned
from ragcore.decoding.beam import Hypothesis, Step
from ragcore.decoding.scoring import Marginal
from ragcore.types import Answer, Candidate, Evidence, Passage, Token

__all__ = ["Retrieved", "Spans", "make_answer", "make_token"]

Spans = Callable[[Sequence[int]], Sequence[Sequence[tuple[int, int]]]]
"""From an answer's tokens to the places of it in each passage: character offsets [start, end)."""


@dataclass(frozen=True, slots=True)
class Retrieved:
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
    found: Retrieved,
    conditioned: Conditioned,
    hypotheses: Sequence[Hypothesis],
    version: str,
    spans: Spans | None = None,
) -> Answer:
    """The hypothesis that won, as an answer.

    Args:
        generator: turns its tokens into text.
        marginalize: says what a passage's posterior is; see `Evidence`.
        found: the question and its passages.
        conditioned: what they were decoded over, with the prior that was used.
        hypotheses: those that the search came to, the best first.
        version: of the memory.
        spans: where the answer of given tokens stands in each passage, where that is asked of it.
    """
    candidates = [_candidate(one, conditioned.prior.log_prior, found, spans) for one in hypotheses]
    unknown = conditioned.abstention
    best = candidates[0]
    rows = best.posteriors
    if marginalize == "token":
        posterior = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    else:
        posterior = list(rows[-1])
    evidence = tuple(
        Evidence(*one)
        for one in zip(
            found.passages, found.scores, best.priors, posterior, best.spans, strict=True
        )
    )
    return Answer(
        question=found.question,
        text=_text(generator, best.token_ids, evidence),
        log_prob=hypotheses[0].log_prob,
        evidence=evidence,
        memory=version,
        tokens=tuple(generator.decode_tokens([token]) for token in best.token_ids),
        token_posteriors=rows,
        token_ids=best.token_ids,
        candidates=tuple(candidates),
        abstention=_candidate(unknown, found.log_prior, found, None) if unknown else None,
    )


def _candidate(
    hypothesis: Hypothesis, log_prior: Tensor, found: Retrieved, spans: Spans | None
) -> Candidate:
    steps, passages = hypothesis.steps, found.passages
    return Candidate(
        token_ids=hypothesis.tokens,
        token_log_probs=tuple(step.log_prob for step in steps),
        priors=tuple(log_prior.exp().tolist()) if passages else (),
        posteriors=tuple(step.posterior if passages else () for step in steps),
        spans=tuple(map(tuple, spans(hypothesis.tokens))) if spans else ((),) * len(passages),
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
