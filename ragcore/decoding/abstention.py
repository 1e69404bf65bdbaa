"""Condition the prior on passages that answer: what "unknown" means where several are read.

A reader that says a word such as *unknown* when its passage does not hold the answer speaks of the
passage, not of the world. Marginalised like any other answer, that word would win whenever most of
the k passages are irrelevant, although one of them answers. So it counts as a statement about the
passage: the prior is conditioned on the passage's holding an answer,

    p(z|x, z answers) ∝ p(z|x) (1 − p(unknown|x,z)),

and the question is answered by the word only if all passages together abstain, or if none was
retrieved although some were asked for, or no passage has a word that a grounded answer could be
taken from: then no passage answers. This matters most for RAG-Token, which mixes all passages again
at every token: without it, the passages that abstain would have a share in every token of the
answer from the one that does not.

All passages together abstain where the marginal p(unknown|x) is above a bound. For RAG-Sequence it
is Σ_z p(z|x) p(unknown|x,z), an arithmetic mean: a passage that surely answers lowers it by its own
prior at most, which is little where the prior is flat. The geometric mean,
Π_z p(unknown|x,z)^p(z|x), may be compared with the bound instead. It is low where one passage with
some prior surely answers, and never above the marginal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ragcore.contracts import Generator, Read
from ragcore.decoding.hypotheses import Hypothesis
from ragcore.decoding.question_prior import QuestionPrior
from ragcore.decoding.scoring import marginalized, score_targets
from ragcore.marginalization import Marginal, geometric_log_prob, prior_of_answering

__all__ = ["Conditioned", "condition"]


@dataclass(frozen=True, slots=True)
class Conditioned:
    """A question's prior after each passage was tested for abstaining.

    Attributes:
        prior: what to decode over: conditioned on the passages that answer; unchanged where the
            question abstains or no answer is the abstaining one.
        abstention: the abstaining answer as a hypothesis; None where no answer is the abstaining
            one.
        log_mean: log of the mean of p(unknown|x,z) that is compared with the bound; 0 where no
            answer is the abstaining one.
        abstains: whether the abstaining answer is the question's answer.
    """

    prior: QuestionPrior
    abstention: Hypothesis | None = None
    log_mean: float = 0.0
    abstains: bool = False


def condition(
    marginalize: Marginal,
    generator: Generator,
    read: Read,
    priors: Sequence[QuestionPrior],
    abstention: Sequence[int],
    above: float,
    unanswerable: Sequence[bool],
    *,
    geometric: bool = False,
) -> list[Conditioned]:
    """Condition each question's prior on the passages that answer, or let the question abstain.

    Args:
        marginalize: how the abstention's own probability is computed.
        generator: computes p(y_i|x,z,y_<i).
        read: the pairs that it has read.
        priors: one for each of B questions.
        abstention: token ids of the abstaining answer, the end token last.
        above: a question abstains where the abstention's p(y|x) is above this.
        unanswerable: whether a question abstains whatever its p(y|x) is, one for each.
        geometric: compare the geometric mean of the abstention's p(y|x,z) with `above` instead.

    Returns:
        One for each question, with log p(z|x, z answers), or with log p(z|x) where it abstains.

    Raises:
        GeneratorError: a value that the generator returned is no log-probability.
    """
    # For each question [1, k, T].
    scored = score_targets(generator, read, priors, [[abstention]] * len(priors))
    conditioned: list[Conditioned] = []
    for prior, log_p, abstains in zip(priors, scored, unanswerable, strict=True):
        (unknown,) = marginalized(marginalize, prior, log_p, [abstention])
        log_unknown = log_p[0].sum(dim=-1)  # [k], log p(unknown|x,z)
        log_prior = prior.log_prior.to(log_unknown.device)  # [k]
        log_mean = unknown.log_prob
        if geometric:
            log_mean = float(geometric_log_prob(log_prior, log_unknown))
        if abstains or math.exp(log_mean) > above:
            conditioned.append(Conditioned(prior, unknown, log_mean, abstains=True))
        else:
            log_prior = prior_of_answering(log_prior, log_unknown)  # [k]
            of_answering = QuestionPrior(prior.pairs, log_prior)
            conditioned.append(Conditioned(of_answering, unknown, log_mean))
    return conditioned
