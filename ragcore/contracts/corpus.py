"""A corpus: a source of passages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from ragcore.contracts.component import Component
from ragcore.types import Passage

__all__ = ["Corpus"]


@runtime_checkable
class Corpus(Component, Protocol):
    """A source of passages. Iterating streams them; each iteration starts from the beginning."""

    def __iter__(self) -> Iterator[Passage]:
        """Yield the passages; ids are unique, texts not empty.

        Raises:
            CorpusError: a passage cannot be read or used; names file and line.
        """
        ...
