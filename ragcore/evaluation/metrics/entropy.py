"""Metrics of the distribution over passages: how spread it is, and what the answer does to it.

Each is of the passages that an answer was read from (`Prediction.passages`): the prior p(z|x) that
the retriever gives them, and the posterior p(z|x,y), as in `ragcore.types.Evidence`. Both sum to 1.
Questions for which no passage was found are left out. No value is better than another: a prior may
be sharp and right, or sharp and wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import numpy as np
from pydantic import Field

from ragcore.errors import MetricError
from ragcore.evaluation.metrics.base import Better, Mean
from ragcore.evaluation.prediction import Prediction
from ragcore.registry.components import ComponentConfig

if TYPE_CHECKING:
    import numpy.typing as npt

    Distribution = npt.NDArray[np.float64]

__all__ = ["PassagesFor", "PosteriorEntropy", "PriorEntropy", "PriorPosteriorKl"]

_LEAST: Final = float(np.finfo(np.float32).smallest_subnormal)
"""What a prior counts as that has become 0 in single precision, so that KL is finite."""

_ROUNDING: Final = 1e-9
"""By so much a sum of probabilities may miss a share that it equals."""


class PriorEntropy(Mean):
    """Mean entropy of the prior, in nats: - Σ_z p(z|x) log p(z|x).

    From 0, where one passage has all of it, to log k, where k passages have equal shares.
    """

    better: Better = "neither"

    def score(self, prediction: Prediction) -> float | None:
        """Return a number of at least 0."""
        prior = _prior(prediction)
        return None if prior is None else _entropy(prior)


class PosteriorEntropy(Mean):
    """Mean entropy of the posterior, in nats: - Σ_z p(z|x,y) log p(z|x,y).

    For RAG-Token it is the entropy of the mean posterior of the answer's tokens.
    """

    better: Better = "neither"

    def score(self, prediction: Prediction) -> float | None:
        """Return a number of at least 0."""
        posterior = _posterior(prediction)
        return None if posterior is None else _entropy(posterior)


class PriorPosteriorKl(Mean):
    """Mean of what the answer says of the passages, in nats: Σ_z p(z|x,y) log p(z|x,y) / p(z|x).

    It is the Kullback-Leibler divergence of the posterior from the prior (1951): 0 where all
    passages make the answer equally probable.
    """

    better: Better = "neither"

    def score(self, prediction: Prediction) -> float | None:
        """Return a number of at least 0."""
        prior, posterior = _prior(prediction), _posterior(prediction)
        if prior is None or posterior is None:
            return None
        positive = posterior > 0  # [k]
        ratio = posterior[positive] / np.maximum(prior[positive], _LEAST)
        return max(0.0, float(posterior[positive] @ np.log(ratio)))


class PassagesFor(Mean):
    """Mean number of passages that have a share of the prior, taken by falling prior.

    It says how many of the k passages are worth reading: all others share what is left.
    """

    class Config(ComponentConfig):
        """How much of the prior counts."""

        mass: float = Field(99.0, gt=0, le=100, description="percentage of the prior")

    config: Config
    better: Better = "neither"

    def score(self, prediction: Prediction) -> float | None:
        """Return a number from 1 to k."""
        prior = _prior(prediction)
        if prior is None:
            return None
        masses = np.cumsum(-np.sort(-prior))  # [k], of the 1, 2, … passages of highest prior
        fewer = int(np.searchsorted(masses, self.config.mass / 100 - _ROUNDING))
        return float(min(fewer + 1, len(prior)))


def _prior(prediction: Prediction) -> Distribution | None:
    return _distribution(prediction, "prior", (each.prior for each in prediction.passages))


def _posterior(prediction: Prediction) -> Distribution | None:
    posterior = [each.posterior for each in prediction.passages if each.posterior is not None]
    if len(posterior) < len(prediction.passages):
        return None
    return _distribution(prediction, "posterior", posterior)


def _distribution(
    prediction: Prediction, kind: str, probabilities: Iterable[float]
) -> Distribution | None:
    """Return probabilities [k] that sum to 1 in double precision; None without a passage.

    Raises:
        MetricError: they are no distribution.
    """
    weights = np.array(list(probabilities), np.float64)  # [k]
    if not len(weights):
        return None
    total = float(weights.sum())
    if not np.isfinite(total) or total <= 0 or weights.min() < 0:
        raise MetricError(
            f"the {kind} of question {prediction.id!r} sums to {total} over {len(weights)} "
            "passages: expected probabilities, none below 0, that sum to 1"
        )
    normalized: Distribution = weights / total
    return normalized


def _entropy(distribution: Distribution) -> float:
    """Compute the entropy of probabilities [k] in nats, with 0 log 0 = 0."""
    positive = distribution[distribution > 0]
    return max(0.0, -float(positive @ np.log(positive)))
