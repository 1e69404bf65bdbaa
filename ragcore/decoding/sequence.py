"""Decode by RAG-Sequence: thorough and fast (paper, section 2.5), and joint (ragcore's own).

The paper searches with one beam per passage, because p(y|x) = Σ_z p(z|x) Π_i p(y_i|x,z,y_<i) does
not factor into one term per token. **Thorough** scores every hypothesis of any beam under every
passage; **fast** takes p(y|x,z) as 0 where y is not among the hypotheses of z's beam.

**Joint** needs no beam per passage, because the marginal does factor into mixtures whose weights
change with the prefix:

    p(y_i|x,y_<i) = p(y_<=i|x) / p(y_<i|x) = Σ_z p(z|x,y_<i) p(y_i|x,z,y_<i)

So one beam search over prefixes that carry their posterior scores exactly as it proceeds, needs no
scoring afterwards, and can stream.

Answers can also be drawn (sampling.py): **joint** from the marginal of each next token, or **per
passage**, as the model is defined: a passage z from the prior, then y from p(y|x,z). Both draw y
with the probability p(y|x). Per passage, a draw has a single decoder row instead of k; p(y|x) and
the posterior are scored afterwards.

All of them can drop passages that hardly matter (dropping.py): joint after any token, the others
before they decode.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ragcore.contracts import Generator, Read
from ragcore.decoding.beam import BeamSearch
from ragcore.decoding.chances import Chance, SamplingOptions
from ragcore.decoding.dropping import DroppedByPrefix, kept_passages
from ragcore.decoding.hypotheses import Hypothesis
from ragcore.decoding.prefixes import Prefixes
from ragcore.decoding.question_prior import QuestionPrior
from ragcore.decoding.rules import Constraint, DecodingOptions
from ragcore.decoding.sampling import Sampling, draw_from, merged
from ragcore.decoding.scoring import Known, score_hypotheses
from ragcore.decoding.token import RagToken

__all__ = ["RagSequence", "fast", "per_passage", "thorough"]


@dataclass(frozen=True, slots=True)
class _Beams:
    """One question's beams.

    Attributes:
        by_passage: the hypotheses of each passage's beam, in the order of its k passages; none
            where the passage is dropped.
        dropped: the positions of the passages that are dropped.
        dropped_mass: their prior together.
    """

    by_passage: list[list[Hypothesis]]
    dropped: list[int]
    dropped_mass: float


class RagSequence(Prefixes):
    """A `PrefixModel` of RAG-Sequence: joint decoding."""

    _Dropped = DroppedByPrefix

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
    drop_below: float = 0.0,
    check: Callable[[], None] | None = None,
) -> list[list[Hypothesis]]:
    """Search with one beam per passage, then score every hypothesis under every passage.

    What a passage's own beam has scored is not scored again.

    Args:
        generator: computes p(y_i|x,z,y_<i).
        read: the pairs that it has read.
        priors: one for each question.
        options: of each passage's beam search.
        constraints: what restricts each question's answers, if anything does.
        drop_below: passages are left out whose prior is together at most this, below 1.
        check: called before each step of the search, and before the scoring; what it raises ends
            the decoding.

    Returns:
        For each question the union of its beams, best first, without duplicates, with exact
        log p(y|x), or with its lower bound where passages were left out.

    Raises:
        GeneratorError: the generator's log-probs form no distribution.
    """
    beams = _beams_per_passage(generator, read, priors, options, constraints, drop_below, check)
    candidates = [
        list(dict.fromkeys(h.tokens for beam in question_beams.by_passage for h in beam))
        for question_beams in beams
    ]
    scored = _scored(generator, read, priors, candidates, beams)
    return [
        sorted(
            hypotheses,
            key=lambda h: h.score(options.length_penalty, options.repetition_penalty),
            reverse=True,
        )
        for hypotheses in scored
    ]


def fast(
    generator: Generator,
    read: Read,
    priors: Sequence[QuestionPrior],
    options: DecodingOptions,
    constraints: Sequence[Constraint | None] | None = None,
    drop_below: float = 0.0,
    check: Callable[[], None] | None = None,
) -> list[list[Hypothesis]]:
    """Search with one beam per passage, then rank the hypotheses by their beams' scores alone.

    p(y|x,z) counts as 0 where y is not among the hypotheses of z's beam. Only the winner is then
    scored under every passage, so its log-prob is exact all the same, unless passages were left
    out. Arguments and errors as `thorough`.

    Returns:
        For each question its winner alone.
    """
    beams = _beams_per_passage(generator, read, priors, options, constraints, drop_below, check)
    winners = [
        [_winner(prior, question_beams.by_passage, options)]
        for prior, question_beams in zip(priors, beams, strict=True)
    ]
    return _scored(generator, read, priors, winners, beams)


def per_passage(
    generator: Generator,
    read: Read,
    priors: Sequence[QuestionPrior],
    options: DecodingOptions,
    sampling: SamplingOptions,
    draws: Sequence[Sequence[Chance]],
    constraints: Sequence[Constraint | None] | None = None,
    drop_below: float = 0.0,
    check: Callable[[], None] | None = None,
) -> list[list[Hypothesis]]:
    """Draw a passage for each draw, then an answer from it; score each under every passage.

    Args:
        generator: computes p(y_i|x,z,y_<i).
        read: the pairs that it has read.
        priors: one for each question.
        options: of each draw.
        sampling: how a token is drawn from p(y_i|x,z,y_<i); the passage is drawn from the prior.
        draws: for each question the random numbers of its draws.
        constraints: what restricts each question's answers, if anything does.
        drop_below: passages are left out whose prior is together at most this, below 1.
        check: called before each step, and before the scoring; what it raises ends the drawing.

    Returns:
        For each question the different answers that were drawn, best first, with exact log p(y|x),
        or with its lower bound where passages were left out.

    Raises:
        GeneratorError: the generator's log-probs form no distribution.
    """
    splits = _kept(priors, drop_below)
    # For each question the draws of each passage; the order is that in which they are decoded.
    drawn: list[dict[int, dict[int, Chance]]] = []
    for prior, of_question, (stay, _) in zip(priors, draws, splits, strict=True):
        weights = prior.log_prior[stay].double().cpu().exp()  # [k']
        by_passage: dict[int, dict[int, Chance]] = {}
        for number, chance in enumerate(of_question):
            by_passage.setdefault(stay[draw_from(weights, chance())], {})[number] = chance
        drawn.append(by_passage)
    search = Sampling(
        RagToken(
            generator,
            read,
            [
                alone
                for prior, by_passage in zip(priors, drawn, strict=True)
                for z, alone in enumerate(prior.apart())
                if z in by_passage
            ],
        ),
        options,
        sampling,
        [by_passage[z] for by_passage in drawn for z in sorted(by_passage)],
        [
            constraint
            for constraint, by_passage in zip(
                constraints or [None] * len(priors), drawn, strict=True
            )
            for _ in by_passage
        ],
        check,
    )
    searched = iter(search.run())
    if check is not None:
        check()
    beams: list[_Beams] = []
    for prior, by_passage, (stay, mass) in zip(priors, drawn, splits, strict=True):
        hypotheses = [next(searched) if z in by_passage else [] for z in range(len(prior))]
        dropped = [z for z in range(len(prior)) if z not in stay]
        beams.append(_Beams(hypotheses, dropped, mass))
    answers = [
        merged([h for of_passage in each.by_passage for h in of_passage], options) for each in beams
    ]
    scored = _scored(generator, read, priors, [[h.tokens for h in each] for each in answers], beams)
    return [
        merged(
            [
                replace(hypothesis, draws=answer.draws)
                for hypothesis, answer in zip(hypotheses, of_question, strict=True)
            ],
            options,
        )
        for hypotheses, of_question in zip(scored, answers, strict=True)
    ]


def _kept(priors: Sequence[QuestionPrior], drop_below: float) -> list[tuple[list[int], float]]:
    """Decide which passages of each question are decoded, and what prior the others have."""
    return [
        kept_passages(prior.log_prior.exp().tolist(), drop_below)
        if drop_below
        else (list(range(len(prior))), 0.0)
        for prior in priors
    ]


def _beams_per_passage(
    generator: Generator,
    read: Read,
    priors: Sequence[QuestionPrior],
    options: DecodingOptions,
    constraints: Sequence[Constraint | None] | None,
    drop_below: float,
    check: Callable[[], None] | None,
) -> list[_Beams]:
    """Run a beam search for each passage of each question, all in one batch."""
    splits = _kept(priors, drop_below)
    # RAG-Token over a single passage, whose prior is 1, is that passage's own beam search.
    single, single_constraints = [], []
    for prior, constraint, (stay, _) in zip(
        priors, constraints or [None] * len(priors), splits, strict=True
    ):
        apart = prior.apart()
        single += [apart[z] for z in stay]
        single_constraints += [constraint] * len(stay)
    search = BeamSearch(RagToken(generator, read, single), options, single_constraints, check)
    searched = iter(search.run())
    if check is not None:
        check()
    beams: list[_Beams] = []
    for prior, (stay, mass) in zip(priors, splits, strict=True):
        by_passage = [next(searched) if z in stay else [] for z in range(len(prior))]
        dropped = [z for z in range(len(prior)) if z not in stay]
        beams.append(_Beams(by_passage, dropped, mass))
    return beams


def _scored(
    generator: Generator,
    read: Read,
    priors: Sequence[QuestionPrior],
    targets: Sequence[Sequence[tuple[int, ...]]],
    beams: Sequence[_Beams],
) -> list[list[Hypothesis]]:
    """Score each question's targets under all passages that have not scored them yet."""
    known = [
        _known(question_beams, question_targets)
        for question_beams, question_targets in zip(beams, targets, strict=True)
    ]
    scored = score_hypotheses("sequence", generator, read, priors, targets, known=known)
    return [
        [replace(hypothesis, dropped_mass=question_beams.dropped_mass) for hypothesis in hypotheses]
        for question_beams, hypotheses in zip(beams, scored, strict=True)
    ]


def _known(beams: _Beams, targets: Sequence[tuple[int, ...]]) -> Known:
    """Collect log p(y_i|x,z,y_<i) of each (passage, answer) that needs no scoring.

    These are what the beams have scored, and 0 as the probability under a dropped passage.
    """
    known = {
        (z, hypothesis.tokens): tuple(step.log_prob for step in hypothesis.steps)
        for z, beam in enumerate(beams.by_passage)
        for hypothesis in beam
    }
    impossible = {
        (z, target): (-math.inf, *[0.0] * (len(target) - 1))
        for z in beams.dropped
        for target in targets
    }
    return known | impossible


def _winner(
    prior: QuestionPrior, beams: Sequence[list[Hypothesis]], options: DecodingOptions
) -> tuple[int, ...]:
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
