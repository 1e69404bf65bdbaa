"""The terms of passages on disk, so that a build of `sparse` that was killed resumes from there.

A file for each batch of passages, named by the digest of its texts and their number. It is an .npz,
whose checksums show a file that the machine's failure cut short. Knows passages and their terms;
knows nothing of models or builds.
"""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final

import numpy as np

from ragcore.types import Passage
from ragcore_transformers.sparse_model import SparseRows

__all__ = ["SparseScratch"]

_FORMAT: Final = 1
_FIELDS: Final = {"terms": np.int32, "weights": np.float32, "lengths": np.int64}
_FAULTS: Final = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
"""What reading a file raises that is missing, cut short or changed."""


class SparseScratch:
    """Terms on disk by their passages; its owner lets only one process write.

    Attributes:
        passages: number of passages in it when it was opened.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        """Open the files in a folder; the first `put` makes a folder in it.

        Args:
            folder: an existing folder.
            fingerprint: the model's; terms of other models are ignored.
        """
        digest = blake2b(f"{_FORMAT} {fingerprint}".encode(), digest_size=8).hexdigest()
        self._folder = folder / f"terms-{digest}"
        names = [path.stem for path in self._folder.glob("*-*.npz")]
        self.passages: Final = sum(int(name.rpartition("-")[2]) for name in names)

    def get(self, passages: Sequence[Passage]) -> SparseRows | None:
        """Return the terms of a batch of exactly these passages, or None."""
        try:
            with np.load(self._path(passages), allow_pickle=False) as arrays:
                rows = SparseRows(**{name: arrays[name] for name in _FIELDS})
        except _FAULTS:
            return None
        right = all(getattr(rows, name).dtype == dtype for name, dtype in _FIELDS.items())
        count = (len(passages), len(rows.terms), len(rows.terms))
        fits = (len(rows.lengths), int(rows.lengths.sum()), len(rows.weights)) == count
        return rows if right and fits else None

    def put(self, passages: Sequence[Passage], rows: SparseRows) -> None:
        """Write a batch with its terms; it survives a kill from then on."""
        self._folder.mkdir(exist_ok=True)
        path = self._path(passages)
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            np.savez(file, terms=rows.terms, weights=rows.weights, lengths=rows.lengths)
        os.replace(part, path)

    def _path(self, passages: Sequence[Passage]) -> Path:
        return self._folder / f"{_key(passages)}-{len(passages)}.npz"


def _key(passages: Sequence[Passage]) -> str:
    """Digest all that a model reads of a batch; lengths keep adjacent texts apart."""
    digest = blake2b(digest_size=16)
    for passage in passages:
        for text in (passage.title, passage.text):
            data = text.encode("utf-8", "surrogatepass")
            digest.update(struct.pack("<Q", len(data)))
            digest.update(data)
    return digest.hexdigest()
