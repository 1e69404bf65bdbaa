"""Recompute a served answer's log p by the definition (Lewis et al., 2020, section 2).

Nothing that makes serving fast is used here. Each passage is read alone, or with `rag.marginalize:
none` all of them in one prompt; the answer's tokens are scored with gradients enabled, which is the
checkpoint's own forward pass. A generator that cannot be trained, such as one in int8, scores as
for serving, but one target at a time, and one of tier `score` scores one text after one prompt at a
time. The sums are plain ones in double precision, not those of ragcore/marginalization.py. The
retriever's scores are taken as they are: p(z|x) is derived from them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ragcore.answering.answerability import answerability_of
from ragcore.answering.prompting import prompt_of
from ragcore.answering.refusals import refuse_unscored
from ragcore.answering.together import join, read_pairs
from ragcore.contracts import (
    AnswerabilityScorer,
    AnyGenerator,
    Generator,
    gives_scores,
    steps_of,
)
from ragcore.rag import Rag
from ragcore.tiers import Meter
from ragcore.types import Answer, Passage

__all__ = ["Reading", "Verification", "verify_answer"]

_ALMOST_CERTAIN: Final = -1e-6
"""A log-probability of abstaining counts as at most this, as in ragcore/decoding/abstention.py."""

_Table = list[list[float]]
"""log p(y_i|x,z,y_<i), [k][T]."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How probable one passage makes an answer.

    Attributes:
        passage: the passage; all of them as one with `rag.marginalize: none`; None where nothing
            was found and the generator answered alone.
        log_prob: log p(y|x,z).
        prior: p(z|x); with `rag.abstain`, among the passages that do not abstain.
        posterior: p(z|x,y); for RAG-Token the mean over the tokens, as in `Evidence`.
    """

    passage: Passage | None
    log_prob: float
    prior: float
    posterior: float


@dataclass(frozen=True, slots=True)
class Verification:
    """A served answer with the same answer's log p by the definition.

    Attributes:
        answer: as it was served, with its `log_prob`.
        log_prob: log p(y|x), recomputed.
        readings: one for each passage, in the order of the evidence.
    """

    answer: Answer
    log_prob: float
    readings: tuple[Reading, ...]

    @property
    def gap(self) -> float:
        """How far the served log p is from the recomputed one, absolute; NaN if either is.

        With `rag.drop_below` the served one is a lower bound: the gap to the nearest number that
        `answer.dropped_mass` allows.
        """
        if self.answer.log_prob is None:
            return math.nan
        excess = self.log_prob - self.answer.log_prob
        # A NaN is the first argument, and stays the largest.
        return abs(max(-excess, excess - self.answer.log_prob_gap, 0.0))

    def holds(self, tolerance: float) -> bool:
        """Whether the gap is at most `tolerance`; never if it is NaN."""
        return self.gap <= tolerance

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain JSON-ready values."""
        return {
            "question": self.answer.question,
            "text": self.answer.text,
            "token_ids": list(self.answer.token_ids),
            "memory": self.answer.memory,
            "served": self.answer.log_prob,
            "recomputed": self.log_prob,
            "gap": self.gap,
            "readings": [
                {
                    "passage": None if reading.passage is None else reading.passage.id,
                    "title": None if reading.passage is None else reading.passage.title,
                    "log_prob": reading.log_prob,
                    "prior": reading.prior,
                    "posterior": reading.posterior,
                }
                for reading in self.readings
            ],
        }


def verify_answer(rag: Rag, question: str) -> Verification:
    """Answer a question as for any caller, then recompute the answer's log p.

    Args:
        rag: the pipeline.
        question: one question.

    Returns:
        The answer with both numbers; the caller compares them.

    Raises:
        QuestionError: the question is empty, or longer than the generator's input.
        UnsupportedOperation: the generator gives no log p of given answers.
    """
    refuse_unscored(rag.generator, "verifying an answer")
    (answer,) = rag.answer(question)
    with rag.memory.reading() as memory:
        temperature = memory.temperature
    generator, marginalize = rag.generator, rag.config.marginal
    passages: list[Passage | None] = [evidence.passage for evidence in answer.evidence] or [None]
    prior = _softmax([evidence.score / temperature for evidence in answer.evidence] or [0.0])
    scorer = answerability_of(rag.config) if rag.config.k else None
    by_scorer = scorer is not None and answer.abstains
    if rag.config.one_prompt and answer.evidence and not by_scorer:
        # One context: p(y|x,z_1..k).
        passages = [join([evidence.passage for evidence in answer.evidence], cite=rag.config.cite)]
        prior = [1.0]
    if scorer is not None and by_scorer:
        # The abstaining answer is none of the generator's.
        table = _table_of_scorer(scorer, question, passages)
    else:
        # The abstaining answer is scored over all passages, others over those that answer.
        prior = _conditioned(rag, scorer, answer, passages, prior)
        target = answer.candidates[0].text if gives_scores(generator) else answer.token_ids
        table = _table(generator, question, passages, target)
    log_prob, posterior = _marginal(marginalize, prior, table)
    return Verification(
        answer,
        log_prob,
        tuple(
            Reading(passage, math.fsum(row), p, q)
            for passage, row, p, q in zip(passages, table, prior, posterior, strict=True)
        ),
    )


def _conditioned(
    rag: Rag,
    scorer: AnswerabilityScorer | None,
    answer: Answer,
    passages: Sequence[Passage | None],
    prior: list[float],
) -> list[float]:
    """Compute the prior of an answer that may be the abstaining one, which keeps its own."""
    generator, question, abstain = rag.generator, answer.question, rag.config.abstain
    if scorer is not None:
        # A single prompt has a prior of 1 in any case.
        table = [[0.0]] if len(prior) == 1 else _table_of_scorer(scorer, question, passages)
    elif rag.config.abstains_by_scorer or abstain is None or _is(generator, answer, abstain.answer):
        return prior
    else:
        table = _table(generator, question, passages, _target(generator, abstain.answer))
    return _prior_of_answering(prior, [math.fsum(row) for row in table])


def _target(generator: AnyGenerator, text: str) -> str | Sequence[int]:
    """Return what a generator scores: the text, or its token ids."""
    if gives_scores(generator):
        return text
    (ids,) = steps_of(generator, "verifying an answer").encode_answers([text])
    return ids


def _is(generator: AnyGenerator, answer: Answer, text: str) -> bool:
    """Return whether an answer is this text, as the generator writes it."""
    if gives_scores(generator):
        return answer.candidates[0].text == text
    return list(answer.token_ids) == _target(generator, text)


def _table(
    generator: AnyGenerator,
    question: str,
    passages: Sequence[Passage | None],
    target: str | Sequence[int],
) -> _Table:
    """Compute log p(y_i|x,z,y_<i), [k][T], each passage read and scored on its own."""
    if isinstance(target, str):
        return _table_of_text(generator, question, passages, target)
    return _table_of_ids(steps_of(generator, "verifying an answer"), question, passages, target)


def _table_of_scorer(
    scorer: AnswerabilityScorer, question: str, passages: Sequence[Passage | None]
) -> _Table:
    """Compute log p(unknown|x,z), [k][1], each passage scored on its own; 0 without a passage."""
    return [
        [0.0 if passage is None else float(scorer.log_unanswerable([question], [passage])[0])]
        for passage in passages
    ]


def _table_of_text(
    generator: AnyGenerator, question: str, passages: Sequence[Passage | None], text: str
) -> _Table:
    assert gives_scores(generator), "texts are scored by the tier `score`"
    rows: _Table = []
    for passage in passages:
        prompt = prompt_of(question, passage)
        (score,) = generator.score_texts([prompt], [text], [Meter()])
        rows.append(list(score.log_probs))
    return rows


def _table_of_ids(
    generator: Generator, question: str, passages: Sequence[Passage | None], target: Sequence[int]
) -> _Table:
    import torch

    pair = torch.zeros(1, dtype=torch.int64, device=generator.device)
    # What a stop string ended has no end token, which a generator is promised.
    ended = [*target] if target[-1] == generator.eos_token_id else [*target, generator.eos_token_id]
    targets = torch.tensor([ended], dtype=torch.int64, device=generator.device)
    rows: _Table = []
    for passage in passages:
        with torch.set_grad_enabled("trainable" in generator.capabilities):
            log_p = generator.score(read_pairs(generator, [question], [passage]), pair, targets)
        rows.append(log_p.detach()[0, : len(target)].tolist())
    return rows


def _prior_of_answering(prior: list[float], abstaining: list[float]) -> list[float]:
    """Compute p(z|x, z answers) ∝ p(z|x) (1 − p(unknown|x,z)).

    Args:
        prior: p(z|x), [k].
        abstaining: log p(unknown|x,z), [k].
    """
    weights = [
        p * -math.expm1(min(log_p, _ALMOST_CERTAIN))
        for p, log_p in zip(prior, abstaining, strict=True)
    ]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def _marginal(marginalize: str, prior: list[float], table: _Table) -> tuple[float, list[float]]:
    """Compute log p(y|x), and p(z|x,y) of each passage.

    RAG-Token: Π_i Σ_z p(z|x) p(y_i|x,z,y_<i). RAG-Sequence: Σ_z p(z|x) Π_i p(y_i|x,z,y_<i).
    """
    log_prior = [math.log(p) if p > 0 else -math.inf for p in prior]
    if marginalize == "sequence":
        columns = [[math.fsum(row) for row in table]]
    else:
        columns = [list(column) for column in zip(*table, strict=True)]
    joints = [[p + q for p, q in zip(log_prior, column, strict=True)] for column in columns]
    log_prob = math.fsum(_log_sum(joint) for joint in joints)
    rows = [_softmax(joint) for joint in joints]
    return log_prob, [math.fsum(column) / len(rows) for column in zip(*rows, strict=True)]


def _log_sum(logs: Sequence[float]) -> float:
    """Compute log Σ exp, the largest term factored out so that small ones do not vanish."""
    largest = max(logs)
    if not math.isfinite(largest):
        return largest
    return largest + math.log(math.fsum(math.exp(log - largest) for log in logs))


def _softmax(logs: Sequence[float]) -> list[float]:
    total = _log_sum(logs)
    return [math.exp(log - total) for log in logs]
