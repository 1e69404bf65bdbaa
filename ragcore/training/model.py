"""Run one training step's forward pass as one module: retrieve, read, marginalise.

Everything is in one `forward`, so that a wrapper of the module (for several processes, or another
precision) wraps all of it. Knows memories, encoders and generators; knows nothing of optimisers or
files. B questions of a step, k passages of one question, K the largest k, P (question, passage)
pairs, T tokens of the longest target, V vocabulary, d dimensions.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor

from ragcore.config.training import DistillConfig
from ragcore.contracts import TrainableEncoder, TrainableGenerator
from ragcore.marginalization import Marginal, log_prior, pad_targets
from ragcore.memory.memory import Memory
from ragcore.questions.matching import is_relevant
from ragcore.training.examples import Example
from ragcore.training.loss import distillation_loss, marginal_loss, smoothed_loss
from ragcore.training.schedule import seed_of
from ragcore.types import MISSING_ROW, Passage

__all__ = ["Losses", "RagModel", "Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings that a forward pass depends on besides weights and memory; see `TrainConfig`.

    Attributes:
        marginalize: RAG-Token or RAG-Sequence.
        k: passages for a question; 0 is closed book.
        gradient: whether the prior carries a gradient to the question encoder.
        passages_gradient: whether passages are encoded again, with gradient to their encoder.
        label_smoothing: see `smoothed_loss`.
        passage_dropout: the probability that a passage is left out; one always remains.
        distill: the second loss, if there is one.
        bfloat16: whether matrices are multiplied in bfloat16; weights and sums stay float32.
        seed: of passage dropout.
    """

    marginalize: Marginal
    k: int
    gradient: bool
    passages_gradient: bool = False
    label_smoothing: float = 0.0
    passage_dropout: float = 0.0
    distill: DistillConfig | None = None
    bfloat16: bool = False
    seed: int = 0


class Losses(NamedTuple):
    """The result of a forward pass, each a sum over its questions.

    Attributes:
        total: what is minimised, a scalar with gradient.
        nll: -log p(y|x), a scalar without gradient.
        recalled: how many questions have a passage that contains a right answer.
    """

    total: Tensor
    nll: Tensor
    recalled: int


@dataclass(frozen=True, slots=True)
class _RetrievedBatch:
    """The passages of each question, less those that dropout leaves out, and their prior.

    Attributes:
        passages: for each question its k passages, or one None where it has no hit.
        log_prior: [B, K], log p(z|x); -inf where a question has fewer than K passages.
    """

    passages: list[list[Passage | None]]
    log_prior: Tensor


class RagModel(torch.nn.Module):
    """Question encoder, memory and generator as one module, trained together.

    `memory` may be replaced between two steps: the next one retrieves from the new memory.
    """

    def __init__(
        self,
        memory: Memory,
        encoder: TrainableEncoder | None,
        generator: TrainableGenerator,
        settings: Settings,
    ) -> None:
        """Register the weights of the components.

        Args:
            memory: searched by `search_with_grad` where the prior carries a gradient.
            encoder: encodes its questions; None where the prior carries no gradient.
            generator: its `score` carries a gradient.
            settings: see `Settings`.
        """
        super().__init__()
        self.memory = memory
        self._encoder = encoder
        self._generator = generator
        self._settings = settings
        # Checkpoints name weights by these attributes.
        self.generator = generator.trained_module()
        if encoder is not None and settings.gradient:
            self.question_encoder = encoder.trained_module()
            if settings.passages_gradient:
                self.passage_encoder = encoder.passage_module()

    def forward(self, examples: Sequence[Example], step: int) -> Losses:
        """Compute the losses of B ≥ 1 examples, with the current memory and weights."""
        device = self._generator.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self._settings.bfloat16):
            return self._losses(examples, step)

    def _losses(self, examples: Sequence[Example], step: int) -> Losses:
        settings = self._settings
        batch = self._retrieve(examples, step)
        prior = batch.log_prior.to(self._generator.device)  # [B, K]
        answers = [example.answer for example in examples]
        targets = pad_targets(self._generator.encode_answers(answers)).to(prior.device)  # [B, T]
        with torch.set_grad_enabled(self._generator_learns):
            log_p, log_p_all = self._read(examples, batch, targets)  # [B, K, T], [B, K, T, V]
        if log_p_all is None:
            losses = marginal_loss(settings.marginalize, prior, log_p)  # [B]
            nll = losses.detach()
        else:
            smoothing = settings.label_smoothing
            losses = smoothed_loss(settings.marginalize, prior, log_p_all, targets, smoothing)
            nll = marginal_loss(settings.marginalize, prior.detach(), log_p.detach())
        distill = settings.distill
        if distill is not None:
            losses = losses + distill.weight * distillation_loss(
                prior,
                log_p,
                target=distill.target,
                direction=distill.direction,
                temperature=distill.temperature,
            )
        return Losses(losses.sum(), nll.sum(), self._recalled(examples, batch))

    def _read(
        self, examples: Sequence[Example], batch: _RetrievedBatch, targets: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Read all passages and score the targets under each.

        Args:
            examples: B examples.
            batch: their passages.
            targets: int64 [B, T], padded with -1.

        Returns:
            log p(y_i|x,z,y_<i), [B, K, T], and where label smoothing needs it log p(v|x,z,y_<i) of
            every token v, [B, K, T, V].
        """
        pairs = [
            (question, z)
            for question, passages in enumerate(batch.passages)
            for z in range(len(passages))
        ]
        read = self._generator.read(
            [examples[question].question for question, _ in pairs],
            [batch.passages[question][z] for question, z in pairs],
        )
        cells = torch.tensor(pairs, device=targets.device)  # [P, 2]
        rows = torch.arange(len(pairs), device=targets.device)  # [P]
        fed, shape = targets[cells[:, 0]], batch.log_prior.shape  # [P, T]
        if not self._settings.label_smoothing:
            log_p = self._generator.score(read, rows, fed)  # [P, T]
            return _by_question_and_passage(log_p, cells, shape), None
        log_p_all = self._generator.score_all(read, rows, fed)  # [P, T, V]
        log_p = log_p_all.gather(2, fed.clamp(min=0)[:, :, None])[:, :, 0]  # [P, T]
        log_p = log_p.masked_fill(fed < 0, 0.0)
        return (
            _by_question_and_passage(log_p, cells, shape),
            _by_question_and_passage(log_p_all, cells, shape),
        )

    @property
    def _generator_learns(self) -> bool:
        return torch.is_grad_enabled() and any(
            weight.requires_grad for weight in self.generator.parameters()
        )

    def _retrieve(self, examples: Sequence[Example], step: int) -> _RetrievedBatch:
        """Search with the current question encoder, and drop out passages."""
        settings = self._settings
        questions = [example.question for example in examples]
        if not settings.k:
            return _RetrievedBatch([[None] for _ in questions], torch.zeros(len(questions), 1))
        if settings.gradient:
            hits, all_scores = self.memory.search_with_grad(questions, settings.k)
        else:
            with torch.no_grad():
                hits = self.memory.hits(questions, settings.k)
            all_scores = torch.from_numpy(hits.scores)
        # all_scores: [B, hits]. For each question the columns of the hits that remain.
        remaining = [
            _drop(exists, settings.passage_dropout, seed_of("passages", settings.seed, step, text))
            for exists, text in zip((hits.rows != MISSING_ROW).tolist(), questions, strict=True)
        ]
        passages: list[list[Passage | None]] = []
        for columns, rows in zip(remaining, hits.rows, strict=True):
            taken = self.memory.passages.take(rows[columns].tolist())
            passages.append(list(taken) or [None])
        widest = max(map(len, passages))  # K
        # Shorter rows are filled with column -1, the last: an added one of missing passages.
        filled = [[*columns, *[-1] * (widest - len(columns))] for columns in remaining]
        padded = torch.nn.functional.pad(all_scores, (0, 1), value=-torch.inf)  # [B, hits + 1]
        index = torch.tensor(filled, device=padded.device) % padded.shape[1]  # [B, K]
        scores = padded.gather(1, index)  # [B, K]
        if settings.passages_gradient:
            scores = self._encoded_scores(questions, passages, scores)
        # Without any hit the generator answers alone, with prior 1.
        closed_book = torch.tensor([not columns for columns in remaining], device=scores.device)
        first = torch.arange(widest, device=scores.device) == 0  # [K]
        scores = scores.masked_fill(closed_book[:, None] & first, 0.0)  # [B, K]
        return _RetrievedBatch(passages, log_prior(scores, self.memory.temperature))

    def _encoded_scores(
        self, questions: Sequence[str], passages: list[list[Passage | None]], scores: Tensor
    ) -> Tensor:
        """Compute scores [B, K] with the current passage encoder, with gradient to it.

        Args:
            questions: B questions.
            passages: their passages.
            scores: [B, K], from the stored vectors; -inf where there is no passage.
        """
        encoder = cast(TrainableEncoder, self._encoder)
        question_vectors = encoder.encode_questions(questions)  # [B, d]
        flat = [
            (question, passage)
            for question, question_passages in enumerate(passages)
            for passage in question_passages
            if passage is not None
        ]
        if not flat:
            return scores
        vectors = encoder.encode_passages_with_grad([passage for _, passage in flat])  # [P, d]
        index = torch.tensor([question for question, _ in flat], device=vectors.device)  # [P]
        # d(z)ᵀq(x)
        products = (question_vectors[index] * vectors).sum(dim=1)  # [P]
        missing = torch.full_like(scores, -torch.inf)  # [B, K]
        return missing.masked_scatter(~torch.isneginf(scores), products)  # [B, K]

    def _recalled(self, examples: Sequence[Example], batch: _RetrievedBatch) -> int:
        return sum(
            any(
                is_relevant(passage, example.labelled, self.memory.version)
                for passage in passages
                if passage is not None
            )
            for example, passages in zip(examples, batch.passages, strict=True)
        )


def _by_question_and_passage(rows: Tensor, cells: Tensor, shape: torch.Size) -> Tensor:
    """Arrange the rows of pairs by question and passage.

    Args:
        rows: [P, …].
        cells: int64 [P, 2], the question and the passage of each row.
        shape: (B, K).

    Returns:
        [B, K, …]; 0 where a question has no such passage.
    """
    table = rows.new_zeros(*shape, *rows.shape[1:])  # [B, K, …]
    return table.index_put((cells[:, 0], cells[:, 1]), rows)


def _drop(exists: Sequence[bool], probability: float, seed: int) -> list[int]:
    """Drop each existing hit with a probability; return the columns that remain, at least one."""
    columns = [column for column, hit_exists in enumerate(exists) if hit_exists]
    if not probability or not columns:
        return columns
    rng = random.Random(seed)
    remaining = [column for column in columns if rng.random() >= probability]
    return remaining or [rng.choice(columns)]
