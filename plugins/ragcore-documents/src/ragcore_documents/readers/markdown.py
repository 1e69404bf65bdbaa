"""Read Markdown: the file as it is, with its headings, paragraphs, lists, tables and code.

markdown-it-py parses the blocks; inline markup is parsed in headings only. Text and spans are those
of the file, but what is not shown, such as comments and definitions of links, is spaces.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from html import unescape
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from ragcore.corpora.structure import Block, BlockKind, DocumentText
from ragcore_documents.readers.encoding import check_length, decode
from ragcore_documents.readers.front_matter import front_matter
from ragcore_documents.readers.limits import Limits
from ragcore_documents.readers.text import paragraphs
from ragcore_documents.readers.titles import lone_heading, sensible_title

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

__all__ = ["read_markdown"]

# The parser calls itself for each level of quotations and lists.
_NESTING: Final = 40
_LEAVES: Final[dict[str, BlockKind]] = {
    "heading_open": "heading",
    "paragraph_open": "paragraph",
    "fence": "code",
    "code_block": "code",
    "table_open": "table",
    "html_block": "paragraph",
}
_LISTS: Final = ("bullet_list_open", "ordered_list_open")
_CONTAINERS: Final = (*_LISTS, "blockquote_open", "list_item_open")
# Admonitions and tabs of MkDocs: what is indented below is text, not code.
_ADMONITION: Final = re.compile(r"(?:!!!|\?\?\?\+?|===\+?) ")
_BADGE: Final = re.compile(
    r"(?:\[!\[[^\[\]]*\](?:\([^()]*\)|\[[^\[\]]*\])\](?:\([^()]*\)|\[[^\[\]]*\])\s*)+"
)
_COMMENT_OR_TAG: Final = re.compile(r"<!--(?:(?!-->)[\s\S])*(?:-->|\Z)|<[^<>]*>")
_HTML_HEADING: Final = re.compile(r"<h([1-6])[\s>]", re.IGNORECASE)
_ATTRIBUTES: Final = re.compile(r"\s*\{[#.:][^{}]*\}\s*$")
_LONG_HEADING: Final = 300
_LONG_GAP: Final = 2_000
_WORD: Final = re.compile(r"\w")
_SHOWN: Final = re.compile(r"\S")


def read_markdown(data: bytes, limits: Limits) -> DocumentText:
    """Read a Markdown file (CommonMark with tables), and its front matter as metadata.

    Args:
        data: of the file.
        limits: of its text.

    Raises:
        UnreadableError: if the file is no text, in no known encoding, or too large.
    """
    text = decode(data)
    check_length(len(text), limits.characters)
    matter = front_matter(text)
    blocks = []
    if matter.is_bad:
        blocks += [Block("paragraph", *span) for span in paragraphs(text, 0, matter.end)]
    blocks += _Blocks(text, matter.end).read()
    metadata = dict(matter.metadata)
    own_title = metadata.get("title")
    title = sensible_title(own_title) if isinstance(own_title, str) else ""
    if title:
        del metadata["title"]
    return DocumentText(
        _blanked(text, blocks),
        tuple(blocks),
        title or lone_heading(blocks),
        metadata,
        is_source=True,
    )


def _blanked(text: str, blocks: Sequence[Block]) -> str:
    """Return a text with spaces for the words between its blocks, which a passage may reach over.

    Positions and lines stay those of the file. Long gaps stay too: no passage reaches over them.
    """
    parts: list[str] = []
    position = 0
    for before, block in pairwise(blocks):
        start, end = before.end, block.start
        if end - start <= _LONG_GAP and _WORD.search(text, start, end):
            parts += [text[position:start], _SHOWN.sub(" ", text[start:end])]
            position = end
    return "".join([*parts, text[position:]])


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"maxNesting": _NESTING}).enable("table")
    return parser.disable("inline")


@cache
def _inline_parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"maxNesting": _NESTING})


class _Blocks:
    """Turns the parser's tokens, which have line numbers, into blocks of a text."""

    def __init__(self, text: str, start: int) -> None:
        self._text = text
        self._source = text[start:]
        # Position of each line; one more, for the end.
        self._lines = [start]
        position = start
        while (position := text.find("\n", position) + 1) > 0:
            self._lines.append(position)
        self._lines.append(len(text))

    def read(self) -> list[Block]:
        """Return the blocks in order."""
        blocks: list[Block] = []
        # Each open list, quotation and item, and how many leaves there were before it.
        containers: list[tuple[Token, int]] = []
        leaves = 0
        list_block = -1
        is_admonition = False
        for index, token in enumerate(tokens := _parser().parse(self._source)):
            if token.type in _CONTAINERS:
                containers.append((token, leaves))
            elif (
                token.type.endswith("_close") and containers and token.level == len(containers) - 1
            ):
                container, before = containers.pop()
                if leaves == before and container.type != "list_item_open":
                    # Nested too deeply to be parsed.
                    leaves += 1
                    blocks += self._block("paragraph", container)
                if not any(outer.type in _LISTS for outer, _ in containers):
                    list_block = -1
            elif (kind := _LEAVES.get(token.type)) is not None and token.map:
                leaves += 1
                in_list = any(outer.type in _LISTS for outer, _ in containers)
                if token.type == "code_block" and is_admonition and "```" not in token.content:
                    blocks += self._paragraphs(token)
                    continue
                is_admonition = token.type == "paragraph_open" and bool(
                    _ADMONITION.match(tokens[index + 1].content)
                )
                if kind == "heading" and not containers:
                    blocks += self._heading(token, tokens[index + 1])
                elif token.type == "html_block":
                    blocks += self._html(token, "list" if in_list else "paragraph", containers)
                elif kind in ("heading", "paragraph"):
                    if _BADGE.fullmatch(tokens[index + 1].content):
                        continue
                    block = self._block("list" if in_list else "paragraph", token)
                    if in_list and block and list_block == len(blocks) - 1 >= 0:
                        first = blocks[-1]
                        blocks[-1] = Block("list", first.start, block[0].end)
                        continue
                    blocks += block
                    if in_list:
                        list_block = len(blocks) - 1
                else:
                    blocks += self._block(kind, token)
        return blocks

    def _span(self, token: Token) -> tuple[int, int]:
        first, last = token.map or (0, 0)
        return self._lines[first], self._lines[min(last, len(self._lines) - 1)]

    def _block(
        self, kind: BlockKind, token: Token, level: int = 0, heading: str = ""
    ) -> list[Block]:
        start, end = self._span(token)
        content = self._text[start:end]
        if not content.strip():
            return []
        end = start + len(content.rstrip())
        if kind != "code":
            start += len(content) - len(content.lstrip())
        return [Block(kind, start, end, level, heading)]

    def _paragraphs(self, token: Token) -> Iterator[Block]:
        start, end = self._span(token)
        return (Block("paragraph", *span) for span in paragraphs(self._text, start, end))

    def _heading(self, token: Token, inline: Token) -> list[Block]:
        text = _plain(inline.content)
        level = int(token.tag[1:])
        if not text or len(text) > _LONG_HEADING:
            return self._block("paragraph", token) if text else []
        return self._block("heading", token, level, text)

    def _html(self, token: Token, kind: BlockKind, containers: Sequence[object]) -> list[Block]:
        """Return a block of HTML, unless it has tags and comments alone."""
        text = " ".join(unescape(_COMMENT_OR_TAG.sub(" ", token.content)).split())
        if not text:
            return []
        match = _HTML_HEADING.search(token.content)
        if (
            match is not None
            and not containers
            and len(text) <= _LONG_HEADING
            and not _HTML_HEADING.search(token.content, match.end())
            and not _COMMENT_OR_TAG.sub("", token.content[: match.start()]).strip()
        ):
            return self._block("heading", token, int(match[1]), text)
        return self._block(kind, token)


def _plain(markdown: str) -> str:
    """Return the text of a heading without marks."""
    if not any(mark in markdown for mark in "\\`*_[]<&!{"):
        return " ".join(markdown.split())
    if len(markdown) > 4 * _LONG_HEADING:
        return " ".join(markdown.split())
    parts: list[str] = []
    for token in _inline_parser().parseInline(markdown)[0].children or ():
        if token.type in ("text", "code_inline", "image", "text_special"):
            parts.append(token.content)
        elif token.type in ("softbreak", "hardbreak"):
            parts.append(" ")
    return _ATTRIBUTES.sub("", " ".join("".join(parts).split()))
