"""Run prompts through a causal model once: whole, or after keys and values that are known already.

A known beginning is copied, and only the tokens after it are run: each row writes its keys and
values behind its own beginning, and a mask hides the columns that come after a token.

Knows Hugging Face's forward pass and caches; knows nothing of text or of what is reused when.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache
from transformers.cache_utils import Cache, DynamicLayer

from ragcore_transformers.caching import cache_name
from ragcore_transformers.ends import EndTokens
from ragcore_transformers.states import PassageStates

__all__ = ["Prefill", "Beginning", "masked_forward"]


@dataclass(frozen=True, slots=True)
class Beginning:
    """A row whose first tokens are known.

    Attributes:
        row: the prompt's number.
        states: what is known.
        count: how many of its tokens the prompt begins with; fewer than the prompt has.
    """

    row: int
    states: PassageStates
    count: int


class Prefill:
    """Keys, values and next log-probs of P prompts, as far as they were read.

    Attributes:
        keys: of each layer [P, H, S, d]; any finite number behind a prompt's end.
        values: likewise.
        lengths: int64 [P].
        log_probs: float32 [P, V], of the token that follows each prompt.
    """

    def __init__(
        self,
        model: Any,
        prompts: Sequence[Sequence[int]],
        batch_size: int,
        vocabulary_size: int,
        ends: EndTokens,
    ) -> None:
        """Begin with nothing read.

        Args:
            model: the checkpoint.
            prompts: token ids of P prompts.
            batch_size: the most prompts in one run of the model.
            vocabulary_size: V.
            ends: the end tokens, whose probabilities are added.
        """
        device = model.device
        self._model = model
        self._prompts = prompts
        self._batch_size = batch_size
        self._ends = ends
        self._longest = max(map(len, prompts), default=0)
        self.lengths = torch.tensor([len(ids) for ids in prompts], dtype=torch.int64, device=device)
        self.log_probs = torch.zeros(len(prompts), vocabulary_size, device=device)
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    @torch.no_grad()
    def whole(self, rows: Sequence[int]) -> None:
        """Read all tokens of some prompts, in batches of similar length."""
        # A single batch stays in order: its tensors are then those of all prompts, not copied.
        single = len(rows) <= self._batch_size
        order = rows if single else sorted(rows, key=lambda row: len(self._prompts[row]))
        for begin in range(0, len(order), self._batch_size):
            batch = order[begin : begin + self._batch_size]
            # Padding follows the prompt, so that no token of the prompt attends to it.
            ids = _padded([self._prompts[row] for row in batch]).to(self._model.device)
            cache = DynamicCache(config=self._model.config)
            self._run(batch, self.lengths[batch] - 1, cache, input_ids=ids)
            self._write(batch, cache)

    @torch.no_grad()
    def after(self, beginnings: Sequence[Beginning]) -> None:
        """Read what prompts have after tokens that are known, in batches of similar length."""
        order = sorted(beginnings, key=lambda each: each.row)
        if len(order) > self._batch_size:
            order.sort(key=lambda each: (len(self._prompts[each.row]) - each.count, each.count))
        for begin in range(0, len(order), self._batch_size):
            self._after(order[begin : begin + self._batch_size])

    def states(self, row: int, count: int) -> PassageStates:
        """Return what was computed of the first tokens of a prompt that was read; views."""
        return PassageStates(
            tuple(self._prompts[row][:count]),
            tuple(keys[row, :, :count] for keys in self.keys),
            tuple(values[row, :, :count] for values in self.values),
        )

    def _after(self, batch: Sequence[Beginning]) -> None:
        model, device = self._model, self._model.device
        rows = [each.row for each in batch]
        ids = _padded([self._prompts[each.row][each.count :] for each in batch]).to(device)
        known = torch.tensor([each.count for each in batch], device=device)  # [R]
        columns = known[:, None] + torch.arange(ids.shape[1], device=device)  # [R, W]
        total = int(columns.max()) + 1
        cache = Cache(
            layers=[
                _PlacedLayer(
                    self._begun([(each.states.keys[layer], each.count) for each in batch], total),
                    self._begun([(each.states.values[layer], each.count) for each in batch], total),
                    columns,
                )
                for layer in range(len(batch[0].states.keys))
            ]
        )
        last = self.lengths[rows] - 1  # [R]
        self._run(
            rows,
            last - known,
            cache,
            input_ids=ids,
            attention_mask=_mask_of(
                torch.arange(total, device=device) <= columns[:, :, None], model.dtype
            ),
            # Padding may be behind the model's last position.
            position_ids=columns.minimum(last[:, None]),
        )
        self._write(rows, cache)

    def _begun(self, known: Sequence[tuple[Tensor, int]], total: int) -> Tensor:
        """Return one layer's keys or values of R rows [R, H, total, d], zero where unknown."""
        heads, _, size = known[0][0].shape
        begun = torch.empty(
            len(known), heads, total, size, dtype=self._model.dtype, device=self._model.device
        )
        for row, (states, count) in zip(begun, known, strict=True):
            row[:, :count] = states[:, :count]
            # Hidden by the mask, but NaN would show.
            row[:, count:] = 0
        return begun

    def _run(self, rows: Sequence[int], last: Tensor, cache: Cache, **inputs: Tensor) -> None:
        """Run one batch; `last` int64 [R] is where each row's last token is in `input_ids`."""
        positions, column = torch.unique(last, return_inverse=True)
        logits = self._model(
            use_cache=True, logits_to_keep=positions, **{cache_name(self._model): cache}, **inputs
        ).logits[torch.arange(len(rows), device=last.device), column]  # [R, V]
        self.log_probs[rows] = self._ends.merged(logits.float().log_softmax(dim=-1))

    def _write(self, rows: Sequence[int], cache: Cache) -> None:
        """Copy a batch's keys and values [R, H, S', d] to the lines of their prompts."""
        everything = list(rows) == list(range(len(self._prompts)))
        for tensors, name in ((self.keys, "keys"), (self.values, "values")):
            for layer, cache_layer in enumerate(cache.layers):
                part = getattr(cache_layer, name)[:, :, : self._longest]
                if everything:
                    tensors.append(part)
                    continue
                if len(tensors) == layer:
                    shape = (len(self._prompts), part.shape[1], self._longest, part.shape[3])
                    tensors.append(part.new_zeros(shape))
                tensors[layer][rows, :, : part.shape[2]] = part


class _PlacedLayer(DynamicLayer):  # type: ignore[no-untyped-call, unused-ignore]
    """Keys and values [R, H, total, d] in which each row's next tokens have columns of their own.

    A model writes to it once.
    """

    keys: Tensor
    values: Tensor

    def __init__(self, keys: Tensor, values: Tensor, columns: Tensor) -> None:
        """Take keys and values whose beginnings are filled, and int64 [R, W], what comes next."""
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]
        self.lazy_initialization(keys, values)
        self.keys, self.values = keys, values
        self._columns = columns

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write the tokens' keys and values into their columns; return all columns."""
        for stored, states in ((self.keys, key_states), (self.values, value_states)):
            index = self._columns[:, None, :, None].expand_as(states)  # [R, H, W, d]
            stored.scatter_(2, index, states)
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """Return the number of columns before the longest row's next tokens."""
        return self.keys.shape[2] - self._columns.shape[1]


def masked_forward(
    model: Any, grid: Tensor, visible: Tensor, positions: Tensor, layers: Sequence[DynamicLayer]
) -> Tensor:
    """Return logits [P, W, V] after a grid of tokens, with a mask and positions of its own.

    Args:
        model: the checkpoint.
        grid: the tokens, int64 [P, W].
        visible: bool [P, W, columns], what each token attends to.
        positions: int64 [P, W], how many tokens are before each.
        layers: the cache, which takes the tokens' keys and values.
    """
    logits: Tensor = model(
        input_ids=grid,
        attention_mask=_mask_of(visible, model.dtype),
        position_ids=positions,
        use_cache=True,
        **{cache_name(model): Cache(layers=list(layers))},
    ).logits
    return logits


def _mask_of(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what attention adds, [P, 1, W, columns]: the lowest number where not visible."""
    mask = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return mask.masked_fill_(~visible, torch.finfo(dtype).min)[:, None]


def _padded(prompts: Sequence[Sequence[int]]) -> Tensor:
    """Return token ids as int64 [R, W], zero behind the end of each."""
    return pad_sequence([torch.tensor(ids) for ids in prompts], batch_first=True)
