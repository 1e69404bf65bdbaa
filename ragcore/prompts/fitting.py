"""Cut a passage to fit a generator's input, next to a question that is never cut.

Knows texts and counts of tokens, which functions give; knows nothing of tokenizers or models.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from ragcore.errors import QuestionError
from ragcore.types import Passage

__all__ = ["CutWarning", "even_shares", "fit_passage", "fit_passages", "question_fault"]

_LOG: Final = logging.getLogger(__name__)


class CutWarning:
    """Warns once that a generator cuts passages; safe to use from several threads."""

    def __init__(self, model: str) -> None:
        """Take the model's name, for the warning."""
        self._model = model
        self._warned = False

    def __call__(self, passage: Passage | None, length: int, limit: int) -> None:
        """Warn at the first call with a passage.

        Args:
            passage: what was cut.
            length: in tokens, with its question and what the template adds.
            limit: the most tokens that the model reads.
        """
        if self._warned or passage is None:
            return
        self._warned = True
        _LOG.warning(
            "model %r reads at most %d tokens, and passage %r with its question has %d: what is "
            "too long is cut, here and from now on; build the memory from shorter passages, or set "
            "max_input_tokens where the model is named, if it can read more",
            self._model,
            limit,
            passage.id,
            length,
        )

    def together(self, count: int, length: int, limit: int) -> None:
        """Warn at the first call, of passages in one prompt.

        Args:
            count: how many passages were cut.
            length: of the prompt, in tokens.
            limit: the most tokens that the model reads.
        """
        if self._warned or not count:
            return
        self._warned = True
        _LOG.warning(
            "model %r reads at most %d tokens, and %d passages in one prompt have %d with their "
            "question: each of them is cut, here and from now on; lower rag.k, build the memory "
            "from shorter passages, or set max_input_tokens where the model is named, if it can "
            "read more",
            self._model,
            limit,
            count,
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
        raise _overlong(model, question, len(bare), limit)
    parts = {"title": passage.title, "text": passage.text}
    ids = ids_of(parts["title"], parts["text"])
    for name in ("text", "title"):
        whole = parts[name]
        ends = ends_of(whole)
        length = len(ends)
        while len(ids) > limit and length:
            length = max(0, length - (len(ids) - limit))
            parts[name] = whole[: ends[length - 1]] if length else ""
            ids = ids_of(parts["title"], parts["text"])
    return ids


def fit_passages(
    model: str,
    question: str,
    passages: Sequence[Passage],
    limit: int,
    ids_of: Callable[[Sequence[Passage]], list[int]],
    ends_of: Callable[[str], list[int]],
) -> list[int]:
    """Return ids of at most `limit` tokens: the longest texts are cut first, to the same length.

    Where texts alone leave no room titles are cut, too, and then the last passages left out.

    Args:
        model: its name, for the error.
        question: is never cut.
        passages: what may be cut, in one prompt.
        limit: the most tokens that the model reads.
        ids_of: gives the ids for passages; for none, those with the question alone.
        ends_of: gives the end of each token in a text.

    Raises:
        QuestionError: the question does not fit even without passages.
    """
    bare = ids_of(())
    if len(bare) > limit:
        raise _overlong(model, question, len(bare), limit)
    cut = list(passages)
    ids = ids_of(cut)
    for name in ("text", "title"):
        ends = [ends_of(getattr(passage, name)) for passage in passages]
        lengths = list(map(len, ends))
        room = sum(lengths)
        while len(ids) > limit and room:
            room = max(0, room - (len(ids) - limit))
            shares = even_shares(lengths, room)
            for number, (passage, share) in enumerate(zip(passages, shares, strict=True)):
                end = ends[number][share - 1] if share else 0
                cut[number] = replace(cut[number], **{name: getattr(passage, name)[:end]})
            ids = ids_of(cut)
    while len(ids) > limit:
        cut.pop()
        ids = ids_of(cut)
    return ids


def even_shares(lengths: Sequence[int], room: int) -> list[int]:
    """Divide room evenly among lengths; what a short one does not need is the others'.

    >>> even_shares([2, 10, 10], 12)
    [2, 5, 5]
    """
    shares = [0] * len(lengths)
    # The shortest first: what it leaves is shared by those after it.
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    for number, index in enumerate(order):
        shares[index] = min(lengths[index], room // (len(lengths) - number))
        room -= shares[index]
    return shares


def _overlong(model: str, question: str, length: int, limit: int) -> QuestionError:
    return QuestionError(
        f"the question is {length} tokens long, with what the template adds, and model {model!r} "
        f"reads at most {limit}: a question is never cut, so ask a shorter one (it begins "
        f"{question[:60]!r})"
    )
