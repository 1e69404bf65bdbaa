"""The setting `split` of corpora, and the pieces that a document's text is split into."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ragcore.corpora.structure import DocumentText

__all__ = ["Piece", "SplitConfig", "split_document"]


class SplitConfig(BaseModel):
    """Settings of `split: {by: headings, size: 150}`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: Literal["words", "sentences", "tokens", "headings"] = Field(
        description="words: pieces of `size` words; sentences: windows of `size` sentences that "
        "start again at each paragraph; headings: sections, those of more than `size` words cut "
        "between paragraphs, then sentences; tokens: the same, with tokens of the retriever's "
        "encoder"
    )
    size: int | None = Field(
        None,
        ge=1,
        description="of a piece, in words, sentences or tokens; null takes 100 words, 6 sentences, "
        "150 words of a section, or as many tokens as the encoder reads",
    )
    overlap: int = Field(
        0, ge=0, description="how much of the piece before begins a piece, in the same unit"
    )


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a document's text.

    Attributes:
        text: of the piece.
        start: of it in the document's text.
        end: behind it; `text` is the document's text from start to end, except `by: words`, which
            joins words by one space.
        headings: of the sections that it is in, outermost first.
        page: on which it starts; None where the format has none.
        line: in the file at which it starts, from 1; None where that is not known.
    """

    text: str
    start: int
    end: int
    headings: tuple[str, ...] = ()
    page: int | None = None
    line: int | None = None


def split_document(document: DocumentText, split: SplitConfig) -> Iterator[Piece]:
    """Yield the pieces of a document in order.

    Args:
        document: of any format.
        split: how to split it.
    """
    raise NotImplementedError
