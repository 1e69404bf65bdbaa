"""The setting `split` of corpora."""

from __future__ import annotations

from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["SplitBy", "SplitConfig"]

SplitBy = Literal["words", "sentences", "tokens", "headings"]

_SIZES: Final[dict[SplitBy, int]] = {"words": 100, "sentences": 6, "headings": 150}


class SplitConfig(BaseModel):
    """Settings of `split: {by: headings, size: 150}`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: SplitBy = Field(
        description="words: pieces of `size` words; sentences: windows of `size` sentences that "
        "start again at each paragraph; headings: sections, those of more than `size` words cut "
        "between paragraphs, then sentences; tokens: the same, with tokens of the retriever's "
        "encoder"
    )
    size: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="the most that a piece may have, in words, sentences or tokens; null takes 100 "
        "words, 6 sentences, 150 words of a section, or as many tokens as the encoder reads",
    )
    overlap: int = Field(
        0,
        ge=0,
        description="how much of the piece before a piece repeats, in the same unit; by headings "
        "or tokens at most this, in whole sentences",
    )
    language: str = Field(
        "en",
        pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]+)*$",
        description="code of the texts' language, such as `de`, by whose abbreviations the ends of "
        "sentences are found",
    )

    @model_validator(mode="after")
    def _overlap_is_a_part(self) -> Self:
        size = self.limit
        if size is not None and self.overlap >= size:
            unit = "words" if self.by == "headings" else self.by
            raise ValueError(
                f"overlap is {self.overlap} {unit}, and a piece has {size}: expected an overlap "
                "below the size"
            )
        return self

    @property
    def limit(self) -> int | None:
        """Return the size, or its default; None is as many tokens as the encoder reads."""
        return self.size if self.size is not None else _SIZES.get(self.by)
