"""The layouts of known collections: which key of a row has what, and what else is in a row.

Layouts as their own loaders read them: BEIR's `GenericDataLoader`, KILT's knowledge source,
FlashRAG's and Pyserini's `contents`, and MS MARCO's second collection of passages and documents.
Knows rows as mappings; knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from ragcore.corpora.structure import DocumentText, TextBuilder

__all__ = ["PRESETS", "Preset", "PresetName", "collection_in"]

PresetName = Literal["beir", "kilt", "flashrag", "msmarco", "pyserini"]


@dataclass(frozen=True, slots=True)
class Preset:
    """How the rows of a collection are laid out.

    Attributes:
        id: keys of the id; a row has one of them, and the first that it has counts.
        title: keys of the title, likewise; a row may have none.
        text: keys of the text, likewise.
        dropped: keys that become no metadata.
        files: patterns of the names of its files in a folder, among which others may be.
        prepare: changes the fields of a row before its keys are looked up.
    """

    id: tuple[str, ...]
    title: tuple[str, ...] = ("title",)
    text: tuple[str, ...] = ("text",)
    dropped: frozenset[str] = frozenset()
    files: tuple[str, ...] = ()
    prepare: Callable[[MutableMapping[str, Any]], None] | None = None


def _prepare_kilt(fields: MutableMapping[str, Any]) -> None:
    """Give a page of KILT its text with headings, its categories as a list, and its revision."""
    text = fields.get("text")
    if isinstance(text, Mapping):
        # As a table of columns has it: paragraphs, and their numbers.
        text = text.get("paragraph")
    if isinstance(text, list) and all(isinstance(part, str) for part in text):
        fields["text"] = _kilt_text(text, fields.get("wikipedia_title"))
    categories = fields.get("categories")
    if isinstance(categories, str):
        fields["categories"] = [name for each in categories.split(",") if (name := each.strip())]
    history = fields.pop("history", None)
    if isinstance(history, Mapping):
        for key, name in (("url", "url"), ("revid", "revision"), ("timestamp", "timestamp")):
            if history.get(key) is not None:
                fields[name] = history[key]
    wikidata = fields.pop("wikidata_info", None)
    if isinstance(wikidata, Mapping) and wikidata.get("wikidata_id") is not None:
        fields["wikidata_id"] = wikidata["wikidata_id"]


def _kilt_text(paragraphs: Iterable[str], title: object) -> DocumentText:
    """Read a page's paragraphs.

    The first repeats the title. `Section::::Life.:Youth.` is the heading of a section in a section,
    and `BULLET::::- ` marks an item of a list.
    """
    builder, items = TextBuilder(), list[str]()
    for number, paragraph in enumerate(paragraphs):
        text = paragraph.strip()
        if text.startswith(_ITEM):
            # A dash that a space follows is the item's mark; another is a part of the text.
            item = f"{text.removeprefix(_ITEM)} ".removeprefix("- ").strip()
            items += [f"- {item}"] if item else []
            continue
        builder.add("list", "\n".join(items))
        items = []
        if text.startswith(_SECTION):
            headings = text.removeprefix(_SECTION).removesuffix(".").split(".:")
            builder.add("heading", headings[-1], level=len(headings))
        elif number or text != title:
            builder.add("paragraph", text)
    builder.add("list", "\n".join(items))
    return builder.build()


_SECTION: Final = "Section::::"
_ITEM: Final = "BULLET::::"


def _prepare_flashrag(fields: MutableMapping[str, Any]) -> None:
    """Split `contents` into the title, its first line, and the text, all other lines.

    A row that has `text` as well keeps that one. Of a row with a title, the first line is cut off
    only where it is that title.
    """
    contents = fields.get("contents")
    if not isinstance(contents, str) or "text" in fields:
        return
    line, end, text = contents.partition("\n")
    if not end:
        line, text = "", contents
    title = line.strip()
    # `"A" and "B"` is no title in quotes.
    if len(title) > 1 and title[0] == title[-1] == '"' and '"' not in title[1:-1]:
        title = title[1:-1]
    other = fields.get("title")
    if other is None or other == "":
        fields["title"] = title
    elif not isinstance(other, str) or other.strip() not in (title, line.strip()):
        text = contents
    fields["text"] = text


PRESETS: Final[Mapping[PresetName, Preset]] = {
    "beir": Preset(id=("_id",), files=("corpus.jsonl",)),
    "kilt": Preset(
        id=("wikipedia_id", "kilt_id", "_id"),
        title=("wikipedia_title",),
        # Anchors are offsets in the paragraphs, which the passages no longer have.
        dropped=frozenset({"anchors", "_id", "kilt_id"}),
        files=("kilt_knowledgesource.json",),
        prepare=_prepare_kilt,
    ),
    "flashrag": Preset(id=("id",), dropped=frozenset({"contents"}), prepare=_prepare_flashrag),
    "msmarco": Preset(
        id=("pid", "docid"),
        text=("passage", "segment", "body"),
        files=("msmarco_passage_*", "msmarco_doc_*", "msmarco_v2.1_doc_*"),
    ),
    "pyserini": Preset(id=("id", "_id", "docid"), text=("contents", "text")),
}
"""The presets by name."""


def collection_in(names: Collection[str]) -> PresetName | None:
    """Return the preset of the collection that a folder's files are, where they tell.

    Args:
        names: of the files in the folder, without the ending of a packing.
    """
    return "beir" if {"corpus.jsonl", "queries.jsonl"}.issubset(names) else None
