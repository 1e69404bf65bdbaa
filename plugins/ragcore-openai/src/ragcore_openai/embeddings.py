"""The encoder `openai-embeddings`: vectors that a server with OpenAI's API computes.

Decides which text is encoded, and checks that a reply has a vector for each text. A reply that
breaks the API's form is an error: no vector is made up. Knows nothing of HTTP.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from ragcore.corpora.templates import text_of
from ragcore.types import Passage
from ragcore_openai.client import Client, Json
from ragcore_openai.configs import EmbeddingsConfig
from ragcore_openai.failures import ServerError

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["OpenAIEmbeddings"]

_PATH: Final = "/embeddings"


class OpenAIEmbeddings:
    """See `ragcore.contracts.Encoder`.

    Texts are sent in batches, several requests at the same time. Nothing is sent before a text is
    encoded.
    """

    Config: ClassVar[type[EmbeddingsConfig]] = EmbeddingsConfig
    capabilities: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config: EmbeddingsConfig) -> None:
        self.config = config
        self.dim: Final = config.dim
        # The server is no part of it: a model is served in several places.
        self.fingerprint: Final = (
            f"openai-embeddings(model={json.dumps(config.model)},"
            f"normalize={'yes' if config.normalize else 'no'},"
            f"passage={config.passage_prompt!r},template={config.passage_template!r},"
            f"dim={config.dim})"
        )
        self._client: Final = Client(config)

    def encode_passages(self, passages: Sequence[Passage]) -> npt.NDArray[np.float32]:
        """Return vectors d(z), float32 [n, d]; a passage without title is its text alone.

        Raises:
            ServerError: the server cannot be reached, refuses a text, or replies with something
                that are no such vectors.
        """
        template, prompt = self.config.passage_template, self.config.passage_prompt
        return self._encode([text_of(passage, template, prompt) for passage in passages])

    def encode_questions(self, questions: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return vectors q(x), float32 [B, d].

        Raises:
            ServerError: as `encode_passages`.
        """
        return self._encode([self.config.question_prompt + question for question in questions])

    def _encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        size = self.config.batch_size
        batches = [list(texts[start : start + size]) for start in range(0, len(texts), size)]
        replies = self._client.post_all(_PATH, [self._request(batch) for batch in batches])
        blocks = [
            self._vectors(reply, len(batch)) for reply, batch in zip(replies, batches, strict=True)
        ]
        vectors = np.concatenate([np.empty((0, self.dim), np.float32), *blocks])  # [n, d]
        if self.config.normalize:
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)  # [n, 1]
            vectors /= np.where(lengths > 0, lengths, 1)
        return vectors

    def _request(self, texts: Sequence[str]) -> Json:
        request: Json = {"model": self.config.model, "input": texts, "encoding_format": "float"}
        if self.config.shortened:
            request["dimensions"] = self.dim
        return request

    def _vectors(self, reply: Json, count: int) -> npt.NDArray[np.float32]:
        """Return the vectors of one reply in the order of the texts, float32 [count, d]."""
        rows = reply.get("data")
        if not isinstance(rows, list) or len(rows) != count:
            rows_text = f"{len(rows)} rows" if isinstance(rows, list) else type(rows).__name__
            raise self._faulty(f"its `data` is {rows_text}: expected a list of {count} rows")
        vectors = np.empty((count, self.dim), np.float32)
        missing = set(range(count))
        for row in rows:
            index, vector = _row(row)
            if type(index) is not int or index not in missing:
                raise self._faulty(
                    f"it has a row of index {index!r}: expected each from 0 to {count - 1} once"
                )
            missing.remove(index)
            vectors[index] = self._checked(vector)
        return vectors

    def _checked(self, vector: Any) -> npt.NDArray[np.float32]:
        """Return one vector, float32 [d]."""
        if not isinstance(vector, list) or not all(
            isinstance(number, int | float) and not isinstance(number, bool) for number in vector
        ):
            raise self._faulty("an `embedding` is no list of numbers")
        if len(vector) != self.dim:
            hint = "check `shortened`" if self.config.shortened else f"set dim: {len(vector)}"
            raise self._faulty(
                f"an `embedding` has {len(vector)} components: expected `dim`, {self.dim}; {hint}"
            )
        try:
            # A number that is too large for float32 becomes infinite.
            with np.errstate(over="ignore"):
                array = np.array(vector, np.float64).astype(np.float32)
        except OverflowError:
            array = np.array([np.inf], np.float32)
        if not np.isfinite(array).all():
            raise self._faulty("an `embedding` has a number that is NaN, or too large")
        return array

    def _faulty(self, fault: str) -> ServerError:
        url = self.config.base_url + _PATH
        return ServerError(f"the reply of {url}, model {self.config.model!r}: {fault}")


def _row(row: Any) -> tuple[Any, Any]:
    """Return a row's index and vector; None where it has none."""
    return (row.get("index"), row.get("embedding")) if isinstance(row, dict) else (None, None)
