"""Decoder rows with a cache each, for causal models whose rows cannot share a prompt.

Slower than shared_rows.py, and correct for any state that a checkpoint keeps: windows, recurrent
states, positions that it counts itself. Prompts are never padded: only those of one length are run
together, and so are the rows that continue them.

Knows Hugging Face's forward pass and caches; knows nothing of text.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from ragcore_transformers.ends import EndTokens

__all__ = ["CopiedPrompts", "CopiedRows"]


@dataclass(frozen=True, slots=True)
class CopiedPrompts:
    """The checkpoint's caches of P prompts, those of one length together; never changed.

    Attributes:
        model: the checkpoint.
        cache_name: the keyword by which its forward pass takes the cache.
        caches: one for each group of prompts.
        group: int64 [P], the group of each prompt.
        slot: int64 [P], its row in the group's cache.
        log_probs: float32 [P, V], of the token that follows each prompt.
        ends: the end tokens, whose probabilities are added.
        lengths: of the prompts of each group.
        positioned: whether the model is told each token's position, which some cannot count from
            their caches, such as Bamba.
    """

    model: Any
    cache_name: str
    caches: list[Any]
    group: Tensor
    slot: Tensor
    log_probs: Tensor
    ends: EndTokens
    lengths: list[int]
    positioned: bool

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        model: Any,
        cache_name: str,
        prompts: Sequence[Sequence[int]],
        batch_size: int,
        vocabulary_size: int,
        ends: EndTokens,
        *,
        positioned: bool = False,
    ) -> CopiedPrompts:
        """Run the prompts through the model, those of one length together."""
        by_length: dict[int, list[int]] = {}
        for pair, ids in enumerate(prompts):
            by_length.setdefault(len(ids), []).append(pair)
        device = model.device
        group = torch.zeros(len(prompts), dtype=torch.int64, device=device)
        slot = torch.zeros_like(group)
        log_probs = torch.zeros(len(prompts), vocabulary_size, device=device)
        caches: list[Any] = []
        lengths: list[int] = []
        for length, pairs in sorted(by_length.items()):
            for begin in range(0, len(pairs), batch_size):
                part = pairs[begin : begin + batch_size]
                cache = DynamicCache(config=model.config)
                tokens = torch.tensor([list(prompts[pair]) for pair in part], device=device)
                output = model(input_ids=tokens, use_cache=True, **{cache_name: cache})
                rows = torch.tensor(part, device=device)
                following = output.logits[:, -1].float().log_softmax(dim=-1)  # [part, V]
                log_probs[rows] = ends.merged(following)
                group[rows] = len(caches)
                slot[rows] = torch.arange(len(part), device=device)
                caches.append(getattr(output, cache_name))
                lengths.append(length)
        return cls(model, cache_name, caches, group, slot, log_probs, ends, lengths, positioned)

    def start(self, pairs: Tensor) -> CopiedRows:
        """Begin rows that continue the prompts of pairs int64 [M]."""
        return CopiedRows(self, pairs)


class CopiedRows:
    """Decoder rows; all of them have been fed equally many tokens."""

    def __init__(self, prompts: CopiedPrompts, pairs: Tensor) -> None:
        """Begin rows of pairs int64 [M], nothing fed yet."""
        self._prompts = prompts
        self.pairs = pairs
        self._group = prompts.group[pairs]
        self._slot = prompts.slot[pairs]
        self._caches: dict[int, Any] = {}
        self._fed = 0

    def __len__(self) -> int:
        """Return M, the number of rows."""
        return len(self.pairs)

    def select(self, rows: Tensor) -> None:
        """Keep rows [M'] int64, in this order; one may appear more than once."""
        self.pairs, self._group, self._slot = (
            values.index_select(0, rows) for values in (self.pairs, self._group, self._slot)
        )

    def step(self, tokens: Tensor | None) -> Tensor:
        """Feed one token to each row (None: nothing yet); return log-probs of the next [M, V]."""
        after_prompts = self._prompts.log_probs  # [P, V]
        if tokens is None:
            return after_prompts.index_select(0, self.pairs)
        log_probs = after_prompts.new_empty(len(self), after_prompts.shape[1])  # [M, V]
        live: dict[int, Any] = {}
        slot = torch.empty_like(self._slot)
        for group in torch.unique(self._group).tolist():
            rows = (self._group == group).nonzero()[:, 0]
            cache = self._caches.get(group)
            if cache is None:
                cache = copy.deepcopy(self._prompts.caches[group])
            # Rows may have been dropped or doubled since the last step.
            cache.reorder_cache(self._slot[rows])
            slot[rows] = torch.arange(len(rows), device=rows.device)
            fed = tokens[rows, None]
            inputs: dict[str, Any] = {"input_ids": fed, self._prompts.cache_name: cache}
            if self._prompts.positioned:
                position = self._prompts.lengths[group] + self._fed
                inputs["position_ids"] = torch.full_like(fed, position)
            output = self._prompts.model(use_cache=True, **inputs)
            live[group] = getattr(output, self._prompts.cache_name)
            log_probs[rows] = output.logits[:, -1].float().log_softmax(dim=-1)
        self._caches, self._slot = live, slot
        self._fed += 1
        return self._prompts.ends.merged(log_probs)
