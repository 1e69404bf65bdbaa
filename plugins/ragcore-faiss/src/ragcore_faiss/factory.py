"""An empty FAISS index from a factory string, and its capabilities.

Knows FAISS's classes, their limits and their parameters at search time. Knows nothing of rows,
files or threads.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import faiss  # type: ignore[import-untyped, unused-ignore]
import numpy as np

from ragcore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy.typing as npt

    from ragcore.types import Vectors

__all__ = [
    "abilities",
    "completed",
    "core",
    "layers",
    "make",
    "message",
    "only",
    "overflows",
    "takes_selector",
    "trains",
    "tune",
]

_FLOAT16: Final = 65_504
"""The largest number of float16; larger ones become infinite, and so do all scores."""


def make(factory: str, dim: int) -> Any:
    """Make an empty index over vectors of `dim` numbers, which takes our rows as its ids.

    Raises:
        ConfigError: FAISS cannot make it for inner products, or vectors could not be added to it.
    """
    try:
        index = faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise ConfigError(
            f"FAISS cannot make an index {factory!r} for inner products of {dim} dimensions: "
            f"{message(error)}; examples: Flat, HNSW32, IVF256,Flat, SQ8"
        ) from error
    for layer in layers(index):
        _refuse(layer, factory)
    # Inverted lists hold ids themselves; all others number their vectors from zero.
    return index if isinstance(core(index), faiss.IndexIVF) else faiss.IndexIDMap2(index)


@cache
def trains(factory: str, dim: int) -> bool:
    """Return whether a factory's index is trained on vectors before it takes any."""
    return not make(factory, dim).is_trained


def overflows(index: Any, vectors: Vectors) -> bool:
    """Return whether a number of vectors [n, d] is larger than the index's codes can hold.

    Codes that are trained hold any: what lies beyond their range gets the code of its edge.
    """
    layer = faiss.downcast_index(index)
    if isinstance(layer, faiss.IndexIDMap):
        return overflows(layer.index, vectors)
    if isinstance(layer, faiss.IndexPreTransform):
        # FAISS's stubs do not know its class.
        chain: Any = layer.chain
        for number in range(chain.size() if layer.is_trained else 0):
            vectors = faiss.downcast_VectorTransform(chain.at(number)).apply(vectors)
        return overflows(layer.index, vectors)
    if isinstance(layer, faiss.IndexRefine):
        inner = (layer.base_index, layer.refine_index)
        return any(overflows(each, vectors) for each in inner)
    if isinstance(layer, faiss.IndexHNSW):
        return overflows(layer.storage, vectors)
    sq = getattr(layer, "sq", None)
    if sq is None or sq.qtype != faiss.ScalarQuantizer.QT_fp16:
        return False
    # Lists store differences to their centroids, whose numbers have the same limit.
    limit = _FLOAT16 / 2 if getattr(layer, "by_residual", False) else _FLOAT16
    return bool(np.abs(vectors).max(initial=0) > limit)


def abilities(index: Any) -> frozenset[str]:
    """Return the capabilities of this index beyond those that every one has."""
    core_ = core(index)
    names = set()
    # Where codes are packed in blocks, FAISS gives vectors added after a removal wrong codes, and a
    # block has codes of several vectors.
    packed = isinstance(core_, faiss.IndexFastScan | faiss.IndexIVFFastScan)
    if isinstance(core_, faiss.IndexFlatCodes | faiss.IndexIVF) and not packed:
        names |= {"join", "remove"}
    # Graphs and refinements filter by `exhaustive.py`; others rank all their vectors anyway.
    if takes_selector(core_) or isinstance(core_, faiss.IndexHNSW | faiss.IndexRefine):
        names.add("filter")
    if any(isinstance(layer, faiss.IndexHNSW) for layer in layers(index)):
        names.add("width")
    transformed = any(isinstance(layer, faiss.IndexPreTransform) for layer in layers(index))
    if isinstance(core_, faiss.IndexFlat) and not transformed:
        names.add("exact")
    # Only right below the ids: then vectors are stored as they were added.
    uncoded = faiss.IndexFlat | faiss.IndexHNSWFlat
    inner = faiss.downcast_index(index.index) if isinstance(index, faiss.IndexIDMap) else None
    if isinstance(inner, uncoded):
        names.add("vectors")
    return frozenset(names)


def takes_selector(layer: Any) -> bool:
    """Return whether the index searches among selected vectors only, and finds all of them."""
    if isinstance(layer, faiss.IndexIVFAdditiveQuantizer):
        return False
    return isinstance(
        layer, faiss.IndexFlat | faiss.IndexScalarQuantizer | faiss.IndexRaBitQ | faiss.IndexIVF
    )


def only(index: Any, allowed: npt.NDArray[np.int64]) -> Any:
    """Return parameters for a search among rows `allowed` [m]; others stay as `tune` set them."""
    core_ = core(index)
    # FAISS's stubs do not declare these keywords.
    options: dict[str, Any] = {"sel": faiss.IDSelectorBatch(allowed)}
    if isinstance(core_, faiss.IndexIVF):
        options |= {"nprobe": core_.nprobe, "max_codes": core_.max_codes}
        return faiss.SearchParametersIVF(**options)
    return faiss.SearchParameters(**options)


def tune(index: Any, factory: str, search: Mapping[str, int | float]) -> None:
    """Set FAISS's parameters at search time, before the index is trained.

    Raises:
        ConfigError: this index has no such parameter.
    """
    if "ht" not in search:
        _leave_codes_unordered(index)
    for name, value in search.items():
        try:
            faiss.ParameterSpace().set_index_parameter(index, name, value)
        except RuntimeError as error:
            raise ConfigError(
                f"index 'faiss' ({factory}) has no search parameter {name!r}: HNSW has "
                "efSearch, IVF has nprobe, an IVF over HNSW also quantizer_efSearch, RFlat has "
                "k_factor_rf"
            ) from error
    # FAISS's stubs lack these names.
    core_: Any = core(index)
    typed: Any = faiss
    ranked = not isinstance(core_, typed.IndexPQ) or core_.search_type == typed.IndexPQ.ST_PQ
    if "ht" in search and not ranked:
        raise ConfigError(
            f"index 'faiss' ({factory}): the search parameter 'ht' makes FAISS compare distances, "
            "not inner products: leave it out"
        )


def _leave_codes_unordered(index: Any) -> None:
    """Train product quantizers without the order of codes that only the parameter `ht` uses.

    FAISS looks for an order in which near codes differ in few bits (polysemous codes, Douze et al.
    2016): most of the training time, for the same scores.
    """
    for layer in layers(index):
        parts = [layer]
        if isinstance(layer, faiss.IndexRefine):
            parts.append(faiss.downcast_index(layer.refine_index))
        for part in parts:
            if isinstance(part, faiss.IndexPQ | faiss.IndexIVFPQ):
                # FAISS's stubs lack the attribute.
                quantized: Any = part
                quantized.do_polysemous_training = False


def message(error: RuntimeError) -> str:
    """Return FAISS's message without its C++ signature and source line."""
    return re.sub(r"^Error in .* at \S+:\d+: (Error: )?", "", str(error), flags=re.DOTALL).strip()


def layers(index: Any) -> Iterator[Any]:
    """Yield the index and those nested in it: below ids, transforms of vectors, and refinement."""
    while True:
        index = faiss.downcast_index(index)
        yield index
        if isinstance(index, faiss.IndexIDMap | faiss.IndexPreTransform):
            index = index.index
        elif isinstance(index, faiss.IndexRefine):
            index = index.base_index
        else:
            return


def completed(index: Any) -> Any:
    """Return an index after setting what FAISS does not set when it reads or copies one."""
    for layer in layers(index):
        # Else decoding follows a pointer to nothing, or to the index that was copied.
        if isinstance(layer, faiss.IndexIVFPQFastScan):
            lists: Any = layer
            lists.fine_quantizer = lists.pq
    return index


def core(index: Any) -> Any:
    """Return the index below ids and transforms, maybe a refinement: it sets the capabilities."""
    return next(
        layer
        for layer in layers(index)
        if not isinstance(layer, faiss.IndexIDMap | faiss.IndexPreTransform)
    )


def _refuse(layer: Any, factory: str) -> None:
    if isinstance(layer, faiss.IndexIDMap):
        raise ConfigError(
            f"factory {factory!r} has an IDMap: leave it out, rows are stored without it"
        )
    if isinstance(layer, faiss.IndexNSG | faiss.IndexNNDescent):
        raise ConfigError(
            f"factory {factory!r} makes a graph that takes all its vectors in one call and no "
            "more after it: use HNSW32, to which vectors can be added"
        )
    # FAISS's stubs do not declare this class.
    deduplicating: Any = faiss.IndexIVFFlatDedup  # type: ignore[attr-defined, unused-ignore]
    if isinstance(layer, deduplicating):
        raise ConfigError(
            f"factory {factory!r} makes lists that have equal vectors only once, so that they are "
            "not of as many vectors as rows: use IVF256,Flat"
        )
    if layer.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise ConfigError(
            f"factory {factory!r} makes an index that ranks by distance even if asked for inner "
            "products: use HNSW32_SQ8 for a graph over short codes, or IVF256,PQ16"
        )
