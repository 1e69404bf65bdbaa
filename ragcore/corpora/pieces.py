"""Split the texts of a corpus as its settings say, and name the pieces.

Knows the settings `words`, `split` and `ids`; knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ragcore.corpora.content_ids import ContentIds
from ragcore.corpora.splitter import split_words
from ragcore.corpora.splitting import (
    Piece,
    SplitConfig,
    check_tokens,
    plain_document,
    split_document,
)
from ragcore.corpora.structure import DocumentText
from ragcore.types import Passage

if TYPE_CHECKING:
    from ragcore.contracts import Capabilities, TextTokenizer

__all__ = ["Splitter", "check_split"]


def check_split(words: int | None, split: SplitConfig | None) -> None:
    """Check that at most one of two settings is there.

    Raises:
        ValueError: both are.
    """
    if words is not None and split is not None:
        raise ValueError(
            f"expected one of words and split: words: {words} counts words between white space, "
            f"and split: {{by: words, size: {words}}} starts again at headings and also splits "
            "texts without spaces"
        )


class Splitter:
    """Splits texts into passages; without settings a text is one passage.

    Args:
        words: the setting.
        split: the setting.
    """

    def __init__(self, words: int | None, split: SplitConfig | None) -> None:
        self._words = words
        self._split = split
        self._tokenizer: TextTokenizer | None = None

    @property
    def capabilities(self) -> Capabilities:
        """What a corpus that splits by it can do: `tokenizer` where it counts tokens."""
        by_tokens = self._split is not None and self._split.by == "tokens"
        return frozenset({"tokenizer"}) if by_tokens else frozenset()

    def use_tokenizer(self, tokenizer: TextTokenizer) -> None:
        """Count tokens by this tokenizer."""
        self._tokenizer = tokenizer

    def check(self) -> None:
        """Check that texts can be split, whatever they are.

        Raises:
            CorpusError: tokens are to be counted and there is no tokenizer, or a piece would have
                more of them than the encoder reads.
        """
        if self._split is not None:
            check_tokens(self._split, self._tokenizer)

    @property
    def is_whole(self) -> bool:
        """Whether texts are not split."""
        return self._words is None and self._split is None

    def passages(
        self,
        id_: str,
        title: str,
        content: str | DocumentText,
        metadata: dict[str, Any],
        contents: ContentIds | None,
    ) -> Iterator[Passage]:
        """Yield the passages of a text.

        Args:
            id_: of the text; empty where passages are named by their content alone.
            title: of all passages.
            content: the text.
            metadata: of all passages; a piece in a section has its `heading` too.
            contents: names passages by their content; None numbers those of a split text.
        """
        if self.is_whole:
            text = content if isinstance(content, str) else content.text
            yield Passage(id_ or _named(contents, title, text), title, text, metadata)
            return
        prefix = f"{id_}-" if id_ else ""
        for number, (text, headings) in enumerate(self._pieces(title, content), start=1):
            name = f"{prefix}{number}" if contents is None else contents.of(title, text, prefix)
            own = {**metadata, "heading": " > ".join(headings)} if headings else metadata
            yield Passage(name, title, text, own)

    def _pieces(
        self, title: str, content: str | DocumentText
    ) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield the text of each piece, with the headings that it is under."""
        if self._words is not None:
            text = content if isinstance(content, str) else content.text
            for words in split_words(text, self._words):
                yield words, ()
            return
        document = plain_document(content) if isinstance(content, str) else content
        for piece in self.pieces(document, title):
            yield piece.text, piece.headings

    def pieces(self, document: DocumentText, title: str) -> Iterator[Piece]:
        """Yield the pieces that the setting `split` makes of a document.

        Raises:
            CorpusError: it counts tokens, and there is no tokenizer, or the title leaves no room.
        """
        assert self._split is not None
        return split_document(document, self._split, self._tokenizer, title)


def _named(contents: ContentIds | None, title: str, text: str) -> str:
    return "" if contents is None else contents.of(title, text)
