"""Recompute an answer's probability with passages left out, from the posteriors the search kept.

With z over the remaining passages and their prior renormalised, the probability of each step
changes by a factor that the posterior gives, since p(z|x) p(y|x,z) = p(y|x) p(z|x,y):

    p'(y|x) / p(y|x) = Σ_z p(z|x,y) / Σ_z p(z|x)

where y is one token for RAG-Token, and the prefix so far for RAG-Sequence. So nothing is generated
or scored again, and the result is what scoring the answer over these passages alone would give.
With `rag.drop_below` p(y|x) is a lower bound, and so is p'(y|x); both have their dropped mass.

Knows answers with their candidates; knows nothing of memories or searching.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ragcore.answering.confidence import with_confidence
from ragcore.answering.evidence import Retrieved, make_answer
from ragcore.config import RagConfig
from ragcore.contracts import Generator
from ragcore.decoding.abstention import Conditioned
from ragcore.decoding.beam import Hypothesis, Step
from ragcore.decoding.dropping import DroppedAtFirst
from ragcore.decoding.question_prior import QuestionPrior
from ragcore.errors import QuestionError
from ragcore.marginalization import Marginal
from ragcore.types import Answer, Candidate

__all__ = ["Without", "without"]


@dataclass(frozen=True, slots=True)
class Without:
    """An answer with passages left out.

    Attributes:
        passage_ids: the passages that are left out.
        log_prob: log p(y|x) of the same answer over the others; -inf where they do not allow it,
            or were all dropped.
        dropped_mass: how much more than exp(`log_prob`) p(y|x) may be, as `Answer.dropped_mass`.
        winner: the answer that wins over the others, among the candidates of the search; None where
            they allow none of these: a question that abstained was not searched, and a grounded
            answer must occur in a remaining passage.
        candidates: how many candidates the search had.
    """

    passage_ids: tuple[str, ...]
    log_prob: float
    winner: Answer | None
    candidates: int
    dropped_mass: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-ready values; a log p of -inf, which JSON cannot write, is null."""
        return {
            "passage_ids": list(self.passage_ids),
            "log_prob": self.log_prob if math.isfinite(self.log_prob) else None,
            "winner": self.winner and self.winner.to_dict(),
            "candidates": self.candidates,
            "dropped_mass": self.dropped_mass,
        }


def without(
    answer: Answer, passage_ids: Sequence[str], generator: Generator, config: RagConfig
) -> Without:
    """Leave passages out of an answer; see `Rag.without`.

    Args:
        answer: as the pipeline returned it, with its candidates.
        passage_ids: of the passages to leave out.
        generator: the one that answered.
        config: the section `rag` that it answered by.

    Raises:
        QuestionError: a passage is not among the answer's evidence, or none would remain.
    """
    remaining = _remaining(answer, passage_ids)
    # A request may have set another formula than the pipeline's.
    marginalize = answer.marginalize or config.marginalize
    hypotheses = [
        _renormalized(candidate, remaining, marginalize) for candidate in answer.candidates
    ]
    ranked = sorted(
        (
            (hypothesis, candidate)
            for hypothesis, candidate in zip(hypotheses, answer.candidates, strict=True)
            if not config.grounded or any(candidate.spans[z] for z in remaining)
        ),
        key=lambda pair: pair[0].score(config.length_penalty, config.repetition_penalty),
        reverse=True,
    )
    if config.abstain is not None and answer.abstention is not None:
        unknown = _renormalized(answer.abstention, remaining, marginalize)
        if math.exp(unknown.log_prob) > config.abstain.above:
            ranked = [(unknown, answer.abstention)]
        elif answer.abstains:
            # It abstained with all passages, so no other answer was searched for.
            ranked = []
    winner = None
    if ranked:
        winner = _answer(answer, ranked, remaining, generator, marginalize)
        winner = with_confidence(winner, config.confidence)
        winner = replace(winner, rewritten_question=answer.rewritten_question)
    same = hypotheses[0]
    return Without(tuple(passage_ids), same.log_prob, winner, len(hypotheses), same.dropped_mass)


def _remaining(answer: Answer, passage_ids: Sequence[str]) -> list[int]:
    """Return the positions in the evidence of the passages that are not left out."""
    ids = [evidence.passage.id for evidence in answer.evidence]
    for passage_id in passage_ids:
        if passage_id not in ids:
            raise QuestionError(
                f"no passage {passage_id!r} to leave out: the answer to {answer.question!r} was "
                f"read from {', '.join(ids) or 'none'}; leave out one of its passages"
            )
    remaining = [z for z, passage_id in enumerate(ids) if passage_id not in set(passage_ids)]
    if not remaining:
        raise QuestionError(
            f"the answer to {answer.question!r} was read from {', '.join(ids)} alone, and nothing "
            "would be left: keep one of them, or retrieve more passages with rag.k"
        )
    return remaining


def _renormalized(
    candidate: Candidate, remaining: Sequence[int], marginalize: Marginal
) -> Hypothesis:
    """Compute a candidate's probability over the remaining passages, by the formula above."""
    prior = sum(candidate.priors[z] for z in remaining)  # Σ_z p(z|x)
    steps, log_factor_before = [], 0.0
    rows = zip(candidate.token_ids, candidate.token_log_probs, candidate.posteriors, strict=True)
    for token, log_prob, posterior in rows:
        weights = [posterior[z] for z in remaining]
        total = sum(weights)  # Σ_z p(z|x,y)
        # Where no remaining passage allows a step, it and all after it have probability 0.
        log_factor = math.log(total) - math.log(prior) if total and prior else -math.inf
        rescaled = tuple(weight / total for weight in weights) if total else (0.0,) * len(weights)
        if marginalize == "token":
            steps.append(Step(token, log_prob + log_factor, rescaled))
            continue
        # The factor is that of the whole prefix; a step's share is the quotient of two prefixes'.
        possible = log_factor_before > -math.inf
        log_prob = log_prob + log_factor - log_factor_before if possible else -math.inf
        steps.append(Step(token, log_prob, rescaled))
        log_factor_before = log_factor
    return Hypothesis(
        tuple(steps),
        sum(step.log_prob for step in steps),
        finished=True,
        dropped_mass=_dropped_mass(candidate, remaining, steps, marginalize),
        draws=candidate.draws,
    )


def _dropped_mass(
    candidate: Candidate, remaining: Sequence[int], steps: Sequence[Step], marginalize: Marginal
) -> float:
    """Bound what dropped passages would add to the probability over the remaining ones."""
    prior = sum(candidate.priors[z] for z in remaining)  # Σ_z p(z|x)
    if not candidate.dropped_mass or not prior:
        return 0.0
    if marginalize == "sequence":
        # Part of it may be that of passages that are left out; it is a bound all the same.
        return min(1.0, candidate.dropped_mass / prior)
    # Passages of RAG-Token are dropped from every token.
    dropped = [z for z in remaining if not any(row[z] for row in candidate.posteriors)]
    bound = DroppedAtFirst(share=sum(candidate.priors[z] for z in dropped) / prior)
    for step in steps:
        bound = bound.followed_by(step.log_prob)
    return bound.mass


def _answer(
    answer: Answer,
    ranked: Sequence[tuple[Hypothesis, Candidate]],
    remaining: Sequence[int],
    generator: Generator,
    marginalize: Marginal,
) -> Answer:
    """Make the best of the hypotheses an answer from the remaining passages."""
    evidence = [answer.evidence[z] for z in remaining]
    candidate = ranked[0][1]
    priors = torch.tensor([candidate.priors[z] for z in remaining], dtype=torch.float64)  # [k']
    log_prior = torch.log(priors / priors.sum())  # [k']
    spans = {
        hypothesis.tokens: [candidate.spans[z] for z in remaining]
        for hypothesis, candidate in ranked
    }
    texts = {hypothesis.tokens: candidate.text for hypothesis, candidate in ranked}
    return make_answer(
        generator,
        marginalize,
        Retrieved(
            answer.question,
            [hit.passage for hit in evidence],
            [hit.score for hit in evidence],
            log_prior,
        ),
        Conditioned(
            QuestionPrior(torch.arange(len(remaining)), log_prior),
            abstains=candidate is answer.abstention,
        ),
        [hypothesis for hypothesis, _ in ranked],
        answer.memory,
        lambda tokens: spans[tuple(tokens)],
        # A reader has seen these numbers with the passages.
        tuple(answer.evidence_numbers()[z] for z in remaining),
        # A request may have stop strings of its own.
        lambda tokens: texts[tuple(tokens)],
    )
