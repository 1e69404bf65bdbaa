"""Read FAISS's file, and check what FAISS would follow out of its memory.

FAISS checks most of what it reads, but not all: a memory-mapped file that is cut off, neighbours
of a graph that do not exist, ids that are no rows. Knows FAISS's classes; knows nothing of texts.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import faiss as typed_faiss  # type: ignore[import-untyped, unused-ignore]
import numpy as np

from ragcore.disk.loading import reading
from ragcore.errors import StoreCorruptError
from ragcore.process.fork import new_lock
from ragcore_faiss.factory import layers, make, message

if TYPE_CHECKING:
    from ragcore.types import Rows

__all__ = ["check", "read_file"]

# FAISS's stubs lack many of its names and keywords.
faiss: Any = typed_faiss

_READ_TWICE: Final = 1 << 26
"""Files of up to so many bytes are first read without mapping, which FAISS checks better."""

_LIMIT_LOCK: Final = new_lock()


def read_file(path: Path, *, mmap: bool) -> Any:
    """Read FAISS's file.

    Raises:
        StoreCorruptError: it is missing, or FAISS refuses it.
    """
    with reading(path):
        size = path.stat().st_size
        flags = [faiss.IO_FLAG_MMAP_IFC] if mmap else [0]
        if mmap and size <= _READ_TWICE:
            flags.insert(0, 0)
        try:
            # A changed size would make FAISS allocate all memory. The limit is one of the process.
            with _LIMIT_LOCK:
                before = faiss.get_deserialization_vector_byte_limit()
                faiss.set_deserialization_vector_byte_limit(max(2 * size, 1 << 16))
                try:
                    return [faiss.read_index(str(path), flag) for flag in flags][-1]
                finally:
                    faiss.set_deserialization_vector_byte_limit(before)
        except RuntimeError as error:
            raise ValueError(message(error)) from error


def check(path: Path, index: Any, factory: str, dim: int, rows: Rows) -> None:
    """Refuse an index that the factory does not make, or that does not hold these rows.

    Raises:
        StoreCorruptError: it differs; names how.
    """
    fault = _fault(index, make(factory, dim), rows)
    if fault is not None:
        raise StoreCorruptError(
            f"{path} is no index {factory!r} of {len(rows)} vectors of {dim} numbers ({fault}): "
            "build this version of the memory again"
        )


def _fault(index: Any, expected: Any, rows: Rows) -> str | None:
    if index.ntotal != len(rows):
        return f"it holds {index.ntotal} vectors"
    pairs = zip(layers(index), layers(expected), strict=False)
    kinds = [[_kind(layer) for layer in layers(each)] for each in (index, expected)]
    if kinds[0] != kinds[1]:
        return f"it is made of {[kind.__name__ for kind in kinds[0]]}"
    for layer, template in pairs:
        fault = _fault_of_layer(layer, template, rows)
        if fault is not None:
            return fault
    return None


def _kind(layer: Any) -> type[Any]:
    """Return a layer's class; FAISS reads a flat index of inner products as a class of its own."""
    return faiss.IndexFlat if isinstance(layer, faiss.IndexFlat) else type(layer)


def _fault_of_layer(layer: Any, template: Any, rows: Rows) -> str | None:
    for name in ("d", "metric_type", "code_size", "nlist"):
        if getattr(layer, name, None) != getattr(template, name, None):
            return f"its {name} is {getattr(layer, name)}"
    if layer.ntotal != len(rows):
        return f"a layer of it holds {layer.ntotal} vectors"
    if isinstance(layer, faiss.IndexIDMap):
        ids = faiss.vector_to_array(layer.id_map)
        return None if np.array_equal(ids, rows) else "its ids are not the rows"
    if isinstance(layer, faiss.IndexIVF):
        # An index that was saved before it had vectors is not trained.
        return _fault_of_lists(layer, rows) if layer.is_trained else None
    if isinstance(layer, faiss.IndexHNSW):
        return _fault_of_graph(layer, template)
    if isinstance(layer, faiss.IndexFlat):
        return _fault_of_numbers(layer)
    return None


def _fault_of_numbers(layer: Any) -> str | None:
    if isinstance(layer, faiss.IndexFlat):
        # In blocks, so that a mapped file is not copied to memory.
        for start in range(0, layer.ntotal, 4096):
            block = layer.reconstruct_n(start, min(4096, layer.ntotal - start))
            if not np.isfinite(block).all():
                return "a vector is not finite"
    return None


def _fault_of_lists(layer: Any, rows: Rows) -> str | None:
    """Compare the ids in the lists with the rows; below a refinement they are numbers."""
    if layer.quantizer.ntotal != layer.nlist or layer.quantizer.d != layer.d:
        return "its lists have no centroids"
    if layer.invlists.nlist != layer.nlist or layer.invlists.code_size != layer.code_size:
        return "its lists do not fit"
    sizes = [layer.invlists.list_size(number) for number in range(layer.nlist)]
    if sum(sizes) != len(rows):
        return "its lists do not hold every vector"
    parts = [
        faiss.rev_swig_ptr(layer.invlists.get_ids(number), size)
        for number, size in enumerate(sizes)
        if size
    ]
    ids = np.sort(np.concatenate(parts)) if parts else np.zeros(0, np.int64)
    numbered = np.array_equal(ids, np.arange(len(rows)))
    return None if numbered or np.array_equal(ids, np.sort(rows)) else "its ids are not the rows"


def _fault_of_graph(layer: Any, template: Any) -> str | None:
    graph, count = layer.hnsw, layer.ntotal
    levels = faiss.vector_to_array(graph.levels)
    offsets = faiss.vector_to_array(graph.offsets).astype(np.int64)
    sums = faiss.vector_to_array(graph.cum_nneighbor_per_level)
    neighbours = faiss.vector_to_array(graph.neighbors)
    if not np.array_equal(sums, faiss.vector_to_array(template.hnsw.cum_nneighbor_per_level)):
        return "its graph has other numbers of neighbours"
    if len(levels) != count or len(offsets) != count + 1 or layer.storage.ntotal != count:
        return "its graph is not of these vectors"
    if not count:
        return None
    if levels.min() < 1 or levels.max() >= len(sums) or graph.max_level != levels.max() - 1:
        return "a layer of its graph does not exist"
    if offsets[0] or not np.array_equal(np.diff(offsets), sums[levels]):
        return "the lists of its graph do not fit"
    if offsets[-1] != len(neighbours) or neighbours.min() < -1 or neighbours.max() >= count:
        return "a neighbour in its graph does not exist"
    # The layer of each position within a vector's list; its neighbour must reach that layer.
    within = np.arange(len(neighbours)) - np.repeat(offsets[:-1], np.diff(offsets))
    layer_of = np.searchsorted(sums, within, side="right") - 1
    used = neighbours >= 0
    if (levels[neighbours[used]] <= layer_of[used]).any():
        return "a neighbour in its graph is not in the layer"
    entry = graph.entry_point
    if not (0 <= entry < count and levels[entry] == levels.max()):
        return "the entry of its graph is not in the highest layer"
    return _fault_of_numbers(faiss.downcast_index(layer.storage))
