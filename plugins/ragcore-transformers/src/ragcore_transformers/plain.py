"""Decoding with the checkpoint's own forward pass: for training, and for models unknown to fast.py.

Each row carries the states that it reads and its own cache, so `select` copies both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from ragcore_transformers.caching import cache_name
from ragcore_transformers.ends import EndTokens

__all__ = ["PlainState", "score", "score_all", "wide"]


@dataclass(slots=True)
class PlainState:
    """Decoder rows: what they read [M, S, D], its mask [M, S], and the attention caches."""

    model: Any
    states: Tensor
    mask: Tensor
    device: torch.device
    length: int = 0
    cache: EncoderDecoderCache = field(
        default_factory=lambda: EncoderDecoderCache(DynamicCache(), DynamicCache())
    )

    def __len__(self) -> int:
        """Return M, the number of rows."""
        return len(self.mask)

    def select(self, rows: Tensor) -> None:
        """Keep rows [M'] int64, in this order; one may appear more than once."""
        rows = rows.to(self.mask.device)
        if torch.equal(rows, torch.arange(len(self.mask), device=rows.device)):
            return
        self.states, self.mask = self.states[rows], self.mask[rows]
        self.cache.batch_select_indices(rows)

    def step(self, tokens: Tensor) -> Tensor:
        """Feed tokens int64 [M ≥ 1]; return the next log p, float32 [M, V]."""
        logits = self.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=self.states),
            attention_mask=self.mask,
            decoder_input_ids=tokens[:, None],
            use_cache=True,
            **{cache_name(self.model): self.cache},
        ).logits
        self.length += 1
        log_probs: Tensor = logits[:, -1].float().log_softmax(dim=-1)  # [M, V]
        return log_probs


def score(
    model: Any,
    states: Tensor,
    mask: Tensor,
    targets: Tensor,
    *,
    start: int,
    pad: int,
    ends: EndTokens,
) -> Tensor:
    """Return teacher-forced log-probs of targets [M, T], 0.0 where padded (-1); differentiable.

    Args:
        model: Hugging Face's encoder-decoder.
        states: [M, S, D], the encoder's states of each row's pair.
        mask: [M, S].
        targets: int64 [M, T].
        start: the token that the decoder is fed first.
        pad: what it is fed where a target is padded.
        ends: the end tokens, whose probabilities are added.
    """
    logits = ends.merged(_logits(model, states, mask, targets, start, pad))  # [M, T, V]
    # log softmax at the targets alone, without a second [M, T, V].
    chosen = logits.gather(2, targets.clamp(min=0)[:, :, None])[:, :, 0]  # [M, T]
    return (chosen - logits.logsumexp(dim=2)).masked_fill(targets < 0, 0.0)


def score_all(
    model: Any,
    states: Tensor,
    mask: Tensor,
    targets: Tensor,
    *,
    start: int,
    pad: int,
    ends: EndTokens,
) -> Tensor:
    """Return teacher-forced log-probs of the whole vocabulary [M, T, V]; arguments as `score`."""
    log_p = _logits(model, states, mask, targets, start, pad).log_softmax(dim=2)
    return ends.merged(log_p)


def wide(values: Tensor) -> Tensor:
    """Cast to float32, but leave float64 as it is."""
    return values if values.dtype == torch.float64 else values.float()


def _logits(
    model: Any, states: Tensor, mask: Tensor, targets: Tensor, start: int, pad: int
) -> Tensor:
    fed = targets.new_full(targets.shape, start)
    fed[:, 1:] = targets[:, :-1].masked_fill(targets[:, :-1] < 0, pad)
    output = model(
        encoder_outputs=BaseModelOutput(last_hidden_state=states),
        attention_mask=mask,
        decoder_input_ids=fed,
        use_cache=False,
    )
    return wide(output.logits)
