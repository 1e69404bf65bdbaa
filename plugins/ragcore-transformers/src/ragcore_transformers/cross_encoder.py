"""The scorer `cross-encoder`: sentence-transformers' models of a question with a passage.

Decides which text of a passage is read. The score is the model's logit, without the sigmoid that
the library applies for some models: near 1 a sigmoid loses differences, and the softmax of logits
is a prior.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import sentence_transformers
import torch

from ragcore.errors import PluginError
from ragcore.process.fork import new_lock
from ragcore.types import Passage
from ragcore_transformers.configs import CrossEncoderConfig
from ragcore_transformers.loading import cut_model_card, explained, pick_device
from ragcore_transformers.packed import pack_model
from ragcore_transformers.speed import kernel_lines
from ragcore_transformers.tokenizing import passage_texts

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["CrossEncoder"]


class CrossEncoder:
    """See `ragcore.contracts.Scorer`; several threads may use it and take turns.

    `model` is the library's own object.

    Raises:
        PluginError: the model cannot be loaded, or gives more than one number for a pair.
    """

    Config: ClassVar[type[CrossEncoderConfig]] = CrossEncoderConfig
    capabilities: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config: CrossEncoderConfig) -> None:
        self.config = config
        device = pick_device(config.device, PluginError)
        with explained(config.model, PluginError) as source:
            self.model = sentence_transformers.CrossEncoder(
                source,
                device=str(device),
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
                max_length=config.max_tokens,
            ).eval()
            if self.model.num_labels != 1:
                raise PluginError(
                    f"model {config.model!r} gives {self.model.num_labels} numbers for a pair: "
                    "expected one, a cross-encoder trained to rank"
                )
        cut_model_card(self.model)
        pack_model(self.model, self._probe_pass)
        # A call changes the tokenizer's padding and truncation, which two threads would share.
        self._lock = new_lock()

    @property
    def max_input_tokens(self) -> int | None:
        """The most tokens of a question with its passage that are read; None for no limit."""
        limit: int | None = self.model.max_seq_length
        return limit

    def speed_report(self) -> list[str]:
        """Say which kernels it uses, and why, a line each."""
        return kernel_lines(self.model)

    def score(
        self, questions: Sequence[str], passages: Sequence[Passage]
    ) -> npt.NDArray[np.float32]:
        """Return the logits of P pairs, float32 [P]; a passage without title is its text alone."""
        texts = passage_texts(passages, self.config.passage_template)
        if not texts:
            return np.zeros(0, np.float32)
        with self._lock:
            return self._logits(list(zip(questions, texts, strict=True)))

    def _logits(self, pairs: list[tuple[str, str]]) -> npt.NDArray[np.float32]:
        scores = self.model.predict(
            pairs,
            batch_size=self.config.batch_size,
            activation_fn=torch.nn.Identity(),
            show_progress_bar=False,
        )
        return np.asarray(scores, np.float32)

    def _probe_pass(self) -> torch.Tensor:
        # The texts of a tiny tokenizer's unknown words would all be the same: lengths differ.
        return torch.from_numpy(self._logits([("a", "b " * count) for count in (1, 5, 20)]))
