"""Recompute an answer's probability with passages left out, from the posteriors the search kept.

With z over the remaining passages and their prior renormalised, the probability of each step
changes by a factor that the posterior gives, since p(z|x) p(y|x,z) = p(y|x) p(z|x,y):

    p'(y|x) / p(y|x) = Σ_z p(z|x,y) / Σ_z p(z|x)

where y is one token for RAG-Token, and the prefix so far for RAG-Sequence. So nothing is generated
or scored again, and the result is what scoring the answer over these passages alone would give.
An answer from one prompt (`rag.marginalize: none`) is computed again: without_together.py.
With `rag.drop_below` p(y|x) is a lower bound, and so is p'(y|x); both have their dropped mass. The
same holds for a generator of tier `top`.

Knows answers with their candidates; knows nothing of memories or searching.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ragcore.answering.confidence import with_confidence
from ragcore.answering.evidence import Retrieved, answer_of, make_answer
from ragcore.answering.without_together import answered_again
from ragcore.arrays import FloatArray
from ragcore.config import RagConfig
from ragcore.contracts import AnyGenerator, gives_steps
from ragcore.decoding.dropping import DroppedAtFirst
from ragcore.decoding.hypotheses import Hypothesis, Step
from ragcore.errors import QuestionError, UnsupportedOperation
from ragcore.marginalization import Marginal, geometric_log_prob
from ragcore.types import AbstentionTest, Answer, Candidate

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
        candidates: how many candidates the search had; for an answer from one prompt, the search
            over the others.
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
    answer: Answer, passage_ids: Sequence[str], generator: AnyGenerator, config: RagConfig
) -> Without:
    """Leave passages out of an answer; see `Rag.without`.

    Args:
        answer: as the pipeline returned it, with its candidates.
        passage_ids: of the passages to leave out.
        generator: the one that answered.
        config: the section `rag` that it answered by.

    Raises:
        QuestionError: a passage is not among the answer's evidence, or none would remain.
        UnsupportedOperation: the answer has no log p.
    """
    if answer.log_prob is None:
        raise UnsupportedOperation(
            f"passages cannot be left out of the answer to {answer.question!r}: it has no log p "
            f"(tier {answer.tier!r}), from which it is computed without them; ask a generator of "
            "tier steps or score"
        )
    remaining = _remaining(answer, passage_ids)
    if answer.marginalize == "none" or (answer.marginalize is None and config.one_prompt):
        log_prior = _log_prior([answer.evidence[z].prior for z in remaining])
        log_prob, other = answered_again(answer, remaining, log_prior, generator, config)
        return Without(tuple(passage_ids), log_prob, other, max(1, len(other.candidates)))
    # A request may have set another formula than the pipeline's.
    marginalize = answer.marginalize or config.marginal
    hypotheses = [
        _renormalized(candidate, remaining, marginalize) for candidate in answer.candidates
    ]
    ranked = sorted(
        (
            (hypothesis, candidate)
            for hypothesis, candidate in zip(hypotheses, answer.candidates, strict=True)
            if (not config.grounded or any(candidate.spans[z] for z in remaining))
            # No top of the remaining passages may have a token of it.
            and (not candidate.slack or hypothesis.log_prob > -math.inf)
        ),
        key=lambda pair: pair[0].score(config.length_penalty, config.repetition_penalty),
        reverse=True,
    )
    unknown = test = None
    if config.abstain is not None and answer.abstention is not None:
        unknown = _renormalized(answer.abstention, remaining, marginalize)
        log_mean = unknown.log_prob
        if config.abstain.mean == "geometric":
            log_mean = _geometric(answer.abstention, remaining, marginalize)
        test = AbstentionTest(config.abstain.mean, log_mean, config.abstain.above)
        if test.is_above:
            ranked = [(unknown, answer.abstention)]
        elif answer.abstains:
            # It abstained with all passages, so no other answer was searched for.
            ranked = []
    winner = None
    if ranked:
        winner = _answer(answer, ranked, remaining, generator, marginalize)
        if unknown is not None and answer.abstention is not None:
            priors = _priors(answer.abstention, remaining)
            abstention = _over(remaining, priors, answer.abstention, unknown)
            winner = replace(winner, abstention=abstention, abstention_test=test)
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
    rows = zip(candidate.token_log_probs, candidate.posteriors, strict=True)
    # Tokens without ids are numbered.
    tokens = candidate.token_ids or range(len(candidate.token_log_probs))
    for token, (log_prob, posterior) in zip(tokens, rows, strict=True):
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


def _geometric(candidate: Candidate, remaining: Sequence[int], marginalize: Marginal) -> float:
    """Compute the log of the geometric mean of p(y|x,z) over the remaining passages.

    By Bayes log p(y|x,z) = log p(z|x,y) + log p(y|x) - log p(z|x). For RAG-Sequence y is the whole
    answer; for RAG-Token it is each token, and the logs are summed.
    """
    prior = np.array([candidate.priors[z] for z in remaining])  # [k']
    if not prior.any():
        # Their priors were too small for their numbers: see `_renormalized`.
        return -math.inf
    log_p = np.zeros(len(remaining))  # [k']
    if marginalize == "token":
        rows = list(zip(candidate.token_log_probs, candidate.posteriors, strict=True))
    else:
        rows = [(sum(candidate.token_log_probs), candidate.posteriors[-1])]
    with np.errstate(divide="ignore", invalid="ignore"):
        for log_prob, posterior in rows:
            log_p += np.log([posterior[z] for z in remaining]) + log_prob - np.log(prior)
        # What Bayes gives is NaN for a passage without prior, which has weight 0.
        log_p = np.where(prior > 0, log_p, 0.0)
        return float(geometric_log_prob(np.log(prior), log_p))


def _dropped_mass(
    candidate: Candidate, remaining: Sequence[int], steps: Sequence[Step], marginalize: Marginal
) -> float:
    """Bound what dropped passages would add to the probability over the remaining ones."""
    prior = sum(candidate.priors[z] for z in remaining)  # Σ_z p(z|x)
    if not candidate.dropped_mass or not prior:
        return 0.0
    if candidate.slack and marginalize == "token":
        return _slack_mass(candidate, remaining, steps)
    if marginalize == "sequence":
        # Part of it may be that of passages that are left out; it is a bound all the same.
        return min(1.0, candidate.dropped_mass / prior)
    # Passages of RAG-Token are dropped from every token.
    dropped = [z for z in remaining if not any(row[z] for row in candidate.posteriors)]
    bound = DroppedAtFirst(share=sum(candidate.priors[z] for z in dropped) / prior)
    for step in steps:
        bound = bound.followed_by(step.log_prob)
    return bound.mass


def _slack_mass(candidate: Candidate, remaining: Sequence[int], steps: Sequence[Step]) -> float:
    """Bound what tokens outside the tops would add to the probability over the remaining ones."""
    weights = [candidate.priors[z] for z in remaining]
    log_lower = log_upper = 0.0
    for step, slack in zip(steps, candidate.slack, strict=True):
        # Σ_z p(z|x) slack_z / Σ_z p(z|x), over the remaining passages.
        shares = [weight * slack[z] for weight, z in zip(weights, remaining, strict=True)]
        upper = min(1.0, math.exp(step.log_prob) + math.fsum(shares) / math.fsum(weights))
        log_lower += step.log_prob
        log_upper += math.log(upper) if upper else -math.inf
    return max(0.0, math.exp(log_upper) - math.exp(log_lower))


def _answer(
    answer: Answer,
    ranked: Sequence[tuple[Hypothesis, Candidate]],
    remaining: Sequence[int],
    generator: AnyGenerator,
    marginalize: Marginal,
) -> Answer:
    """Make the best of the hypotheses an answer from the remaining passages."""
    evidence = [answer.evidence[z] for z in remaining]
    candidate = ranked[0][1]
    weights = [candidate.priors[z] for z in remaining]
    priors = _priors(candidate, remaining)
    retrieved = Retrieved(
        answer.question,
        [hit.passage for hit in evidence],
        [hit.score for hit in evidence],
        _log_prior(weights),
    )
    # A reader has seen these numbers with the passages.
    numbers = tuple(answer.evidence_numbers()[z] for z in remaining)
    abstains = candidate is answer.abstention
    if not gives_steps(generator) or not candidate.token_ids:
        return answer_of(
            generator,
            retrieved,
            [_over(remaining, priors, each, hypothesis) for hypothesis, each in ranked],
            marginalize,
            answer.memory,
            abstains=abstains,
            numbers=numbers,
        )
    spans = {
        hypothesis.tokens: [candidate.spans[z] for z in remaining]
        for hypothesis, candidate in ranked
    }
    texts = {hypothesis.tokens: candidate.text for hypothesis, candidate in ranked}
    cut = {hypothesis.tokens: candidate.cut for hypothesis, candidate in ranked}
    return make_answer(
        generator,
        marginalize,
        retrieved,
        priors,
        [hypothesis for hypothesis, _ in ranked],
        answer.memory,
        abstains=abstains,
        spans=lambda tokens: spans[tuple(tokens)],
        numbers=numbers,
        # A request may have stop strings of its own.
        text_of=lambda tokens: texts[tuple(tokens)],
        cut=lambda tokens: cut[tuple(tokens)],
    )


def _priors(candidate: Candidate, remaining: Sequence[int]) -> list[float]:
    """Return a candidate's prior [k'] over the remaining passages, which sums to 1 again."""
    weights = np.array([candidate.priors[z] for z in remaining])
    priors: list[float] = (weights / weights.sum()).tolist()
    return priors


def _log_prior(priors: Sequence[float]) -> FloatArray:
    """Return the prior [k'] of the remaining passages, which sums to 1 again, as float32."""
    weights = np.array(priors)  # [k']
    with np.errstate(divide="ignore"):
        # A prior may have been too small for its number.
        log_prior: FloatArray = np.log(weights / weights.sum()).astype(np.float32)
    return log_prior


def _over(
    remaining: Sequence[int], priors: Sequence[float], candidate: Candidate, hypothesis: Hypothesis
) -> Candidate:
    """Return a candidate with its probability over the remaining passages."""
    return replace(
        candidate,
        token_log_probs=tuple(step.log_prob for step in hypothesis.steps),
        priors=tuple(priors),
        posteriors=tuple(step.posterior for step in hypothesis.steps),
        spans=tuple(candidate.spans[z] for z in remaining),
        dropped_mass=hypothesis.dropped_mass,
        slack=tuple(tuple(row[z] for z in remaining) for row in candidate.slack),
    )
