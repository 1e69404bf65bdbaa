"""The scorer `likelihood`: how probable a generator, reading a passage, finds the question.

    score(x, z) = log p(x | z) = Σ_i log p(x_i | z, x_<i), the end of the question included

A passage that holds the answer makes its question likely (Sachan et al., EMNLP 2022, section 2,
who take the mean over the tokens; for one question it ranks alike). The sum is taken so that by
Bayes' rule the softmax of the scores is p(z|x) under a uniform p(z): a prior as it stands.

The generator must be one that can write questions: a model that follows instructions, or one that
was trained to ask. Of a reader that was trained to answer the numbers mean nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from ragcore.contracts import Generator
from ragcore.registry.components import ComponentConfig, ComponentSpec
from ragcore.types import Passage

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["QueryLikelihood"]


class QueryLikelihood:
    """See `ragcore.contracts.Scorer`; the generator is shared with who else uses the same."""

    class Config(ComponentConfig):
        """What YAML may say of `{use: likelihood}`."""

        generator: ComponentSpec[Generator] = Field(
            description="reads a passage and can write questions"
        )
        instruction: str = Field(
            "Write a question that the passage answers.",
            min_length=1,
            description="stands where the generator's template has the question",
        )
        batch_size: int = Field(16, ge=1, description="pairs read and scored at once")

    capabilities: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config: Config) -> None:
        self._config = config

    @functools.cached_property
    def _generator(self) -> Generator:
        generator: Generator = self._config.generator.shared()
        return generator

    def score(
        self, questions: Sequence[str], passages: Sequence[Passage]
    ) -> npt.NDArray[np.float32]:
        """log p(x|z) of P pairs, float32 [P]."""
        import torch

        size, scores = self._config.batch_size, np.zeros(len(questions), np.float32)
        with torch.inference_mode():
            for begin in range(0, len(questions), size):
                place = slice(begin, begin + size)
                asked = self._generator.encode_answers(questions[place])
                read = self._generator.read(
                    [self._config.instruction] * len(asked), passages[place]
                )
                targets = torch.full((len(asked), max(map(len, asked))), -1)
                for line, tokens in zip(targets, asked, strict=True):
                    line[: len(tokens)] = torch.tensor(tokens)
                device = self._generator.device
                pairs = torch.arange(len(asked), device=device)
                log_p = self._generator.score(read, pairs, targets.to(device))
                scores[place] = log_p.sum(dim=1).cpu().numpy()
        return scores
