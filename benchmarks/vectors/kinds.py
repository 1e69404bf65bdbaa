"""List the kinds of index: each one's name in a pipeline, its settings and its size.

Knows the components by their registered names only; the caller leaves out those that are not
installed. PQ is followed by `np`: without it, FAISS trains an order of the codes for a kind of
search that is not done here, which takes a core two seconds for each piece.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from vectors import sizes

__all__ = ["CLUSTERS", "Kind", "Law", "Settings", "label", "paper_kinds", "searched_kinds"]

Settings = Mapping[str, int]
Law = Literal["linear", "n log n"]

CLUSTERS: Final = 4096
"""Inverted lists of an index as large as the paper's."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of index.

    Attributes:
        family: kinds of one family share a colour.
        use: the component's registered name.
        build: its settings in YAML, apart from `search`.
        settings: the settings to try at search time, fastest first.
        bytes: bytes of a vector, by the formula.
        law: how the build time grows with the number of vectors.
    """

    name: str
    family: str
    use: str
    build: Mapping[str, Any]
    settings: tuple[Settings, ...] = ({},)
    bytes: float = 0.0
    law: Law = "linear"

    @property
    def typical(self) -> Settings:
        """The setting in the middle."""
        return self.settings[len(self.settings) // 2]

    def config(self, setting: Settings) -> dict[str, Any]:
        """Return its settings in YAML, with one for searching."""
        if self.use == "faiss" and setting:
            return {**self.build, "search": dict(setting)}
        return {**self.build, **setting}

    def searching(self, threads: int) -> dict[str, Any]:
        """Return YAML settings for a number of threads; most kinds follow the process's limit."""
        return {"threads": threads} if self.use == "hnswlib" else {}


def label(setting: Settings) -> str:
    """Write a setting as in the tables."""
    return ", ".join(f"{name} {value}" for name, value in setting.items())


def searched_kinds(dim: int, count: int) -> Iterator[Kind]:
    """Yield the kinds whose recall and speed are compared, for `count` vectors."""
    pieces = dim // 8
    lists = 2 ** round(math.log2(2 * math.sqrt(count)))
    probes = tuple({"nprobe": n} for n in (1, 4, 16, 64) if n <= lists)
    widths = tuple({"efSearch": n} for n in (16, 32, 64, 128, 256))
    yield from _brute(dim)
    yield from _codes(dim)
    rotated = _faiss(f"OPQ{pieces},PQ{pieces}np", "codes", sizes.pq(pieces))
    # A rotation is slow to learn, and learns little more from more vectors.
    yield replace(rotated, build={**rotated.build, "train_size": 25_000})
    factors = tuple({"k_factor_rf": n} for n in (2, 8, 32))
    yield _faiss(f"PQ{pieces}np,RFlat", "refined", sizes.pq(pieces) + sizes.flat(dim), factors)
    both = sizes.rabitq(dim) + sizes.sq8(dim)
    yield _faiss("RaBitQ,Refine(SQ8)", "refined", both, factors)
    for codes, weight in (
        ("Flat", sizes.flat(dim)),
        ("SQ8", sizes.sq8(dim)),
        (f"PQ{pieces}np", sizes.pq(pieces)),
        ("RaBitQ", sizes.rabitq(dim)),
    ):
        yield _faiss(f"IVF{lists},{codes}", "IVF", weight, probes)
    refined = tuple(probe | {"k_factor_rf": 8} for probe in probes)
    yield _faiss(f"IVF{lists},RaBitQ,Refine(SQ8)", "IVF, refined", both, refined)
    halves = f"IVF{lists},PQ{dim // 4}x4fs,Refine(SQ8)"
    yield _faiss(halves, "IVF, refined", sizes.pq(dim // 8) + sizes.sq8(dim), refined)
    yield _graph("HNSW32", sizes.flat(dim), widths)
    yield _graph("HNSW32,SQ8", sizes.sq8(dim), widths)
    yield _hnswlib(dim, 16)


def paper_kinds(dim: int, lists: int) -> Iterator[Kind]:
    """Yield the kinds whose cost at the paper's size is estimated, its own and ParlAI's too."""
    yield from _brute(dim)
    yield from _codes(dim)
    refined = sizes.rabitq(dim) + sizes.sq8(dim)
    yield _faiss(f"IVF{lists},SQ8", "IVF", sizes.sq8(dim))
    yield _faiss(f"IVF{lists}_HNSW128,PQ128np", "IVF", sizes.pq(128))
    yield _faiss(f"IVF{lists},RaBitQ,Refine(SQ8)", "IVF, refined", refined)
    for links in (32, 128):
        yield _graph(f"HNSW{links}", sizes.flat(dim))
        yield _graph(f"HNSW{links},SQ8", sizes.sq8(dim))
    yield _hnswlib(dim, 16)


def _brute(dim: int) -> Iterator[Kind]:
    yield Kind("exact", "exact", "exact", {}, bytes=sizes.flat(dim) + sizes.ROW)
    yield _faiss("Flat", "exact", sizes.flat(dim))


def _codes(dim: int) -> Iterator[Kind]:
    yield _faiss("SQfp16", "codes", sizes.fp16(dim))
    yield _faiss("SQ8", "codes", sizes.sq8(dim))
    yield _faiss(f"PQ{dim // 8}np", "codes", sizes.pq(dim // 8))
    yield _faiss("RaBitQ", "codes", sizes.rabitq(dim))
    yield _faiss("RaBitQ4", "codes", sizes.rabitq(dim, 4))


def _faiss(
    factory: str, family: str, weight: float, settings: tuple[Settings, ...] = ({},)
) -> Kind:
    # Lists store rows already; a refinement works with positions, and so needs the rows once more.
    weight += (3 if family == "IVF, refined" else 2) * sizes.ROW
    return Kind(factory, family, "faiss", {"factory": factory}, settings, weight)


def _graph(factory: str, weight: float, settings: tuple[Settings, ...] = ({},)) -> Kind:
    links = int(factory.removeprefix("HNSW").partition(",")[0])
    weight += sizes.graph(links) + 2 * sizes.ROW
    return Kind(factory, "HNSW", "faiss", {"factory": factory}, settings, weight, "n log n")


def _hnswlib(dim: int, links: int) -> Kind:
    widths = tuple({"ef_search": n} for n in (16, 32, 64, 128, 256))
    weight = sizes.hnswlib(dim, links) + sizes.ROW
    name = f"hnswlib, m {links}"
    return Kind(name, "hnswlib", "hnswlib", {"m": links}, widths, weight, "n log n")
