"""Abstaining passages: what "unknown" means where several passages are read.

A reader that says a word such as *unknown* when its passage does not hold the answer speaks of the
passage, not of the world. Marginalised like any other answer it would win whenever most of the k
passages are beside the point, although one of them answers. So it is taken for what it says: the
prior is conditioned on the passage's holding an answer,

    p(z|x, z answers) ∝ p(z|x) (1 − p(unknown|x,z)),

and only if all passages together abstain does the answer. This matters most for RAG-Token, which
mixes all passages again at every token: without it, those that abstain would have a say in how the
one that answers goes on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ragcore.contracts import Generator, Read
from ragcore.decoding.beam import Hypothesis
from ragcore.decoding.context import Context
from ragcore.decoding.scoring import Marginal, marginalized, score_targets

__all__ = ["conditioned", "weigh"]

_ALMOST_CERTAIN = -1e-6
"""A log-probability of abstaining above this counts as this: so that a prior is left over."""


def weigh(
    marginalize: Marginal,
    generator: Generator,
    read: Read,
    contexts: Sequence[Context],
    abstention: Sequence[int],
    above: float,
) -> list[tuple[Context, Hypothesis | None]]:
    """Each question's context among the passages that answer, or its abstention.

    Args:
        marginalize: how the abstention's own probability is computed.
        generator: gives p(y_i|x,z,y_<i).
        read: the pairs that it has read.
        contexts: one for each question.
        abstention: token ids of the abstaining answer, the end token last.
        above: a question abstains where the abstention's probability is above this.

    Returns:
        For each question, either its context with log p(z|x, z answers) and None, or its context
        as it was and the abstention as a hypothesis.
    """
    scored = score_targets(generator, read, contexts, [[abstention]] * len(contexts))
    weighed: list[tuple[Context, Hypothesis | None]] = []
    for context, log_p in zip(contexts, scored, strict=True):
        (unknown,) = marginalized(marginalize, context, log_p, [abstention])
        if math.exp(unknown.log_prob) > above:
            weighed.append((context, unknown))
        else:
            prior = conditioned(context.log_prior, log_p[0].sum(dim=-1))
            weighed.append((Context(context.pairs, prior), None))
    return weighed


def conditioned(log_prior: Tensor, abstains: Tensor) -> Tensor:
    """log p(z|x, z answers), [..., k], from log p(z|x) and log p(unknown|x,z), both [..., k]."""
    answers = torch.log(-torch.expm1(abstains.clamp(max=_ALMOST_CERTAIN)))
    return torch.log_softmax(log_prior.to(answers.device) + answers, dim=-1)
