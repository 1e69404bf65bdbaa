"""The scorer `query-likelihood`: how probable a generator that reads a passage finds the question.

    score(x, z) = log p(x | z) = Σ_i log p(x_i | z, x_<i), the end of the question included

A passage with the answer makes its question likely (Sachan et al., EMNLP 2022, section 2, who take
the mean over the tokens; for one question it gives the same ranking). Here it is the sum, so that
by Bayes' rule the softmax of the scores is p(z|x) under a uniform p(z), which serves as the prior.

The generator must be able to write questions: a model that follows instructions, or one trained to
ask. With a reader that was trained to answer, the scores mean nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ragcore.contracts import Generator, steps_of
from ragcore.retrievers.configs import QueryLikelihoodConfig
from ragcore.types import Passage

if TYPE_CHECKING:
    from ragcore.types import Scores

__all__ = ["QueryLikelihood"]


class QueryLikelihood:
    """A `Scorer` by a generator, which is shared with all components of an equal config."""

    Config: ClassVar[type[QueryLikelihoodConfig]] = QueryLikelihoodConfig

    capabilities: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config: QueryLikelihoodConfig) -> None:
        self._config = config

    @functools.cached_property
    def _generator(self) -> Generator:
        return steps_of(self._config.generator.shared(), "scoring passages by query-likelihood")

    def score(self, questions: Sequence[str], passages: Sequence[Passage]) -> Scores:
        """Return log p(x|z) of P pairs, float32 [P]."""
        import torch

        from ragcore.marginalization import pad_targets

        size, scores = self._config.batch_size, np.zeros(len(questions), np.float32)
        with torch.inference_mode():
            for start in range(0, len(questions), size):
                batch = slice(start, start + size)  # P' ≤ size pairs
                token_ids = self._generator.encode_answers(questions[batch])
                read = self._generator.read(
                    [self._config.instruction] * len(token_ids), passages[batch]
                )
                device = self._generator.device
                pairs = torch.arange(len(token_ids), device=device)  # [P']
                targets = pad_targets(token_ids).to(device)  # [P', T]
                log_p = self._generator.score(read, pairs, targets)  # [P', T]
                scores[batch] = log_p.sum(dim=1).cpu().numpy()  # [P']
        return scores
