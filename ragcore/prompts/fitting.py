"""Cut a passage to fit a generator's input, next to a question that is never cut.

Knows texts and counts of tokens, which functions give; knows nothing of tokenizers or models.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from ragcore.errors import QuestionError
from ragcore.types import Passage

__all__ = ["CutWarning", "fit_passage", "question_fault"]

_LOG: Final = logging.getLogger(__name__)


class CutWarning:
    """Warns once that a generator cuts passages; safe to use from several threads."""

    def __init__(self, model: str) -> None:
        """Take the model's name, for the warning."""
        self._model = model
        self._given = False

    def __call__(self, passage: Passage | None, length: int, limit: int) -> None:
        """Warn at the first call with a passage.

        Args:
            passage: what was cut.
            length: in tokens, with its question and what the template adds.
            limit: the most tokens that the model reads.
        """
        if self._given or passage is None:
            return
        self._given = True
        _LOG.warning(
            "model %r reads at most %d tokens, and passage %r with its question has %d: what is "
            "too long is cut, here and from now on; build the memory from shorter passages, or set "
            "the generator's max_input_tokens if the model can read more",
            self._model,
            limit,
            passage.id,
            length,
        )


def question_fault(length: int, limit: int) -> str | None:
    """Say why a question of this length, with what the template adds, cannot be read.

    Args:
        length: in tokens, with an empty passage.
        limit: the most tokens that the model reads.
    """
    if length <= limit:
        return None
    return (
        f"the question is {length} tokens long, with what the template adds, and the model reads "
        f"at most {limit}"
    )


def fit_passage(
    model: str,
    question: str,
    passage: Passage | None,
    bare: list[int],
    limit: int,
    ids_of: Callable[[str, str], list[int]],
    ends_of: Callable[[str], list[int]],
) -> list[int]:
    """Return ids of at most `limit` tokens: the passage's text is cut first, then its title.

    The text is cut, not the ids: so the model reads what tokenizing the shorter text gives, and
    what the template puts after the passage stays whole.

    Args:
        model: its name, for the error.
        question: is never cut.
        passage: what may be cut, if there is one.
        bare: the ids with the question alone, or with an empty passage.
        limit: the most tokens that the model reads.
        ids_of: gives the ids for a title and a text.
        ends_of: gives the end of each token in a text.

    Raises:
        QuestionError: the question does not fit even without its passage.
    """
    if passage is None or len(bare) > limit:
        raise QuestionError(
            f"the question is {len(bare)} tokens long, with what the template adds, and model "
            f"{model!r} reads at most {limit}: a question is never cut, so ask a shorter one (it "
            f"begins {question[:60]!r})"
        )
    parts = {"title": passage.title, "text": passage.text}
    ids = ids_of(parts["title"], parts["text"])
    for name in ("text", "title"):
        whole = parts[name]
        ends = ends_of(whole)
        kept = len(ends)
        while len(ids) > limit and kept:
            kept = max(0, kept - (len(ids) - limit))
            parts[name] = whole[: ends[kept - 1]] if kept else ""
            ids = ids_of(parts["title"], parts["text"])
    return ids
