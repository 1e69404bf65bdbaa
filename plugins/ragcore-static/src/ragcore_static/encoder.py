"""The encoder `static`: the vector of a text is the average of its tokens' vectors.

No neural network reads the text, and the order of words has no effect. Decides which text is
encoded and how vectors are scaled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from ragcore.corpora.templates import text_of
from ragcore.corpora.tokenizer import PassageTokenizer
from ragcore.errors import PluginError
from ragcore.types import Passage
from ragcore_static.averaging import average
from ragcore_static.config import StaticConfig
from ragcore_static.loading import load

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Static"]

_BATCH: Final = 256
"""Texts whose tokens are in memory together."""


class Static:
    """See `ragcore.contracts.Encoder`.

    Raises:
        PluginError: the model cannot be loaded.
    """

    Config: ClassVar[type[StaticConfig]] = StaticConfig
    capabilities: ClassVar[frozenset[str]] = frozenset({"tokenizer"})

    def __init__(self, config: StaticConfig) -> None:
        self.config = config
        model = load(config.model)
        whole = model.vectors.shape[1]
        self.dim: Final = int(config.truncate_dim or whole)
        if self.dim > whole:
            raise PluginError(
                f"truncate_dim {self.dim} is more than the {whole} components of model "
                f"{config.model!r}: set a smaller number, or null for all"
            )
        vectors = np.ascontiguousarray(model.vectors[:, : self.dim])
        self.model: Final = replace(model, vectors=vectors)
        self._normalize: Final = (
            self.model.normalize if config.normalize is None else config.normalize
        )
        prompts = self.model.prompts
        self._question_prompt: Final = _chosen(config.question_prompt, prompts.get("query"))
        self._passage_prompt: Final = _chosen(config.passage_prompt, prompts.get("document"))
        self.fingerprint: Final = (
            f"static(weights={self.model.digest},"
            f"normalize={'yes' if self._normalize else 'no'},"
            f"passage={self._passage_prompt!r},template={config.passage_template!r},"
            f"tokens={config.max_tokens},dim={self.dim})"
        )

    @cached_property
    def tokenizer(self) -> PassageTokenizer:
        """The tokenizer of passages, with prompt and template; see `TokenizedEncoder`."""
        return PassageTokenizer(
            self.model.tokenizer,
            limit=self.config.max_tokens,
            prompt=self._passage_prompt,
            template=self.config.passage_template,
        )

    @property
    def max_input_tokens(self) -> int | None:
        """The most tokens of a text that are read; None for all."""
        return self.config.max_tokens

    def encode_passages(self, passages: Sequence[Passage]) -> npt.NDArray[np.float32]:
        """Return vectors d(z), float32 [n, d]; a passage without title is its text alone."""
        return self._encode(self._texts(passages))

    def encode_questions(self, questions: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return vectors q(x), float32 [B, d]."""
        return self._encode([self._question_prompt + text for text in questions])

    def count_cut(self, passages: Sequence[Passage]) -> int:
        """Return how many passages have more tokens than `max_tokens`."""
        limit = self.config.max_tokens
        if limit is None:
            return 0
        return sum(len(ids) > limit for ids in self._tokens(self._texts(passages)))

    def _texts(self, passages: Sequence[Passage]) -> list[str]:
        template = self.config.passage_template
        return [text_of(passage, template, self._passage_prompt) for passage in passages]

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        encodings = self.model.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def _encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        model, limit = self.model, self.config.max_tokens
        vectors = np.zeros((len(texts), self.dim), np.float32)
        for start in range(0, len(texts), _BATCH):
            tokens = self._tokens(texts[start : start + _BATCH])
            if limit is not None:
                tokens = [ids[:limit] for ids in tokens]
            vectors[start : start + _BATCH] = average(
                tokens, model.vectors, model.rows, model.weights, model.unknown
            )
        if self._normalize:
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)  # [n, 1]
            # A text without a known token stays zero.
            vectors /= np.where(lengths > 0, lengths, 1)
        return vectors


def _chosen(prompt: str | None, default: str | None) -> str:
    return (default or "") if prompt is None else prompt
