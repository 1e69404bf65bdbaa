"""The passages that were read: keys and values in memory, and on disk if there is a folder.

Those that were used longest ago go when there are too many bytes. Knows digests and tensors; knows
no model and no prompt.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from ragcore.process.fork import new_lock
from ragcore.types import Passage
from ragcore_transformers.reuse_files import StateFiles
from ragcore_transformers.reuse_folder import digest_of
from ragcore_transformers.states import PassageStates

__all__ = ["PassageCache", "ReuseCounts"]


@dataclass(frozen=True, slots=True)
class ReuseCounts:
    """How much was read again, and how much was not, since the generator was loaded.

    Attributes:
        hits: pairs whose passage was known.
        misses: pairs whose passage was not.
        tokens_reused: tokens of prompts that were not run.
        tokens_read: tokens of prompts that were run, those of prompts without a passage too.
        passages: how many are in memory now.
        bytes: of their keys and values.
        dropped: passages that had to go because others were used later.
    """

    hits: int = 0
    misses: int = 0
    tokens_reused: int = 0
    tokens_read: int = 0
    passages: int = 0
    bytes: int = 0
    dropped: int = 0

    @property
    def hit_rate(self) -> float:
        """The share of pairs whose passage was known; 0 where nothing was read."""
        return self.hits / max(1, self.hits + self.misses)


@dataclass(frozen=True, slots=True)
class _Cached:
    passage_id: str
    states: PassageStates


class PassageCache:
    """Keys and values by passage; safe to use from several threads."""

    def __init__(
        self, max_bytes: int, dtype: torch.dtype | None = None, files: StateFiles | None = None
    ) -> None:
        """Begin empty.

        Args:
            max_bytes: how much memory keys and values may take.
            dtype: in which they are stored; None for that in which they were computed.
            files: those on disk.
        """
        self._max_bytes = max_bytes
        self._dtype = dtype
        self._files = files
        self._cached: OrderedDict[str, _Cached] = OrderedDict()
        self._bytes = 0
        self._dropped = 0
        self._epoch: object = None
        self._lock = new_lock()

    def renew(self, epoch: object) -> None:
        """Clear the cache if it is of another epoch, that is, of other weights.

        The files on disk are of the first epoch, and no longer used then.
        """
        with self._lock:
            if self._epoch == epoch:
                return
            if self._epoch is not None:
                self._files = None
            self._epoch = epoch
            self._cached.clear()
            self._bytes = 0

    def find(self, digest: str, passage: Passage) -> PassageStates | None:
        """Return what is known of a passage, or None."""
        with self._lock:
            cached = self._cached.get(digest)
            if cached is not None:
                self._cached.move_to_end(digest)
                return cached.states
            files, epoch = self._files, self._epoch
        states = None if files is None else files.find(digest)
        if states is not None:
            self._store(digest, passage.id, states, epoch)
        return states

    def add(self, digest: str, passage: Passage, states: PassageStates, epoch: object) -> None:
        """Store a copy of what was computed of a passage, by the weights of an epoch."""
        if states.bytes > self._max_bytes:
            # With a smaller dtype it might fit; a passage that large leaves no room for others.
            return
        copied = states.copied(self._dtype)
        with self._lock:
            files = self._files if epoch == self._epoch else None
        self._store(digest, passage.id, copied, epoch)
        if files is not None:
            files.add(digest, copied)

    def retain(self, passages: Callable[[Sequence[str]], Mapping[str, Passage]]) -> int:
        """Drop passages that a memory no longer has; those on disk stay.

        Args:
            passages: gives the memory's passages by id, of those ids that it has.

        Returns:
            How many were dropped.
        """
        with self._lock:
            ids = {cached.passage_id for cached in self._cached.values()}
        present = passages(sorted(ids))
        digests = {id: digest_of(passage) for id, passage in present.items()}  # noqa: A001
        with self._lock:
            dropped = [
                digest
                for digest, cached in self._cached.items()
                # Those that came meanwhile were not looked up.
                if cached.passage_id in ids and digests.get(cached.passage_id) != digest
            ]
            for digest in dropped:
                self._bytes -= self._cached.pop(digest).states.bytes
        return len(dropped)

    def counts(self) -> ReuseCounts:
        """Return how much is in memory, and how much was dropped."""
        with self._lock:
            return ReuseCounts(passages=len(self._cached), bytes=self._bytes, dropped=self._dropped)

    def _store(self, digest: str, passage_id: str, states: PassageStates, epoch: object) -> None:
        with self._lock:
            if epoch != self._epoch:
                return
            replaced = self._cached.pop(digest, None)
            if replaced is not None:
                self._bytes -= replaced.states.bytes
            self._cached[digest] = _Cached(passage_id, states)
            self._bytes += states.bytes
            while self._bytes > self._max_bytes:
                _, oldest = self._cached.popitem(last=False)
                self._bytes -= oldest.states.bytes
                self._dropped += 1
