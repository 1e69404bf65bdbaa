"""Build the memories that the table is measured on, once each.

    shared    development passages of three editions, some 84 words each, titled by country alone
    cut       the same text cut again by field: 60 words at most, titled "Country: Field"
    world     the passages of ragcore-world, as the demo has them
    squad     the 2,067 paragraphs of SQuAD's development set
    openqa    13,751 passages of Wikipedia

A store's folder is named after the pipeline's retriever and corpus too, so that pipelines with
different ones share nothing. What is in the folder is not built again: delete it after a change of
code that makes passages or vectors.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ragcore_world.factbook import split_words

import ragcore
from ragcore.config import load_config
from ragcore.errors import VersionExistsError

__all__ = ["EDITIONS", "Memories", "rows"]

EDITIONS: Final = {
    "shared": ("2016-11", "2018-12", "2026-02"),
    "cut": ("2016-11", "2018-12", "2026-02"),
    "world": ("2016-11", "2018-12", "2026-01"),
}
"""The versions of the memories that have several."""

CUT_WORDS: Final = 60
_FIELD: Final = re.compile(r"(?:^|(?<=[.;] ))([A-Z](?=[^:]*[a-z])[A-Za-z ,()'/-]{2,60}): ")
"""At the end of a sentence; "FAX:" is no field."""
_COMMON: Final = 20
"""In so many countries a name before a colon is that of a field."""


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a gzipped file of JSON lines."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


class Memories:
    """Writes passages and builds stores under one folder."""

    def __init__(self, pipeline: Path, overrides: Sequence[str], data: Path, work: Path) -> None:
        self._pipeline = pipeline
        self._overrides = list(overrides)
        self._data = data
        self._work = work
        memory = load_config(pipeline, self._overrides).memory
        corpus = {} if memory.corpus is None else memory.corpus.to_dict()
        # Other settings of the demo's corpus are kept; the edition is each version's own.
        self._is_demo = corpus.get("use") == "world-factbook"
        settings = [memory.retriever.to_dict(), {**corpus, "edition": None}]
        described = json.dumps(settings, sort_keys=True, default=str)
        self._digest = hashlib.sha256(described.encode()).hexdigest()[:8]

    def overrides(self, name: str) -> list[str]:
        """Return what changes the pipeline to use a memory."""
        store = self._work / self._digest / name
        # Vectors of texts that several memories share are computed once.
        cache = f"memory.cache={{folder: {self._work / 'cache'}}}"
        return [*self._overrides, f"memory.store={store}", cache]

    def build(self, name: str, version: str) -> None:
        """Build a version of a memory, unless it is there."""
        changes = [*self.overrides(name), *self._corpus(name, version)]
        store = self._work / self._digest / name
        if (store / "versions" / version / "manifest.json").exists():
            return
        print(f"building {name} {version} …", flush=True)
        with suppress(VersionExistsError):
            ragcore.build_memory(self._pipeline, *changes, version=version)

    def _corpus(self, name: str, version: str) -> list[str]:
        if name == "world":
            if self._is_demo:
                return [f"memory.corpus.edition={version}"]
            return [f"memory.corpus={{use: world-factbook, edition: {version}}}"]
        path = self._work / "passages" / f"{name}-{version}.jsonl"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = (json.dumps(row, ensure_ascii=False) for row in self._passages(name, version))
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return [f"memory.corpus={{use: jsonl, path: {path}, metadata: []}}"]

    def _passages(self, name: str, version: str) -> Iterator[dict[str, Any]]:
        if name == "squad":
            source = rows(self._data / "squad" / "passages.jsonl.gz")
            yield from map(_passage, (row for row in source if row["split"] == "dev"))
        elif name == "openqa":
            yield from map(_passage, rows(self._data / "openqa" / "passages.jsonl.gz"))
        else:
            source = rows(self._data / "factbook" / version / "passages.jsonl.gz")
            yield from map(_passage, source) if name == "shared" else cut_by_field(source)


def _passage(row: dict[str, Any]) -> dict[str, Any]:
    return {"id": row["id"], "title": row["title"], "text": row["text"]}


def cut_by_field(source: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Cut passages of a country again, one field each, 60 words at most.

    The names of fields are those that stand before a colon in many countries.
    """
    texts: dict[tuple[str, str, str], list[str]] = {}
    for row in source:
        prefix, code, _ = row["id"].split(":")
        text = row["text"].removeprefix(f"{row['section']}. ")
        text = re.sub(r"^[^:]{2,60} \(continued\): ", "", text)
        texts.setdefault((f"{prefix}:{code}", row["title"], row["section"]), []).append(text)
    whole = {key: " ".join(parts) for key, parts in texts.items()}
    countries: Counter[str] = Counter()
    for text in whole.values():
        countries.update({match[1] for match in _FIELD.finditer(text)})
    for (stem, country, section), text in whole.items():
        begins = [match for match in _FIELD.finditer(text) if countries[match[1]] >= _COMMON]
        heads = [(0, 0, section)] + [(m.start(), m.end(), m[1]) for m in begins]
        ends = [start for start, _, _ in heads[1:]] + [len(text)]
        number = 0
        for (_, begin, field), end in zip(heads, ends, strict=True):
            for piece in split_words(text[begin:end].strip(), CUT_WORDS):
                identity = f"{stem}:{section}:{number}"
                yield {"id": identity, "title": f"{country}: {field}", "text": piece}
                number += 1
