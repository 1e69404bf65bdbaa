"""When an answer is right: SQuAD's normalisation, exact match, and a passage that holds an answer.

Knows texts alone. The normalisation is that of Rajpurkar et al. (2016), by which open-domain
question answering is scored, the paper's table 1 included.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from typing import Final

__all__ = ["exact_match", "holds_answer", "normalize", "same_answer"]

_ARTICLES: Final = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION: Final = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """Lower case, without ASCII punctuation and English articles, single-spaced.

    >>> normalize("The  N'Djamena, (a city)")
    'ndjamena city'
    """
    text = text.lower().translate(_NO_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def same_answer(one: str, other: str) -> bool:
    """Whether two answers are the same once normalised."""
    return normalize(one) == normalize(other)


def exact_match(answer: str, right: Sequence[str]) -> bool:
    """Whether an answer is one of the right ones."""
    return any(same_answer(answer, one) for one in right)


def holds_answer(text: str, right: Sequence[str]) -> bool:
    """Whether a passage's text holds one of the right answers, as whole words, normalised.

    An answer of which nothing is left once normalised is in no passage.
    """
    words = f" {normalize(text)} "
    wanted = (normalize(one) for one in right)
    return any(one and f" {one} " in words for one in wanted)
