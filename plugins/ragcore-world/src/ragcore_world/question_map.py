"""The map of questions: a matrix that moves an encoder's vectors towards passages that answer.

Knows the file and the arithmetic; knows no encoder and no country. The matrix is trained on
questions about the Factbook (examples/world/train_questions.py) with the passages' vectors as they
are, as the question encoder in Lewis et al. (2020), section 2.4: no memory is built again.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, BinaryIO, Final, Self

import numpy as np

from ragcore_world.npz_files import arrays_of, checked

if TYPE_CHECKING:
    import numpy.typing as npt

    from ragcore.types import Vectors

__all__ = ["QuestionMap"]

_DTYPES: Final = {"encoder": "str", "matrix": "float16"}
"""The arrays of a file."""


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
        with checked(file, "a map of questions"):
            encoder, matrix = arrays_of(file.read_bytes(), _DTYPES)
            if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
                raise ValueError(f"a matrix of shape {matrix.shape}, expected a square")
            if not np.isfinite(matrix).all():
                raise ValueError("a matrix with numbers that are not finite")
        return cls(str(encoder), matrix.astype(np.float32))
