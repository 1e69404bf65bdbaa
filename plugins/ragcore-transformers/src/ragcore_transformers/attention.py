"""Attention of decoder rows over their own nodes and over what their pairs have read.

Knows tensors, masks and `tree.py`; no model. A model's decoder (bart.py, t5.py) hands over
projected queries, keys and values of laid rows [M, H · d] and gets [M, H · d] back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from ragcore_transformers.tree import Growth, Layout, Move, NodeCache

__all__ = ["Attention", "Encoded", "attend", "bias_of"]

_FEW_QUERIES: Final = 16
"""Up to so many queries a pair, two batched products are faster on a CPU than a fused kernel."""

PositionBias = Callable[[Tensor], Tensor | None]
"""Of relative positions int64 [P, n, N] (key - query, at most 0) a bias [P, H, n, N], or None."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Keys and values of what P pairs have read, for each decoder layer, made once for all rows.

    Attributes:
        keys: for each layer [P, H, S, d].
        values: likewise.
        mask: bool [P, S], where there is a token.
    """

    keys: list[Tensor]
    values: list[Tensor]
    mask: Tensor

    def __len__(self) -> int:
        """P, the number of pairs."""
        return len(self.mask)

    def of_pairs(self, pairs: Tensor) -> Encoded:
        """Those of pairs [P'], ascending, no longer than the longest; views where they can be."""
        if len(pairs) == len(self):
            return self
        begin, end = int(pairs[0]), int(pairs[-1]) + 1
        mask = self.mask[pairs]
        longest = int(mask.sum(dim=1).max())

        def kept(held: Tensor) -> Tensor:
            held = held[:, :, :longest]
            # Neighbours need no copy.
            return held[begin:end] if end - begin == len(pairs) else held.index_select(0, pairs)

        return Encoded(
            [kept(layer) for layer in self.keys],
            [kept(layer) for layer in self.values],
            mask[:, :longest],
        )

    def after(self, move: Move | None) -> Encoded:
        """Those of the pairs that a move keeps."""
        return self if move is None or move.pairs is None else self.of_pairs(move.pairs)


@dataclass(frozen=True, slots=True)
class Attention:
    """How the laid rows of one forward pass attend.

    Attributes:
        layout: the grid of the rows.
        heads: H.
        scale: what products of queries and keys are multiplied by.
        own_bias: what `bias_of` makes of the nodes that each row sees.
        encoded: what the layout's pairs have read.
        encoded_bias: what `bias_of` makes of its mask.
        growth, cache: where the rows' keys and values are kept with those of earlier nodes; None
            where the rows see one another only.
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
        """Rows attend to their ancestors and themselves."""
        nodes, contents = self._heads_of(keys), self._heads_of(values)
        if self.growth is None or self.cache is None:
            nodes, contents = nodes.transpose(1, 2), contents.transpose(1, 2)
        else:
            self.cache.write(layer, self.growth, nodes, contents)
            nodes = self.cache.keys[layer][:, :, : self.growth.end]
            contents = self.cache.values[layer][:, :, : self.growth.end]
        return self._attended(queries, nodes, contents, self.own_bias)

    def read(self, layer: int, queries: Tensor) -> Tensor:
        """Rows attend to what their pair has read."""
        encoded = self.encoded
        return self._attended(
            queries, encoded.keys[layer], encoded.values[layer], self.encoded_bias
        )

    def _attended(self, queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        found = attend(self._heads_of(queries), keys, values, bias, self.scale)
        return self.layout.flat(found)

    def _heads_of(self, laid: Tensor) -> Tensor:
        grid = self.layout.grid(laid)
        return grid.view(*grid.shape[:2], self.heads, -1)


def bias_of(mask: Tensor, heads: int, dtype: torch.dtype, added: Tensor | None = None) -> Tensor:
    """What is added to the products of queries and keys: very little where `mask` is False.

    Args:
        mask: bool [P, n, N].
        heads: H.
        dtype: of the queries.
        added: [P, H, n or 1, N], a bias of the model's own.

    Returns:
        [P, H or 1, n, N], or [P · H, n, N] where `attend` computes by batched products.
    """
    # Finite: a cell without a row sees nothing, and must not become NaN.
    bias = torch.zeros(mask.shape, dtype=dtype, device=mask.device)
    bias = bias.masked_fill_(~mask, torch.finfo(dtype).min)[:, None]
    if added is not None:
        bias = bias + added
    pairs, _, queries, keys = bias.shape
    if mask.device.type == "cpu" and dtype == torch.float32 and queries <= _FEW_QUERIES:
        bias = bias.expand(-1, heads, -1, -1).reshape(pairs * heads, queries, keys)
    return bias


def attend(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor, scale: float) -> Tensor:
    """Softmax attention of queries [P, n, H, d] to keys [P, H, N, d], as [P, n, H · d].

    `bias` is what `bias_of` gave.
    """
    pairs, count, heads, size = queries.shape
    queries = queries.transpose(1, 2)
    if bias.ndim == 4:
        found = torch.nn.functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=bias, scale=scale
        )
    else:
        weights = torch.baddbmm(
            bias,
            queries.reshape(pairs * heads, count, size),
            keys.flatten(0, 1).transpose(1, 2),
            alpha=scale,
        )
        found = torch.bmm(weights.softmax(dim=-1), values.flatten(0, 1))
        found = found.view(pairs, heads, count, size)
    return found.transpose(1, 2).reshape(pairs, count, heads * size)
