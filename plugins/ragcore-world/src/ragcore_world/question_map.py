"""The map of questions: a matrix that moves an encoder's vectors towards passages that answer.

Knows the file and the arithmetic; knows no encoder and no country. The matrix is trained on
questions about the Factbook (examples/world/train_questions.py) with the passages' vectors as they
are, as the question encoder in Lewis et al. (2020), section 2.4: no memory is built again.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO, Self
from zipfile import BadZipFile

import numpy as np
from numpy.lib.npyio import NpzFile

from ragcore.errors import PluginError

if TYPE_CHECKING:
    import numpy.typing as npt

    from ragcore.types import Vectors

__all__ = ["QuestionMap"]


@dataclass(frozen=True, slots=True)
class QuestionMap:
    """A matrix W: a question's vector q becomes q + W·q, of length 1.

    Attributes:
        encoder: fingerprint of the encoder whose vectors it was trained on.
        matrix: float32 [d, d].
    """

    encoder: str
    matrix: npt.NDArray[np.float32]

    def moved(self, vectors: Vectors) -> Vectors:
        """Return the vectors of B questions, [B, d], moved."""
        moved = vectors + vectors @ self.matrix.T  # [B, d]
        lengths = np.linalg.norm(moved, axis=1, keepdims=True)  # [B, 1]
        unit: Vectors = moved / np.maximum(lengths, np.finfo(np.float32).tiny)
        return unit

    def write(self, stream: BinaryIO) -> None:
        """Write the file's bytes, of float16."""
        np.savez(stream, encoder=np.array(self.encoder), matrix=self.matrix.astype(np.float16))

    @classmethod
    def read(cls, file: Traversable) -> Self:
        """Read a file.

        Raises:
            PluginError: it is missing or broken.
        """
        try:
            loaded = np.load(BytesIO(file.read_bytes()), allow_pickle=False)
            if not isinstance(loaded, NpzFile):
                raise ValueError("one array, expected an archive of two")
            with loaded as arrays:
                encoder, matrix = arrays["encoder"], arrays["matrix"]
            if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
                raise ValueError(f"a matrix of shape {matrix.shape}, expected a square")
            if not np.issubdtype(matrix.dtype, np.floating) or not np.isfinite(matrix).all():
                raise ValueError("a matrix that has other than finite numbers")
        # A RuntimeError is of an archive that is encrypted, or compressed in some other way.
        except (
            OSError,
            ValueError,
            KeyError,
            EOFError,
            RuntimeError,
            BadZipFile,
            zlib.error,
        ) as error:
            raise PluginError(
                f"{file} does not contain a map of questions: {error}; install ragcore-world again"
            ) from error
        return cls(str(encoder), matrix.astype(np.float32))
