"""Turn hypotheses into what a caller receives: an `Answer` with its evidence.

Knows hypotheses and passages; knows nothing of memories, searching or configs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import nan

from torch import Tensor

from ragcore.answering.spelling import surface_form
from ragcore.contracts import Generator, weights_dtype
from ragcore.decoding.abstention import Conditioned
from ragcore.decoding.beam import Hypothesis
from ragcore.marginalization import Marginal
from ragcore.types import Answer, Candidate, Evidence, Passage

__all__ = ["Retrieved", "Spans", "make_answer", "sample_answers"]

Spans = Callable[[Sequence[int]], Sequence[Sequence[tuple[int, int]]]]
"""Maps an answer's tokens to where it occurs in each passage: character offsets [start, end)."""


@dataclass(frozen=True, slots=True)
class Retrieved:
    """One question with the passages that were retrieved for it, best first.

    Without any hit the generator answers alone: there is no passage, and the prior is [1].

    Attributes:
        question: as it was asked.
        passages: k passages.
        scores: [k], the retriever's raw scores.
        log_prior: float32 [max(k, 1)], log p(z|x).
        missing: how many passages fewer than asked for, though more are allowed; see `Answer`.
        filter_notes: as `Answer.filter_notes`.
    """

    question: str
    passages: list[Passage]
    scores: list[float]
    log_prior: Tensor
    missing: int = 0
    filter_notes: tuple[str, ...] = ()


def make_answer(
    generator: Generator,
    marginalize: Marginal,
    retrieved: Retrieved,
    conditioned: Conditioned,
    hypotheses: Sequence[Hypothesis],
    version: str,
    spans: Spans | None = None,
    numbers: tuple[int, ...] = (),
    text_of: Callable[[Sequence[int]], str] | None = None,
) -> Answer:
    """Make an answer of the hypothesis that won.

    Args:
        generator: decodes its tokens to text.
        marginalize: decides what a passage's posterior is; see `Evidence`.
        retrieved: the question and its passages.
        conditioned: the prior that was decoded over, and the abstention if there is one.
        hypotheses: the hypotheses of the search, best first; at least one.
        version: the version of the memory.
        spans: where an answer occurs in each passage; None where answers are not grounded.
        numbers: as `Answer.numbers`.
        text_of: returns the text of an answer's tokens; the generator where None.

    Raises:
        ComponentError: the generator's `dtype` is not text.
    """
    log_prior = conditioned.prior.log_prior
    text_of = text_of or generator.decode_tokens
    candidates = [
        _candidate(text_of, hypothesis, log_prior, retrieved, spans) for hypothesis in hypotheses
    ]
    unknown = conditioned.abstention
    best = candidates[0]
    posterior = _posterior(best, marginalize)
    evidence = tuple(
        Evidence(*fields)
        for fields in zip(
            retrieved.passages, retrieved.scores, best.priors, posterior, best.spans, strict=True
        )
    )
    return Answer(
        question=retrieved.question,
        text=_text(generator, best.text, evidence),
        log_prob=hypotheses[0].log_prob,
        evidence=evidence,
        memory=version,
        tokens=_token_texts(generator, best.token_ids),
        token_posteriors=best.posteriors,
        token_ids=best.token_ids,
        candidates=tuple(candidates),
        abstention=_candidate(
            generator.decode_tokens, unknown, retrieved.log_prior, retrieved, None
        )
        if unknown
        else None,
        marginalize=marginalize,
        abstains=conditioned.abstains,
        missing_passages=retrieved.missing,
        dtype=weights_dtype(generator),
        dropped_mass=best.dropped_mass,
        filter_notes=retrieved.filter_notes,
        numbers=numbers,
    )


def sample_answers(answer: Answer, generator: Generator) -> list[Answer]:
    """Return each draw of an answer that was sampled as an answer of its own, in order.

    The first candidate is the answer itself, as it is. The others have their own text, log p and
    posterior, and are not spelled as in a passage.

    Args:
        answer: with `rag.sample`; of any other, the answer alone is returned.
        generator: the one that answered.
    """
    by_draw: dict[int, Answer] = {}
    for candidate in answer.candidates:
        of_candidate = answer
        if candidate is not answer.candidates[0]:
            posterior = _posterior(candidate, answer.marginalize or "token")
            spread = zip(answer.evidence, posterior, candidate.spans, strict=True)
            of_candidate = replace(
                answer,
                text=candidate.text,
                log_prob=candidate.log_prob,
                evidence=tuple(
                    replace(evidence, posterior=share, spans=spans)
                    for evidence, share, spans in spread
                ),
                tokens=_token_texts(generator, candidate.token_ids),
                token_posteriors=candidate.posteriors,
                token_ids=candidate.token_ids,
                candidates=(candidate,),
                dropped_mass=candidate.dropped_mass,
                # Stands for the probability that the model gives it.
                confidence=nan,
                withheld=False,
            )
        by_draw |= dict.fromkeys(candidate.draws, of_candidate)
    return [by_draw[draw] for draw in sorted(by_draw)] or [answer]


def _posterior(candidate: Candidate, marginalize: Marginal) -> list[float]:
    """Compute what `Evidence.posterior` is by a candidate."""
    if marginalize == "token":
        # The mean over the answer's tokens.
        columns = zip(*candidate.posteriors, strict=True)  # [k] columns of T tokens
        return [sum(column) / len(candidate.posteriors) for column in columns]
    # After the last token: p(z|x,y).
    return list(candidate.posteriors[-1])


def _token_texts(generator: Generator, token_ids: Sequence[int]) -> tuple[str, ...]:
    return tuple(generator.decode_tokens([token]) for token in token_ids)


def _candidate(
    text_of: Callable[[Sequence[int]], str],
    hypothesis: Hypothesis,
    log_prior: Tensor,
    retrieved: Retrieved,
    spans: Spans | None,
) -> Candidate:
    """Make a candidate of a hypothesis, with the prior that it was decoded over."""
    steps, passages = hypothesis.steps, retrieved.passages
    return Candidate(
        token_ids=hypothesis.tokens,
        token_log_probs=tuple(step.log_prob for step in steps),
        priors=tuple(log_prior.exp().tolist()) if passages else (),
        posteriors=tuple(step.posterior if passages else () for step in steps),
        spans=tuple(map(tuple, spans(hypothesis.tokens))) if spans else ((),) * len(passages),
        text=text_of(hypothesis.tokens),
        dropped_mass=hypothesis.dropped_mass,
        draws=hypothesis.draws,
    )


def _text(generator: Generator, text: str, evidence: Sequence[Evidence]) -> str:
    """Spell the answer's text as the passage of highest posterior that contains it does."""
    supporting = sorted(evidence, key=lambda hit: hit.posterior or 0.0, reverse=True)
    for hit in supporting:
        if hit.spans:
            start, end = hit.spans[0]
            return hit.passage.text[start:end]
    if "uncased" not in generator.capabilities:
        return text
    return surface_form(text, (hit.passage.text for hit in supporting)) or text
