"""Beams as further query positions: which decoder row sees which token, and where its keys stand.

The rows of a (question, passage) pair share all that they have in common. What they were fed forms
a tree: each token fed to a row is a node, whose keys and values are computed and kept once, in a
column of the pair's cache. A row attends to its own ancestors by a mask. So rows are reordered,
doubled and pruned by indexing masks, and no cache moves; keys and values of what a pair reads (the
encoder's states, a prompt) are never expanded to its rows.

Two trees: `Forest` grows by one node a row and step, as decoding does; `Trie` holds given targets,
so that teacher forcing feeds every distinct prefix once. `Layout` brings rows into the grid
[P, width] in which attention is computed.

Knows index tensors only: no model, no vocabulary, no text. P pairs, M rows, n nodes, N columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

__all__ = ["Forest", "Growth", "Layout", "Move", "NodeCache", "Trie"]

_CAPACITY: Final = 64
"""Columns that a cache begins with; what four beams fill in sixteen steps."""

_IN_USE: Final = 0.75
"""Pairs are dropped when fewer than this share of those held has rows: a copy must pay."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Rows [M] of P pairs as a grid [P, width], those of a pair side by side in its line.

    Linear layers take rows flat [M, d], without padding; attention takes the grid. Both are in
    *laid* order, pair by pair: `arrange` goes there from the caller's order, `restore` back. Where
    every pair has as many rows, `grid` and `flat` are views.

    Attributes:
        pairs: P.
        width: the most rows that a pair has.
        order: int64 [M], the row at each laid place.
        places: int64 [M], the laid place of each row.
        cells: int64 [M], the cell of the flattened grid at each laid place, ascending.
    """

    pairs: int
    width: int
    order: Tensor
    places: Tensor
    cells: Tensor

    @classmethod
    def of(cls, pair: Tensor, pairs: int) -> Layout:
        """The layout of rows that belong to `pair` int64 [M], each below `pairs`."""
        counts = torch.bincount(pair, minlength=pairs)
        order = torch.argsort(pair, stable=True)
        line = pair[order]
        place = torch.arange(len(pair), device=pair.device)
        places = torch.empty_like(order)
        places[order] = place
        width = int(counts.max()) if pairs else 0
        slot = place - (counts.cumsum(0) - counts)[line]
        return cls(pairs, width, order, places, line * width + slot)

    @property
    def full(self) -> bool:
        """Whether every cell of the grid has a row."""
        return len(self.order) == self.pairs * self.width

    def arrange(self, rows: Tensor) -> Tensor:
        """Rows [M, …] in the caller's order as laid rows [M, …]."""
        return rows.index_select(0, self.order)

    def restore(self, laid: Tensor) -> Tensor:
        """Laid rows [M, …] in the caller's order."""
        return laid.index_select(0, self.places)

    def grid(self, laid: Tensor) -> Tensor:
        """Laid rows [M, …] as a grid [P, width, …], zero where a pair has no more rows."""
        if not self.full:
            cells = laid.new_zeros(self.pairs * self.width, *laid.shape[1:])
            laid = cells.index_copy_(0, self.cells, laid)
        return laid.view(self.pairs, self.width, *laid.shape[1:])

    def flat(self, grid: Tensor) -> Tensor:
        """The laid rows [M, …] of a grid [P, width, …]."""
        cells = grid.reshape(self.pairs * self.width, *grid.shape[2:])
        return cells if self.full else cells.index_select(0, self.cells)


@dataclass(frozen=True, slots=True)
class Move:
    """What caches must do before the next columns are written.

    Attributes:
        pairs: int64 [P'], the held pairs that stay, in order; None for all of them.
        columns: int64 [P', N'], the columns that stay, for each pair that stays; None for all.
        capacity: how many columns must fit from now on.
    """

    pairs: Tensor | None
    columns: Tensor | None
    capacity: int

    def of_pairs(self, values: Tensor) -> Tensor:
        """What is kept of values [P, …] that each pair has one of, [P', …]."""
        return values if self.pairs is None else values.index_select(0, self.pairs)

    def of_columns(self, values: Tensor) -> Tensor:
        """What is kept of columns [P, H, N, d] or [P, N]: [P', H, N', d] or [P', N']."""
        values = self.of_pairs(values)
        if self.columns is None:
            return values
        if values.ndim == 2:
            return values.gather(1, self.columns)
        index = self.columns[:, None, :, None].expand(-1, values.shape[1], -1, values.shape[3])
        return values.gather(2, index)


@dataclass(frozen=True, slots=True)
class Growth:
    """One step of a forest: each row has got a node.

    Attributes:
        move: what caches must do first, if anything.
        layout: of the rows, which are also the new nodes.
        begin: the new nodes' first column; they stand in begin … end - 1 in the grid's order.
        end: N, all columns that are in use now.
        mask: bool [P, width, N], the columns that each row sees, its own included.
        depths: int64 [P, N], how many tokens were fed before each column's.
        depth: how many tokens were fed to each row before this one.
    """

    move: Move | None
    layout: Layout
    begin: int
    end: int
    mask: Tensor
    depths: Tensor
    depth: int


class Forest:
    """The trees of rows under way. All rows are equally long."""

    # What is made in the caller's inference mode could not be written to outside it.
    @torch.inference_mode(False)
    def __init__(self, pair: Tensor, pairs: int, *, capacity: int = _CAPACITY) -> None:
        """Rows that were fed nothing yet.

        Args:
            pair: int64 [M], the pair of each row.
            pairs: P, the pairs that caches hold at first, in use or not.
            capacity: the columns that caches can hold at first.
        """
        self.capacity = capacity
        self._pair = pair
        self._pairs = pairs
        self._length = 0
        self._columns = 0
        # Row by row, so that selecting rows is all that a select does.
        self._sees = torch.zeros(len(pair), capacity, dtype=torch.bool, device=pair.device)
        self._depths = torch.zeros(pairs, capacity, dtype=torch.int64, device=pair.device)

    def __len__(self) -> int:
        """M, the number of rows."""
        return len(self._pair)

    @property
    def length(self) -> int:
        """How many tokens each row has been fed."""
        return self._length

    @torch.inference_mode(False)
    def select(self, rows: Tensor) -> None:
        """Keep rows [M'] int64, in this order; one may appear more than once."""
        self._pair = self._pair.index_select(0, rows)
        self._sees = self._sees.index_select(0, rows)

    @torch.inference_mode(False)
    def grow(self) -> Growth:
        """Give each row a node, in the columns behind those in use; there must be a row."""
        move = self._tidy()
        layout = Layout.of(self._pair, self._pairs)
        begin, end = self._columns, self._columns + layout.width
        if end > self.capacity:
            move = self._make_room(move, layout.width)
            begin, end = self._columns, self._columns + layout.width
        slot = layout.restore(layout.cells) - self._pair * layout.width
        self._sees.scatter_(1, (slot + begin)[:, None], True)
        self._depths[:, begin:end] = self._length
        growth = Growth(
            move,
            layout,
            begin,
            end,
            layout.grid(layout.arrange(self._sees[:, :end])),
            self._depths[:, :end],
            self._length,
        )
        self._columns = end
        self._length += 1
        return growth

    def _tidy(self) -> Move | None:
        """Drop pairs that no row reads any more, once they are many."""
        used = torch.unique(self._pair)
        if len(used) >= _IN_USE * self._pairs:
            return None
        places = torch.zeros(self._pairs, dtype=torch.int64, device=used.device)
        places[used] = torch.arange(len(used), device=used.device)
        self._pair = places[self._pair]
        self._depths = self._depths[used]
        self._pairs = len(used)
        return Move(used, None, self.capacity)

    def _make_room(self, move: Move | None, width: int) -> Move:
        """Pack the columns that a row still sees to the left, and double if that is not enough."""
        pair, sees = self._pair, self._sees[:, : self._columns]
        seen = torch.zeros(self._pairs, self._columns, dtype=torch.int32, device=sees.device)
        live = seen.index_add_(0, pair, sees.int()) > 0
        count = int(live.sum(dim=1).max())
        # Stable: what is packed stays in the order of its depth. A pair with fewer live columns
        # than others keeps some that nobody sees.
        columns = torch.argsort(~live, dim=1, stable=True)[:, :count]
        # Half must be free again, or packing would be done at every other step.
        while 2 * (count + width) > self.capacity:
            self.capacity *= 2
        self._sees = _widened(sees.gather(1, columns[pair]), self.capacity)
        self._depths = _widened(self._depths.gather(1, columns), self.capacity)
        self._columns = count
        return Move(None if move is None else move.pairs, columns, self.capacity)


class NodeCache:
    """Keys and values of a forest's nodes for each layer, [P, H, capacity, d] each."""

    @torch.inference_mode(False)
    def __init__(
        self,
        layers: int,
        pairs: int,
        heads: int,
        size: int,
        *,
        capacity: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        """Nothing kept yet; `size` is d, the length of a head's keys."""
        shape = (pairs, heads, capacity, size)
        self.keys = [torch.empty(shape, dtype=dtype, device=device) for _ in range(layers)]
        self.values = [torch.empty(shape, dtype=dtype, device=device) for _ in range(layers)]

    @torch.inference_mode(False)
    def make_room(self, growth: Growth) -> None:
        """Do the move that a growth asks for, if any."""
        move = growth.move
        if move is None:
            return
        used = growth.begin
        for held in (self.keys, self.values):
            for layer, old in enumerate(held):
                kept = move.of_columns(
                    old if move.columns is not None else old[:, :, : growth.begin]
                )
                pairs, heads, _, size = kept.shape
                held[layer] = kept.new_empty(pairs, heads, move.capacity, size)
                held[layer][:, :, :used] = kept

    def write(self, layer: int, growth: Growth, keys: Tensor, values: Tensor) -> None:
        """Keep keys and values [P, width, H, d] of a growth's nodes in their columns."""
        self.keys[layer][:, :, growth.begin : growth.end] = keys.transpose(1, 2)
        self.values[layer][:, :, growth.begin : growth.end] = values.transpose(1, 2)


@dataclass(frozen=True, slots=True)
class Trie:
    """The distinct prefixes of given targets, a tree for each pair; nodes by depth, then by pair.

    Attributes:
        tokens: int64 [n], the token that is fed at each node; -1 at a root.
        pair: int64 [n].
        depth: int64 [n], how many tokens were fed before it.
        sees: bool [n, width], which of its pair's nodes each node sees, itself included; they are
            numbered in the order in which they come here, as `Layout` places them.
        node: int64 [M, T], the node that the token at (row, position) follows; -1 where padded.
    """

    tokens: Tensor
    pair: Tensor
    depth: Tensor
    sees: Tensor
    node: Tensor

    @classmethod
    def of(cls, pair: Tensor, targets: Tensor) -> Trie:
        """The trie of targets int64 [M, T], padded behind with -1, of pairs int64 [M]."""
        node = torch.full_like(targets, -1)
        empty = targets.new_empty(0)
        tokens, parents, pairs, depths = [empty], [empty], [empty], [empty]
        radix = int(targets.max()) + 1 if targets.numel() else 1
        before = known = 0
        for depth in range(targets.shape[1]):
            rows = (targets[:, depth] >= 0).nonzero()[:, 0]
            if depth == 0:
                found, place = torch.unique(pair[rows], return_inverse=True)
                parents.append(torch.full_like(found, -1))
                tokens.append(torch.full_like(found, -1))
                pairs.append(found)
            else:
                # A prefix is the node before it and one more token.
                key = node[rows, depth - 1] * radix + targets[rows, depth - 1]
                found, place = torch.unique(key, return_inverse=True)
                parents.append(found // radix)
                tokens.append(found % radix)
                pairs.append(pairs[-1][parents[-1] - before])
            depths.append(torch.full_like(found, depth))
            node[rows, depth] = known + place
            before, known = known, known + len(found)
        pair_of = torch.cat(pairs)
        return cls(torch.cat(tokens), pair_of, torch.cat(depths), _sees(pair_of, parents), node)

    def __len__(self) -> int:
        """n, the number of nodes."""
        return len(self.tokens)

    def of_pairs(self, begin: int, end: int) -> Tensor:
        """The nodes int64 [n'] of the pairs begin … end - 1, in order."""
        return ((self.pair >= begin) & (self.pair < end)).nonzero()[:, 0]


def _sees(pair: Tensor, parents: list[Tensor]) -> Tensor:
    """What each node sees, bool [n, width]: what its parent sees, and itself."""
    layout = Layout.of(pair, int(pair.max()) + 1 if len(pair) else 0)
    slot = layout.restore(layout.cells) - pair * layout.width
    sees = torch.zeros(len(pair), layout.width, dtype=torch.bool, device=pair.device)
    end = 0
    for level in parents:
        begin, end = end, end + len(level)
        if begin:
            sees[begin:end] = sees[level]
        sees[begin:end].scatter_(1, slot[begin:end, None], True)
    return sees


def _widened(values: Tensor, columns: int) -> Tensor:
    wide = values.new_zeros(len(values), columns)
    wide[:, : values.shape[1]] = values
    return wide
