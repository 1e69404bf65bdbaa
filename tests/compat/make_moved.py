"""Make the fixture of format 2: `python make_moved.py`, with the ragcore that writes it.

One exported version, whose passages have moved in their documents since they were written.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from ragcore.contracts import KnownDocuments
from ragcore.registry.components import spec_from_dict
from ragcore.store.documents import NoDocuments
from ragcore.store.store import Store
from ragcore.types import Document, Passage

HERE = Path(__file__).parent
TEXTS = {"chad.md": ["Chad is a country.", "It has a lake."], "peru.md": ["Peru is a country."]}


class Files:
    """Documents whose passages tell their lines; those of the first have some lines before them."""

    capabilities: ClassVar[frozenset[str]] = frozenset({"documents"})
    complete = True

    def __init__(self, before: int) -> None:
        self._before = before

    def documents(self, known: KnownDocuments) -> Iterator[Document]:
        for name, texts in TEXTS.items():
            before = self._before if name == "chad.md" else 0
            passages = [
                Passage(f"{name}-{n}", name, text, {"path": name, "line": before + n})
                for n, text in enumerate(texts, 1)
            ]
            yield Document(name, str(before), tuple(passages))

    def __iter__(self) -> Iterator[Passage]:
        for document in self.documents(NoDocuments()):
            yield from document.passages or ()


def main() -> None:
    retriever = spec_from_dict("retriever", {"use": "compat-overlap"})
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        store.build("2016", Files(0), retriever)
        store.update("2018", Files(4), retriever=retriever)
        store.export(HERE / "moved" / "2018.tar")
        with store.passages() as passages:
            metadata = {passage.text: dict(passage.metadata) for passage in passages}
    text = json.dumps(metadata, indent=2, sort_keys=True)
    (HERE / "moved" / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(HERE / "plugin"))
    main()
