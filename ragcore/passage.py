"""Define passages, their documents, where a passage comes from, and what a search found.

Knows the keys of metadata that tell a source. They are untrusted: a corpus, or a file from
elsewhere, wrote them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = [
    "Citation",
    "CitedSpan",
    "Document",
    "Mark",
    "Passage",
    "SearchResult",
    "Source",
    "without_marks",
]

_DIGITS: Final = 19
_MOST: Final = 10**_DIGITS
"""Numbers from here on are none of a page, line or revision; Python cannot print all of them."""

_LINK: Final = re.compile(
    r"https?://[^\s\x00-\x20\x7f-\x9f\"<>\u200e\u200f\u202a-\u202e\u2066-\u2069]+", re.IGNORECASE
)
"""No space, control character, mark of direction or delimiter, which no address has (RFC 3986)."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of text that can be retrieved; the paper calls it a document z."""

    id: str
    title: str
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a passage comes from, as far as its metadata tell; made by `Source.of`.

    Attributes:
        uri: of the document, such as a link to the revision of a wiki's page.
        title: of the passage; empty where it has none.
        path: of the file.
        page: its number in the file.
        line: its number in the file, from 1.
        row: its number in a table without lines, from 1.
        heading: of the section, or the path of headings that leads to it.
        revision: of the document.
        date: of the revision, ISO 8601.
        span: where the passage is in the document's text: character offsets [start, end).
    """

    uri: str | None = None
    title: str = ""
    path: str | None = None
    page: int | None = None
    line: int | None = None
    row: int | None = None
    heading: str | None = None
    revision: str | None = None
    date: str | None = None
    span: tuple[int, int] | None = None

    @classmethod
    def of(cls, passage: Passage) -> Source:
        """Return the source that a passage's metadata name; a value of another form is left out.

        Keys of metadata: `uri` or `url`, `path`, `page`, `line`, `row`, `heading` or `section`,
        `revision`, `date` or `timestamp`, `span`. With a `revision`, `page` is the id of a wiki's
        page and no number of a page.
        """
        metadata = passage.metadata
        number = _number_at(metadata, "revision")
        revision = _text_at(metadata, "revision") if number is None else str(number)
        return cls(
            uri=_text_at(metadata, "uri", "url"),
            title=passage.title,
            path=_text_at(metadata, "path"),
            page=_number_at(metadata, "page") if revision is None else None,
            line=_number_at(metadata, "line"),
            row=_number_at(metadata, "row"),
            heading=_text_at(metadata, "heading", "section"),
            revision=revision,
            date=_text_at(metadata, "date", "timestamp"),
            span=_span_at(metadata),
        )

    @property
    def link(self) -> str | None:
        """The uri where it is one of the web, which a page may link to; metadata are untrusted."""
        return self.uri if self.uri is not None and _LINK.fullmatch(self.uri) else None

    def to_dict(self) -> dict[str, Any]:
        """Return what is known, as plain JSON-ready values by name."""
        values = {name: getattr(self, name) for name in self.__slots__}
        if self.span is not None:
            values["span"] = list(self.span)
        return {name: value for name, value in values.items() if value not in (None, "")}


@dataclass(frozen=True, slots=True)
class CitedSpan:
    """Where a grounded answer occurs in a passage, and in the document that it is from.

    Attributes:
        start: character offset in the passage's text.
        end: character offset in the passage's text where it ends, itself excluded.
        text: these characters.
        source: character offsets [start, end) in the document's text. None where the source has no
            `span`, or the passage is no verbatim piece of the document.
        line: number of the line in the file where it starts, from 1. None where that is not known:
            the source has no `line` or no `span`, or the passage may have its line breaks replaced
            by spaces. A source that has both is read from the file's own text.
    """

    start: int
    end: int
    text: str
    source: tuple[int, int] | None = None
    line: int | None = None

    @classmethod
    def of(cls, passage: Passage, start: int, end: int) -> CitedSpan:
        """Return what is known of the characters [start, end) of a passage's text."""
        text, origin = passage.text, Source.of(passage)
        if origin.span is None or origin.span[1] - origin.span[0] != len(text):
            return cls(start, end, text[start:end])
        # A passage of words that are joined by spaces has no line break, and may be as long as its
        # piece of the document: offsets are right, lines are not known.
        line = None
        if origin.line is not None and "\n" in text:
            line = origin.line + text.count("\n", 0, start)
        first = origin.span[0]
        return cls(start, end, text[start:end], (first + start, first + end), line)

    def to_dict(self) -> dict[str, Any]:
        """Return what is known, as plain JSON-ready values by name."""
        row: dict[str, Any] = {"start": self.start, "end": self.end, "text": self.text}
        if self.source is not None:
            row["source"] = list(self.source)
        if self.line is not None:
            row["line"] = self.line
        return row


@dataclass(frozen=True, slots=True)
class Citation:
    """A numbered passage that an answer was read from, as `ragcore ask` lists it.

    Attributes:
        number: from 1.
        passage_id: of the passage.
        title: of the passage; empty where it has none.
        source: where the passage comes from.
        prior: p(z|x), as `Evidence.prior`.
        posterior: how much the answer rests on the passage, as `Evidence.posterior`.
        spans: with `rag.grounded`, where the answer occurs in the passage, in order.
    """

    number: int
    passage_id: str
    title: str
    source: Source
    prior: float
    posterior: float | None
    spans: tuple[CitedSpan, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the citation as plain JSON-ready values by name."""
        return {
            "number": self.number,
            "passage_id": self.passage_id,
            "title": self.title,
            "source": self.source.to_dict(),
            "prior": self.prior,
            "posterior": self.posterior,
            "spans": [span.to_dict() for span in self.spans],
        }


@dataclass(frozen=True, slots=True)
class Mark:
    """Where an answer's text names passages by their numbers, such as `[1]` or `[1, 3]`.

    Attributes:
        start: character offset of the bracket.
        end: character offset after the closing bracket.
        passage_ids: of the passages that have these numbers, in order.
        unknown: numbers that no passage has.
    """

    start: int
    end: int
    passage_ids: tuple[str, ...]
    unknown: tuple[int, ...] = ()


def without_marks(text: str, marks: Sequence[Mark]) -> str:
    """Return a text without its marks and the white space before each; without any as it is.

    Args:
        text: of an answer.
        marks: in order.

    >>> without_marks("Nairobi [1], since 1907 [2].", [Mark(8, 11, ("a",)), Mark(24, 27, ("b",))])
    'Nairobi, since 1907.'
    """
    if not marks:
        return text
    parts, end = [], 0
    for mark in marks:
        parts.append(text[end : mark.start].rstrip())
        end = mark.end
    return "".join([*parts, text[end:]]).strip()


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The passages that were found for one question, best first.

    Attributes:
        question: as it was asked.
        passages: k passages; fewer where no more were found.
        scores: [k], the retriever's, descending.
        prior: [k], p(z|x) ∝ exp(score / temperature) over these passages (paper, section 2.2);
            sums to 1, empty where no passage was found.
        memory: the version that was searched.
        missing: how many passages fewer than asked for were found although more are allowed; as
            `Answer.missing_passages`.
        filter_notes: what the user of `where` should know, as `Answer.filter_notes`.
    """

    question: str
    passages: tuple[Passage, ...]
    scores: tuple[float, ...]
    prior: tuple[float, ...]
    memory: str
    missing: int = 0
    filter_notes: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[Source, ...]:
        """Where each passage comes from: link or file, section, revision and its date."""
        return tuple(map(Source.of, self.passages))

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain JSON-ready values by name.

        Each of `passages` has its `rank`, from 1, `score`, `prior`, `id`, `title`, `text`,
        `metadata` and `source`.
        """
        hits = zip(self.scores, self.prior, self.passages, self.sources, strict=True)
        return {
            "question": self.question,
            "memory": self.memory,
            "missing": self.missing,
            "filter_notes": list(self.filter_notes),
            "passages": [
                {
                    "rank": rank,
                    "score": score,
                    "prior": prior,
                    "id": passage.id,
                    "title": passage.title,
                    "text": passage.text,
                    "metadata": dict(passage.metadata),
                    "source": source.to_dict(),
                }
                for rank, (score, prior, passage, source) in enumerate(hits, 1)
            ],
        }


@dataclass(frozen=True, slots=True)
class Document:
    """One page or file of a corpus, with the passages that it is split into.

    Attributes:
        id: stays the same when the document is edited or renamed, such as the id of a wiki's page.
        key: changes whenever a passage of the document does, its metadata included: two states of
            a document with the same key have the same passages. Of a wiki's page, the revision and
            a digest of title and text.
        passages: in the document's order; empty where it has no text. None where the document is
            known with this key, so that it need not be parsed.
    """

    id: str
    key: str
    passages: tuple[Passage, ...] | None


def _text_at(metadata: Mapping[str, Any], *keys: str) -> str | None:
    """Return the text at the first key that has one, None where none has."""
    for key in keys:
        value = metadata.get(key)
        if isinstance(value, str) and value.strip():
            return value
    return None


def _number_at(metadata: Mapping[str, Any], key: str) -> int | None:
    """Return the whole number at a key, which a table may have as text."""
    value = metadata.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        return value if abs(value) < _MOST else None
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < _DIGITS:
        return int(value)
    return None


def _span_at(metadata: Mapping[str, Any]) -> tuple[int, int] | None:
    match metadata.get("span"):
        case [int(start), int(end)] if 0 <= start <= end < _MOST:
            return int(start), int(end)
    return None
