"""One training step's forward pass: retrieve, read, marginalise, as one module.

Everything is in one `forward`, so that whoever wraps the module (for several processes, or another
precision) wraps all of it. Knows nothing of steps, optimisers or files.
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
    """What a forward pass depends on besides weights and memory; see `TrainConfig`.

    Attributes:
        marginalize: RAG-Token or RAG-Sequence.
        k: passages for a question; 0 is closed book.
        gradient: whether the prior carries a gradient to the question encoder.
        passages_gradient: whether passages are encoded anew, with gradient to their encoder.
        label_smoothing: see `smoothed_loss`.
        passage_dropout: how likely a passage is left out.
        distill: the second loss, if there is one.
        bfloat16: whether matrices are multiplied in that; weights and sums stay float32.
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
    """What a forward pass gives, each the sum over its questions.

    Attributes:
        total: what is minimised, a scalar with gradient.
        nll: -log p(y|x), a scalar without.
        recalled: questions of whose passages one holds a right answer.
    """

    total: Tensor
    nll: Tensor
    recalled: int


@dataclass(frozen=True, slots=True)
class _RetrievedBatch:
    """The passages that stay of each question, and their prior.

    Attributes:
        passages: [B][k'], one None where nothing was found.
        log_prior: [B, K], -inf where a question has fewer than the most.
    """

    passages: list[list[Passage | None]]
    log_prior: Tensor


class RagModel(torch.nn.Module):
    """Question encoder, memory and generator, as they are trained together.

    `memory` may be exchanged between two steps: the next retrieves from the new one.
    """

    def __init__(
        self,
        memory: Memory,
        encoder: TrainableEncoder | None,
        generator: TrainableGenerator,
        settings: Settings,
    ) -> None:
        """Put the parts together.

        Args:
            memory: what is searched; `search_with_grad` where the prior carries a gradient.
            encoder: what it encodes questions with; None where the prior carries none.
            generator: whose `score` carries a gradient.
            settings: see there.
        """
        super().__init__()
        self.memory = memory
        self._encoder = encoder
        self._generator = generator
        self._settings = settings
        # Registered under names of their own, which checkpoints are written by.
        self.generator = generator.trained_module()
        if encoder is not None and settings.gradient:
            self.question_encoder = encoder.trained_module()
            if settings.passages_gradient:
                self.passage_encoder = encoder.passage_module()

    def forward(self, examples: Sequence[Example], step: int) -> Losses:
        """The losses of B ≥ 1 examples, as the memory and the weights are now."""
        device = self._generator.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self._settings.bfloat16):
            return self._losses(examples, step)

    def _losses(self, examples: Sequence[Example], step: int) -> Losses:
        said, smoothing = self._settings, self._settings.label_smoothing
        found = self._retrieve(examples, step)
        prior = found.log_prior.to(self._generator.device)
        targets = pad_targets(self._generator.encode_answers([one.answer for one in examples]))
        targets = targets.to(prior.device)
        with torch.set_grad_enabled(self._reads_to_learn):
            log_p, log_p_all = self._read(examples, found, targets)
        if log_p_all is None:
            losses = marginal_loss(said.marginalize, prior, log_p)
        else:
            losses = smoothed_loss(said.marginalize, prior, log_p_all, targets, smoothing)
        nll = losses.detach()
        if log_p_all is not None:
            nll = marginal_loss(said.marginalize, prior.detach(), log_p.detach())
        if said.distill is not None:
            losses = losses + said.distill.weight * distillation_loss(
                prior,
                log_p,
                target=said.distill.target,
                direction=said.distill.direction,
                temperature=said.distill.temperature,
            )
        return Losses(losses.sum(), nll.sum(), self._recalled(examples, found))

    def _read(
        self, examples: Sequence[Example], found: _RetrievedBatch, targets: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """What the generator says of each passage: of the target [B, k, T], of all [B, k, T, V].

        The second only where label smoothing needs it.
        """
        pairs = [(place, z) for place, own in enumerate(found.passages) for z in range(len(own))]
        read = self._generator.read(
            [examples[place].question for place, _ in pairs],
            [found.passages[place][z] for place, z in pairs],
        )
        places = torch.tensor(pairs, device=targets.device)
        rows = torch.arange(len(pairs), device=targets.device)
        fed, shape = targets[places[:, 0]], found.log_prior.shape
        if not self._settings.label_smoothing:
            return _spread(self._generator.score(read, rows, fed), places, shape), None
        everything = self._generator.score_all(read, rows, fed)
        chosen = everything.gather(2, fed.clamp(min=0)[:, :, None])[:, :, 0]
        chosen = chosen.masked_fill(fed < 0, 0.0)
        return _spread(chosen, places, shape), _spread(everything, places, shape)

    @property
    def _reads_to_learn(self) -> bool:
        return torch.is_grad_enabled() and any(
            weight.requires_grad for weight in self.generator.parameters()
        )

    def _retrieve(self, examples: Sequence[Example], step: int) -> _RetrievedBatch:
        """What the current question encoder finds, less what is dropped out."""
        said = self._settings
        questions = [one.question for one in examples]
        if not said.k:
            return _RetrievedBatch([[None] for _ in questions], torch.zeros(len(questions), 1))
        if said.gradient:
            hits, scores = self.memory.search_with_grad(questions, said.k)
        else:
            with torch.no_grad():
                hits = self.memory.search(questions, said.k)
            scores = torch.from_numpy(hits.scores)
        kept = [
            _drop(own, said.passage_dropout, seed_of("passages", said.seed, step, one.question))
            for own, one in zip((hits.rows != MISSING_ROW).tolist(), examples, strict=True)
        ]
        passages: list[list[Passage | None]] = []
        for own, rows in zip(kept, hits.rows, strict=True):
            taken = self.memory.passages.take(rows[own].tolist())
            passages.append(list(taken) or [None])
        most = max(map(len, passages))
        columns = [[*own, *[-1] * (most - len(own))] for own in kept]
        # One more column, of what is not there.
        wide = torch.nn.functional.pad(scores, (0, 1), value=-torch.inf)
        ours = wide.gather(1, torch.tensor(columns, device=scores.device) % wide.shape[1])
        if said.passages_gradient:
            ours = self._encoded_scores(questions, passages, ours)
        nothing = torch.tensor([not own for own in kept], device=scores.device)
        # With nothing found the generator answers alone, of prior 1.
        first = torch.arange(most, device=scores.device) == 0
        ours = ours.masked_fill(nothing[:, None] & first, 0.0)
        return _RetrievedBatch(passages, log_prior(ours, self.memory.temperature))

    def _encoded_scores(
        self, questions: Sequence[str], passages: list[list[Passage | None]], scores: Tensor
    ) -> Tensor:
        """Scores [B, K] with passages encoded as their encoder is now, gradient included."""
        encoder = cast(TrainableEncoder, self._encoder)
        asked = encoder.encode_questions(questions)
        flat = [(at, one) for at, own in enumerate(passages) for one in own if one is not None]
        if not flat:
            return scores
        vectors = encoder.encode_passages_with_grad([one for _, one in flat])
        own = torch.tensor([at for at, _ in flat], device=vectors.device)
        products = (asked[own] * vectors).sum(dim=1)
        return torch.full_like(scores, -torch.inf).masked_scatter(~torch.isneginf(scores), products)

    def _recalled(self, examples: Sequence[Example], found: _RetrievedBatch) -> int:
        return sum(
            any(
                is_relevant(passage, one.asked, self.memory.version)
                for passage in own
                if passage is not None
            )
            for one, own in zip(examples, found.passages, strict=True)
        )


def _spread(rows: Tensor, places: Tensor, shape: torch.Size) -> Tensor:
    """Rows [P, …] of pairs, laid out by question and passage, [B, K, …]; 0 where there is none."""
    whole = rows.new_zeros(*shape, *rows.shape[1:])
    return whole.index_put((places[:, 0], places[:, 1]), rows)


def _drop(there: Sequence[bool], share: float, seed: int) -> list[int]:
    """The columns that stay of those that are there; one always does."""
    columns = [column for column, is_there in enumerate(there) if is_there]
    if not share or not columns:
        return columns
    drawn = random.Random(seed)
    kept = [column for column in columns if drawn.random() >= share]
    return kept or [drawn.choice(columns)]
