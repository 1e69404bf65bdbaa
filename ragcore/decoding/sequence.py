"""Decode by RAG-Sequence: thorough and fast (paper, section 2.5), and joint (ragcore's own).

The paper searches with one beam per passage, because p(y|x) = Σ_z p(z|x) Π_i p(y_i|x,z,y_<i) does
not factor into one term per token. **Thorough** scores every hypothesis of any beam under every
passage; **fast** takes p(y|x,z) as 0 where y is not among the hypotheses of z's beam.

**Joint** needs no beam per passage, because the marginal does factor into mixtures whose weights
change with the prefix:

    p(y_i|x,y_<i) = p(y_<=i|x) / p(y_<i|x) = Σ_z p(z|x,y_<i) p(y_i|x,z,y_<i)

So one beam search over prefixes that carry their posterior scores exactly as it proceeds, needs no
scoring afterwards, and can stream.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ragcore.contracts import Generator, Read
from ragcore.decoding.beam import BeamSearch, Hypothesis
from ragcore.decoding.prefixes import Prefixes
from ragcore.decoding.question_prior import QuestionPrior
from ragcore.decoding.rules import Constraint, DecodingOptions
from ragcore.decoding.scoring import Known, score_hypotheses
from ragcore.decoding.token import RagToken

__all__ = ["RagSequence", "fast", "thorough"]

_Beams = list[list[Hypothesis]]
"""One question's hypotheses, a list for each passage."""


class RagSequence(Prefixes):
    """A `PrefixModel` of RAG-Sequence: joint decoding."""

    def _next_log_weights(self, log_weights: Tensor, joint: Tensor) -> Tensor:
        """Compute log p(z|x,y_<=i), the posterior after the token; [n, K]."""
        # p(z|x,y_<=i) ∝ p(z|x,y_<i) p(y_i|x,z,y_<i)
        return torch.log_softmax(joint, dim=1)


def thorough(
    generator: Generator,
    read: Read,
    priors: Sequence[QuestionPrior],
    options: DecodingOptions,
    constraints: Sequence[Constraint | None] | None = None,
) -> list[list[Hypothesis]]:
    """Search with one beam per passage, then score every hypothesis under every passage.

    What a passage's own beam has scored is not scored again.

    Args:
        generator: computes p(y_i|x,z,y_<i).
        read: the pairs that it has read.
        priors: one for each question.
        options: of each passage's beam search.
        constraints: what restricts each question's answers, if anything does.

    Returns:
        For each question the union of its beams, best first, without duplicates, with exact
        log p(y|x).

    Raises:
        GeneratorError: the generator's log-probs form no distribution.
    """
    beams = _beams_per_passage(generator, read, priors, options, constraints)
    candidates = [
        list(dict.fromkeys(h.tokens for beam in question_beams for h in beam))
        for question_beams in beams
    ]
    scored = score_hypotheses(
        "sequence", generator, read, priors, candidates, known=list(map(_known, beams))
    )
    return [
        sorted(hypotheses, key=lambda h: h.score(options.length_penalty), reverse=True)
        for hypotheses in scored
    ]


def fast(
    generator: Generator,
    read: Read,
    priors: Sequence[QuestionPrior],
    options: DecodingOptions,
    constraints: Sequence[Constraint | None] | None = None,
) -> list[list[Hypothesis]]:
    """Search with one beam per passage, then rank the hypotheses by their beams' scores alone.

    p(y|x,z) counts as 0 where y is not among the hypotheses of z's beam. Only the winner is then
    scored under every passage, so its log-prob is exact all the same. Arguments and errors as
    `thorough`.

    Returns:
        For each question its winner alone.
    """
    beams = _beams_per_passage(generator, read, priors, options, constraints)
    winners = [
        [_winner(prior, question_beams, options)]
        for prior, question_beams in zip(priors, beams, strict=True)
    ]
    return score_hypotheses(
        "sequence", generator, read, priors, winners, known=list(map(_known, beams))
    )


def _beams_per_passage(
    generator: Generator,
    read: Read,
    priors: Sequence[QuestionPrior],
    options: DecodingOptions,
    constraints: Sequence[Constraint | None] | None,
) -> list[_Beams]:
    """Run a beam search for each passage of each question, all in one batch."""
    # RAG-Token over a single passage, whose prior is 1, is that passage's own beam search.
    single = [passage_prior for prior in priors for passage_prior in prior.apart()]
    per_passage = [
        constraint
        for prior, constraint in zip(priors, constraints or [None] * len(priors), strict=True)
        for _ in range(len(prior))
    ]
    beams = iter(BeamSearch(RagToken(generator, read, single), options, per_passage).run())
    return [[next(beams) for _ in range(len(prior))] for prior in priors]


def _known(beams: _Beams) -> Known:
    """Collect what the beams have scored: log p(y_i|x,z,y_<i) of each (passage, answer)."""
    return {
        (z, hypothesis.tokens): tuple(step.log_prob for step in hypothesis.steps)
        for z, beam in enumerate(beams)
        for hypothesis in beam
    }


def _winner(prior: QuestionPrior, beams: _Beams, options: DecodingOptions) -> tuple[int, ...]:
    """Return the tokens of highest Σ_z p(z|x) p(y|x,z) over the beams that have them."""
    shares: dict[tuple[int, ...], list[float]] = {}
    for log_prior, beam in zip(prior.log_prior.tolist(), beams, strict=True):
        for hypothesis in beam:
            shares.setdefault(hypothesis.tokens, []).append(log_prior + hypothesis.log_prob)
    scores = {
        tokens: float(torch.logsumexp(torch.tensor(log_shares, dtype=torch.float64), dim=0))
        / float(len(tokens) ** options.length_penalty)
        for tokens, log_shares in shares.items()
    }
    return max(scores, key=lambda tokens: scores[tokens])
