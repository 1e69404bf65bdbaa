"""Search an index widely enough to find k vectors, or compare all of them one by one.

An approximate search stops early: a graph at its `efSearch` or where its edges end, inverted lists
after `nprobe` of them. Under a filter, or for a large k, too few vectors lie on its way. Knows
FAISS's classes; knows nothing of files or threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import TYPE_CHECKING, Any, Final

import faiss as typed_faiss  # type: ignore[import-untyped, unused-ignore]
import numpy as np

from ragcore.types import MISSING_ROW
from ragcore_faiss.factory import core, layers, takes_selector

if TYPE_CHECKING:
    import numpy.typing as npt

    from ragcore.types import Rows, Vectors

__all__ = [
    "compare_all",
    "enough",
    "graph_is_slower",
    "graph_width",
    "has_graph",
    "wide",
    "wider_probes",
]

# FAISS's stubs lack many of its names and keywords.
faiss: Any = typed_faiss

_EDGES: Final = 64
"""Roughly how many vectors a graph compares for each one on its way."""


def has_graph(index: Any) -> bool:
    """Return whether the index searches a graph of its vectors."""
    return any(isinstance(layer, faiss.IndexHNSW) for layer in layers(index))


def graph_is_slower(depth: int, count: int) -> bool:
    """Return whether walking a graph `depth` deep costs more than comparing `count` vectors."""
    return _EDGES * depth >= count


def enough(index: Any) -> float:
    """Return the largest k up to which `wide` gives None; it may be less, but no more."""
    if any(isinstance(layer, faiss.IndexRefine) for layer in layers(index)):
        return 0
    return graph_width(index)


def graph_width(index: Any) -> float:
    """Return how many candidates a search of the index's graph considers; inf without a graph."""
    graphs: list[Any] = [each for each in layers(index) if isinstance(each, faiss.IndexHNSW)]
    return min((graph.hnsw.efSearch for graph in graphs), default=inf)


def wide(index: Any, k: int, width: int | None = None) -> Any | None:
    """Return parameters with which a graph finds k vectors; None if it does without.

    Everything else stays as it was set.

    Args:
        index: FAISS's index.
        k: hits of a search.
        width: candidates that a graph considers, k if that is more; None for those that it is set
            to, k if that is more.
    """
    return _wide(faiss.downcast_index(index), k, width)


def _wide(layer: Any, k: int, width: int | None = None) -> Any | None:
    if isinstance(layer, faiss.IndexIDMap):
        return _wide(faiss.downcast_index(layer.index), k, width)
    if isinstance(layer, faiss.IndexPreTransform):
        inner = _wide(faiss.downcast_index(layer.index), k, width)
        return None if inner is None else faiss.SearchParametersPreTransform(index_params=inner)
    if isinstance(layer, faiss.IndexRefine):
        # More than all would only need memory.
        factor = min(layer.k_factor, max(1.0, layer.ntotal / k))
        inner = _wide(faiss.downcast_index(layer.base_index), int(k * factor), width)
        if inner is None and factor == layer.k_factor:
            return None
        return faiss.IndexRefineSearchParameters(k_factor=factor, base_index_params=inner)
    if isinstance(layer, faiss.IndexHNSW):
        candidates = max(k, layer.hnsw.efSearch if width is None else width)
        if candidates == layer.hnsw.efSearch:
            return None
        return faiss.SearchParametersHNSW(
            efSearch=candidates,
            check_relative_distance=layer.hnsw.check_relative_distance,
            bounded_queue=layer.hnsw.search_bounded_queue,
        )
    return None


def wider_probes(index: Any, allowed: Rows | None) -> Iterator[Any]:
    """Yield parameters that search more and more inverted lists, at last all; `allowed` as ids."""
    layer = core(index)
    if not isinstance(layer, faiss.IndexIVF):
        return
    probes = layer.nprobe
    while probes < layer.nlist:
        probes = min(4 * probes, layer.nlist)
        options: dict[str, Any] = {"nprobe": probes}
        if allowed is not None:
            options["sel"] = faiss.IDSelectorBatch(allowed)
        yield faiss.SearchParametersIVF(**options)


def compare_all(
    index: Any, queries: Vectors, k: int, rows: Rows, numbers: Rows | None
) -> tuple[Vectors, Rows]:
    """Compare all vectors, or those of some numbers, one by one, with the index's own scores.

    Args:
        index: FAISS's index.
        queries: float32 [B, d].
        k: how many to find.
        rows: [n], the row of each number, in FAISS's order.
        numbers: [m], ascending: the only ones to compare; None for all.

    Returns:
        Scores and rows [B, k], best first; missing ones have the row -1 and the score -inf.
    """
    layer = faiss.downcast_index(index)
    while True:
        if isinstance(layer, faiss.IndexIDMap):
            layer = layer.index
        elif isinstance(layer, faiss.IndexPreTransform):
            for number in range(layer.chain.size()):
                queries = faiss.downcast_VectorTransform(layer.chain.at(number)).apply(queries)
            layer = layer.index
        elif isinstance(layer, faiss.IndexRefine):
            layer = layer.refine_index
        elif isinstance(layer, faiss.IndexHNSW):
            layer = layer.storage
        else:
            break
        layer = faiss.downcast_index(layer)
    allowed = rows if numbers is None else rows[numbers]
    if isinstance(layer, faiss.IndexIVF):
        scores, ids = _all_lists(layer, queries, k, None if numbers is None else allowed)
    else:
        scores, places = _all_codes(layer, queries, k, numbers)
        ids = np.where(places == MISSING_ROW, MISSING_ROW, rows[places])
    scores[ids == MISSING_ROW] = -np.inf
    for position in np.flatnonzero((ids == MISSING_ROW).any(axis=1)):
        # Codes packed in blocks are ranked by rounded scores, and those of the lowest are dropped;
        # a quantizer that is a graph may not reach every list.
        exists = ids[position] != MISSING_ROW
        lost = np.setdiff1d(allowed, ids[position][exists])
        products = _decoded(layer, rows, lost) @ queries[position]  # [lost]
        merged_ids = np.concatenate([ids[position][exists], lost])
        merged = np.concatenate([scores[position][exists], products.astype(np.float32)])
        order = np.lexsort((merged_ids, -merged))[:k]
        ids[position, : len(order)], scores[position, : len(order)] = (
            merged_ids[order],
            merged[order],
        )
    return scores, ids


def _decoded(layer: Any, rows: Rows, wanted: Rows) -> Vectors:
    """Decode the codes of ascending rows, float32 [n, d]."""
    vectors = np.empty((len(wanted), layer.d), np.float32)
    if not isinstance(layer, faiss.IndexIVF):
        order = np.argsort(rows, kind="stable")
        numbers = order[np.searchsorted(rows, wanted, sorter=order)]
        for position, number in enumerate(numbers.tolist()):
            vectors[position] = layer.reconstruct(number)
        return vectors
    for number in range(layer.nlist):
        size = layer.invlists.list_size(number)
        if not size:
            continue
        ids = faiss.rev_swig_ptr(layer.invlists.get_ids(number), size)
        for offset in np.flatnonzero(np.isin(ids, wanted)).tolist():
            layer.reconstruct_from_offset(
                number, offset, faiss.swig_ptr(vectors[np.searchsorted(wanted, ids[offset])])
            )
    return vectors


def _all_lists(layer: Any, queries: Vectors, k: int, allowed: Rows | None) -> tuple[Vectors, Rows]:
    """Search every inverted list that the quantizer names; one that is a graph may miss some."""
    options: dict[str, Any] = {"nprobe": layer.nlist}
    if allowed is not None:
        options["sel"] = faiss.IDSelectorBatch(np.ascontiguousarray(allowed))
    quantizer_params = _wide(faiss.downcast_index(layer.quantizer), layer.nlist)
    if quantizer_params is not None:
        options["quantizer_params"] = quantizer_params
    scores, ids = layer.search(queries, k, params=faiss.SearchParametersIVF(**options))
    return scores, ids


def _all_codes(
    layer: Any, queries: Vectors, k: int, numbers: Rows | None
) -> tuple[Vectors, npt.NDArray[np.int64]]:
    """Search an index that compares each vector; return scores and numbers [B, k]."""
    if numbers is None:
        scores, places = layer.search(queries, k)
        return scores, places
    if takes_selector(layer):
        mask = np.zeros(layer.ntotal, np.bool_)
        mask[numbers] = True
        # FAISS compares the listed vectors of a flat index only; all others ask for each vector.
        listed = isinstance(layer, faiss.IndexFlat) and 8 * len(numbers) < layer.ntotal
        selector = (
            faiss.IDSelectorArray(np.ascontiguousarray(numbers))
            if listed
            else faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
        )
        scores, places = layer.search(queries, k, params=faiss.SearchParameters(sel=selector))
        return scores, places
    # An index that takes no selector: rank all, and drop what is not allowed.
    scores, places = layer.search(queries, layer.ntotal)
    allowed = np.isin(places, numbers)
    order = np.argsort(~allowed, axis=1, kind="stable")[:, :k]
    exists = np.take_along_axis(allowed, order, axis=1)
    places = np.where(exists, np.take_along_axis(places, order, axis=1), MISSING_ROW)
    return np.take_along_axis(scores, order, axis=1), places
