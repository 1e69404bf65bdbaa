"""Recomputes a served answer's log p by the definition: Lewis et al. (2020), section 2, read aloud.

Nothing that makes serving fast is used here. Each passage is read alone; the answer's tokens are
scored with gradients enabled, which is the checkpoint's own forward pass (where a generator cannot
be trained, such as one in int8, as it scores for serving, but a target at a time); the sums are
plain ones in double precision, not those of ragcore/marginalization.py. What the retriever found is
taken as it is: its scores are where p(z|x) begins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from ragcore.contracts import Generator
from ragcore.rag import Rag
from ragcore.types import Answer, Passage

__all__ = ["Reading", "Verification", "verify_answer"]

_ALMOST_CERTAIN: Final = -1e-6
"""A log-probability of abstaining counts as this at most; as in ragcore/decoding/abstention.py."""

_Table = list[list[float]]
"""log p(y_i|x,z,y_<i), [k][T]."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one passage says of an answer.

    Attributes:
        passage: the passage; None where nothing was found and the generator answered alone.
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
    """A served answer beside the same answer's log p by the definition.

    Attributes:
        answer: as it was served, its `log_prob` with it.
        log_prob: log p(y|x), recomputed.
        readings: one for each passage, in the order of the evidence.
    """

    answer: Answer
    log_prob: float
    readings: tuple[Reading, ...]

    @property
    def gap(self) -> float:
        """How far the served log p is from the recomputed one, absolute; NaN if either is."""
        return abs(self.answer.log_prob - self.log_prob)

    def holds(self, tolerance: float) -> bool:
        """Whether the gap is at most `tolerance`; never if it is NaN."""
        return self.gap <= tolerance

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain JSON-ready values."""
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
                    "passage": None if one.passage is None else one.passage.id,
                    "title": None if one.passage is None else one.passage.title,
                    "log_prob": one.log_prob,
                    "prior": one.prior,
                    "posterior": one.posterior,
                }
                for one in self.readings
            ],
        }


def verify_answer(rag: Rag, question: str) -> Verification:
    """Answer a question as a program would be answered, then recompute the answer's log p.

    Args:
        rag: the pipeline.
        question: one question.

    Returns:
        The answer with both numbers; comparing them is the caller's.

    Raises:
        QuestionError: the question is empty, or longer than the generator's input.
    """
    (answer,) = rag.answer(question)
    with rag.memory.reading() as memory:
        temperature = memory.temperature
    generator, marginalize = rag.generator, rag.config.marginalize
    passages: list[Passage | None] = [one.passage for one in answer.evidence]
    passages = passages or [None]
    prior = _softmax([one.score / temperature for one in answer.evidence] or [0.0])
    if rag.config.abstain is not None:
        (unknown,) = generator.encode_answers([rag.config.abstain.answer])
        # What abstains is conditioned among all passages; what answers among those that do.
        if list(answer.token_ids) != unknown:
            abstains = _table(generator, question, passages, unknown)
            prior = _answering(prior, [math.fsum(row) for row in abstains])
    table = _table(generator, question, passages, answer.token_ids)
    log_prob, posterior = _marginal(marginalize, prior, table)
    return Verification(
        answer,
        log_prob,
        tuple(
            Reading(passage, math.fsum(row), p, q)
            for passage, row, p, q in zip(passages, table, prior, posterior, strict=True)
        ),
    )


def _table(
    generator: Generator, question: str, passages: Sequence[Passage | None], target: Sequence[int]
) -> _Table:
    """log p(y_i|x,z,y_<i), each passage read and scored on its own."""
    pair = torch.zeros(1, dtype=torch.int64, device=generator.device)
    targets = torch.tensor([list(target)], dtype=torch.int64, device=generator.device)
    rows: _Table = []
    for passage in passages:
        with torch.set_grad_enabled("trainable" in generator.capabilities):
            log_p = generator.score(generator.read([question], [passage]), pair, targets)
        rows.append(log_p.detach()[0].tolist())
    return rows


def _answering(prior: list[float], abstains: list[float]) -> list[float]:
    """p(z|x, z answers) ∝ p(z|x) (1 − p(unknown|x,z)), from log p(unknown|x,z) of each passage."""
    weights = [
        p * -math.expm1(min(log_p, _ALMOST_CERTAIN))
        for p, log_p in zip(prior, abstains, strict=True)
    ]
    whole = math.fsum(weights)
    return [weight / whole for weight in weights]


def _marginal(marginalize: str, prior: list[float], table: _Table) -> tuple[float, list[float]]:
    """log p(y|x), and p(z|x,y) of each passage.

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
    """log Σ exp, the largest taken out so that small probabilities do not vanish."""
    largest = max(logs)
    if not math.isfinite(largest):
        return largest
    return largest + math.log(math.fsum(math.exp(one - largest) for one in logs))


def _softmax(logs: Sequence[float]) -> list[float]:
    whole = _log_sum(logs)
    return [math.exp(one - whole) for one in logs]
