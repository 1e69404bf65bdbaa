"""Vectors of known texts in one small file, by product quantisation (Jégou et al., 2011).

Knows the file and the texts' digests; knows no encoder and no country. A vector of d numbers is cut
into m parts, and of each part the number of the nearest of 256 centroids is stored: m bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, BinaryIO, Final, Self

import numpy as np

from ragcore.types import Passage
from ragcore_world.npz_files import arrays_of, checked

if TYPE_CHECKING:
    import numpy.typing as npt

    from ragcore.types import Vectors

__all__ = ["PackedVectors", "keys_of"]

_DTYPES: Final = {"encoder": "str", "keys": "uint64", "codes": "uint8", "centroids": "float16"}
"""The arrays of a file."""


def keys_of(passages: Sequence[Passage]) -> npt.NDArray[np.uint64]:
    """Digest what an encoder reads of each passage, title and text; uint64 [n]."""
    digests = (
        hashlib.blake2b(f"{passage.title}\0{passage.text}".encode(), digest_size=8).digest()
        for passage in passages
    )
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


@dataclass(frozen=True, slots=True)
class PackedVectors:
    """Vectors of n texts, of d numbers each.

    Attributes:
        encoder: fingerprint of the encoder that computed them.
        digest: of the file.
        keys: uint64 [n], of the texts, ascending.
        codes: uint8 [n, m], the centroid of each part.
        centroids: float32 [m, 256, d / m].
    """

    encoder: str
    digest: str
    keys: npt.NDArray[np.uint64]
    codes: npt.NDArray[np.uint8]
    centroids: npt.NDArray[np.float32]

    @property
    def dim(self) -> int:
        """Return d."""
        return int(self.centroids.shape[0] * self.centroids.shape[2])

    def find(self, passages: Sequence[Passage]) -> tuple[npt.NDArray[np.bool_], Vectors]:
        """Return which of n passages have a vector, bool [n], and the f vectors, float32 [f, d].

        Vectors have length 1, as those that were packed.
        """
        wanted = keys_of(passages)  # [n]
        positions = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)  # [n]
        has_vector = self.keys[positions] == wanted  # [n]
        codes = self.codes[positions[has_vector]]  # [f, m]
        parts = self.centroids[np.arange(len(self.centroids)), codes]  # [f, m, d / m]
        vectors = parts.reshape(len(codes), self.dim)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)  # [f, 1]
        return has_vector, vectors / np.maximum(lengths, np.finfo(np.float32).tiny)

    def write(self, stream: BinaryIO) -> None:
        """Write the file's bytes; `digest` is not part of them."""
        np.savez(
            stream,
            encoder=np.array(self.encoder),
            keys=self.keys,
            codes=self.codes,
            centroids=self.centroids.astype(np.float16),
        )

    @classmethod
    def read(cls, file: Traversable) -> Self:
        """Read a file.

        Raises:
            PluginError: it is missing or broken.
        """
        with checked(file, "packed vectors"):
            content = file.read_bytes()
            encoder, keys, codes, centroids = arrays_of(content, _DTYPES)
            packed = cls(
                str(encoder),
                hashlib.sha256(content).hexdigest()[:16],
                keys,
                codes,
                centroids.astype(np.float32),
            )
            packed._check()
        return packed

    def _check(self) -> None:
        """Check the arrays' shapes; raises ValueError."""
        texts, parts = self.codes.shape
        if self.keys.shape != (texts,) or not texts or (self.keys[1:] <= self.keys[:-1]).any():
            raise ValueError(f"keys of shape {self.keys.shape} for {texts} texts, or not ascending")
        if self.centroids.ndim != 3 or self.centroids.shape[:2] != (parts, 256):
            raise ValueError(f"centroids of shape {self.centroids.shape} for {parts} parts")
        if not self.dim or not np.isfinite(self.centroids).all():
            raise ValueError("vectors of no number, or with one that is not finite")
