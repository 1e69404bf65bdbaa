"""The retriever `with-metadata`: another retriever that searches values of metadata, too.

Knows which values become text, and where they are put; what is passed on is in `over.py`. Names,
keywords or aliases that questions use need not be in the text that people see: a memory keeps
passages as they are, and the inner retriever is given them with the values in the title.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ragcore.contracts import FilteringRetriever, supports
from ragcore.errors import UnsupportedOperation
from ragcore.retrievers.configs import WithMetadataConfig
from ragcore.retrievers.members import ANY_HAS, PASSED_ON
from ragcore.retrievers.over import OverRetriever
from ragcore.types import Hits, Passage

if TYPE_CHECKING:
    from ragcore.filters.expressions import Filter
    from ragcore.types import Rows

__all__ = ["WithMetadata"]


class WithMetadata(OverRetriever[WithMetadataConfig]):
    """A `Retriever` with the hits and scores of the inner one over passages with longer titles.

    With `fields: [aliases]` the title of a passage with the metadata `aliases: [USA, American]`
    is "United States, Capital (USA; American)" to the inner retriever. Values are strings and
    numbers, and lists of them; passages without any are as they are. A scorer within, as of a
    `rerank`, reads the memory's passages, without the values.
    """

    NAME: ClassVar[str] = "with-metadata"
    Config: ClassVar[type[WithMetadataConfig]] = WithMetadataConfig

    @property
    def capabilities(self) -> frozenset[str]:
        """Those of the inner retriever but `trainable`."""
        return self._inner.capabilities & (PASSED_ON | ANY_HAS | {"exact", "filter"})

    @property
    def fingerprint(self) -> str:
        """The fields, and the inner retriever's fingerprint."""
        return (
            f"with-metadata({', '.join(map(repr, self._config.fields))}; {self._inner.fingerprint})"
        )

    def add(self, rows: Rows, passages: Sequence[Passage]) -> None:
        """Add passages under rows [n] to the inner retriever, with the values in their titles."""
        self._inner.add(rows, self._with_values(passages))

    def search(self, questions: Sequence[str], k: int, *, allowed: Rows | None = None) -> Hits:
        """Find the inner retriever's k best rows of each question, [B, k].

        Raises:
            UnsupportedOperation: `allowed` is given, and it has no capability `filter`.
        """
        if allowed is None:
            return self._inner.search(questions, k)
        if "filter" not in self.capabilities:
            raise UnsupportedOperation.of(f"retriever {self._config.retriever.use!r}", "filter")
        return self._inner.search(questions, k, allowed=allowed)

    def search_where(
        self, questions: Sequence[str], k: int, where: Filter, *, allowed: Rows
    ) -> Hits:
        """Search, with the filter for the inner retriever; see `FilteringRetriever`.

        Raises:
            UnsupportedOperation: it has no capability `where`.
        """
        if not supports(self._inner, FilteringRetriever):
            raise UnsupportedOperation.of(f"retriever {self._config.retriever.use!r}", "where")
        return self._inner.search_where(questions, k, where, allowed=allowed)

    def train_index(self, passages: Sequence[Passage], folder: Path) -> None:
        """Train the index of its inner retriever on longer titles, too; see `IndexTrainer`."""
        super().train_index(self._with_values(passages), folder)

    def _with_values(self, passages: Sequence[Passage]) -> list[Passage]:
        return [self._with_own(passage) for passage in passages]

    def _with_own(self, passage: Passage) -> Passage:
        """Return a passage with its values in the title."""
        values = "; ".join(
            text for field in self._config.fields for text in _texts(passage.metadata.get(field))
        )
        if not values:
            return passage
        title = f"{passage.title} ({values})" if passage.title else values
        return replace(passage, title=title)


def _texts(value: object) -> Iterator[str]:
    """Yield a value as text: a string or number, or each of a list; nothing of any other."""
    match value:
        case str():
            if value.strip():
                yield value
        case bool():
            return
        case int() | float():
            yield str(value)
        case list() | tuple():
            for item in value:
                if not isinstance(item, list | tuple):
                    yield from _texts(item)
