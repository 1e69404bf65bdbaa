"""A real corpus that knows documents: pages of a small wiki, one JSON object a line.

A page has an id, a title, a revision and a text, of which each paragraph is a passage. The first
line tells of the wiki and of what day the file is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar

from ragcore.contracts import KnownDocuments
from ragcore.errors import CorpusError
from ragcore.hookspecs import hookimpl
from ragcore.registry.components import ComponentConfig, ComponentSpec, ConfigPath
from ragcore.store.documents import NoDocuments
from ragcore.types import Document, Passage


class Pages:
    class Config(ComponentConfig):
        path: ConfigPath
        prefix: str = ""
        lines: bool = False
        """Whether passages tell their line, from 1."""

    capabilities: ClassVar[frozenset[str]] = frozenset({"documents"})

    def __init__(self, config: Config) -> None:
        self.config = config
        self.parsed: list[str] = []

    @property
    def identity(self) -> str:
        return str(self._head()["wiki"])

    @property
    def date(self) -> str:
        return str(self._head()["date"])

    @property
    def complete(self) -> bool:
        return bool(self._head()["complete"])

    def covers(self, document_id: str) -> bool:
        first, last = self._head().get("range", (1, 0))
        return first <= int(document_id) <= last

    def documents(self, known: KnownDocuments) -> Iterator[Document]:
        for page in self._pages():
            name = str(page["id"])
            digest = blake2b(f"{page['title']}\n{page['text']}".encode(), digest_size=6).hexdigest()
            key = f"{page['revision']}:{digest}"
            if known.key(name) == key:
                yield Document(name, key, None)
            else:
                self.parsed.append(name)
                yield Document(name, key, tuple(self._passages(page)))

    def __iter__(self) -> Iterator[Passage]:
        for document in self.documents(NoDocuments()):
            yield from document.passages or ()

    def _passages(self, page: dict[str, Any]) -> Iterator[Passage]:
        occurrences: dict[str, int] = {}
        revision = page["revision"]
        metadata = {"page": page["id"], "revision": revision, "timestamp": f"2026-01-{revision:02}"}
        for line, text in enumerate(page["text"].split("\n"), 1):
            if not text:
                continue
            if self.config.lines:
                metadata["line"] = line
            name = f"{page['id']}-{blake2b(text.encode(), digest_size=6).hexdigest()}"
            occurrences[name] = occurrences.get(name, 0) + 1
            if occurrences[name] > 1:
                name += f"-{occurrences[name]}"
            yield Passage(name, page["title"], self.config.prefix + text, dict(metadata))

    def _head(self) -> dict[str, Any]:
        head: dict[str, Any] = json.loads(self._lines()[0])
        return head

    def _pages(self) -> Iterator[dict[str, Any]]:
        for line in self._lines()[1:]:
            yield json.loads(line)

    def _lines(self) -> list[str]:
        try:
            return self.config.path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            raise CorpusError(f"{self.config.path}: no such file") from None


def page(number: int, title: str, *paragraphs: str, revision: int = 1) -> dict[str, Any]:
    return {"id": number, "title": title, "text": "\n".join(paragraphs), "revision": revision}


def write_pages(path: Path, pages: Iterable[dict[str, Any]], **head: Any) -> Path:
    """Write a file of pages; `head` changes what its first line tells."""
    first = {"wiki": "testwiki", "date": "2026-01-01", "complete": True, **head}
    text = "".join(f"{json.dumps(line)}\n" for line in (first, *pages))
    path.write_text(text, encoding="utf-8")
    return path


def pages_spec(path: Path, **settings: Any) -> ComponentSpec[Any]:
    return ComponentSpec("corpus", "pages", Pages, Pages.Config(path=path, **settings))


@hookimpl
def ragcore_corpora() -> dict[str, str]:
    return {"pages": "tests.helpers.pages:Pages"}
