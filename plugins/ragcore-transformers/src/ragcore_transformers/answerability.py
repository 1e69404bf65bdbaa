"""The scorer `answerability`: whether a passage answers, by a model that finds answers in texts.

A model for extractive question answering that was trained on questions without an answer, as those
of SQuAD 2.0 (Rajpurkar et al., 2018), rates "no answer" at [CLS] against all spans of the passage.
So it tells how probable it is that there is none, for any generator. Knows how
`extractive` reads; knows nothing of priors or of when a question abstains.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log1p
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
import torch

from ragcore.types import Passage
from ragcore_transformers.configs import AnswerabilityConfig, ExtractiveConfig
from ragcore_transformers.extractive import Extractive

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Answerability"]

_LEAST_LOGIT: Final = -100.0
"""The score of a passage without text, which has no answer; a score must be finite."""


class _NullReader(Extractive):
    """A reader that writes no answers, so that no word of its tokenizer stands for "no answer"."""

    def _abstaining_answer(self) -> list[int]:
        return []


class Answerability:
    """See `ragcore.contracts.AnswerabilityScorer`; safe to use from several threads.

    Raises:
        GeneratorError: the model cannot be loaded, or rates "no answer" nowhere.
    """

    Config: ClassVar[type[AnswerabilityConfig]] = AnswerabilityConfig
    capabilities: ClassVar[frozenset[str]] = frozenset({"answerability"})

    def __init__(self, config: AnswerabilityConfig) -> None:
        self.config = config
        self._reader = _NullReader(ExtractiveConfig.model_validate(dict(config)))

    @property
    def max_input_tokens(self) -> int:
        """The most tokens of a question with its passage that are read."""
        return self._reader.max_input_tokens

    @property
    def dtype(self) -> str:
        """Return the dtype of the weights, as in YAML; that which was chosen where it says auto."""
        return self._reader.dtype

    def speed_report(self) -> list[str]:
        """Say which dtype and kernels it uses, and why, a line each."""
        return self._reader.speed_report()

    def score(
        self, questions: Sequence[str], passages: Sequence[Passage]
    ) -> npt.NDArray[np.float32]:
        """Return log p(z has an answer|x,z) - log p(z has none|x,z) of P pairs, float32 [P]."""
        answer, none = self._log_p(questions, passages)
        logits: npt.NDArray[np.float32] = np.maximum(answer - none, np.float32(_LEAST_LOGIT))
        return logits

    def log_unanswerable(
        self, questions: Sequence[str], passages: Sequence[Passage]
    ) -> npt.NDArray[np.float32]:
        """Return log p(z has no answer|x,z) of P pairs, float32 [P]; see the contract.

        Raises:
            QuestionError: a question does not fit the input even without its passage.
        """
        _, none = self._log_p(questions, passages)
        return none

    @torch.inference_mode()
    def _log_p(
        self, questions: Sequence[str], passages: Sequence[Passage]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return the log-probabilities of all spans together, and of "no answer", [P] both."""
        if not questions:
            return np.zeros(0, np.float32), np.zeros(0, np.float32)
        masses = self._reader.read(questions, passages)
        # What a generator sets aside for texts that are no span: there is no such text here.
        share = log1p(-self._reader.config.floor)
        answer = masses.spans.flatten(1).logsumexp(dim=1) - share  # [P]
        none = (masses.null - share).clamp(max=0.0)  # [P]
        return answer.cpu().numpy(), none.cpu().numpy()
