"""Helpers for retrievers that combine others: what members can do, and searching one of them.

Knows nothing of what is done with the hits (`hybrid.py`, `rerank.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

import numpy as np

from ragcore.contracts import (
    CacheUser,
    CompactingRetriever,
    FilteringRetriever,
    Fragments,
    IndexTrainer,
    MergingRetriever,
    PassageReader,
    PassageSource,
    Retriever,
    SavedRetriever,
    ScratchUser,
    TextTokenizer,
    TokenizedRetriever,
    VectorCache,
    supports,
)
from ragcore.errors import ComponentError, UnsupportedOperation
from ragcore.registry.components import ComponentSpec
from ragcore.retrievers.hits import checked_hits, search_allowed
from ragcore.types import CutPassages, Hits

if TYPE_CHECKING:
    from ragcore.filters.expressions import Filter
    from ragcore.types import Rows


__all__ = [
    "ANY_HAS",
    "PASSED_ON",
    "compact_members",
    "cut_of",
    "deepest_search",
    "fragments_of_members",
    "give_cache",
    "give_passages",
    "give_scratch",
    "least_room",
    "merge_member",
    "trainers",
    "require",
    "search_member",
]

PASSED_ON: Final = frozenset({"add", "merge", "mmap", "remove"})
"""Capabilities that a retriever has if all its members have them.

Not `exact`: it fuses or rescores only the hits that it requests of the members, not all passages.
"""

ANY_HAS: Final = frozenset(
    {"cache", "compact", "index_training", "passages", "scratch", "tokenizer", "where"}
)
"""Capabilities that a retriever has if any of its members has them."""


@runtime_checkable
class _CutReporter(Protocol):
    """A retriever that tells which passages its encoder cuts."""

    @property
    def cut_passages(self) -> Sequence[CutPassages]:
        """What was added and is longer than an encoder reads, an item for each such encoder."""
        ...


def cut_of(*retrievers: Retriever) -> tuple[CutPassages, ...]:
    """Return what retrievers tell of passages that their encoders cut."""
    reporters = [each for each in retrievers if isinstance(each, _CutReporter)]
    return tuple(cut for reporter in reporters for cut in reporter.cut_passages)


@runtime_checkable
class _LimitedRetriever(Protocol):
    """A retriever whose ranking ends somewhere, however many hits it is asked for."""

    @property
    def deepest_search(self) -> int | None:
        """Of how many hits its ranking is at most; None for no limit."""
        ...


def deepest_search(retriever: Retriever) -> int | None:
    """Return of how many hits a retriever's ranking is at most; None where it states no limit.

    Raises:
        ComponentError: what it states is no number of hits.
    """
    limit = retriever.deepest_search if isinstance(retriever, _LimitedRetriever) else None
    if limit is not None and (type(limit) is not int or limit < 1):
        raise ComponentError(
            f"retriever {type(retriever).__name__!r} has deepest_search = {limit!r}: expected a "
            "number of hits, 1 or more, or None for no limit"
        )
    return limit


def require(name: str, member: Retriever, capability: str, parent: str) -> None:
    """Raise an error if a member lacks a capability.

    Args:
        name: the member's registered name.
        member: the member.
        capability: the capability that it must declare.
        parent: registered name of the retriever that it is a member of.

    Raises:
        UnsupportedOperation: the member does not declare the capability.
    """
    if capability not in member.capabilities:
        raise UnsupportedOperation.of(f"retriever {name!r}, and so the {parent} of it,", capability)


def give_cache(member: Retriever, cache: VectorCache) -> None:
    """Let a member take vectors from the embedding cache, if it can."""
    if supports(member, CacheUser):
        member.use_cache(cache)


def give_passages(member: Retriever, passages: PassageSource) -> None:
    """Pass the passages to a member that reads them."""
    if supports(member, PassageReader):
        member.use_passages(passages)


def give_scratch(member: Retriever, folder: Path) -> int | None:
    """Let a member use a new scratch folder, if it can.

    Returns:
        For how many passages the folder already has its work; None if it uses no scratch folder.
    """
    if not supports(member, ScratchUser):
        return None
    folder.mkdir(exist_ok=True)
    return member.use_scratch(folder)


def least_room(members: Sequence[Retriever], parent: str) -> TextTokenizer:
    """Return the tokenizer of the member whose encoder reads the fewest tokens of a text.

    Args:
        members: some may have no tokenizer.
        parent: registered name of the retriever that they are members of.

    Raises:
        UnsupportedOperation: none has one, now that the encoders are loaded.
    """
    tokenizers, missing = [], None
    for member in members:
        if supports(member, TokenizedRetriever):
            try:
                tokenizers.append(member.tokenizer)
            except UnsupportedOperation as error:
                missing = error
    if not tokenizers:
        raise UnsupportedOperation.of(f"retriever {parent!r}", "tokenizer") from missing
    return min(tokenizers, key=lambda tokenizer: tokenizer.room(""))


def merge_member(
    name: str, member: Retriever, parent: str, parts: Sequence[SavedRetriever], folder: Path
) -> None:
    """Write saved retrievers as one by a member; see `MergingRetriever`.

    Args:
        name: the member's registered name.
        member: the member.
        parent: registered name of the retriever that it is a member of.
        parts: saved by members of the same config.
        folder: an existing empty one.

    Raises:
        UnsupportedOperation: the member cannot merge.
    """
    if not supports(member, MergingRetriever):
        raise UnsupportedOperation.of(f"retriever {name!r}, and so the {parent} of it,", "merge")
    member.merge(parts, folder)


def trainers(members: Sequence[Retriever]) -> dict[int, IndexTrainer]:
    """Return the members whose indexes are trained, by their numbers."""
    return {
        number: member for number, member in enumerate(members) if supports(member, IndexTrainer)
    }


def compact_members(members: Sequence[Retriever], *, join: bool) -> bool:
    """Compact the members that can; return whether nothing of removed rows is left in any."""
    compacted = [
        member.compact(join=join) for member in members if supports(member, CompactingRetriever)
    ]
    return len(compacted) == len(members) and all(compacted)


def fragments_of_members(
    specs: Sequence[ComponentSpec[Retriever]], folders: Sequence[Path]
) -> Fragments:
    """Return the most segments of any member, and the removed rows in the files of all.

    Args:
        specs: of the members.
        folders: that they were saved into.
    """
    each = [
        spec.component.saved_fragments(folder, spec.config)
        for spec, folder in zip(specs, folders, strict=True)
        if hasattr(spec.component, "saved_fragments")
    ]
    return Fragments(
        max((fragments.segments for fragments in each), default=0),
        sum(fragments.removed for fragments in each),
    )


def search_member(
    name: str,
    member: Retriever,
    parent: str,
    questions: Sequence[str],
    k: int,
    allowed: Rows | None,
    where: Filter | None = None,
) -> Hits:
    """Search a member and check its hits, [B, k], each row once; `name`, `parent` as in `require`.

    If the member cannot filter, its ranking is searched until k allowed rows are found. If it can
    evaluate a filter `where`, of which `allowed` are the rows, it is passed both.

    Raises:
        ComponentError: the member breaks its contract.
    """
    source = f"retriever {name!r} of a {parent}"

    def search(questions: Sequence[str], depth: int) -> Hits:
        return checked_hits(member.search(questions, depth), len(questions), depth, source)

    if allowed is None:
        return search(questions, k)
    if where is not None and supports(member, FilteringRetriever):
        hits = member.search_where(questions, k, where, allowed=allowed)
        return checked_hits(hits, len(questions), k, source)
    if "filter" in member.capabilities:
        hits = member.search(questions, k, allowed=allowed)
        return checked_hits(hits, len(questions), k, source)
    rows = np.unique(np.asarray(allowed, np.int64))
    exact = "exact" in member.capabilities
    return search_allowed(search, len(member), questions, k, rows, exact=exact)
