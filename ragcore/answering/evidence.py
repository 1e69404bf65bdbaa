"""Turn hypotheses into what a caller receives: an `Answer` with its evidence.

Knows hypotheses and passages, and is imported without torch; knows nothing of memories, searching
or configs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import nan

import numpy as np
import numpy.typing as npt

from ragcore.answering.marks import marks_in
from ragcore.answering.spelling import surface_form
from ragcore.contracts import AnyGenerator, Generator, gives_steps, tier_of, weights_dtype
from ragcore.decoding.hypotheses import Hypothesis
from ragcore.marginalization import Marginal
from ragcore.tiers import Usage
from ragcore.types import Answer, Candidate, Evidence, Passage

__all__ = [
    "Retrieved",
    "Spans",
    "answer_of",
    "evidence_of",
    "make_answer",
    "sample_answers",
    "spelled",
]

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
    log_prior: npt.NDArray[np.float32]
    missing: int = 0
    filter_notes: tuple[str, ...] = ()


def make_answer(
    generator: Generator,
    marginalize: Marginal,
    retrieved: Retrieved,
    priors: Sequence[float],
    hypotheses: Sequence[Hypothesis],
    version: str,
    *,
    abstention: Hypothesis | None = None,
    abstains: bool = False,
    spans: Spans | None = None,
    numbers: tuple[int, ...] = (),
    text_of: Callable[[Sequence[int]], str] | None = None,
    cut: Callable[[Sequence[int]], bool] = lambda tokens: False,
) -> Answer:
    """Make an answer of the hypothesis that won.

    Args:
        generator: decodes its tokens to text.
        marginalize: decides what a passage's posterior is; see `Evidence`.
        retrieved: the question and its passages.
        priors: [max(k, 1)], the prior that was decoded over.
        hypotheses: the hypotheses of the search, best first; at least one.
        version: the version of the memory.
        abstention: the abstaining answer; None where no answer is the abstaining one.
        abstains: whether it is the question's answer.
        spans: where an answer occurs in each passage; None where answers are not grounded.
        numbers: as `Answer.numbers`.
        text_of: returns the text of an answer's tokens; the generator where None.
        cut: tells whether an answer of these tokens was cut; see `Answer.cut`.

    Raises:
        ComponentError: the generator's `dtype` is not text.
    """
    text_of = text_of or generator.decode_tokens
    candidates = tuple(
        replace(
            _candidate(text_of, hypothesis, priors, retrieved, spans), cut=cut(hypothesis.tokens)
        )
        for hypothesis in hypotheses
    )
    unconditioned = np.exp(retrieved.log_prior).tolist()
    best = candidates[0]
    evidence = evidence_of(retrieved, best, marginalize)
    return Answer(
        question=retrieved.question,
        text=_text(generator, best.text, evidence),
        log_prob=hypotheses[0].log_prob,
        evidence=evidence,
        memory=version,
        tokens=_token_texts(generator, best.token_ids),
        token_posteriors=best.posteriors,
        token_ids=best.token_ids,
        candidates=candidates,
        abstention=_candidate(generator.decode_tokens, abstention, unconditioned, retrieved, None)
        if abstention
        else None,
        marginalize=marginalize,
        abstains=abstains,
        missing_passages=retrieved.missing,
        dtype=weights_dtype(generator),
        dropped_mass=best.dropped_mass,
        filter_notes=retrieved.filter_notes,
        numbers=numbers,
        cut=best.cut and not abstains,
    )


def answer_of(
    generator: AnyGenerator,
    retrieved: Retrieved,
    candidates: Sequence[Candidate],
    marginalize: Marginal,
    version: str,
    *,
    abstention: Candidate | None = None,
    abstains: bool = False,
    numbers: tuple[int, ...] = (),
    usage: Usage | None = None,
) -> Answer:
    """Make an answer of the best of its candidates, which have their own texts and tokens.

    Args:
        generator: wrote them.
        retrieved: the question and its passages.
        candidates: best first; at least one.
        marginalize: decides what a passage's posterior is; see `Evidence`.
        version: the version of the memory.
        abstention: the abstaining answer; None where no answer is the abstaining one.
        abstains: whether it is the question's answer.
        numbers: as `Answer.numbers`.
        usage: as `Answer.usage`.
    """
    best = candidates[0]
    evidence = evidence_of(retrieved, best, marginalize)
    return Answer(
        question=retrieved.question,
        text=spelled(generator, best.text, evidence),
        log_prob=best.log_prob,
        evidence=evidence,
        memory=version,
        tokens=best.tokens,
        token_posteriors=best.posteriors,
        token_ids=best.token_ids,
        candidates=tuple(candidates),
        abstention=abstention,
        marginalize=marginalize,
        abstains=abstains,
        missing_passages=retrieved.missing,
        dtype=weights_dtype(generator),
        dropped_mass=best.dropped_mass,
        filter_notes=retrieved.filter_notes,
        numbers=numbers,
        tier=tier_of(generator),
        usage=usage,
        cut=best.cut and not abstains,
    )


def evidence_of(
    retrieved: Retrieved, candidate: Candidate, marginalize: Marginal
) -> tuple[Evidence, ...]:
    """Return the passages with the prior and the posterior that they have for a candidate."""
    posterior = _posterior(candidate, marginalize)
    return tuple(
        Evidence(*fields)
        for fields in zip(
            retrieved.passages,
            retrieved.scores,
            candidate.priors,
            posterior,
            candidate.spans,
            strict=True,
        )
    )


def sample_answers(answer: Answer, generator: AnyGenerator) -> list[Answer]:
    """Return each draw of an answer that was sampled as an answer of its own, in order.

    The first candidate is the answer itself, as it is. The others have their own text, log p and
    posterior, and are not spelled as in a passage.

    Args:
        answer: with `rag.sample`; of any other, the answer alone is returned.
        generator: the one that answered.
    """
    if not answer.samples:
        return [answer]
    by_draw: dict[int, Answer] = {}
    for candidate in answer.candidates:
        of_candidate = answer
        if candidate is not answer.candidates[0]:
            posterior: Sequence[float | None] = [None] * len(answer.evidence)
            if answer.marginalize != "none" and candidate.log_prob is not None:
                posterior = _posterior(candidate, answer.marginalize or "token")
            spread = zip(answer.evidence, posterior, candidate.spans, strict=True)
            ids = [evidence.passage.id for evidence in answer.evidence]
            of_candidate = replace(
                answer,
                text=candidate.text,
                log_prob=candidate.log_prob,
                evidence=tuple(
                    replace(evidence, posterior=share, spans=spans)
                    for evidence, share, spans in spread
                ),
                tokens=_token_texts(generator, candidate.token_ids)
                if gives_steps(generator)
                else candidate.tokens,
                token_posteriors=candidate.posteriors,
                token_ids=candidate.token_ids,
                candidates=(candidate,),
                dropped_mass=candidate.dropped_mass,
                cut=candidate.cut,
                # Stands for the probability that the model gives it.
                confidence=nan,
                withheld=False,
                marks=None if answer.marks is None else marks_in(candidate.text, ids),
            )
        by_draw |= dict.fromkeys(candidate.draws, of_candidate)
    return [by_draw[draw] for draw in sorted(by_draw)]


def _token_texts(generator: Generator, token_ids: Sequence[int]) -> tuple[str, ...]:
    return tuple(generator.decode_tokens([token]) for token in token_ids)


def _posterior(candidate: Candidate, marginalize: Marginal) -> list[float]:
    """Compute what `Evidence.posterior` is by a candidate."""
    posteriors = candidate.posteriors
    if not posteriors:
        # No token has a log p, so that none tells which passage it comes from.
        return list(candidate.priors)
    if marginalize == "token":
        # The mean over the answer's tokens.
        columns = zip(*posteriors, strict=True)  # [k] columns of T tokens
        return [sum(column) / len(posteriors) for column in columns]
    # After the last token: p(z|x,y).
    return list(posteriors[-1])


def _candidate(
    text_of: Callable[[Sequence[int]], str],
    hypothesis: Hypothesis,
    priors: Sequence[float],
    retrieved: Retrieved,
    spans: Spans | None,
) -> Candidate:
    """Make a candidate of a hypothesis, with the prior that it was decoded over."""
    steps, passages = hypothesis.steps, retrieved.passages
    return Candidate(
        token_ids=hypothesis.tokens,
        token_log_probs=tuple(step.log_prob for step in steps),
        priors=tuple(priors) if passages else (),
        posteriors=tuple(step.posterior if passages else () for step in steps),
        spans=tuple(map(tuple, spans(hypothesis.tokens))) if spans else ((),) * len(passages),
        text=text_of(hypothesis.tokens),
        dropped_mass=hypothesis.dropped_mass,
        draws=hypothesis.draws,
    )


def _text(generator: Generator, text: str, evidence: Sequence[Evidence]) -> str:
    """Spell the answer's text as the passage of highest posterior that contains it does."""
    for hit in sorted(evidence, key=_support, reverse=True):
        if hit.spans:
            start, end = hit.spans[0]
            return hit.passage.text[start:end]
    return spelled(generator, text, evidence)


def spelled(generator: AnyGenerator, text: str, evidence: Sequence[Evidence]) -> str:
    """Spell an uncased generator's text as the passage that it rests on most does."""
    if "uncased" not in generator.capabilities:
        return text
    supporting = sorted(evidence, key=_support, reverse=True)
    return surface_form(text, (hit.passage.text for hit in supporting)) or text


def _support(hit: Evidence) -> float:
    """Return how much an answer rests on a passage: by its prior where no posterior is known."""
    return hit.prior if hit.posterior is None else hit.posterior
