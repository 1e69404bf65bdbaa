"""RAG-Sequence decoding: thorough and fast (paper, section 2.5), and joint (ours).

The paper searches with one beam per passage, because p(y|x) = Σ_z p(z|x) Π_i p(y_i|x,z,y_<i) does
not break into a product over tokens. **Thorough** scores every hypothesis of any beam under every
passage; **fast** takes p(y|x,z) as 0 where z's beam has no y.

**Joint** needs no beam per passage, because the marginal does break into a product, of mixtures
whose weights move with the prefix:

    p(y_i|x,y_<i) = p(y_<=i|x) / p(y_<i|x) = Σ_z p(z|x,y_<i) p(y_i|x,z,y_<i)

So one beam search over prefixes that carry their posterior scores exactly as it goes, needs no
scoring afterwards, and streams.
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
        """log p(z|x,y_<=i), the posterior after the token."""
        return torch.log_softmax(joint, dim=1)


def thorough(
    generator: Generator,
    read: Read,
    contexts: Sequence[QuestionPrior],
    options: DecodingOptions,
    constraints: Sequence[Constraint | None] | None = None,
) -> list[list[Hypothesis]]:
    """Beam search for each passage, then every hypothesis scored under every passage.

    What a passage's own beam has scored is not scored again.

    Args:
        generator: gives p(y_i|x,z,y_<i).
        read: the pairs that it has read.
        contexts: one for each question.
        options: of each passage's beam search.
        constraints: what narrows each question's answers, if anything does.

    Returns:
        For each question the union of its beams, best first, without duplicates, with exact
        log p(y|x).
    """
    beams = _beams_per_passage(generator, read, contexts, options, constraints)
    candidates = [list(dict.fromkeys(h.tokens for beam in one for h in beam)) for one in beams]
    found = score_hypotheses(
        "sequence", generator, read, contexts, candidates, known=list(map(_known, beams))
    )
    return [
        sorted(one, key=lambda h: h.score(options.length_penalty), reverse=True) for one in found
    ]


def fast(
    generator: Generator,
    read: Read,
    contexts: Sequence[QuestionPrior],
    options: DecodingOptions,
    constraints: Sequence[Constraint | None] | None = None,
) -> list[list[Hypothesis]]:
    """Beam search for each passage, candidates ranked without scoring them again.

    p(y|x,z) counts as 0 where z's beam lacks y. Only the winner is then scored under every
    passage, so that its log-prob is exact all the same. Arguments as `thorough`.

    Returns:
        For each question its winner alone.
    """
    beams = _beams_per_passage(generator, read, contexts, options, constraints)
    winners = [
        [_winner(context, one, options)] for context, one in zip(contexts, beams, strict=True)
    ]
    return score_hypotheses(
        "sequence", generator, read, contexts, winners, known=list(map(_known, beams))
    )


def _beams_per_passage(
    generator: Generator,
    read: Read,
    contexts: Sequence[QuestionPrior],
    options: DecodingOptions,
    constraints: Sequence[Constraint | None] | None,
) -> list[_Beams]:
    # RAG-Token over a single passage, whose prior is then 1, is that passage's own beam search.
    apart = [one for context in contexts for one in context.apart()]
    narrowed = [
        constraint
        for context, constraint in zip(contexts, constraints or [None] * len(contexts), strict=True)
        for _ in range(len(context))
    ]
    found = iter(BeamSearch(RagToken(generator, read, apart), options, narrowed).run())
    return [[next(found) for _ in range(len(context))] for context in contexts]


def _known(beams: _Beams) -> Known:
    """What the beams have scored: log p(y_i|x,z,y_<i) of each (passage, answer)."""
    return {
        (z, hypothesis.tokens): tuple(step.log_prob for step in hypothesis.steps)
        for z, beam in enumerate(beams)
        for hypothesis in beam
    }


def _winner(context: QuestionPrior, beams: _Beams, options: DecodingOptions) -> tuple[int, ...]:
    shares: dict[tuple[int, ...], list[float]] = {}
    for prior, beam in zip(context.log_prior.tolist(), beams, strict=True):
        for hypothesis in beam:
            shares.setdefault(hypothesis.tokens, []).append(prior + hypothesis.log_prob)
    ranked = {
        tokens: float(torch.logsumexp(torch.tensor(found, dtype=torch.float64), dim=0))
        / float(len(tokens) ** options.length_penalty)
        for tokens, found in shares.items()
    }
    return max(ranked, key=lambda tokens: ranked[tokens])
