"""The config of the corpus `wikipedia`; imports no reader, so that a file is checked without it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from ragcore.registry.components import ComponentConfig, ConfigPath

__all__ = ["WikipediaConfig"]


class WikipediaConfig(ComponentConfig):
    """Settings of `{use: wikipedia}`."""

    path: ConfigPath | Annotated[tuple[ConfigPath, ...], Field(min_length=1)] = Field(
        description="a dump, its parts as a list, or a pattern such as enwiki-*.xml-p*.bz2; plain "
        "XML, bzip2, gzip, Zstandard or 7z",
    )
    layout: Literal["structured", "psgs"] = Field(
        "structured",
        description="sections, lists, tables and infoboxes in windows of 6 sentences, or the "
        "paper's plain text in passages of 100 words",
    )
    namespaces: tuple[int, ...] = Field(
        (0,), min_length=1, description="numbers of the namespaces to read; 0 has the articles"
    )
    redirects: bool = Field(False, description="read pages that redirect to others, too")
    disambiguation: bool = Field(
        False, description="read pages that list the meanings of their titles, too"
    )
    lists: bool | None = Field(
        None, description="read list pages; null reads them in the layout structured only"
    )
    workers: int | None = Field(
        None,
        ge=1,
        description="processes; null takes one a processor for a large dump, and one for a small",
    )
    complete: bool | Literal["auto"] = Field(
        "auto",
        description="whether pages that the dump lacks are deleted by an update; auto: if its name "
        "is that of a whole wiki's dump, or within the ids that a part's name says",
    )
    faults: Literal["error", "stop"] = Field(
        "error",
        description="where a file is damaged, raise an error, or read it up to there and go on",
    )

    @field_validator("namespaces")
    @classmethod
    def _each_once(cls, namespaces: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(namespaces)) < len(namespaces):
            raise ValueError("expected each number once")
        return namespaces
