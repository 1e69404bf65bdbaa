"""The scorer `late-interaction`: sentence-transformers' models with a vector for each token.

A score is MaxSim (Khattab and Zaharia 2020, ColBERT, section 3.3): for each token of the question
the largest similarity to a token of the passage, summed; or the mean of these, where the model was
trained for that. Each question and each passage of a call is encoded once, however many pairs it is
in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from sentence_transformers import MultiVectorEncoder

from ragcore.errors import PluginError
from ragcore.process.fork import new_lock
from ragcore.types import Passage
from ragcore_transformers.configs import LateInteractionConfig
from ragcore_transformers.loading import cut_model_card, explained, pick_device, refuse_random
from ragcore_transformers.packed import pack_model
from ragcore_transformers.speed import kernel_lines
from ragcore_transformers.tokenizing import passage_texts

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["LateInteraction"]


class LateInteraction:
    """See `ragcore.contracts.Scorer`; several threads may use it and take turns.

    `model` is the library's own object.

    Raises:
        PluginError: the model cannot be loaded, or was not trained to give a vector for each token.
    """

    Config: ClassVar[type[LateInteractionConfig]] = LateInteractionConfig
    capabilities: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config: LateInteractionConfig) -> None:
        self.config = config
        with explained(config.model, PluginError, config.revision) as source:
            self.model = self._load(source)
            # To any other model the library adds a projection with random weights.
            refuse_random(
                config.model, self.model, lambda: self._load(source), "MultiVectorEncoder"
            )
        # A call changes the tokenizer's padding and truncation, which two threads would share.
        self._lock = new_lock()
        if self.model.device.type == "cpu":
            pack_model(self.model, self._probe_pass)

    @property
    def max_input_tokens(self) -> int | None:
        """The most tokens of a question, and of a passage, that are read; None for no limit."""
        names = ("max_seq_length", "query_length", "document_length")
        limits = [getattr(self.model[0], name, None) for name in names]
        return min((int(limit) for limit in limits if limit is not None), default=None)

    def speed_report(self) -> list[str]:
        """Say which kernels it uses, and why, a line each."""
        return kernel_lines(self.model)

    def score(
        self, questions: Sequence[str], passages: Sequence[Passage]
    ) -> npt.NDArray[np.float32]:
        """Return MaxSim of P pairs, float32 [P]; a passage without title is its text alone."""
        texts = passage_texts(passages, self.config.passage_template)
        if not texts:
            return np.zeros(0, np.float32)
        return self._scores(list(questions), texts).cpu().numpy()

    def _load(self, source: str) -> MultiVectorEncoder:
        model = MultiVectorEncoder(
            source,
            device=str(pick_device(self.config.device, PluginError)),
            trust_remote_code=False,
            revision=self.config.revision,
            model_kwargs={"use_safetensors": True},
        ).eval()
        cut_model_card(model)
        return model

    def _scores(self, questions: list[str], texts: list[str]) -> torch.Tensor:
        """Return the scores of P pairs, float32 [P]."""
        settings: dict[str, Any] = {
            "batch_size": self.config.batch_size,
            "show_progress_bar": False,
            "convert_to_numpy": False,
        }
        unlike_questions, unlike_texts = list(dict.fromkeys(questions)), list(dict.fromkeys(texts))
        with self._lock:
            of_questions = self.model.encode_query(unlike_questions, **settings)
            of_texts = self.model.encode_document(unlike_texts, **settings)
        queries = dict(zip(unlike_questions, of_questions, strict=True))  # [tokens, d] each
        documents = dict(zip(unlike_texts, of_texts, strict=True))
        size = self.config.batch_size
        parts = [
            self.model.similarity_pairwise(
                [queries[question].float() for question in questions[begin : begin + size]],
                [documents[text].float() for text in texts[begin : begin + size]],
            )
            for begin in range(0, len(texts), size)
        ]
        return torch.cat(parts).float()

    def _probe_pass(self) -> torch.Tensor:
        texts = ["a", "b " * 5, "c d " * 20]
        return self._scores(texts, texts[::-1])
