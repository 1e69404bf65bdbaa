"""The retriever `hybrid`: several retrievers over the same passages, fused into one ranking.

Owns its members, each in a folder of its own, and the depth of their searches; `fusion.py` does the
fusing. Knows nothing of what the members are.

Every member is searched for `depth` hits, whatever k is: a passage's fused score depends on what
the members find, so a depth that grew with k would give another ranking for another k. With a fixed
depth there is one fused ranking, and k only says where it ends.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from ragcore.contracts import Fragments, PassageSource, SavedRetriever, TextTokenizer, VectorCache
from ragcore.disk.loading import reading
from ragcore.errors import ComponentError, MemoryMismatchError, StoreCorruptError
from ragcore.retrievers import fusion
from ragcore.retrievers.configs import HybridConfig, stored_by
from ragcore.retrievers.members import (
    ANY_HAS,
    PASSED_ON,
    compact_members,
    cut_of,
    deepest_search,
    fragments_of_members,
    give_cache,
    give_passages,
    give_scratch,
    least_room,
    merge_member,
    require,
    search_member,
    trainers,
)
from ragcore.retrievers.rerank import files_below, reranked_by
from ragcore.types import CutPassages, Hits, Passage

if TYPE_CHECKING:
    from ragcore.filters.expressions import Filter
    from ragcore.types import Rows


__all__ = ["Hybrid"]

RECORD: Final = "hybrid.json"


class Hybrid:
    """A `Retriever` over members; several threads may search it if they may search the members.

    `fuse` determines the scores: log-probabilities for `mixture`, small numbers above 0 for the
    others. With `allowed`, ranks and lowest scores are those among allowed rows.
    """

    Config: ClassVar[type[HybridConfig]] = HybridConfig

    def __init__(self, config: HybridConfig) -> None:
        self._config = config
        self._members = [spec.build() for spec in config.retrievers]
        self._loaded = False

    @property
    def capabilities(self) -> frozenset[str]:
        """Capabilities of all members but `exact`, since a score depends on the other hits.

        Also `cache`, `compact`, `index_training`, `passages`, `scratch`, `tokenizer` and `where` if
        any member has them, and `filter` in any case.
        """
        each = [member.capabilities for member in self._members]
        return PASSED_ON.intersection(*each) | (ANY_HAS & frozenset().union(*each)) | {"filter"}

    @property
    def fingerprint(self) -> str:
        """The members' fingerprints in order, not `fuse`, which may change without a rebuild."""
        return f"hybrid({'; '.join(member.fingerprint for member in self._members)})"

    @property
    def tokenizer(self) -> TextTokenizer:
        """The tokenizer of the member with the least room; see `TokenizedRetriever`.

        Raises:
            UnsupportedOperation: no member has one.
        """
        return least_room(self._members, "hybrid")

    @property
    def cut_passages(self) -> Sequence[CutPassages]:
        """What was added and is longer than an encoder reads, an item for each such encoder."""
        return cut_of(*self._members)

    @property
    def deepest_search(self) -> int:
        """As many hits as members are searched for, or as any of them finds, if these are fewer.

        More hits come from fusing, but a passage may be missing among them that a deeper search of
        the members would put there.
        """
        members = [self._members[number] for number in self._searched()]
        limits = [deepest_search(member) for member in members]
        return max(
            self._config.depth if limit is None else min(self._config.depth, limit)
            for limit in limits
        )

    def __len__(self) -> int:
        return len(self._members[0])

    def use_cache(self, cache: VectorCache) -> None:
        """Let each member that can take vectors from this cache; see `CacheUser`."""
        for member in self._members:
            give_cache(member, cache)

    def use_passages(self, passages: PassageSource) -> None:
        """Pass the passages to the members that read them."""
        for member in self._members:
            give_passages(member, passages)

    def use_scratch(self, folder: Path) -> int:
        """Let each member that can use a subfolder of this one; see `ScratchUser`."""
        counts = [give_scratch(member, folder / str(i)) for i, member in enumerate(self._members)]
        return min((count for count in counts if count is not None), default=0)

    def add(self, rows: Rows, passages: Sequence[Passage]) -> None:
        """Add passages under rows [n] to every member.

        Raises:
            UnsupportedOperation: this retriever was loaded, and a member has no capability `add`.
        """
        if self._loaded:
            self._require("add")
        for member in self._members:
            member.add(rows, passages)

    def search(self, questions: Sequence[str], k: int, *, allowed: Rows | None = None) -> Hits:
        """Find the k best of the members' fused hits, [B, k], ties by row.

        Raises:
            ComponentError: k is less than 1, or a member breaks its contract.
        """
        return self._search(questions, k, allowed, None)

    def search_where(
        self, questions: Sequence[str], k: int, where: Filter, *, allowed: Rows
    ) -> Hits:
        """Search, with the filter for members that evaluate it; see `FilteringRetriever`."""
        return self._search(questions, k, allowed, where)

    def _search(
        self, questions: Sequence[str], k: int, allowed: Rows | None, where: Filter | None
    ) -> Hits:
        if k < 1:
            raise ComponentError(f"retriever 'hybrid' was asked for {k} hits: ask for 1 or more")
        depth = min(self._config.depth, len(self))
        if not depth or not len(questions):
            return Hits.empty(len(questions), k)
        config, uses, searched = self._config, self._uses(), self._searched()
        results = [
            search_member(
                uses[number], self._members[number], "hybrid", questions, depth, allowed, where
            )
            for number in searched
        ]
        weights = [1.0 if config.weights is None else config.weights[number] for number in searched]
        match config.fuse:
            case "rrf":
                return fusion.reciprocal_rank(
                    results, k, weights=weights, constant=config.rank_constant
                )
            case "convex":
                return fusion.convex(results, k, weights=weights)
            case "mixture":
                divisors = config.temperatures
                temperatures = divisors and [divisors[number] for number in searched]
                return fusion.mixture(results, k, weights=weights, temperatures=temperatures)

    def remove(self, rows: Rows) -> None:
        """Remove rows from every member.

        Raises:
            UnsupportedOperation: a member has no capability `remove`; then no row is removed.
        """
        self._require("remove")
        for member in self._members:
            member.remove(rows)

    def save(self, folder: Path) -> None:
        """Write hybrid.json, and the members' files into the folders 0, 1 and so on.

        Raises:
            ComponentError: the members have different numbers of rows, as an `add` that failed
                half-way leaves them.
        """
        sizes = [len(member) for member in self._members]
        if len(set(sizes)) > 1:
            raise ComponentError(
                f"retriever 'hybrid' has members of {sizes} rows ({self._uses()}): expected the "
                "same number in all; rebuild it"
            )
        self._write_record(folder)
        for i, member in enumerate(self._members):
            (folder / str(i)).mkdir()
            member.save(folder / str(i))

    def compact(self, *, join: bool = False) -> bool:
        """Compact the members that can; see `CompactingRetriever`."""
        return compact_members(self._members, join=join)

    @classmethod
    def saved_fragments(cls, folder: Path, config: HybridConfig) -> Fragments:
        """Return the most segments of any member, and the removed rows of all."""
        folders = [files_below(folder / str(i)) for i in range(len(config.retrievers))]
        return fragments_of_members(config.retrievers, folders)

    @property
    def training_size(self) -> int:
        """The largest of its members that train one; see `IndexTrainer`."""
        return max(each.training_size for each in trainers(self._members).values())

    def train_index(self, passages: Sequence[Passage], folder: Path) -> None:
        """Let each member that trains an index do so, in its own folder; see `IndexTrainer`."""
        for number, member in trainers(self._members).items():
            (folder / str(number)).mkdir()
            member.train_index(passages, folder / str(number))

    def use_training(self, folder: Path) -> None:
        """Give the training to its members that train one; see `IndexTrainer`.

        Raises:
            MemoryMismatchError: another retriever wrote it.
        """
        for number, member in trainers(self._members).items():
            member.use_training(folder / str(number))

    def merge(self, parts: Sequence[SavedRetriever], folder: Path) -> None:
        """Write saved retrievers as one, member by member; see `MergingRetriever`.

        Raises:
            MemoryMismatchError: a part was written by other retrievers, or their parts do not
                belong together.
            UnsupportedOperation: a member has no capability `merge`.
        """
        self._require("merge")
        for part in parts:
            self._check_record(part.folder, self._recorded(part.folder))
        self._write_record(folder)
        for i, (use, member) in enumerate(zip(self._uses(), self._members, strict=True)):
            (folder / str(i)).mkdir()
            below = [replace(part, folder=part.folder / str(i)) for part in parts]
            merge_member(use, member, "hybrid", below, folder / str(i))

    @classmethod
    def load(cls, folder: Path, config: HybridConfig, *, mmap: bool = True) -> Hybrid:
        """Load what `save` wrote; fusion and search settings may differ from build time.

        Raises:
            MemoryMismatchError: other retrievers wrote it, or the same ones in another order.
            StoreCorruptError: hybrid.json is missing or broken, or the members do not have the
                same number of rows.
        """
        loaded = cls(config)
        built_by = loaded._recorded(folder)
        folders = [folder / str(i) for i in range(len(built_by))]
        for i, name in enumerate(built_by):
            # An earlier release recorded a reranker, whose files lie below.
            if name == "rerank":
                built_by[i], folders[i] = reranked_by(folders[i]), files_below(folders[i])
        loaded._check_record(folder, built_by)
        loaded._members = [
            spec.load(below, mmap=mmap)
            for below, spec in zip(folders, config.retrievers, strict=True)
        ]
        loaded._loaded = True
        sizes = [len(member) for member in loaded._members]
        if len(set(sizes)) > 1:
            raise StoreCorruptError(
                f"{folder} has retrievers of {sizes} rows: expected the same number in all; "
                "rebuild this version of the memory"
            )
        return loaded

    def _write_record(self, folder: Path) -> None:
        record = {"retrievers": self._stored_by()}
        (folder / RECORD).write_text(json.dumps(record) + "\n", encoding="utf-8")

    def _recorded(self, folder: Path) -> list[str]:
        """Return the names of the members that wrote a folder.

        Raises:
            StoreCorruptError: hybrid.json is missing or broken.
        """
        with reading(folder / RECORD) as path:
            return list(json.loads(path.read_bytes())["retrievers"])

    def _check_record(self, folder: Path, built_by: list[str]) -> None:
        """Check that the members which wrote a folder are this retriever's.

        Raises:
            MemoryMismatchError: they are others, or in another order.
        """
        if built_by != self._stored_by():
            raise MemoryMismatchError(
                f"{folder} was built with the retrievers {built_by}, but those in use are "
                f"{self._uses()}: rebuild the memory, or set memory.retriever.retrievers as they "
                "were, in their order"
            )

    def _searched(self) -> list[int]:
        """Return the numbers of the members that count, so that they are searched."""
        weights = self._config.weights
        return [
            number for number in range(len(self._members)) if weights is None or weights[number]
        ]

    def _stored_by(self) -> list[str]:
        return [stored_by(spec) for spec in self._config.retrievers]

    def _uses(self) -> list[str]:
        return [spec.use for spec in self._config.retrievers]

    def _require(self, capability: str) -> None:
        for name, member in zip(self._uses(), self._members, strict=True):
            require(name, member, capability, "hybrid")
