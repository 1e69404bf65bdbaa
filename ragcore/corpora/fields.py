"""Read a passage's parts from the fields of a row, whatever file the row is in.

Knows rows as mappings from keys to values; knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from ragcore.corpora.json_values import json_value
from ragcore.corpora.presets import Preset
from ragcore.corpora.structure import DocumentText
from ragcore.errors import CorpusError
from ragcore.questions.texts import undecodable

__all__ = [
    "ID_ALIASES",
    "ID_KEYS",
    "Keys",
    "Parts",
    "checked_content",
    "listed",
    "parts_of",
    "shown",
]

ID_ALIASES: Final = ("_id", "docid", "pid", "docno", "doc_id")
"""Names of a passage's id in the files of BEIR, Pyserini, MS MARCO and TREC."""

ID_KEYS: Final = ("id", *ID_ALIASES)

Key = str | Literal[False] | None


@dataclass(frozen=True, slots=True)
class Keys:
    """Where in a row the parts of a passage are.

    Attributes:
        id: key of the id; None takes `id`, or the only alias; False none.
        title: key of the title, which every row must have; None takes `title` where there is one;
            False none.
        text: key of the text; None takes `text`.
        metadata: keys that become metadata; None takes all others.
        preset: the layout of a known collection, where it has one.
        any_value: whether values are those of a table, which JSON may not have.
    """

    id: Key = None
    title: Key = None
    text: str | None = None
    metadata: tuple[str, ...] | None = None
    preset: Preset | None = None
    any_value: bool = False

    @property
    def key_noun(self) -> str:
        """What a key is called in errors."""
        return "column" if self.any_value else "key"

    @property
    def row_noun(self) -> str:
        """What a row is called in errors."""
        return "row" if self.any_value else "line"


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a passage that a row has; `id` is "" where it has none."""

    id: str
    title: str
    content: str | DocumentText
    metadata: dict[str, Any]


def parts_of(fields: dict[str, Any], keys: Keys, where: str) -> Parts:
    """Return the parts of a passage.

    Args:
        fields: of a row; they are used up.
        keys: where the parts are.
        where: file and row, for errors.

    Raises:
        CorpusError: a part is missing, has another type or is no text; the row has neither text nor
            title; or its id may be under several keys.
    """
    preset = keys.preset
    if preset is not None and preset.prepare is not None:
        _prepare(fields, preset.prepare, keys.text)
    text_key = _text_key(fields, keys, where)
    id_key = _id_key(fields, keys, where)
    title_key = _title_key(fields, keys, where)
    id_ = "" if id_key is None else _id(fields[id_key], id_key, where)
    title = "" if title_key is None else _title(fields[title_key], title_key, where)
    content = _content(fields[text_key], text_key, where)
    content = checked_content(id_, title, content, where, keys.row_noun)
    for key in (text_key, id_key, title_key):
        # Two parts may be under one key.
        if key is not None:
            fields.pop(key, None)
    return Parts(id_, title, content, _metadata(fields, keys, where))


def checked_content(
    id_: str, title: str, content: str | DocumentText, where: str, noun: str
) -> str | DocumentText:
    """Return the text of a passage; the title where there is no text.

    Args:
        id_: of the passage.
        title: of the passage.
        content: its text.
        where: file and row, for errors.
        noun: what a row is called in errors.

    Raises:
        CorpusError: there is neither text nor title, or a part is no text.
    """
    text = content if isinstance(content, str) else content.text
    if not text or text.isspace():
        if not title or title.isspace():
            raise CorpusError(f"{where}: the text is empty: add words or remove the {noun}")
        # A title alone, such as a page's that is nothing but a picture, can be searched too.
        content = text = title
    for name, value in (("id", id_), ("title", title), ("text", text)):
        if not value.isascii() and (fault := undecodable(value)) is not None:
            raise CorpusError(f"{where}: the {name} {fault}")
    return content


def _prepare(
    fields: dict[str, Any], prepare: Callable[[MutableMapping[str, Any]], None], text: str | None
) -> None:
    """Change a row as a preset says; where the text is under a key of its own, leave `text`."""
    before = fields.get("text", _MISSING)
    prepare(fields)
    if text is None or text == "text":
        return
    if before is _MISSING:
        fields.pop("text", None)
    else:
        fields["text"] = before


_MISSING: Final = object()


def _text_key(fields: Mapping[str, Any], keys: Keys, where: str) -> str:
    """Return the key of the text; also where it is the id's, which is then read from there."""
    expected = ("text",) if keys.preset is None else keys.preset.text
    expected = expected if keys.text is None else (keys.text,)
    for key in expected:
        if key in fields:
            return key
    raise CorpusError(
        f"{where}: no {keys.key_noun} {' or '.join(map(repr, expected))} among {_listed(fields)}: "
        f"every {keys.row_noun} must have the passage's text there; the corpus's option `text` "
        f"names another {keys.key_noun}"
    )


def _id_key(fields: Mapping[str, Any], keys: Keys, where: str) -> str | None:
    """Return the key of the id; None where the row has none."""
    if keys.id is False:
        return None
    if keys.id is not None:
        if keys.id not in fields:
            raise CorpusError(
                f"{where}: no {keys.key_noun} {keys.id!r} among {_listed(fields)}, which the "
                f"corpus's option `id` names: every {keys.row_noun} must have the passage's id "
                "there"
            )
        return keys.id
    if keys.preset is not None:
        key = next((key for key in keys.preset.id if key in fields), None)
        if key is None:
            raise CorpusError(
                f"{where}: no {keys.key_noun} {' or '.join(map(repr, keys.preset.id))} among "
                f"{_listed(fields)}, where the preset has the id: use another preset, or name the "
                f"{keys.key_noun} with the corpus's option `id` (false takes row numbers)"
            )
        return key
    if "id" in fields:
        return "id"
    aliases = [key for key in ID_ALIASES if key in fields]
    if len(aliases) > 1:
        raise CorpusError(
            f"{where}: the id may be under {' or '.join(map(repr, aliases))}: name the "
            f"{keys.key_noun} with the corpus's option `id`, such as id: {aliases[0]}"
        )
    return aliases[0] if aliases else None


def _title_key(fields: Mapping[str, Any], keys: Keys, where: str) -> str | None:
    """Return the key of the title; None where the row has none."""
    if keys.title is False:
        return None
    if keys.title is None:
        names = ("title",) if keys.preset is None else keys.preset.title
        return next((name for name in names if name in fields), None)
    if keys.title not in fields:
        raise CorpusError(
            f"{where}: no {keys.key_noun} {keys.title!r} among {_listed(fields)}, which the "
            f"corpus's option `title` names: every {keys.row_noun} must have it, with null "
            "where there is no title"
        )
    return keys.title


def _listed(fields: Mapping[str, Any]) -> str:
    """Return the keys of a row for an error, which a hostile row must not fill with a gigabyte."""
    names = [name[:_SHOWN_LETTERS] for name in sorted(map(str, fields))]
    return f"{names[:_SHOWN_KEYS]}{_more(names)}"


def listed(names: Sequence[str]) -> str:
    """Return names of columns for an error, as short as `_listed` does."""
    return ", ".join(name[:_SHOWN_LETTERS] for name in names[:_SHOWN_KEYS]) + _more(names)


def shown(text: str) -> str:
    """Return the start of a text in quotes, for an error."""
    return repr(text[:_SHOWN_LETTERS]) + ("…" if len(text) > _SHOWN_LETTERS else "")


def _more(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN_KEYS
    return f" and {more:,} more" if more > 0 else ""


_SHOWN_KEYS: Final = 40
_SHOWN_LETTERS: Final = 100


def _id(value: Any, key: str, where: str) -> str:
    if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
        shown = repr(value)[:_SHOWN_LETTERS]
        raise CorpusError(f"{where}: {key} is {shown}, expected a string or an integer")
    return str(value)


def _title(value: Any, key: str, where: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise CorpusError(f"{where}: {key} is {type(value).__name__}, expected a string")
    return value


def _content(value: Any, key: str, where: str) -> str | DocumentText:
    """Return the text; that of a list of paragraphs has an empty line between two."""
    match value:
        case str() | DocumentText():
            return value
        case None:
            return ""
        case list() if all(isinstance(part, str) for part in value):
            return "\n\n".join(part.strip() for part in value if part.strip())
    kind = type(value).__name__
    if isinstance(value, list):
        part = next(part for part in value if not isinstance(part, str))
        kind = f"a list with {type(part).__name__} in it"
    raise CorpusError(f"{where}: {key} is {kind}, expected a string or a list of strings")


def _metadata(fields: dict[str, Any], keys: Keys, where: str) -> dict[str, Any]:
    """Return the other fields, and the keys of a mapping `metadata`."""
    metadata = fields
    if "metadata" in fields:
        nested = fields["metadata"]
        if isinstance(nested, dict) or nested is None:
            del fields["metadata"]
            metadata = {**fields, **(nested or {})}
        elif not keys.any_value:
            raise CorpusError(f"{where}: metadata is {type(nested).__name__}, expected an object")
    if keys.preset is not None:
        for key in keys.preset.dropped:
            metadata.pop(key, None)
    if keys.metadata is not None:
        metadata = {key: metadata[key] for key in keys.metadata if key in metadata}
    if keys.any_value:
        metadata = {key: json_value(value, key, where) for key, value in metadata.items()}
    return metadata
