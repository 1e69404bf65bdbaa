"""Compare an index that FAISS has read with the empty one that its factory makes.

FAISS checks what it reads against itself, but not against what is expected of it: neighbours of a
graph that do not exist, lists of another kind, numbers that are not finite. Of the neighbours in a
graph, and of the numbers in vectors and codes, samples are checked where there are many, so that
opening does not read a large file from its beginning to its end; all else is checked whole. Knows
FAISS's classes; knows nothing of files or texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import faiss as typed_faiss  # type: ignore[import-untyped, unused-ignore]
import numpy as np

from ragcore.disk.arrays import WHOLE, samples
from ragcore.disk.threads import yield_gil
from ragcore.scaling import in_range

if TYPE_CHECKING:
    import numpy.typing as npt

    from ragcore.types import Rows

__all__ = ["fault_of"]

# FAISS's stubs lack many of its names and keywords.
faiss: Any = typed_faiss

_SETTINGS: Final = (
    *("d", "metric_type", "metric_arg", "code_size", "nlist", "by_residual", "encode_signs"),
    *("M", "M2", "bbs", "ksub", "nbits", "implem", "qbs", "qbs2", "skip", "qb", "centered"),
    *("d_in", "d_out", "have_bias", "norm", "nsq", "dsq", "lattice_nbit"),
    *("is_similarity", "search_method", "dsub", "qtype", "bits", "rangestat", "nb_bits"),
)
"""What a factory sets and training, adding and search parameters leave as it is."""

_LEARNT: Final = frozenset({"is_trained", "norm_max", "norm_min", "nperts", "thisown", "verbose"})
"""Numbers of an additive quantizer that training changes, or that mean nothing."""

_MOST_CANDIDATES: Final = 1 << 16
"""A search considers at most so many candidates, or as many as there are vectors."""

_BLOCK: Final = 4_096

_STEP: Final = 1 << 20
"""Bytes of short lists that are checked before other threads run."""


class _FaultError(Exception):
    """What is wrong with the index."""


def fault_of(index: Any, template: Any, rows: Rows) -> str | None:
    """Return how an index differs from one of its factory with these rows; None if it does not.

    Args:
        index: as FAISS has read it; search parameters that are too large are lowered.
        template: an empty index of the same factory.
        rows: int64 [n], in FAISS's order.
    """
    try:
        _compare(index, template, len(rows), rows)
    except _FaultError as error:
        return str(error)
    return None


def _require(condition: object, fault: str) -> None:
    if not condition:
        raise _FaultError(fault)


def _compare(index: Any, template: Any, count: int, rows: Rows | None) -> None:
    """Compare one layer and those below it.

    Args:
        index: with everything below it.
        template: of its factory, empty.
        count: how many vectors it must hold.
        rows: which ids it must have; None where its vectors are numbered.
    """
    layer, model = faiss.downcast_index(index), faiss.downcast_index(template)
    _require(_kind(layer) is _kind(model), f"it has a layer {type(layer).__name__}")
    _compare_settings(layer, model)
    _require(layer.ntotal == count, f"a layer of it holds {layer.ntotal} vectors")
    _require(layer.is_trained or not count, "a layer of it is not trained")
    for part in ("pq", "sq", "rabitq", "fine_quantizer"):
        if getattr(layer, part, None) is not None and getattr(model, part, None) is not None:
            _compare_quantizer(getattr(layer, part), getattr(model, part), layer.is_trained)
    parts = [part for part in ("aq", "lsq", "rq", "plsq", "prq") if hasattr(layer, part)]
    splits = max([getattr(getattr(model, part), "nsplits", 1) for part in parts], default=1)
    for part in parts:
        _compare_additive(
            getattr(layer, part), getattr(model, part), splits, bool(layer.is_trained)
        )
    if isinstance(layer, faiss.IndexIDMap):
        ids = faiss.vector_to_array(layer.id_map)
        _require(rows is None or np.array_equal(ids, rows), "its ids are not the rows")
        _compare(layer.index, model.index, count, None)
    elif isinstance(layer, faiss.IndexPreTransform):
        _compare_chains(layer, model)
        _compare(layer.index, model.index, count, rows)
    elif isinstance(layer, faiss.IndexRefine):
        _require(np.isfinite(layer.k_factor) and layer.k_factor >= 1, "its k_factor is below 1")
        _compare(layer.base_index, model.base_index, count, rows)
        _compare(layer.refine_index, model.refine_index, count, None)
    elif isinstance(layer, faiss.IndexIVF):
        _check_lists(layer, model, count, rows)
    elif isinstance(layer, faiss.IndexHNSW):
        _check_graph(layer, model)
        _compare(layer.storage, model.storage, count, None)
    else:
        _check_codes(layer)


def _kind(layer: Any) -> type[Any]:
    """Return a layer's class; FAISS reads a flat index of inner products as a class of its own."""
    return faiss.IndexFlat if isinstance(layer, faiss.IndexFlat) else type(layer)


def _compare_settings(part: Any, model: Any) -> None:
    for name in _SETTINGS:
        value = getattr(part, name, None)
        # In SWIG's classes a name may also be a method or an object.
        if isinstance(value, int | float) and value != getattr(model, name, None):
            raise _FaultError(f"its {name} is {value}")


def _compare_quantizer(part: Any, model: Any, trained: bool) -> None:
    """Compare a quantizer's settings, and the lengths of its numbers, which must be finite."""
    _compare_settings(part, model)
    if not trained:
        return
    if hasattr(part, "centroids"):
        _check_numbers(part.centroids, {part.d * part.ksub}, "centroids")
    if hasattr(part, "trained"):
        ranges = {
            faiss.ScalarQuantizer.QT_8bit: 2 * part.d,
            faiss.ScalarQuantizer.QT_6bit: 2 * part.d,
            faiss.ScalarQuantizer.QT_4bit: 2 * part.d,
            faiss.ScalarQuantizer.QT_8bit_uniform: 2,
            faiss.ScalarQuantizer.QT_4bit_uniform: 2,
        }
        _check_numbers(part.trained, {ranges.get(part.qtype, part.trained.size())}, "ranges")


def _compare_additive(part: Any, model: Any, splits: int, trained: bool) -> None:
    """Compare a quantizer whose codes name vectors that are added up."""
    _require(bool(part.is_trained) == trained, "a quantizer of it is not trained")
    for name in dir(model):
        value = getattr(model, name)
        if isinstance(value, int | float) and name not in _LEARNT:
            _require(getattr(part, name) == value, f"its {name} is {getattr(part, name)}")
    for name in ("nbits", "codebook_offsets"):
        numbers = (faiss.vector_to_array(getattr(each, name)) for each in (part, model))
        _require(np.array_equal(*numbers), f"it has other {name}")
    if trained:
        # A product has codebooks for each part of a vector.
        length = part.d // splits * part.total_codebook_size
        _check_numbers(part.codebooks, {length}, "codebooks")
        norms = np.array([part.norm_min, part.norm_max])
        _require(np.isfinite(norms).all(), "a norm of its codebooks is not finite")


def _check_numbers(vector: Any, lengths: set[int], name: str) -> None:
    numbers = faiss.vector_to_array(vector)
    _require(len(numbers) in lengths, f"it has {len(numbers)} numbers as {name}")
    _require(in_range(numbers), f"a number of its {name} is not finite, or too large to multiply")


def _compare_chains(layer: Any, model: Any) -> None:
    """Compare the transforms of vectors."""
    _require(layer.chain.size() == model.chain.size(), f"it has {layer.chain.size()} transforms")
    for number in range(layer.chain.size()):
        transform = faiss.downcast_VectorTransform(layer.chain.at(number))
        expected = faiss.downcast_VectorTransform(model.chain.at(number))
        # FAISS writes what a rotation has learnt as a plain matrix.
        kinds = {type(expected), *type(expected).__bases__} - {faiss.VectorTransform}
        _require(type(transform) in kinds, f"it has a {type(transform).__name__}")
        _compare_settings(transform, expected)
        _require(transform.is_trained or not layer.ntotal, "a transform of it is not trained")
        if transform.is_trained:
            _check_transform(transform)


def _check_transform(transform: Any) -> None:
    if isinstance(transform, faiss.ITQTransform):
        _check_numbers(transform.mean, {transform.d_in}, "means")
        combined = transform.pca_then_itq
        sizes = (combined.d_in, combined.d_out)
        _require(sizes == (transform.d_in, transform.d_out), "a transform of it does not fit")
        _check_transform(combined)
    if isinstance(transform, faiss.LinearTransform):
        _check_numbers(transform.A, {transform.d_in * transform.d_out}, "transform")
        biases = {transform.d_out} if transform.have_bias else {0, transform.d_out}
        _check_numbers(transform.b, biases, "transform's biases")
    if isinstance(transform, faiss.CenteringTransform):
        _check_numbers(transform.mean, {transform.d_in}, "means")
    if isinstance(transform, faiss.RemapDimensionsTransform):
        numbers = faiss.vector_to_array(transform.map)
        inside = (numbers >= -1) & (numbers < transform.d_in)
        fits = len(numbers) == transform.d_out and inside.all()
        _require(fits, "a transform of it names numbers that a vector does not have")


def _check_codes(layer: Any) -> None:
    """Check the codes of an index that numbers its vectors: how many bytes, and floats in them."""
    if not hasattr(layer, "codes"):
        return
    if isinstance(layer, faiss.IndexPQ):
        # Other ways are for distances, and some of them fill no results.
        fits = layer.search_type == faiss.IndexPQ.ST_PQ
        _require(fits, "it does not search its codes by inner products")
    if isinstance(layer, faiss.IndexFastScan):
        padded = -(-layer.ntotal // layer.bbs) * layer.bbs
        least = padded * layer.M2 // 2
        # Some kinds have more in each block than codes.
        plain = isinstance(layer, faiss.IndexPQFastScan)
        fits = layer.codes.size() == least if plain else layer.codes.size() >= least
        _require(fits and layer.ntotal2 == padded, "its codes do not fit")
        return
    _require(layer.codes.size() == layer.ntotal * layer.code_size, "its codes do not fit")
    if layer.codes.size():
        codes = faiss.rev_swig_ptr(layer.codes.data(), layer.codes.size())
        _check_floats(layer, codes.reshape(layer.ntotal, layer.code_size))


def _check_floats(layer: Any, codes: npt.NDArray[np.uint8]) -> None:
    """Check the numbers in codes [n, bytes], all or samples; not finite ones give no score."""
    floats = _floats(layer)
    if floats is None:
        return
    start, dtype = floats
    for section in samples(codes):
        block = np.ascontiguousarray(section[:, start:]).view(dtype)
        if dtype is np.uint16:
            # bfloat16 is the upper half of a float.
            block = (block.astype(np.uint32) << np.uint32(16)).view(np.float32)
        _require(in_range(block), "a number of a vector is not finite, or too large to multiply")


def _floats(layer: Any) -> tuple[int, type[np.generic]] | None:
    """Return from which byte on codes are numbers, and of which kind; None where none are."""
    if isinstance(layer, faiss.IndexFlat | faiss.IndexIVFFlat):
        return 0, np.float32
    if hasattr(layer, "sq"):
        kinds: dict[int, type[np.generic]] = {
            faiss.ScalarQuantizer.QT_fp16: np.float16,
            faiss.ScalarQuantizer.QT_bf16: np.uint16,
        }
        kind = kinds.get(layer.sq.qtype)
        return None if kind is None else (0, kind)
    if hasattr(layer, "rabitq") and layer.rabitq.nb_bits == 1:
        return -(-layer.rabitq.d // 8), np.float32
    return None


def _check_lists(layer: Any, model: Any, count: int, rows: Rows | None) -> None:
    """Check inverted lists: their kind, the ids in them, and the centroids that name them."""
    # An index that was saved before it had vectors is not trained, and has no centroids.
    centroids = layer.nlist if layer.is_trained else layer.quantizer.ntotal
    _require(centroids in (0, layer.nlist), "its lists have no centroids")
    _compare(layer.quantizer, model.quantizer, centroids, None)
    _require(layer.nprobe > 0, "it searches none of its lists")
    layer.nprobe = min(layer.nprobe, layer.nlist)
    _require(layer.direct_map.type == faiss.DirectMap.NoMap, "it has a map of its ids")
    lists = faiss.downcast_InvertedLists(layer.invlists)
    expected = faiss.downcast_InvertedLists(model.invlists)
    # Lists on disk would be another file, which the index names.
    _require(type(lists) is type(expected), f"it has {type(lists).__name__}")
    for name in ("nlist", "code_size", "n_per_block", "block_size"):
        fits = getattr(lists, name, None) == getattr(expected, name, None)
        _require(fits, "its lists do not fit")
    sizes = [lists.list_size(number) for number in range(layer.nlist)]
    _require(sum(sizes) == count, "its lists do not hold every vector")
    ids = np.concatenate([np.zeros(0, np.int64), *_ids(lists, sizes)])
    ids.sort()
    # Below a refinement they are numbers.
    numbered = np.array_equal(ids, np.arange(count))
    fits = numbered or (rows is not None and np.array_equal(ids, np.sort(rows)))
    _require(fits, "its ids are not the rows")
    if isinstance(lists, faiss.ArrayInvertedLists):
        checked = 0
        for number in _sampled(len(sizes), count * lists.code_size):
            size = sizes[number]
            checked += size * lists.code_size
            if checked > _STEP:
                yield_gil()
                checked = 0
            if size:
                codes = faiss.rev_swig_ptr(lists.get_codes(number), size * lists.code_size)
                _check_floats(layer, codes.reshape(size, lists.code_size))


def _sampled(parts: int, size: int) -> list[int]:
    """Return the numbers of the parts to check: all, or some where all have more bytes than WHOLE.

    The first and the last are always among them.
    """
    step = max(1, -(-size // WHOLE))
    return sorted({*range(0, parts, step), parts - 1}) if parts else []


def _ids(lists: Any, sizes: list[int]) -> Iterator[npt.NDArray[np.int64]]:
    for number, size in enumerate(sizes):
        if size:
            yield faiss.rev_swig_ptr(lists.get_ids(number), size)


def _check_graph(layer: Any, model: Any) -> None:
    graph, count = layer.hnsw, layer.ntotal
    _compare_settings(graph, model.hnsw)
    # More candidates than vectors are the same as all of them, but their list would need memory.
    most = max(count, _MOST_CANDIDATES)
    for name in ("efSearch", "efConstruction"):
        _require(getattr(graph, name) > 0, f"its {name} is {getattr(graph, name)}")
        setattr(graph, name, min(getattr(graph, name), most))
    levels = faiss.vector_to_array(graph.levels)
    offsets = faiss.vector_to_array(graph.offsets).astype(np.int64)
    sums = faiss.vector_to_array(graph.cum_nneighbor_per_level)
    for name in ("cum_nneighbor_per_level", "assign_probas"):
        numbers, expected = (
            faiss.vector_to_array(getattr(each, name)) for each in (graph, model.hnsw)
        )
        _require(np.array_equal(numbers, expected), "its graph has other numbers of neighbours")
    _require(
        len(levels) == count and len(offsets) == count + 1, "its graph is not of these vectors"
    )
    if not count:
        return
    highest = int(levels.max())
    exists = levels.min() >= 1 and highest < len(sums) and graph.max_level == highest - 1
    _require(exists, "a layer of its graph does not exist")
    fits = not offsets[0] and np.array_equal(np.diff(offsets), sums[levels])
    _require(fits and offsets[-1] == graph.neighbors.size(), "the lists of its graph do not fit")
    entry = graph.entry_point
    _require(
        0 <= entry < count and levels[entry] == highest,
        "the entry of its graph is not in the highest layer",
    )
    neighbors = faiss.rev_swig_ptr(graph.neighbors.data(), graph.neighbors.size())
    for part in _sampled(-(-count // _BLOCK), neighbors.nbytes):
        yield_gil()
        first = part * _BLOCK
        bounds = offsets[first : first + _BLOCK + 1]
        block = neighbors[bounds[0] : bounds[-1]]
        exists = block.min() >= -1 and block.max() < count
        _require(exists, "a neighbour in its graph does not exist")
        # The layer of each place within a vector's list; its neighbour must reach that layer.
        places = np.arange(len(block)) - np.repeat(bounds[:-1] - bounds[0], np.diff(bounds))
        layers = np.searchsorted(sums, places, side="right") - 1
        used = block >= 0
        reached = levels[block[used]] > layers[used]
        _require(reached.all(), "a neighbour in its graph is not in the layer")
