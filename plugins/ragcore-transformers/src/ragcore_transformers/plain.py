"""Decoding with the checkpoint's own forward pass: for training, and for models unknown to fast.py.

Each row carries the states that it reads and its own cache, so `select` copies both. Models whose
cached steps differ from their plain forward pass are fed all of an answer's tokens at each step
instead: its length is short, and the numbers are right for any architecture.
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


@dataclass
class _EncoderOutput(BaseModelOutput):
    """What an encoder gave, for Switch and NLLB-MoE too, which ask for the logits of routers."""

    router_logits: tuple[Tensor, ...] | None = None


@dataclass(slots=True)
class PlainState:
    """Decoder rows: what they read, what they were fed, and the attention caches.

    Attributes:
        model: Hugging Face's encoder-decoder.
        states: [M, S, D], the encoder's states that each row reads.
        mask: [M, S].
        device: the caller's.
        pad: the padding token.
        cached: whether steps use caches; else each is a forward pass over all that was fed.
        fed: int64 [M, L].
        cache: of the tokens fed so far.
    """

    model: Any
    states: Tensor
    mask: Tensor
    device: torch.device
    pad: int
    cached: bool = True
    fed: Tensor = field(init=False)
    cache: EncoderDecoderCache = field(
        default_factory=lambda: EncoderDecoderCache(DynamicCache(), DynamicCache())
    )

    def __post_init__(self) -> None:
        self.fed = self.mask.new_zeros(len(self.mask), 0, dtype=torch.long)

    def __len__(self) -> int:
        """Return M, the number of rows."""
        return len(self.mask)

    @property
    def length(self) -> int:
        """The number of tokens fed to each row."""
        return self.fed.shape[1]

    def select(self, rows: Tensor) -> None:
        """Keep rows [M'] int64, in this order; one may appear more than once."""
        rows = rows.to(self.mask.device)
        if torch.equal(rows, torch.arange(len(self.mask), device=rows.device)):
            return
        self.states, self.mask, self.fed = self.states[rows], self.mask[rows], self.fed[rows]
        if self.cached and self.length:
            self.cache.batch_select_indices(rows)

    def step(self, tokens: Tensor) -> Tensor:
        """Feed tokens int64 [M ≥ 1]; return the next log p, float32 [M, V]."""
        self.fed = torch.cat([self.fed, tokens[:, None]], dim=1)
        # Models treat padding within an answer each in their own way, such as M2M100, which gives
        # it no position, and T5Gemma, which masks it. A cache that is fed one token knows nothing
        # of that. The first token may be the padding token: T5's start is.
        if self.cached and self.length > 1 and bool((tokens == self.pad).any()):
            self.cached = False
        fed = tokens[:, None] if self.cached else self.fed
        cache = self.cache if self.cached else None
        logits = _decoded(self.model, self.states, self.mask, fed, cache)  # [M, 1 or L, V]
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
    return wide(_decoded(model, states, mask, fed))


def _decoded(
    model: Any,
    states: Tensor,
    mask: Tensor,
    fed: Tensor,
    cache: EncoderDecoderCache | None = None,
) -> Tensor:
    """Return the decoder's logits [M, L, V] for tokens int64 [M, L] after those in `cache`."""
    cached = {} if cache is None else {cache_name(model): cache}
    logits: Tensor = model(
        encoder_outputs=_EncoderOutput(last_hidden_state=states),
        attention_mask=mask,
        decoder_input_ids=fed,
        use_cache=cache is not None,
        **cached,
    ).logits
    return logits
