"""The tokenizer of an encoder, by which a corpus splits texts so that nothing of them is cut."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from ragcore.contracts.corpus import Corpus
from ragcore.contracts.encoder import Encoder
from ragcore.contracts.retriever import Retriever

if TYPE_CHECKING:
    from ragcore.types import Spans

__all__ = [
    "ANY_LENGTH",
    "TextTokenizer",
    "TokenizedEncoder",
    "TokenizedRetriever",
    "TokenizerUser",
]

ANY_LENGTH: Final = sys.maxsize
"""The room of an encoder that reads texts of any length."""


class TextTokenizer(Protocol):
    """Tells how many tokens a text has for an encoder, and where they are.

    It can be pickled, so that a corpus may pass it to its worker processes, and is used by several
    threads at once.
    """

    @property
    def fingerprint(self) -> str:
        """Name what spans and room depend on: vocabulary, rules, limit, prompt and template."""
        ...

    def spans(self, texts: Sequence[str]) -> list[Spans]:
        """Return the tokens of each text as character offsets of start and end, int64 [t, 2].

        Starts and ends ascend; some tokens may be empty or share a character. A part of a text may
        have a few tokens more by itself than lie in it, where its first word is written otherwise
        at the beginning of a text.
        """
        ...

    def room(self, title: str) -> int:
        """Return how many tokens of text the encoder reads of a passage with this title.

        The tokens of the title, of a prompt and those that are put around them are subtracted. 0
        where the title leaves no room, `ANY_LENGTH` where a text may have any length.
        """
        ...


@runtime_checkable
class TokenizedEncoder(Encoder, Protocol):
    """An encoder with the capability `tokenizer`."""

    @property
    def tokenizer(self) -> TextTokenizer:
        """Return the tokenizer of passages, which shares no setting with the encoder's own."""
        ...


@runtime_checkable
class TokenizedRetriever(Retriever, Protocol):
    """A retriever with the capability `tokenizer`."""

    @property
    def tokenizer(self) -> TextTokenizer:
        """Return its encoder's tokenizer; of several, that with the least room.

        Raises:
            UnsupportedOperation: the encoder, now that it is loaded, has none.
        """
        ...


@runtime_checkable
class TokenizerUser(Corpus, Protocol):
    """A corpus with the capability `tokenizer`: it splits texts by tokens of the encoder."""

    def use_tokenizer(self, tokenizer: TextTokenizer) -> None:
        """Split texts by this tokenizer; called once, before the corpus is iterated."""
        ...
