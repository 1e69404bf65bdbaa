"""The encoder `world-vectors`: the Factbook's passages have vectors already, others are encoded.

Knows when the vectors of this package, and the map of questions, are those of an encoder;
`packed_vectors.py` and `question_map.py` know the files. Encoding all passages takes minutes,
reading their vectors less than a second.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from importlib.resources import files
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from ragcore.contracts import Encoder, TextTokenizer, TokenizedEncoder, supports
from ragcore.errors import PluginError, UnsupportedOperation
from ragcore.types import Passage
from ragcore_world.configs import WorldVectorsConfig
from ragcore_world.packed_vectors import PackedVectors
from ragcore_world.question_map import QuestionMap

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch

    from ragcore.types import Vectors

__all__ = ["WorldVectors"]

_LOG: Final = logging.getLogger(__name__)


class WorldVectors:
    """See `ragcore.contracts.Encoder`; questions are encoded by the encoder that it is given.

    A passage's vector is that of this package where it has one of the same title and text, of the
    same encoder, and within its rounding what the encoder computes. The vectors were made by
    all-MiniLM-L6-v2: with another model, or other settings of what a passage's vector depends on, a
    warning says that all passages are encoded.

    A question's vector is moved by the map of this package, which was trained on questions about
    the Factbook, unless `questions` is plain or the encoder is another one. Passages' vectors do
    not depend on it, so that a memory serves both.

        encoder:
          use: world-vectors
          encoder: {use: sentence-transformers, model: all-MiniLM-L6-v2}
    """

    Config: ClassVar[type[WorldVectorsConfig]] = WorldVectorsConfig

    def __init__(self, config: WorldVectorsConfig) -> None:
        self._config: Final = config
        self._encoder: Final[Encoder] = config.encoder.shared()
        self.dim: Final = self._encoder.dim

    @property
    def capabilities(self) -> frozenset[str]:
        """`tokenizer`, if the encoder has it."""
        return self._encoder.capabilities & {"tokenizer"}

    @property
    def fingerprint(self) -> str:
        """The encoder's fingerprint, and a digest of the vectors if they are its own."""
        packed = self._packed
        if packed is None:
            return self._encoder.fingerprint
        return f"world-vectors({packed.digest}; {packed.encoder})"

    @property
    def tokenizer(self) -> TextTokenizer:
        """The encoder's tokenizer of passages; see `TokenizedEncoder`.

        Raises:
            UnsupportedOperation: it has none.
        """
        if not supports(self._encoder, TokenizedEncoder):
            raise UnsupportedOperation.of("encoder 'world-vectors'", "tokenizer")
        return self._encoder.tokenizer

    @cached_property
    def _packed(self) -> PackedVectors | None:
        """The vectors of this package; None where they are another encoder's."""
        packed = PackedVectors.read(files("ragcore_world") / "minilm" / "vectors.npz")
        if packed.encoder == self._encoder.fingerprint:
            if packed.dim != self.dim:
                raise PluginError(
                    f"encoder 'world-vectors': the vectors of ragcore-world have {packed.dim} "
                    f"numbers, but those of {packed.encoder}, which they are of by name, have "
                    f"{self.dim}: install ragcore-world again"
                )
            return packed
        _LOG.warning(
            "encoder 'world-vectors': the vectors of ragcore-world are those of %s, and this is %s:"
            " all passages are encoded, which takes minutes",
            packed.encoder,
            self._encoder.fingerprint,
        )
        return None

    @cached_property
    def _map(self) -> QuestionMap | None:
        """The map of this package; None where it is not wanted, or is another encoder's."""
        if self._config.questions == "plain" or self._packed is None:
            return None
        question_map = QuestionMap.read(files("ragcore_world") / "minilm" / "questions.npz")
        if question_map.matrix.shape != (self.dim, self.dim) or (
            question_map.encoder != self._encoder.fingerprint
        ):
            raise PluginError(
                "encoder 'world-vectors': the map of questions is of "
                f"{question_map.encoder} and {len(question_map.matrix)} numbers, the vectors of "
                f"passages are of {self._encoder.fingerprint} and {self.dim}: install "
                "ragcore-world again"
            )
        return question_map

    def encode_passages(self, passages: Sequence[Passage]) -> Vectors:
        """Return vectors d(z), float32 [n, d], from this package where it has them."""
        if self._packed is None or not passages:
            return self._encoder.encode_passages(passages)
        has_vector, packed = self._packed.find(passages)  # [n], [f, d]
        vectors = np.empty((len(passages), self.dim), np.float32)  # [n, d]
        vectors[has_vector] = packed
        if not has_vector.all():
            others = [passages[i] for i in np.nonzero(~has_vector)[0].tolist()]
            vectors[~has_vector] = self._encoder.encode_passages(others)
        return vectors

    def encode_questions(
        self, questions: Sequence[str]
    ) -> npt.NDArray[np.floating[Any]] | torch.Tensor:
        """Return vectors q(x), float32 [B, d], of the encoder, moved by the map of questions."""
        vectors = self._encoder.encode_questions(questions)
        if self._map is None or not questions:
            return vectors
        if not isinstance(vectors, np.ndarray):
            vectors = vectors.detach().float().cpu().numpy()
        return self._map.moved(vectors.astype(np.float32, copy=False))
