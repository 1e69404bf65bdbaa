"""The config of the retriever `bm25`; imports no numpy, so that a file is checked without it."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from ragcore.registry.components import ComponentConfig

__all__ = ["Bm25Config", "Variant"]

Variant = Literal["lucene", "robertson", "atire", "bm25l", "bm25+", "okapi", "l", "plus"]


class Bm25Config(ComponentConfig):
    """Settings of `{use: bm25}`."""

    variant: Variant = Field(
        "lucene", description="they differ in the weight of frequent words and long passages"
    )
    k1: float = Field(
        1.2,
        ge=0,
        allow_inf_nan=False,
        description="how soon further repetitions of a word stop counting",
    )
    b: float = Field(0.75, ge=0, le=1, description="how much a passage's length counts")
    delta: float = Field(
        0.5,
        ge=0,
        allow_inf_nan=False,
        description="the least an occurring word adds (bm25l, bm25+, l, plus)",
    )
    epsilon: float = Field(
        0.25,
        ge=0,
        allow_inf_nan=False,
        description="the share of the mean weight that common words have (okapi)",
    )
    stemmer: str | None = Field(
        "english", description="words to their stems, by an algorithm of PyStemmer, such as german"
    )
    stopwords: str | None = Field(
        "english",
        description="words that do not count; lists but english's are of the package stop-words",
    )
    title_weight: int = Field(1, ge=0, description="how many times the title's words count")
    backend: Literal["sparse", "rank-bm25"] = Field(
        "sparse", description="what computes the scores; rank-bm25 is for comparing with"
    )

    @model_validator(mode="after")
    def _rank_bm25_has_it(self) -> Self:
        if self.backend == "rank-bm25" and self.variant not in ("okapi", "l", "plus"):
            raise ValueError(
                f"backend rank-bm25 has no variant {self.variant!r}, only okapi, l and plus: "
                "set variant to one of these, or leave out backend"
            )
        return self
