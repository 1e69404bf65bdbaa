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

from collections.abc import Sequence

import torch
from torch import Tensor

from ragcore.contracts import Generator, Read
from ragcore.decoding.scoring import score_targets

__all__ = ["answering_prior"]

_ALMOST_CERTAIN = -1e-6
"""A log-probability of abstaining above this counts as this: so that a prior is left over."""


def answering_prior(
    generator: Generator, read: Read, pairs: Tensor, log_prior: Tensor, abstention: Sequence[int]
) -> Tensor:
    """log p(z|x, z answers), the prior among the passages that do not abstain.

    Args:
        generator: gives p(y_i|x,z,y_<i).
        read: the pairs that it has read.
        pairs: int64 [k], one question's.
        log_prior: [k], log p(z|x).
        abstention: token ids of the abstaining answer, the end token last.

    Returns:
        [k], exp sums to 1.
    """
    abstains = score_targets(generator, read, pairs, [abstention])[0].sum(dim=-1)
    answers = torch.log(-torch.expm1(abstains.clamp(max=_ALMOST_CERTAIN)))
    return torch.log_softmax(log_prior.to(answers.device) + answers, dim=-1)
