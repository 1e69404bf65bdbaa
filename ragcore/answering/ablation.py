"""An answer without some of its passages, conditioned anew out of what the search knew already.

With z over the passages that are kept and their prior brought to 1 again, the probability of each
step changes by a factor that the posterior tells, p(z|x) p(y|x,z) being p(y|x) p(z|x,y):

    p'(y|x) / p(y|x) = Σ_z p(z|x,y) / Σ_z p(z|x)

where y is one token for RAG-Token, and the prefix so far for RAG-Sequence. So nothing is generated
or scored again, and the result is what scoring the answer over these passages alone would give.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ragcore.answering.evidence import Retrieved, make_answer
from ragcore.config import RagConfig
from ragcore.contracts import Generator
from ragcore.decoding.abstention import Conditioned
from ragcore.decoding.beam import Hypothesis, Step
from ragcore.decoding.question_prior import QuestionPrior
from ragcore.decoding.scoring import Marginal
from ragcore.errors import QuestionError
from ragcore.types import Answer, Candidate

__all__ = ["Without", "without"]


@dataclass(frozen=True, slots=True)
class Without:
    """What becomes of an answer when passages are left out.

    Attributes:
        passage_ids: those that are left out.
        log_prob: log p(y|x) of the same answer over the others; -inf where it has none.
        winner: the answer that wins over the others, among those that the search came to; None
            where it came to none that they allow: an abstaining question was not searched, and a
            grounded answer must stand in a passage that is left.
        candidates: how many answers the search came to.
    """

    passage_ids: tuple[str, ...]
    log_prob: float
    winner: Answer | None
    candidates: int

    def to_dict(self) -> dict[str, Any]:
        """It as plain JSON-ready values; a log p of -inf, which JSON cannot say, as null."""
        return {
            "passage_ids": list(self.passage_ids),
            "log_prob": self.log_prob if math.isfinite(self.log_prob) else None,
            "winner": self.winner and self.winner.to_dict(),
            "candidates": self.candidates,
        }


def without(
    answer: Answer, passage_ids: Sequence[str], generator: Generator, config: RagConfig
) -> Without:
    """Leave passages out of an answer; see `Rag.without`."""
    kept = _kept(answer, passage_ids)
    marginalize = config.marginalize
    candidates = [_weighed_anew(one, kept, marginalize) for one in answer.candidates]
    same, ranked = (
        candidates[0],
        sorted(
            (
                (hypothesis, one)
                for hypothesis, one in zip(candidates, answer.candidates, strict=True)
                if not config.grounded or any(one.spans[place] for place in kept)
            ),
            key=lambda pair: pair[0].score(config.length_penalty),
            reverse=True,
        ),
    )
    abstains = False
    if config.abstain is not None and answer.abstention is not None:
        unknown = _weighed_anew(answer.abstention, kept, marginalize)
        abstains = math.exp(unknown.log_prob) > config.abstain.above
        if abstains:
            ranked = [(unknown, answer.abstention)]
        elif answer.abstention.token_ids == answer.token_ids:
            # It abstained with all passages, so no other answer was searched for.
            ranked = []
    winner = _answer(answer, ranked, kept, generator, marginalize) if ranked else None
    return Without(tuple(passage_ids), same.log_prob, winner, len(candidates))


def _kept(answer: Answer, passage_ids: Sequence[str]) -> list[int]:
    """The places of the passages that are not left out."""
    ids = [one.passage.id for one in answer.evidence]
    for name in passage_ids:
        if name not in ids:
            raise QuestionError(
                f"no passage {name!r} to leave out: the answer to {answer.question!r} was read "
                f"from {', '.join(ids) or 'none'}"
            )
    kept = [place for place, name in enumerate(ids) if name not in set(passage_ids)]
    if not kept:
        raise QuestionError(
            f"the answer to {answer.question!r} was read from {', '.join(ids)} alone, and nothing "
            "would be left: leave one of them in, or ask for more with rag.k"
        )
    return kept


def _weighed_anew(one: Candidate, kept: Sequence[int], marginalize: Marginal) -> Hypothesis:
    """A candidate over some of its passages, by the formula above."""
    prior = sum(one.priors[place] for place in kept)
    steps, before = [], 0.0
    rows = zip(one.token_ids, one.token_log_probs, one.posteriors, strict=True)
    for token, log_prob, posterior in rows:
        weights = [posterior[place] for place in kept]
        whole = sum(weights)
        # Of a step that none of them allows, and all after it, the probability is 0.
        change = math.log(whole) - math.log(prior) if whole and prior else -math.inf
        rescaled = tuple(weight / whole for weight in weights) if whole else (0.0,) * len(kept)
        if marginalize == "token":
            steps.append(Step(token, log_prob + change, rescaled))
            continue
        # The change is of the whole prefix; the step's own is what it adds to the one before.
        step = log_prob + change - before if before > -math.inf else -math.inf
        steps.append(Step(token, step, rescaled))
        before = change
    return Hypothesis(tuple(steps), sum(step.log_prob for step in steps), finished=True)


def _answer(
    answer: Answer,
    ranked: Sequence[tuple[Hypothesis, Candidate]],
    kept: Sequence[int],
    generator: Generator,
    marginalize: Marginal,
) -> Answer:
    """The best of the hypotheses as an answer out of the passages that are kept."""
    evidence = [answer.evidence[place] for place in kept]
    priors = torch.tensor([ranked[0][1].priors[place] for place in kept], dtype=torch.float64)
    log_prior = torch.log(priors / priors.sum())
    spans = {hypothesis.tokens: [one.spans[place] for place in kept] for hypothesis, one in ranked}
    return make_answer(
        generator,
        marginalize,
        Retrieved(
            answer.question,
            [one.passage for one in evidence],
            [one.score for one in evidence],
            log_prior,
        ),
        Conditioned(QuestionPrior(torch.arange(len(kept)), log_prior)),
        [hypothesis for hypothesis, _ in ranked],
        answer.memory,
        lambda tokens: spans[tuple(tokens)],
    )
