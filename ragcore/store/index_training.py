"""Train an index once, on a sample of the whole corpus, for all shards that are built from it.

    shards-training/
      training.json             what was trained, on what, and the sha256 of each file
      retriever/…               files that the retriever owns

Knows this folder; a retriever trains its own index.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

from ragcore import __version__
from ragcore.contracts import Corpus, IndexTrainer, Retriever, VectorCache, supports
from ragcore.disk.atomic import files_below, sha256, sync, sync_tree, writing
from ragcore.disk.loading import reading
from ragcore.errors import (
    EmptyCorpusError,
    MemoryMismatchError,
    StoreCorruptError,
    StoreError,
    UnsupportedOperation,
)
from ragcore.registry.components import ComponentSpec
from ragcore.store.build import NO_PASSAGE, give_cache
from ragcore.store.checking import checked_passages
from ragcore.store.layout import RETRIEVER
from ragcore.store.progress import Progress
from ragcore.store.staging import unique
from ragcore.store.tokenizers import give_tokenizer
from ragcore.types import Passage

__all__ = ["Training", "train_on_sample", "use_training"]

_RECORD: Final = "training.json"
_FORMAT: Final = 1
_EACH: Final = 4096
"""Passages between two reports."""
_SEED: Final = 0
"""The same corpus gives the same sample."""


class Training(NamedTuple):
    """What was trained.

    Attributes:
        folder: with its files.
        sample: how many passages the index was trained on.
        passages: how many the corpus has.
    """

    folder: Path
    sample: int
    passages: int


def train_on_sample(
    folder: Path,
    corpus: Iterable[Passage],
    spec: ComponentSpec[Retriever],
    *,
    corpus_config: ComponentSpec[Corpus] | None,
    size: int | None,
    cache: VectorCache | None,
    report: Progress,
) -> Training:
    """Train an index and write it to a new folder; see `ragcore.build.train_index`."""
    if folder.exists():
        raise StoreError(f"{folder} is there already: remove it, or name another folder (--out)")
    retriever = spec.build()
    if not supports(retriever, IndexTrainer):
        raise UnsupportedOperation.of(f"retriever {spec.use!r}", "index_training")
    give_cache(retriever, cache)
    name = None if corpus_config is None else corpus_config.use
    give_tokenizer(corpus, name, retriever, spec.use)
    sample, count = _sample(corpus, name, size or retriever.training_size, report)
    staging = folder.with_name(unique(f".{folder.name}"))
    with writing(folder.parent):
        staging.mkdir(parents=True)
        try:
            (staging / RETRIEVER).mkdir()
            retriever.train_index(sample, staging / RETRIEVER)
            _write_record(staging, retriever.fingerprint, len(sample))
            sync_tree(staging)
            os.rename(staging, folder)
            sync(folder.parent)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return Training(folder, len(sample), count)


def use_training(folder: Path, spec: ComponentSpec[Retriever], retriever: Retriever) -> str:
    """Give a retriever the training of a folder, and return the training's digest.

    Raises:
        StoreCorruptError: a file is missing or was changed.
        MemoryMismatchError: it was made with another encoder or index.
        UnsupportedOperation: the retriever has no index that is trained.
    """
    if not supports(retriever, IndexTrainer):
        raise UnsupportedOperation.of(f"retriever {spec.use!r}", "index_training")
    with reading(folder / _RECORD) as path:
        raw = path.read_bytes()
        record = json.loads(raw)
        layout, fingerprint = record["format"], str(record["fingerprint"])
        files = {str(name): str(digest) for name, digest in record["files"].items()}
    if layout != _FORMAT or fingerprint != retriever.fingerprint:
        raise MemoryMismatchError(
            f"{folder} was trained with {fingerprint} (format {layout}), but the retriever in use "
            f"is {retriever.fingerprint} (format {_FORMAT}): train the index again"
        )
    if files != _digests(folder):
        raise StoreCorruptError(
            f"{folder}: its files are not those that {_RECORD} lists: train the index again, or "
            "copy it again"
        )
    retriever.use_training(folder / RETRIEVER)
    return hashlib.sha256(raw).hexdigest()


def _sample(
    corpus: Iterable[Passage], name: str | None, size: int, report: Progress
) -> tuple[list[Passage], int]:
    """Draw passages of a corpus, each with the same chance; return them and how many there are.

    Algorithm R of Vitter, Random Sampling with a Reservoir (1985), section 2. Only the sample is in
    memory, and the 16 bytes for each id that checking takes.

    Raises:
        EmptyCorpusError: there is no passage.
    """
    drawn = random.Random(_SEED)
    sample: list[tuple[int, Passage]] = []
    count = 0
    for passage in checked_passages(corpus, name):
        if len(sample) < size:
            sample.append((count, passage))
        elif (place := drawn.randrange(count + 1)) < size:
            sample[place] = (count, passage)
        count += 1
        if not count % _EACH:
            report("passages", count, None)
    if not sample:
        raise EmptyCorpusError(NO_PASSAGE)
    report("passages", count, count)
    return [passage for _, passage in sorted(sample, key=lambda pair: pair[0])], count


def _write_record(folder: Path, fingerprint: str, sample: int) -> None:
    record: dict[str, Any] = {
        "format": _FORMAT,
        "ragcore": __version__,
        "fingerprint": fingerprint,
        "sample": sample,
        "files": _digests(folder),
    }
    (folder / _RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _digests(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file of the retriever, by its path from the folder."""
    files = files_below(folder / RETRIEVER)
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}
