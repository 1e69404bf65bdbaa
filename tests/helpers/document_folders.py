"""Folders of documents, their corpora and memories."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ragcore_documents.corpus import Documents

from ragcore.registry.components import spec_from_dict
from ragcore.store.store import Store
from ragcore.types import Document

WHEN = 1_700_000_000


class Known(dict[str, str]):
    """The documents of a memory."""

    def key(self, document_id: str) -> str | None:
        return self.get(document_id)


def corpus_of(path: Path, **settings: Any) -> Documents:
    return Documents(Documents.Config(path=path, **settings))


def documents_of(corpus: Documents, known: Known | None = None) -> dict[str, Document]:
    return {document.id: document for document in corpus.documents(known or Known())}


def known_from(corpus: Documents) -> Known:
    return Known({id_: document.key for id_, document in documents_of(corpus).items()})


def known_from_known(folder: Path, known: Known) -> dict[str, str]:
    """Return the keys of documents that need not be read, as an iteration gives them."""
    documents = documents_of(corpus_of(folder), known).values()
    return {each.id: each.key for each in documents if each.passages is None}


def write(folder: Path, name: str, content: str | bytes, when: int = WHEN) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    os.utime(path, (when, when))
    return path


def page(title: str, *paragraphs: str) -> str:
    body = "".join(f"<p>{paragraph}</p>" for paragraph in paragraphs)
    return f"<html><head><title>{title}</title></head><body>{body}</body></html>"


def memory_of(folder: Path, tmp_path: Path, **settings: Any) -> tuple[Store, Any]:
    spec = spec_from_dict("corpus", {"use": "documents", "path": str(folder), **settings})
    store = Store(tmp_path / "store")
    bm25 = spec_from_dict("retriever", {"use": "bm25"})
    store.build("one", spec.build(), bm25, corpus_config=spec)
    return store, spec


def paths(store: Store) -> dict[str, set[str]]:
    """Return the ids of a memory's passages by the path of their document."""
    with store.passages() as passages:
        result: dict[str, set[str]] = {}
        for passage in passages:
            result.setdefault(passage.metadata["path"], set()).add(passage.id)
        return result
