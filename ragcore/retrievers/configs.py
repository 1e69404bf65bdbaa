"""The configs of the core's retrievers, indexes and scorers.

Knows the settings of each; imports neither numpy nor torch, so that a pipeline file is checked
without them. Each class is the `Config` of the component in its name.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from ragcore.contracts import Encoder, Generator, Index, Retriever, Scorer
from ragcore.registry.components import ComponentConfig, ComponentSpec

__all__ = [
    "RANK_CONSTANT",
    "DenseConfig",
    "ExactConfig",
    "HybridConfig",
    "QueryLikelihoodConfig",
    "RerankConfig",
    "WithMetadataConfig",
    "stored_by",
]

RANK_CONSTANT: Final = 60.0
"""Added to each rank by reciprocal rank fusion; the value of its authors."""

AboveZero = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class ExactConfig(ComponentConfig):
    """No settings."""


class DenseConfig(ComponentConfig):
    """Settings of `{use: dense}`."""

    encoder: ComponentSpec[Encoder] = Field(description="turns passages and questions into vectors")
    index: ComponentSpec[Index] = Field(
        description="finds the passages' vectors of highest inner product"
    )
    batch_size: int = Field(64, ge=1, description="passages encoded in one call of the encoder")


class HybridConfig(ComponentConfig):
    """Settings of `{use: hybrid}`."""

    retrievers: list[ComponentSpec[Retriever]] = Field(
        min_length=1, description="the members, each over all passages"
    )
    fuse: Literal["rrf", "convex", "mixture"] = Field(
        "rrf", description="by ranks, by scores scaled to 0 to 1, or as a mixture of priors"
    )
    weights: list[NotNegative] | None = Field(
        None,
        description="how much each member counts; one of weight 0 is not searched; null is the "
        "same for all",
    )
    temperatures: list[AboveZero] | None = Field(
        None, description="for mixture: divides each member's scores; null is 1"
    )
    rank_constant: float = Field(
        RANK_CONSTANT, ge=0, allow_inf_nan=False, description="for rrf: added to ranks"
    )
    depth: int = Field(100, ge=1, description="hits that each member is searched for")

    @model_validator(mode="after")
    def _fit(self) -> Self:
        for name, values in (("weights", self.weights), ("temperatures", self.temperatures)):
            if values is not None and len(values) != len(self.retrievers):
                raise ValueError(
                    f"{name} must be one for each of the {len(self.retrievers)} retrievers, "
                    f"found {len(values)}"
                )
        if self.weights is not None and not any(self.weights):
            raise ValueError("weights are all 0: give one member or more a weight above 0")
        if self.temperatures is not None and self.fuse != "mixture":
            raise ValueError(
                f"found temperatures with fuse: {self.fuse}, which has none: remove them, or "
                "set fuse: mixture"
            )
        return self


class RerankConfig(ComponentConfig):
    """Settings of `{use: rerank}`."""

    retriever: ComponentSpec[Retriever] = Field(description="finds the passages that are scored")
    scorer: ComponentSpec[Scorer] = Field(description="gives each question and passage a score")
    depth: int = Field(50, ge=1, description="passages scored for a question")


class WithMetadataConfig(ComponentConfig):
    """Settings of `{use: with-metadata}`."""

    fields: list[Annotated[str, Field(min_length=1)]] = Field(
        min_length=1, description="keys of passages' metadata whose values are searched, too"
    )
    retriever: ComponentSpec[Retriever] = Field(
        description="is given these values as part of the titles"
    )


class QueryLikelihoodConfig(ComponentConfig):
    """Settings of `{use: query-likelihood}`."""

    generator: ComponentSpec[Generator] = Field(
        description="reads a passage and can write questions"
    )
    instruction: str = Field(
        "Write a question that the passage answers.",
        min_length=1,
        description="replaces the question in the generator's template",
    )
    batch_size: int = Field(16, ge=1, description="pairs read and scored together")


def stored_by(spec: ComponentSpec[Retriever]) -> str:
    """Return the name of the retriever whose files a memory has.

    A reranker stores those of its retriever, and nothing of its own.
    """
    while isinstance(spec.config, RerankConfig):
        spec = spec.config.retriever
    return spec.use
