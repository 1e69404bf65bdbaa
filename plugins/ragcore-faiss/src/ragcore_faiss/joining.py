"""Write several saved indexes as one file, part by part, so that no index must fit into memory.

FAISS joins indexes in memory, or puts their lists into a further file that the index names. But its
file of an index is that of an empty one with the same training, with the codes and ids of vectors
in their places, and FAISS reads the files of its earlier releases. So what FAISS writes of an empty
index is taken, and codes and ids are copied into it from files that are mapped into memory. Knows
that layout, which is compared with FAISS's own files in the tests; knows nothing of scales.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import faiss as typed_faiss  # type: ignore[import-untyped, unused-ignore]
import numpy as np

from ragcore.errors import ComponentError
from ragcore_faiss.factory import core, layers
from ragcore_faiss.numbering import among

if TYPE_CHECKING:
    import numpy.typing as npt

    from ragcore.types import Rows

__all__ = ["Part", "searches_lists", "write_joined"]

# FAISS's stubs lack many of its names and keywords.
faiss: Any = typed_faiss

_BLOCK: Final = 1 << 24
"""Bytes of codes that are copied at a time."""

_MARKED: Final = 64
"""Vectors of random codes and ids that mark their places in what FAISS writes."""

_NO_LISTS: Final = 8 + len(b"sprs")
"""Bytes that FAISS writes of the sizes of lists where all are empty."""


@dataclass(frozen=True, slots=True)
class Part:
    """An index that is joined with others.

    Attributes:
        index: FAISS's, mapped into memory, used for nothing else from now on.
        model: the same index, read again, which is emptied: its training is the joined one's.
        rows: int64 [n], in FAISS's order.
        shift: what is added to its rows.
        hidden: rows that are left out, ascending.
    """

    index: Any
    model: Any
    rows: Rows
    shift: int
    hidden: Rows

    @property
    def left(self) -> Rows:
        """The rows that stay, in FAISS's order, as they are numbered in the joined index."""
        rows: Rows = self.rows[~among(self.rows, self.hidden)] + self.shift
        return rows


def searches_lists(index: Any) -> bool:
    """Return whether a search reads some lists only, so that parts cost more than the whole."""
    return isinstance(core(index), faiss.IndexIVF)


def write_joined(parts: Sequence[Part], path: Path) -> Rows | None:
    """Write the index of all parts' rows that stay.

    Args:
        parts: of one factory, each with a row at least.
        path: of the file.

    Returns:
        The rows in FAISS's order, int64 [n]; None, and nothing is written, where the parts were
        not trained alike.

    Raises:
        ComponentError: FAISS writes an empty index in another way than is known here.
        OSError: there is no room for the file.
    """
    rows = np.concatenate([part.left for part in parts])
    if searches_lists(parts[0].index):
        heads = {_head_of_lists(part.model, len(rows)) for part in parts}
        if len(heads) > 1:
            return None
        with path.open("wb") as file:
            file.write(heads.pop())
            _write_lists(file, [(part, _lists_of(part.index)) for part in parts])
        return rows
    models = {_around_codes(part.model, len(rows)) for part in parts}
    if len(models) > 1:
        return None
    head, units, between, tail = models.pop()
    with path.open("wb") as file:
        file.write(head + _number(len(rows) * units))
        for part in parts:
            for codes in _codes_left(part):
                file.write(codes.data)
        file.write(between + _number(len(rows)))
        file.write(np.ascontiguousarray(rows, "<i8").data)
        file.write(tail)
    return rows


def _lists_of(index: Any) -> Any:
    return faiss.downcast_InvertedLists(core(index).invlists)


def _head_of_lists(index: Any, count: int) -> bytes:
    """Return what FAISS writes of an index of `count` vectors before the sizes of its lists."""
    layer = core(index)
    lists = faiss.ArrayInvertedLists(layer.nlist, layer.code_size)
    layer.replace_invlists(lists, True)
    lists.this.disown()
    _count(index, count)
    written = faiss.serialize_index(index).tobytes()
    expected = b"ilar" + _number(layer.nlist) + _number(layer.code_size) + b"sprs" + _number(0)
    if not written.endswith(expected):
        raise _unknown_layout()
    return bytes(written[:-_NO_LISTS])


def _write_lists(file: IO[bytes], parts: Sequence[tuple[Part, Any]]) -> None:
    """Write the sizes of lists, then the codes and ids of each, in the order of the parts."""
    count = parts[0][1].nlist
    left = np.array(
        [
            [_size_left(part, lists, list_number) for list_number in range(count)]
            for part, lists in parts
        ]
    )  # [parts, lists]
    sizes = left.sum(axis=0)
    # FAISS leaves empty lists out where most are.
    filled = np.flatnonzero(sizes)
    if len(filled) > count // 2:
        file.write(b"full" + _number(count) + sizes.astype("<u8").tobytes())
    else:
        pairs = np.stack([filled, sizes[filled]], axis=1)
        file.write(b"sprs" + _number(pairs.size) + pairs.astype("<u8").tobytes())
    for list_number in filled.tolist():
        ids = []
        for number in np.flatnonzero(left[:, list_number]).tolist():
            part, lists = parts[number]
            size = lists.list_size(list_number)
            codes = faiss.rev_swig_ptr(lists.get_codes(list_number), size * lists.code_size)
            codes, rows = codes.reshape(size, lists.code_size), _ids(lists, list_number)
            if left[number, list_number] < size:
                stays = ~among(rows, part.hidden)
                codes, rows = codes[stays], rows[stays]
            file.write(codes.data)
            ids.append(rows + part.shift)
        file.write(np.concatenate(ids).astype("<i8", copy=False).data)


def _ids(lists: Any, list_number: int) -> Rows:
    ids: Rows = faiss.rev_swig_ptr(lists.get_ids(list_number), lists.list_size(list_number))
    return ids


def _size_left(part: Part, lists: Any, list_number: int) -> int:
    """Return how many vectors of a list are not left out."""
    size: int = lists.list_size(list_number)
    if not size or not len(part.hidden):
        return size
    return size - int(among(_ids(lists, list_number), part.hidden).sum())


def _around_codes(index: Any, count: int) -> tuple[bytes, int, bytes, bytes]:
    """Return what FAISS writes of an index of `count` vectors apart from their codes and ids.

    Returns:
        What comes before the codes, in how many units FAISS counts those of a vector, and what
        comes between codes and ids, and after them; without the numbers of codes and ids.
    """
    layer = core(index)
    # The same marks for all parts, so that equal training makes equal bytes.
    random = np.random.default_rng(0)
    marks = random.integers(0, 256, _MARKED * layer.code_size).astype(np.uint8)
    ids = random.integers(0, 1 << 62, _MARKED)
    codes = faiss.MaybeOwnedVectorUInt8()
    codes.resize(len(marks))
    faiss.rev_swig_ptr(codes.data(), len(marks))[:] = marks
    layer.codes = codes
    faiss.copy_array_to_vector(ids, index.id_map)
    _count(index, count)
    written = faiss.serialize_index(index).tobytes()
    head, mark, rest = written.partition(marks.tobytes())
    between, id_mark, tail = rest.partition(ids.tobytes())
    units, remainder = divmod(int.from_bytes(head[-8:], "little"), _MARKED)
    # FAISS counts the codes of float vectors by four bytes.
    fits = units in (layer.code_size, layer.code_size // 4) and not remainder
    if not (mark and id_mark and fits and between.endswith(_number(_MARKED))):
        raise _unknown_layout()
    return head[:-8], units, between[:-8], tail


def _codes_left(part: Part) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the codes of the rows that stay, [n, bytes] at a time, in FAISS's order."""
    layer = core(part.index)
    codes = faiss.rev_swig_ptr(layer.codes.data(), layer.codes.size())
    codes = codes.reshape(-1, layer.code_size)
    stays = ~among(part.rows, part.hidden)
    each = max(1, _BLOCK // layer.code_size)
    for first in range(0, len(codes), each):
        section = slice(first, first + each)
        block, mask = codes[section], stays[section]
        yield block if mask.all() else block[mask]


def _count(index: Any, count: int) -> None:
    """Let all layers of an index say that they have so many vectors."""
    for layer in (index, *layers(index)):
        layer.ntotal = count


def _number(value: int) -> bytes:
    return int(value).to_bytes(8, "little")


def _unknown_layout() -> ComponentError:
    return ComponentError(
        f"index 'faiss': FAISS {faiss.__version__} writes an index in a way that is not known, so "
        "that saved ones cannot be joined: install an earlier release of faiss-cpu"
    )
