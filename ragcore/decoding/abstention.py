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
from dataclasses import dataclass

import torch
from torch import Tensor

from ragcore.contracts import Generator, Read
from ragcore.decoding.beam import Hypothesis
from ragcore.decoding.question_prior import QuestionPrior
from ragcore.decoding.scoring import Marginal, marginalized, score_targets

__all__ = ["Conditioned", "prior_of_answering", "condition"]

_ALMOST_CERTAIN = -1e-6
"""A log-probability of abstaining above this counts as this: so that a prior is left over."""


@dataclass(frozen=True, slots=True)
class Conditioned:
    """A question after its passages were asked whether they answer it.

    Attributes:
        prior: what is decoded over: among the passages that answer, or as it was.
        abstention: the abstaining answer as a hypothesis; None where no answer abstains.
        abstains: whether it is the answer.
    """

    prior: QuestionPrior
    abstention: Hypothesis | None = None
    abstains: bool = False


def condition(
    marginalize: Marginal,
    generator: Generator,
    read: Read,
    contexts: Sequence[QuestionPrior],
    abstention: Sequence[int],
    above: float,
) -> list[Conditioned]:
    """Each question's context among the passages that answer, or its abstention.

    Args:
        marginalize: how the abstention's own probability is computed.
        generator: gives p(y_i|x,z,y_<i).
        read: the pairs that it has read.
        contexts: one for each question.
        abstention: token ids of the abstaining answer, the end token last.
        above: a question abstains where the abstention's probability is above this.

    Returns:
        For each question its context: with log p(z|x, z answers), or as it was if it abstains.
    """
    scored = score_targets(generator, read, contexts, [[abstention]] * len(contexts))
    conditioned: list[Conditioned] = []
    for context, log_p in zip(contexts, scored, strict=True):
        (unknown,) = marginalized(marginalize, context, log_p, [abstention])
        if math.exp(unknown.log_prob) > above:
            conditioned.append(Conditioned(context, unknown, abstains=True))
        else:
            prior = prior_of_answering(context.log_prior, log_p[0].sum(dim=-1))
            conditioned.append(Conditioned(QuestionPrior(context.pairs, prior), unknown))
    return conditioned


def prior_of_answering(log_prior: Tensor, abstains: Tensor) -> Tensor:
    """log p(z|x, z answers), [..., k], from log p(z|x) and log p(unknown|x,z), both [..., k]."""
    answers = torch.log(-torch.expm1(abstains.clamp(max=_ALMOST_CERTAIN)))
    return torch.log_softmax(log_prior.to(answers.device) + answers, dim=-1)
