"""The config of the retriever `bm25`; imports no numpy, so that a file is checked without it."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from ragcore.errors import nearest
from ragcore.registry.components import ComponentConfig
from ragcore.registry.installation import install_hint
from ragcore_bm25.accents import has_accents

__all__ = ["STEMMERS", "STOPWORDS", "Bm25Config", "Variant"]

Variant = Literal["lucene", "robertson", "atire", "bm25l", "bm25+", "okapi", "l", "plus"]

_STEMMERS: Final = """
arabic armenian basque catalan czech danish dutch dutch_porter english esperanto estonian
finnish french german greek hindi hungarian indonesian irish italian lithuanian nepali
norwegian persian polish porter portuguese romanian russian serbian sesotho spanish swedish
tamil turkish yiddish
"""
STEMMERS: Final = tuple(_STEMMERS.split())
"""PyStemmer's algorithms, named here so that a file is checked without it."""

_STOPWORDS: Final = """
arabic bulgarian catalan chinese czech danish dutch english finnish french german greek
gujarati hebrew hindi hungarian indonesian italian japanese korean malaysian norwegian
persian polish portuguese romanian russian slovak spanish swedish turkish ukrainian
vietnamese
"""
STOPWORDS: Final = tuple(_STOPWORDS.split())
"""The lists of the package stop-words."""


def _known(word: str, known: Sequence[str], what: str) -> str:
    """Check the name of a stemmer or a list of words; raises ValueError with the nearest one."""
    if word not in known:
        close = nearest(word, known)
        hint = f"did you mean {close!r}? " if close else ""
        raise ValueError(
            f"there is no {what} {word!r}: {hint}known are {', '.join(known)}, or null"
        )
    return word


def _require(module: str, extra: str, what: str, info: ValidationInfo) -> None:
    """Check that a setting's package is installed; it is not imported.

    A version's record is accepted without it: what opens the version says what is missing.

    Raises:
        ValueError: it is not installed.
    """
    recorded = (info.context or {}).get("recorded")
    if not recorded and importlib.util.find_spec(module) is None:
        raise ValueError(
            f"{what} needs the package {module.replace('_', '-')}, which is not installed: "
            f"{install_hint('ragcore-bm25', extra)}"
        )


Stemmer = Annotated[str, AfterValidator(lambda word: _known(word, STEMMERS, "stemmer"))]


def _stopwords(language: str, info: ValidationInfo) -> str:
    """Check the name of a list of stop words, and that its package is there."""
    _known(language, STOPWORDS, "list of stop words")
    # The English list is the analyser's own.
    if language != "english":
        _require("stop_words", "languages", f"stopwords {language!r}", info)
    return language


StopwordList = Annotated[str, AfterValidator(_stopwords)]


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
    stemmer: Stemmer | None = Field(
        "english", description="words to their stems, by an algorithm of PyStemmer, such as german"
    )
    stopwords: StopwordList | None = Field(
        "english",
        description="words that do not count; lists but english's are of the package stop-words",
    )
    title_weight: int = Field(
        1, ge=0, le=1000, description="how many times the title's words count"
    )
    fuzzy: int = Field(
        0,
        ge=0,
        le=2,
        description="edits from a question's word that no passage has to words that some have",
    )
    backend: Literal["sparse", "rank-bm25"] = Field(
        "sparse", description="what computes the scores; rank-bm25 is for comparing with"
    )

    @model_validator(mode="after")
    def _can_be_fuzzy(self) -> Self:
        if self.fuzzy and self.backend == "rank-bm25":
            raise ValueError(
                "backend rank-bm25 cannot be fuzzy: set fuzzy to 0, or leave out backend"
            )
        if self.fuzzy == 2 and self.stemmer is not None and has_accents(self.stemmer):
            # Each of some 100,000 words would be stemmed in all the spellings that it may have.
            raise ValueError(
                f"fuzzy is at most 1 with stemmer {self.stemmer!r}, whose language writes accents: "
                "set fuzzy to 1, or stemmer to null"
            )
        return self

    @model_validator(mode="after")
    def _rank_bm25_has_it(self, info: ValidationInfo) -> Self:
        if self.backend == "rank-bm25" and self.variant not in ("okapi", "l", "plus"):
            raise ValueError(
                f"backend rank-bm25 has no variant {self.variant!r}, only okapi, l and plus: "
                "set variant to one of these, or leave out backend"
            )
        if self.backend == "rank-bm25":
            _require("rank_bm25", "rank-bm25", "backend rank-bm25", info)
        return self
