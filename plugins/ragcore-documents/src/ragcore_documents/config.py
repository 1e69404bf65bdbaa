"""The config of the corpus `documents`; imports no reader, so that a file is checked without it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from ragcore.corpora.splitting import SplitConfig
from ragcore.registry.components import ComponentConfig, ConfigPath
from ragcore_documents.detect import DocumentType

__all__ = ["DocumentsConfig"]


class DocumentsConfig(ComponentConfig):
    """Settings of `{use: documents}`."""

    path: ConfigPath = Field(description="the folder, or one file")
    include: tuple[str, ...] = Field(
        (),
        description="patterns as in a .gitignore; only files that match one are read, such as "
        "['*.pdf', 'notes/']; empty takes all",
    )
    exclude: tuple[str, ...] = Field(
        (), description="patterns as in a .gitignore; files and folders that match are left out"
    )
    hidden: bool = Field(
        False, description="read files and folders whose names begin with a dot, too"
    )
    symlinks: bool = Field(
        False,
        description="read what symbolic links within the folder lead to, if it is not read under "
        "its own name; none is followed out of the folder",
    )
    types: dict[str, DocumentType] = Field(
        default_factory=dict,
        description="types of files by further suffixes, such as {.log: text, .mdx: markdown}",
    )
    split: SplitConfig = Field(
        SplitConfig(by="headings", size=150, overlap=0, language="en"),
        description="how texts become passages",
    )
    on_error: Literal["skip", "stop"] = Field(
        "skip", description="report a file that cannot be read and go on, or raise an error"
    )
    max_mib: int = Field(100, ge=1, description="MiB of a file; a larger one is not read")
    seconds: int = Field(60, ge=1, description="for a file; reading it is then ended")
    memory_gib: float = Field(
        2, ge=0.25, allow_inf_nan=False, description="GiB of memory of a process that reads files"
    )
    workers: int | None = Field(
        None, ge=1, description="processes that read files; null takes one a processor"
    )

    @field_validator("types")
    @classmethod
    def _are_suffixes(cls, types: dict[str, DocumentType]) -> dict[str, DocumentType]:
        for suffix in types:
            if not suffix.startswith(".") or "." in suffix[1:] or "/" in suffix or suffix == ".":
                raise ValueError(
                    f"{suffix!r} is no suffix of a file's name: expected the end from its last "
                    "dot on, such as .log"
                )
        return {suffix.lower(): type_ for suffix, type_ in types.items()}

    @field_validator("include", "exclude")
    @classmethod
    def _are_patterns(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        from pathspec import GitIgnoreSpec

        for pattern in patterns:
            try:
                GitIgnoreSpec.from_lines([pattern])
            except ValueError as error:
                raise ValueError(f"{pattern!r} is no pattern of a .gitignore: {error}") from None
            if not pattern.strip() or pattern.lstrip().startswith("#"):
                raise ValueError(
                    f"{pattern!r} is an empty line or a comment in a .gitignore: remove it, or "
                    "write \\# for a name that begins so"
                )
        return patterns
