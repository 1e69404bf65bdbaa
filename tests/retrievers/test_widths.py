"""Several graphs are searched less widely than one, and find as much."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import faiss  # type: ignore[import-untyped, unused-ignore]
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ragcore_faiss.index import Faiss

from ragcore.registry.components import ComponentSpec
from ragcore.retrievers.segment import Segment
from ragcore.retrievers.segments import Segments
from ragcore.retrievers.widths import crowded, narrowed
from ragcore.types import Hits

K = 10
WIDTH = 64
GRAPH = Faiss.Config(factory="HNSW4", search={"efSearch": WIDTH})


class Noting(Faiss):
    """A graph that notes how widely it is searched, and for how many queries."""

    searches: ClassVar[list[tuple[int, int, int]]] = []

    def search(self, queries: Any, k: int, *, allowed: Any = None) -> Hits:
        self.searches.append((len(self), self.width, len(queries)))
        return super().search(queries, k, allowed=allowed)

    def search_width(self, queries: Any, k: int, width: int) -> Hits:
        self.searches.append((len(self), width, len(queries)))
        return super().search_width(queries, k, width)


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """Return the rows, the width and the number of queries of each search of a segment."""
    noted: list[tuple[int, int, int]] = []
    monkeypatch.setattr(Noting, "searches", noted)
    return noted


def drawn(count: int, seed: int, dim: int = 48) -> np.ndarray:
    """Draw vectors around 40 directions, of length 1."""
    middles = np.random.default_rng(0).standard_normal((40, dim))
    rng = np.random.default_rng(seed)
    vectors = middles[rng.integers(0, 40, count)] + 0.7 * rng.standard_normal((count, dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


def in_segments(vectors: np.ndarray, sizes: Sequence[int]) -> Segments:
    """Return an index with so many of the vectors in each segment, as updates leave them."""
    segments = Segments(ComponentSpec("index", "faiss", Noting, GRAPH))
    # Of one thread the same graph comes each time.
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    for rows in np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1]):
        index = Noting(GRAPH, dim=vectors.shape[1])
        index.add(rows, vectors[rows])
        segments._segments.append(Segment(index, rows))
    faiss.omp_set_num_threads(threads)
    return segments


def recall(hits: Hits, queries: np.ndarray, vectors: np.ndarray) -> float:
    best = np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, : hits.rows.shape[1]]
    pairs = zip(hits.rows.tolist(), best.tolist(), strict=True)
    return sum(len(set(found) & set(true)) for found, true in pairs) / best.size


@pytest.mark.parametrize(
    ("sizes", "widths"),
    [
        pytest.param([300] * 16, [28] * 16, id="equal"),
        pytest.param([300] * 4, [43] * 4, id="four"),
        pytest.param([3000, 200, 90, 40], [64, 28, 22, 17], id="a large one keeps the whole width"),
        pytest.param([3000, 2, 2, 2, 2], [64, 10, 10, 10, 10], id="not below k"),
        pytest.param([300] * 2, [64] * 2, id="two are not worth it"),
        pytest.param([900, 40], [64, 64], id="nor is one update"),
    ],
)
def test_each_segment_is_searched_by_its_share(
    sizes: list[int], widths: list[int], searches: list[tuple[int, int, int]]
) -> None:
    vectors = drawn(sum(sizes), seed=1)
    segments = in_segments(vectors, sizes)
    segments.search(drawn(3, seed=2), K)
    # Later ones are of what was searched a second time.
    first = searches[: len(sizes)]
    assert first == [(size, width, 3) for size, width in zip(sizes, widths, strict=True)]


@pytest.mark.parametrize("sizes", [[200] * 16, [400] * 8, [800] * 4, [1700, 900, 400, 140, 60]])
@pytest.mark.parametrize("order", ["drawn", "sorted"])
def test_segments_find_as_much_as_one_graph(sizes: list[int], order: str) -> None:
    vectors, queries = drawn(3200, seed=1), drawn(150, seed=2)
    if order == "sorted":
        # What is near a query lies in few segments.
        middles = vectors[:16]
        vectors = vectors[(vectors @ middles.T).argmax(axis=1).argsort(kind="stable")]
    whole = in_segments(vectors, [len(vectors)]).search(queries, K)
    several = in_segments(vectors, sizes).search(queries, K)
    assert recall(several, queries, vectors) >= recall(whole, queries, vectors)


def test_a_segment_with_more_than_its_share_is_searched_again(
    searches: list[tuple[int, int, int]],
) -> None:
    vectors = drawn(3200, seed=1)
    queries = drawn(40, seed=2)
    # All that is near the first query lies in the third segment of 16.
    near = np.argsort(-(vectors @ queries[0]), kind="stable")[:200]
    rest = np.setdiff1d(np.arange(3200), near)
    vectors = vectors[np.concatenate([rest[:400], near, rest[400:]])]
    segments = in_segments(vectors, [200] * 16)
    segments.search(queries[:1], K)
    assert searches[16:] == [(200, WIDTH, 1)]
    # The other queries of a batch make no difference to it.
    alone, together = segments.search(queries[:1], K), segments.search(queries, K)
    assert np.array_equal(alone.rows, together.rows[:1])
    assert np.array_equal(alone.scores, together.scores[:1])


def test_under_a_filter_all_segments_are_searched_whole(
    searches: list[tuple[int, int, int]],
) -> None:
    segments = in_segments(drawn(3200, seed=1), [200] * 16)
    segments.search(drawn(3, seed=2), K, allowed=np.arange(0, 3200, 2))
    assert searches == [(200, WIDTH, 3)] * 16


def test_many_hits_are_searched_for_as_before(searches: list[tuple[int, int, int]]) -> None:
    segments = in_segments(drawn(3200, seed=1), [200] * 16)
    hits = segments.search(drawn(3, seed=2), WIDTH)
    assert (hits.rows >= 0).all()
    assert searches == [(200, WIDTH, 3)] * 16


def test_removed_rows_widen_the_search_of_their_segment(
    searches: list[tuple[int, int, int]],
) -> None:
    vectors, queries = drawn(3200, seed=1), drawn(60, seed=2)
    segments = in_segments(vectors, [200] * 16)
    segments.remove(np.arange(0, 200, 2))
    hits = segments.search(queries, K)
    assert {width for _, width, _ in searches[:1]} == {46}
    left = np.setdiff1d(np.arange(3200), np.arange(0, 200, 2))
    assert np.isin(hits.rows, left).all()
    best = left[np.argsort(-(queries @ vectors[left].T), axis=1, kind="stable")[:, :K]]
    pairs = zip(hits.rows.tolist(), best.tolist(), strict=True)
    assert sum(len(set(found) & set(true)) for found, true in pairs) / best.size > 0.99


def test_what_is_removed_whole_is_no_obstacle() -> None:
    segments = in_segments(drawn(3200, seed=1), [200] * 16)
    segments.remove(np.arange(3200))
    hits = segments.search(drawn(3, seed=2), K)
    assert (hits.rows == -1).all()


@given(
    sizes=st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**6)), min_size=1),
    width=st.integers(1, 2000),
    k=st.integers(1, 300),
)
def test_widths_lie_between_k_and_that_of_one_graph(
    sizes: list[tuple[int, int]], width: int, k: int
) -> None:
    visible = [left for left, _ in sizes]
    widths = narrowed(visible, [left + hidden for left, hidden in sizes], width, k)
    if not widths:
        return
    assert all(k <= each <= width for each in widths)
    assert sum(widths) + width < len(widths) * width
    for left, each in zip(visible, widths, strict=True):
        assert each == width or 2 * left <= sum(visible)
        # At least in proportion to its rows.
        assert each * sum(visible) >= width * left or each == width


@given(data=st.data())
def test_no_segment_is_crowded_that_was_searched_whole(data: st.DataObject) -> None:
    widths = data.draw(st.lists(st.integers(1, 64), min_size=1, max_size=20))
    owners = data.draw(
        st.lists(st.integers(-1, len(widths) - 1), min_size=1, max_size=30).map(np.array)
    )
    mask = crowded(owners[None], widths, 64)[0]
    for segment, width in enumerate(widths):
        share = (owners == segment).sum() / len(owners)
        assert mask[segment] == (width < 64 and share > width / 64)
