"""How pairs are divided into runs of the encoder: no padding that a further run would save."""

from __future__ import annotations

import itertools

import torch
from hypothesis import given
from hypothesis import strategies as st
from ragcore_transformers.seq2seq_inputs import batches

CPU = torch.device("cpu")
RUN = 32


def cost(parts: list[list[int]], lengths: list[int]) -> int:
    return sum(RUN + len(part) * max(lengths[pair] for pair in part) for part in parts)


def divisions(order: list[int]):
    """Yield every division of `order` into neighbouring parts."""
    places = range(1, len(order))
    for count in range(len(order)):
        for cuts in itertools.combinations(places, count):
            yield [order[a:b] for a, b in itertools.pairwise((0, *cuts, len(order)))]


@given(
    lengths=st.lists(st.one_of(st.integers(1, 400), st.just(2000)), min_size=1, max_size=8),
    size=st.integers(1, 5),
)
def test_on_a_cpu_padding_and_runs_cost_least(lengths, size):
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    divided = list(batches(order, lengths, size, CPU))
    assert [pair for part in divided for pair in part] == order
    allowed = [
        parts
        for parts in divisions(order)
        if all(
            len(part) == 1 or (len(part) <= size and len(part) * lengths[part[-1]] <= 1024)
            for part in parts
        )
    ]
    assert divided in allowed
    assert cost(divided, lengths) == min(cost(parts, lengths) for parts in allowed)


def test_pairs_of_one_length_share_a_run_and_long_ones_do_not_pad_short_ones():
    assert list(batches([0, 1, 2], [100, 100, 100], 16, CPU)) == [[0, 1, 2]]
    assert list(batches([0, 1, 2], [20, 22, 150], 16, CPU)) == [[0, 1], [2]]
    cuda = torch.device("cuda")
    assert list(batches([0, 1, 2], [20, 22, 150], 2, cuda)) == [[0, 1], [2]]
    assert list(batches([0, 1, 2], [20, 22, 150], 16, cuda)) == [[0, 1, 2]]
