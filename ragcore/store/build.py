"""Build a version from a corpus: passages and retriever are written, described, renamed into place.

Knows how passages become files; knows nothing of how a version is chosen or opened later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ragcore.contracts import Retriever
from ragcore.disk.atomic import writing
from ragcore.errors import ComponentError, CorpusError, EmptyCorpusError
from ragcore.memory.passages import PassageWriter
from ragcore.registry.components import ComponentSpec
from ragcore.store.catalog import Catalog
from ragcore.store.layout import RETRIEVER, file_records, passage_file
from ragcore.store.manifest import Manifest
from ragcore.store.progress import Progress
from ragcore.store.staging import scratch_folder, staging_folder
from ragcore.types import Passage

__all__ = ["build_version", "checked_passages", "write_retriever"]


def build_version(
    catalog: Catalog,
    version: str,
    corpus: Iterable[Passage],
    spec: ComponentSpec[Retriever],
    *,
    corpus_config: dict[str, Any] | None,
    activate: bool,
    fresh: bool,
    batch: int,
    report: Progress,
) -> Manifest:
    """Build a version from a corpus and put it in place; see `Store.build`."""
    catalog.refuse_name(version)
    with writing(catalog.folder):
        catalog.prepare()
    retriever = spec.build()
    with (
        writing(catalog.folder),
        staging_folder(catalog, version) as staging,
        scratch_folder(catalog, retriever, fresh=fresh, report=report),
    ):
        count = _write_passages(staging, corpus, retriever, batch, report)
        write_retriever(staging, spec, retriever, count)
        manifest = Manifest.of_now(
            version,
            passages=count,
            retriever=spec,
            fingerprint=retriever.fingerprint,
            corpus=corpus_config,
            files=file_records(staging, report),
        )
        catalog.put_in_place(staging, manifest, activate=activate)
    return manifest


def _write_passages(
    staging: Path,
    corpus: Iterable[Passage],
    retriever: Retriever,
    batch: int,
    report: Progress,
) -> int:
    """Stream the passages of a corpus into a file and into a retriever; return their number."""
    passages, count = checked_passages(corpus), 0
    total = len(corpus) if isinstance(corpus, Sized) else None
    with PassageWriter(passage_file(staging, 0)) as writer:
        while chunk := list(islice(passages, batch)):
            writer.write(chunk)
            retriever.add(np.arange(count, count + len(chunk), dtype=np.int64), chunk)
            count += len(chunk)
            report("passages", count, total)
    if not count:
        raise EmptyCorpusError(
            "the corpus gave no passage: a memory needs at least one; check memory.corpus"
        )
    return count


def write_retriever(
    staging: Path, spec: ComponentSpec[Retriever], retriever: Retriever, count: int
) -> None:
    """Write the retriever of a version.

    Args:
        staging: the folder that the version is written in.
        spec: of the retriever, for errors.
        retriever: with all passages of the version added.
        count: the number of these passages.

    Raises:
        ComponentError: the retriever has another number of rows.
    """
    if len(retriever) != count:
        raise ComponentError(
            f"retriever {spec.use!r} holds {len(retriever)} rows after {count} were added to it: "
            "its __len__ or add is faulty"
        )
    folder = staging / RETRIEVER
    folder.mkdir()
    retriever.save(folder)


def checked_passages(corpus: Iterable[Passage]) -> Iterator[Passage]:
    """Stream the passages of a corpus, each with an id, unique among them, and a text.

    Holds 16 bytes for each id.

    Raises:
        CorpusError: a passage without id or text, or with an id that an earlier one has.
    """
    seen: set[bytes] = set()
    for number, passage in enumerate(corpus, start=1):
        if not passage.id or not passage.text.strip():
            lacking = "text" if passage.id else "id"
            raise CorpusError(
                f"passage {number} of the corpus (id {passage.id!r}, title {passage.title!r}) has "
                f"an empty {lacking}: give it one or leave the passage out"
            )
        digest = blake2b(passage.id.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if digest in seen:
            raise CorpusError(
                f"passage {number} of the corpus (title {passage.title!r}) has the id "
                f"{passage.id!r}, which an earlier passage has: ids must be unique"
            )
        seen.add(digest)
        yield passage
