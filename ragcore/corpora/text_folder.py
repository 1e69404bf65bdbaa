"""Passages from a folder of text files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from pydantic import Field, model_validator

from ragcore.corpora.content_ids import ContentIds, Ids
from ragcore.corpora.lines import lines_of
from ragcore.corpora.pieces import Splitter, check_split
from ragcore.corpora.splitter import split_lines
from ragcore.corpora.splitting import SplitConfig, plain_document
from ragcore.errors import CorpusError, EmptyCorpusError
from ragcore.registry.components import ComponentConfig, ConfigPath
from ragcore.types import Passage

if TYPE_CHECKING:
    from ragcore.contracts import Capabilities, TextTokenizer

__all__ = ["TextFolder"]

_WORDS: Final = 100
"""Words of a passage where no setting says another number, as in the paper."""
_LARGEST: Final = 1 << 26
"""Characters of a file that is split otherwise than by words, which are read line by line."""


class TextFolder:
    """All `.txt` and `.md` files in a folder and its subfolders, in the order of their paths.

    A passage's title is the first heading of a Markdown file, or else the file's name; its id is
    the file's path relative to the folder, with the passage's number: `notes/chad.md-1`; with
    `ids: content` a digest stands for the number (`ContentIds`). A file without words has no
    passages. With `split`, metadata have the file's path and the line where the passage begins.
    """

    class Config(ComponentConfig):
        """Settings of `{use: text}`."""

        path: ConfigPath = Field(description="the folder")
        words: int | None = Field(
            None,
            ge=1,
            description="split texts into passages of this many words; null takes 100, or `split`",
        )
        split: SplitConfig | None = Field(
            None, description="how texts are split into passages, in place of `words`"
        )
        ids: Ids = Field(
            None,
            description="content takes digests of title and text in place of passages' numbers, so "
            "that an edit changes no other id; null takes the numbers",
        )

        @model_validator(mode="after")
        def _splits_once(self) -> Self:
            check_split(self.words, self.split)
            if self.split is not None and self.split.by == "headings":
                raise ValueError(
                    "found split by headings, which this corpus does not read: use the corpus "
                    "`documents` of ragcore-documents, or split by words, sentences or tokens"
                )
            return self

    def __init__(self, config: Config) -> None:
        self._config = config
        self._splitter = Splitter(config.words, config.split)

    @property
    def capabilities(self) -> Capabilities:
        """Say that it needs a tokenizer, where it splits texts by tokens."""
        return self._splitter.capabilities

    def use_tokenizer(self, tokenizer: TextTokenizer) -> None:
        """Split texts by this tokenizer."""
        self._splitter.use_tokenizer(tokenizer)

    def __iter__(self) -> Iterator[Passage]:
        """Yield the passages, file by file.

        Raises:
            CorpusError: there is no such folder, or a file is not UTF-8.
            EmptyCorpusError: there is no `.txt` or `.md` file in it.
        """
        folder = self._config.path
        if not folder.is_dir():
            raise CorpusError(f"{folder}: no such folder: expected one with .txt or .md files")
        files = sorted(
            path
            for path in folder.rglob("*")
            if path.suffix.lower() in (".txt", ".md") and path.is_file()
        )
        if not files:
            raise EmptyCorpusError(f"{folder}: there is no .txt or .md file in it or below it")
        for path in files:
            name = path.relative_to(folder).as_posix()
            title = _heading(path) or path.stem
            contents = ContentIds() if self._config.ids == "content" else None
            for number, (text, metadata) in enumerate(self._pieces(path, name, title), start=1):
                end = str(number) if contents is None else contents.of(title, text)
                yield Passage(f"{name}-{end}", title, text, metadata)

    def _pieces(self, path: Path, name: str, title: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the text of each piece of a file, and its metadata.

        Raises:
            CorpusError: the file is not UTF-8, is too large to be split so, or the title leaves the
                encoder no room.
        """
        lines = (line for _, line in lines_of(path))
        if self._config.split is None:
            for text in split_lines(lines, self._config.words or _WORDS):
                yield text, {}
            return
        text = _joined(lines, path)
        try:
            pieces = self._splitter.pieces(plain_document(text), title)
        except CorpusError as error:
            raise CorpusError(f"{path}: {error}") from None
        for piece in pieces:
            yield piece.text, {"path": name, "line": piece.line}


def _joined(lines: Iterator[str], path: Path) -> str:
    """Join the lines of a file.

    Raises:
        CorpusError: they are too many.
    """
    parts, characters = [], 0
    for line in lines:
        characters += len(line)
        if characters > _LARGEST:
            raise CorpusError(
                f"{path}: more than {_LARGEST:,} characters: cut the file into several, or split "
                "by `words`, which reads line by line"
            )
        parts.append(line)
    return "".join(parts)


_HEADING: Final = re.compile(r" {0,3}#{1,6}[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*$")
_FENCE: Final = re.compile(r" {0,3}(```|~~~)")


def _heading(path: Path) -> str:
    """Return a Markdown file's first heading, or ""; one in a code block does not count."""
    if path.suffix.lower() != ".md":
        return ""
    fence = ""
    for _, line in lines_of(path):
        mark = _FENCE.match(line)
        if mark and fence in ("", mark[1]):
            fence = "" if fence else mark[1]
        heading = _HEADING.match(line.rstrip("\r\n"))
        if heading and heading[1] and not fence:
            return heading[1]
    return ""
