"""Beams as further query positions: which decoder row sees which token, and where its keys are.

The rows of a (question, passage) pair share all that they have in common. The tokens fed to them
form a tree: each token is a node, whose keys and values are computed and stored once, in a column
of the pair's cache. A row attends to its own ancestors by a mask. So rows are reordered, doubled
and pruned by indexing masks, and no cache moves; keys and values of what a pair reads (the
encoder's states, a prompt) are never expanded to its rows.

Two trees: `Forest` grows by one node per row and step, as decoding does; `Trie` holds known
targets, so that teacher forcing feeds every distinct prefix once. `Layout` brings rows into the
grid [P, width] in which attention is computed.

Knows index tensors only: no model, no vocabulary, no text. P pairs, M rows, n nodes, N columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

__all__ = ["Forest", "Growth", "Layout", "Move", "NodeCache", "Trie"]

_CAPACITY: Final = 64
"""Columns of a new cache; four beams fill them in sixteen steps."""

_IN_USE: Final = 0.75
"""Pairs are dropped when fewer than this share of them has rows: only then is a copy worth it."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Rows [M] of P pairs as a grid [P, width], those of a pair side by side in its line.

    Linear layers take rows flat [M, d], without padding; attention takes the grid. Both are in
    *laid* order, pair by pair: `arrange` goes there from the caller's order, `restore` back. Where
    every pair has as many rows, `grid` and `flat` are views.

    Attributes:
        pairs: P.
        width: the most rows that a pair has.
        order: int64 [M], the row at each laid position.
        positions: int64 [M], the laid position of each row.
        cells: int64 [M], the cell of the flattened grid at each laid position, ascending.
    """

    pairs: int
    width: int
    order: Tensor
    positions: Tensor
    cells: Tensor

    @classmethod
    def of(cls, pair: Tensor, pairs: int) -> Layout:
        """Lay out rows that belong to `pair` int64 [M], each below `pairs`."""
        counts = torch.bincount(pair, minlength=pairs)  # [P]
        order = torch.argsort(pair, stable=True)  # [M]
        line = pair[order]  # [M]
        position = torch.arange(len(pair), device=pair.device)  # [M]
        positions = torch.empty_like(order)
        positions[order] = position
        width = int(counts.max()) if pairs else 0
        slot = position - (counts.cumsum(0) - counts)[line]  # [M], the column in its line
        return cls(pairs, width, order, positions, line * width + slot)

    @property
    def full(self) -> bool:
        """Whether every cell of the grid has a row."""
        return len(self.order) == self.pairs * self.width

    def arrange(self, rows: Tensor) -> Tensor:
        """Bring rows [M, …] from the caller's order into laid order."""
        return rows.index_select(0, self.order)

    def restore(self, laid: Tensor) -> Tensor:
        """Bring laid rows [M, …] back into the caller's order."""
        return laid.index_select(0, self.positions)

    def grid(self, laid: Tensor) -> Tensor:
        """Return laid rows [M, …] as a grid [P, width, …], zero where a pair has fewer rows."""
        if not self.full:
            cells = laid.new_zeros(self.pairs * self.width, *laid.shape[1:])  # [P · width, …]
            laid = cells.index_copy_(0, self.cells, laid)
        return laid.view(self.pairs, self.width, *laid.shape[1:])

    def flat(self, grid: Tensor) -> Tensor:
        """Return the laid rows [M, …] of a grid [P, width, …]."""
        cells = grid.reshape(self.pairs * self.width, *grid.shape[2:])  # [P · width, …]
        return cells if self.full else cells.index_select(0, self.cells)


@dataclass(frozen=True, slots=True)
class Move:
    """How caches must change before the next columns are written.

    Attributes:
        pairs: int64 [P'], the pairs that stay, in order; None for all of them.
        columns: int64 [P', N'], the columns that stay, for each pair that stays; None for all.
        capacity: how many columns must fit from now on.
    """

    pairs: Tensor | None
    columns: Tensor | None
    capacity: int

    def of_pairs(self, values: Tensor) -> Tensor:
        """Select from values [P, …] those of the pairs that stay, [P', …]."""
        return values if self.pairs is None else values.index_select(0, self.pairs)

    def of_columns(self, values: Tensor) -> Tensor:
        """Select the columns that stay: [P, H, N, d] or [P, N] to [P', H, N', d] or [P', N']."""
        values = self.of_pairs(values)
        if self.columns is None:
            return values
        if values.ndim == 2:
            return values.gather(1, self.columns)
        index = self.columns[:, None, :, None]  # [P', 1, N', 1]
        index = index.expand(-1, values.shape[1], -1, values.shape[3])  # [P', H, N', d]
        return values.gather(2, index)


@dataclass(frozen=True, slots=True)
class Growth:
    """One step of a forest, in which each row gets a node.

    Attributes:
        move: how caches must change first, if at all.
        layout: of the rows, which are also the new nodes.
        begin: the new nodes' first column; they fill begin … end - 1 in the grid's order.
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


@dataclass(frozen=True, slots=True)
class _Laid:
    """Rows of `pair` int64 [M] as they were laid out; `slot` [M] is each one's column there."""

    pair: Tensor
    layout: Layout
    slot: Tensor

    @classmethod
    def of(cls, pair: Tensor, pairs: int) -> _Laid:
        layout = Layout.of(pair, pairs)
        return cls(pair, layout, layout.restore(layout.cells) - pair * layout.width)


class Forest:
    """The trees of rows that are being decoded. All rows are equally long."""

    # Tensors made in the caller's inference mode could not be written to outside it.
    @torch.inference_mode(False)
    def __init__(self, pair: Tensor, pairs: int, *, capacity: int = _CAPACITY) -> None:
        """Begin with rows that were fed nothing yet.

        Args:
            pair: int64 [M], the pair of each row.
            pairs: P, the pairs that caches hold at first, used or not.
            capacity: the columns that caches can hold at first.
        """
        self.capacity = capacity
        self._pair = pair
        self._pairs = pairs
        self._length = 0
        self._columns = 0
        self._laid: _Laid | None = None
        # By row, so that `select` only has to index: [M, capacity].
        self._sees = torch.zeros(len(pair), capacity, dtype=torch.bool, device=pair.device)
        # [P, capacity]
        self._depths = torch.zeros(pairs, capacity, dtype=torch.int64, device=pair.device)

    def __len__(self) -> int:
        """Return M, the number of rows."""
        return len(self._pair)

    @property
    def length(self) -> int:
        """The number of tokens fed to each row."""
        return self._length

    @torch.inference_mode(False)
    def select(self, rows: Tensor) -> None:
        """Keep rows [M'] int64, in this order; one may appear more than once."""
        self._pair = self._pair.index_select(0, rows)
        self._sees = self._sees.index_select(0, rows)

    @torch.inference_mode(False)
    def grow(self) -> Growth:
        """Give each row a node, in the columns after those in use; there must be a row."""
        move: Move | None = None
        # In most steps each row has a successor, in the same order.
        if self._laid is None or not torch.equal(self._laid.pair, self._pair):
            move = self._tidy()
            self._laid = _Laid.of(self._pair, self._pairs)
        layout = self._laid.layout
        begin, end = self._columns, self._columns + layout.width
        if end > self.capacity:
            move = self._make_room(move, layout.width)
            begin, end = self._columns, self._columns + layout.width
        self._sees.scatter_(1, (self._laid.slot + begin)[:, None], True)
        self._depths[:, begin:end] = self._length
        growth = Growth(
            move,
            layout,
            begin,
            end,
            layout.grid(layout.arrange(self._sees[:, :end])),  # [P, width, N]
            self._depths[:, :end],  # [P, N]
            self._length,
        )
        self._columns = end
        self._length += 1
        return growth

    def _tidy(self) -> Move | None:
        """Drop pairs without rows, once they are many."""
        used = torch.unique(self._pair)  # [P']
        if len(used) >= _IN_USE * self._pairs:
            return None
        renumbered = torch.zeros(self._pairs, dtype=torch.int64, device=used.device)
        renumbered[used] = torch.arange(len(used), device=used.device)
        self._pair = renumbered[self._pair]
        self._depths = self._depths[used]
        self._pairs = len(used)
        return Move(used, None, self.capacity)

    def _make_room(self, move: Move | None, width: int) -> Move:
        """Pack the columns that a row still sees to the left, and double if that is not enough."""
        pair, sees = self._pair, self._sees[:, : self._columns]
        seen = torch.zeros(self._pairs, self._columns, dtype=torch.int32, device=sees.device)
        live = seen.index_add_(0, pair, sees.int()) > 0  # [P, N]
        count = int(live.sum(dim=1).max())
        # Stable, so that columns stay in the order of their depth. A pair with fewer live columns
        # than others keeps some that no row sees.
        columns = torch.argsort(~live, dim=1, stable=True)[:, :count]  # [P, N']
        # Half must be free again, or packing would be done at every other step.
        while 2 * (count + width) > self.capacity:
            self.capacity *= 2
        self._sees = _widened(sees.gather(1, columns[pair]), self.capacity)  # [M, capacity]
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
        """Make room for keys and values; `size` is d, the length of a head's keys."""
        shape = (pairs, heads, capacity, size)
        self.keys = [torch.empty(shape, dtype=dtype, device=device) for _ in range(layers)]
        self.values = [torch.empty(shape, dtype=dtype, device=device) for _ in range(layers)]

    @torch.inference_mode(False)
    def make_room(self, growth: Growth) -> None:
        """Apply the move that a growth asks for, if any."""
        move = growth.move
        if move is None:
            return
        used = growth.begin
        for tensors in (self.keys, self.values):
            for layer, old in enumerate(tensors):
                columns = move.of_columns(old if move.columns is not None else old[:, :, :used])
                pairs, heads, _, size = columns.shape  # [P', H, used, d]
                tensors[layer] = columns.new_empty(pairs, heads, move.capacity, size)
                tensors[layer][:, :, :used] = columns

    def write(self, layer: int, growth: Growth, keys: Tensor, values: Tensor) -> None:
        """Write keys and values [P, width, H, d] of a growth's nodes into their columns."""
        self.keys[layer][:, :, growth.begin : growth.end] = keys.transpose(1, 2)
        self.values[layer][:, :, growth.begin : growth.end] = values.transpose(1, 2)


@dataclass(frozen=True, slots=True)
class Trie:
    """The distinct prefixes of targets, one tree per pair; nodes by depth, then by pair.

    Attributes:
        tokens: int64 [n], the token that is fed at each node; -1 at a root.
        pair: int64 [n].
        depth: int64 [n], how many tokens were fed before it.
        sees: bool [n, width], which of its pair's nodes each node sees, itself included; they are
            numbered in the order of the nodes, as `Layout` orders them.
        node: int64 [M, T], the node that the token at (row, position) follows; -1 where padded.
    """

    tokens: Tensor
    pair: Tensor
    depth: Tensor
    sees: Tensor
    node: Tensor

    @classmethod
    def of(cls, pair: Tensor, targets: Tensor) -> Trie:
        """Build the trie of targets int64 [M, T], padded at the end with -1, of pairs int64 [M]."""
        node = torch.full_like(targets, -1)  # [M, T]
        empty = targets.new_empty(0)
        tokens, parents, pairs, depths = [empty], [empty], [empty], [empty]
        radix = int(targets.max()) + 1 if targets.numel() else 1
        before = known = 0
        for depth in range(targets.shape[1]):
            rows = (targets[:, depth] >= 0).nonzero()[:, 0]
            if depth == 0:
                roots, number = torch.unique(pair[rows], return_inverse=True)
                parents.append(torch.full_like(roots, -1))
                tokens.append(torch.full_like(roots, -1))
                pairs.append(roots)
            else:
                # A prefix is the node before it and one more token.
                key = node[rows, depth - 1] * radix + targets[rows, depth - 1]
                keys, number = torch.unique(key, return_inverse=True)
                parents.append(keys // radix)
                tokens.append(keys % radix)
                pairs.append(pairs[-1][parents[-1] - before])
            level = tokens[-1]  # [nodes of this depth]
            depths.append(torch.full_like(level, depth))
            node[rows, depth] = known + number
            before, known = known, known + len(level)
        pair_of = torch.cat(pairs)
        return cls(torch.cat(tokens), pair_of, torch.cat(depths), _sees(pair_of, parents), node)

    def __len__(self) -> int:
        """Return n, the number of nodes."""
        return len(self.tokens)

    def of_pairs(self, begin: int, end: int) -> Tensor:
        """Return the nodes int64 [n'] of the pairs begin … end - 1, in order."""
        return ((self.pair >= begin) & (self.pair < end)).nonzero()[:, 0]


def _sees(pair: Tensor, parents: list[Tensor]) -> Tensor:
    """Return what each node sees, bool [n, width]: what its parent sees, and itself."""
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
