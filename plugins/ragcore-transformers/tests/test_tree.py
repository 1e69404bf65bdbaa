from __future__ import annotations

import random

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ragcore_transformers.tree import Forest, Layout, NodeCache, Trie


def cache_of(pairs: int, capacity: int) -> NodeCache:
    return NodeCache(
        2, pairs, 1, 1, capacity=capacity, dtype=torch.float32, device=torch.device("cpu")
    )


class Told:
    """A forest whose nodes keep the token that they were fed, beside what rows should see."""

    def __init__(self, pair: list[int], pairs: int, capacity: int) -> None:
        self.forest = Forest(torch.tensor(pair), pairs, capacity=capacity)
        self.cache = cache_of(pairs, capacity)
        self.names = torch.arange(pairs)
        self.expected: list[tuple[int, list[int]]] = [(one, []) for one in pair]
        self.moves: list[str] = []

    def feed(self, tokens: list[int]) -> None:
        growth = self.forest.grow()
        if growth.move is not None:
            self.moves += ["pairs"] * (growth.move.pairs is not None)
            self.moves += ["columns"] * (growth.move.columns is not None)
            self.names = growth.move.of_pairs(self.names)
        self.cache.make_room(growth)
        layout = growth.layout
        nodes = layout.grid(layout.arrange(torch.tensor(tokens).float()))[:, :, None, None]
        self.cache.write(0, growth, nodes, -nodes)
        self.cache.write(1, growth, nodes + 0.5, nodes)
        self.expected = [
            (pair, [*prefix, token])
            for (pair, prefix), token in zip(self.expected, tokens, strict=True)
        ]
        assert growth.depth == self.forest.length - 1
        assert self.cache.keys[0].shape[2] == self.forest.capacity
        assert self.seen(growth) == self.expected

    def seen(self, growth: object) -> list[tuple[int, list[int]]]:
        """Each row's pair and the tokens in the columns that it sees, by depth."""
        layout = growth.layout
        lines = torch.arange(layout.pairs)[:, None].expand(-1, layout.width)
        rows = zip(
            layout.restore(layout.flat(lines)).tolist(),
            layout.restore(layout.flat(growth.mask)),
            strict=True,
        )
        found = []
        for line, mask in rows:
            keys = self.cache.keys[0][line, 0, : growth.end, 0][mask]
            assert torch.equal(self.cache.values[0][line, 0, : growth.end, 0][mask], -keys)
            assert torch.equal(self.cache.keys[1][line, 0, : growth.end, 0][mask], keys + 0.5)
            depths = growth.depths[line][mask]
            assert sorted(depths.tolist()) == list(range(len(depths)))
            by_depth = keys[depths.argsort()]
            found.append((int(self.names[line]), [int(token) for token in by_depth]))
        return found

    def select(self, rows: list[int]) -> None:
        self.forest.select(torch.tensor(rows))
        self.expected = [self.expected[row] for row in rows]


@settings(max_examples=60, deadline=None)
@given(
    pair=st.lists(st.integers(0, 4), min_size=1, max_size=9),
    capacity=st.sampled_from([1, 4, 16]),
    seed=st.integers(0, 2**16),
    steps=st.integers(1, 24),
)
def test_each_row_sees_what_it_was_fed(
    pair: list[int], capacity: int, seed: int, steps: int
) -> None:
    draw = random.Random(seed)
    told = Told(pair, 5, capacity)
    for _ in range(steps):
        told.feed([draw.randrange(1000) for _ in told.expected])
        rows = len(told.expected)
        if draw.random() < 0.7:
            told.select([draw.randrange(rows) for _ in range(draw.randint(1, min(rows + 2, 12)))])


def test_nodes_that_nobody_sees_leave_before_the_cache_grows() -> None:
    told = Told([0, 0, 1, 1], 2, 16)
    for step in range(60):
        told.feed([4 * step + row for row in range(4)])
        # One winner for each pair, which both rows go on from.
        told.select([0, 0, 3, 3])
    assert told.moves.count("columns") > 2
    # A winner of 60 tokens needs 60 columns, and as many again to go on; all nodes would need 120.
    assert told.forest.capacity == 128
    assert told.cache.keys[0].shape == (2, 1, 128, 1)


def test_pairs_that_nobody_reads_leave() -> None:
    told = Told([0, 1, 2, 3], 4, 64)
    told.feed([1, 2, 3, 4])
    told.select([0, 1, 3])
    told.feed([5, 6, 7])
    assert told.moves == []
    told.select([0, 2])
    told.feed([8, 9])
    assert told.moves == ["pairs"]
    assert told.names.tolist() == [0, 3]


def test_rows_of_a_layout_come_back_as_they_were() -> None:
    rows = torch.arange(5)
    ragged = Layout.of(torch.tensor([2, 0, 2, 2, 0]), 3)
    assert not ragged.full
    assert ragged.grid(ragged.arrange(rows + 1)).tolist() == [[2, 5, 0], [0, 0, 0], [1, 3, 4]]
    full = Layout.of(torch.tensor([1, 0, 0, 1]), 2)
    assert full.full
    for layout in (ragged, full):
        own = rows[: len(layout.order)]
        grid = layout.grid(layout.arrange(own))
        assert layout.restore(layout.flat(grid)).tolist() == own.tolist()


@settings(max_examples=80, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 3), st.lists(st.integers(0, 2), max_size=5)),
        min_size=1,
        max_size=12,
    )
)
def test_a_trie_holds_each_prefix_once(rows: list[tuple[int, list[int]]]) -> None:
    longest = max(len(target) for _, target in rows)
    padded = [target + [-1] * (longest - len(target)) for _, target in rows]
    pair = torch.tensor([one for one, _ in rows])
    trie = Trie.of(pair, torch.tensor(padded, dtype=torch.int64).reshape(len(rows), longest))
    prefixes = {
        (one, tuple(target[:length])) for one, target in rows for length in range(len(target))
    }
    assert len(trie) == len(prefixes)
    layout = Layout.of(trie.pair, 4)
    assert trie.sees.shape == (len(trie), layout.width)
    own = [[node for node in range(len(trie)) if trie.pair[node] == one] for one in range(4)]
    assert [trie.of_pairs(one, one + 1).tolist() for one in range(4)] == own
    for row, (one, target) in enumerate(rows):
        for position in range(longest):
            node = int(trie.node[row, position])
            if position >= len(target):
                assert node == -1
                continue
            seen = [own[one][slot] for slot in trie.sees[node].nonzero()[:, 0].tolist()]
            assert [int(trie.tokens[other]) for other in seen] == [-1, *target[:position]]
            assert [int(trie.depth[other]) for other in seen] == list(range(position + 1))
