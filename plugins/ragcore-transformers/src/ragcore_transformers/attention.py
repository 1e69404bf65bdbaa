"""Attention of decoder rows over their own nodes and over what their pairs have read.

Knows tensors, masks and `tree.py`; knows nothing of models. A model's decoder (bart.py, t5.py)
passes projected queries, keys and values of laid rows [M, H · d] and gets [M, H · d] back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from ragcore_transformers.kernels import can_pack
from ragcore_transformers.tree import Growth, Layout, Move, NodeCache

__all__ = ["Attention", "Encoded", "attend", "bias_of"]

_FEW_QUERIES: Final = 16
"""Up to so many queries a pair, two batched products are faster on a CPU than a fused kernel.

In bfloat16 too, where the processor multiplies it.
"""

PositionBias = Callable[[Tensor], Tensor | None]
"""From relative positions [P, n, N] (key - query, at most 0) to a bias [P, H, n, N] or None."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Keys and values of what P pairs have read, by decoder layer, computed once for all rows.

    Their dtype is that in which rows attend, to their own nodes too.

    Attributes:
        keys: for each layer [P, H, S, d].
        values: likewise.
        mask: bool [P, S], where there is a token.
    """

    keys: list[Tensor]
    values: list[Tensor]
    mask: Tensor

    def __len__(self) -> int:
        """Return P, the number of pairs."""
        return len(self.mask)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of keys and values, float32 or bfloat16."""
        return self.keys[0].dtype

    def of_pairs(self, pairs: Tensor) -> Encoded:
        """Select pairs [P'], ascending, cut to the longest of them; views where possible."""
        if len(pairs) == len(self):
            return self
        begin, end = int(pairs[0]), int(pairs[-1]) + 1
        mask = self.mask[pairs]
        longest = int(mask.sum(dim=1).max())

        def selected(tensor: Tensor) -> Tensor:
            tensor = tensor[:, :, :longest]
            # Neighbouring pairs need no copy.
            adjacent = end - begin == len(pairs)
            return tensor[begin:end] if adjacent else tensor.index_select(0, pairs)

        return Encoded(
            [selected(keys) for keys in self.keys],  # [P', H, S', d] each
            [selected(values) for values in self.values],
            mask[:, :longest],
        )

    def after(self, move: Move | None) -> Encoded:
        """Select the pairs that a move keeps."""
        return self if move is None or move.pairs is None else self.of_pairs(move.pairs)


@dataclass(frozen=True, slots=True)
class Attention:
    """How the laid rows of one forward pass attend.

    Attributes:
        layout: the grid of the rows.
        heads: H.
        scale: products of queries and keys are multiplied by this.
        own_bias: `bias_of` the nodes that each row sees.
        encoded: what the layout's pairs have read.
        encoded_bias: `bias_of` its mask.
        growth, cache: where the rows' keys and values are stored with those of earlier nodes; None
            where the rows see only one another.
    """

    layout: Layout
    heads: int
    scale: float
    own_bias: Tensor
    encoded: Encoded
    encoded_bias: Tensor
    growth: Growth | None = None
    cache: NodeCache | None = None

    def own(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attend from rows to their ancestors and themselves."""
        keys, values = self._heads_of(keys), self._heads_of(values)  # [P, width, H, d]
        if self.growth is None or self.cache is None:
            keys, values = keys.transpose(1, 2), values.transpose(1, 2)  # [P, H, width, d]
        else:
            self.cache.write(layer, self.growth, keys, values)
            keys = self.cache.keys[layer][:, :, : self.growth.end]  # [P, H, N, d]
            values = self.cache.values[layer][:, :, : self.growth.end]
        return self._attended(queries, keys, values, self.own_bias)

    def read(self, layer: int, queries: Tensor) -> Tensor:
        """Attend from rows to what their pair has read."""
        encoded = self.encoded
        return self._attended(
            queries, encoded.keys[layer], encoded.values[layer], self.encoded_bias
        )

    def _attended(self, queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        attended = attend(self._heads_of(queries), keys, values, bias, self.scale)
        return self.layout.flat(attended)  # [M, H · d]

    def _heads_of(self, laid: Tensor) -> Tensor:
        grid = self.layout.grid(laid)  # [P, width, H · d]
        return grid.view(*grid.shape[:2], self.heads, -1)  # [P, width, H, d]


def bias_of(mask: Tensor, heads: int, dtype: torch.dtype, added: Tensor | None = None) -> Tensor:
    """Return what is added to products of queries and keys: the lowest number where not `mask`.

    Args:
        mask: bool [P, n, N].
        heads: H.
        dtype: of the keys.
        added: [P, H, n or 1, N], the model's own bias.

    Returns:
        [P, H or 1, n, N], or [P · H, n, N] where `attend` computes by batched products.
    """
    # Finite, also with the model's own bias: a cell without a row sees nothing, and must not become
    # NaN.
    bias = torch.zeros(mask.shape, dtype=dtype, device=mask.device)
    bias = bias.masked_fill_(~mask, torch.finfo(dtype).min / 2)[:, None]  # [P, 1, n, N]
    if added is not None:
        bias = bias + added  # [P, H, n, N]
    pairs, _, queries, keys = bias.shape
    multiplied = dtype == torch.float32 or (dtype == torch.bfloat16 and can_pack(dtype))
    if mask.device.type == "cpu" and multiplied and queries <= _FEW_QUERIES:
        bias = bias.expand(-1, heads, -1, -1).reshape(pairs * heads, queries, keys)
    return bias


def attend(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor, scale: float) -> Tensor:
    """Attend from queries [P, n, H, d] to keys and values [P, H, N, d]; return [P, n, H · d].

    `bias` comes from `bias_of`; all have the same dtype.
    """
    pairs, count, heads, size = queries.shape
    queries = queries.transpose(1, 2)  # [P, H, n, d]
    if bias.ndim == 4:
        attended = torch.nn.functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=bias, scale=scale
        )
    else:
        queries = queries.reshape(pairs * heads, count, size)
        keys = keys.flatten(0, 1)  # [P · H, N, d]
        if keys.dtype == torch.float32:
            # MKL takes a third less time for keys · queries than for queries · keys.
            products = torch.bmm(keys, queries.transpose(1, 2)).transpose(1, 2)
            weights = torch.add(bias, products, alpha=scale)  # [P · H, n, N]
        else:
            weights = torch.baddbmm(bias, queries, keys.transpose(1, 2), alpha=scale)
        attended = torch.bmm(weights.softmax(dim=-1), values.flatten(0, 1))  # [P · H, n, d]
        attended = attended.view(pairs, heads, count, size)
    return attended.transpose(1, 2).reshape(pairs, count, heads * size)
