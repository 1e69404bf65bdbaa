"""What retrievers that are made of other retrievers share: how a member is asked, what it can.

Knows nothing of what is done with the hits (`hybrid.py`, `rerank.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from ragcore.contracts import PassageReader, PassageSource, Retriever, ScratchUser
from ragcore.errors import ComponentError, UnsupportedOperation
from ragcore.retrievers.hits import empty_hits, search_deeper
from ragcore.types import MISSING_ROW, Hits

if TYPE_CHECKING:
    from ragcore.types import Rows


__all__ = ["ANY_HAS", "PASSED_ON", "ask", "give_passages", "give_scratch", "require"]

PASSED_ON: Final = frozenset({"add", "mmap", "remove"})
"""Capabilities that whoever is made of other retrievers has if these have them.

Not `exact`: what is fused or scored anew is what the members were asked for, not all passages."""

ANY_HAS: Final = frozenset({"passages", "scratch"})
"""Capabilities that it has if any of these has them."""


def require(name: str, member: Retriever, capability: str, whole: str) -> None:
    """Refuse what a member cannot do.

    Args:
        name: the member's, as a user knows it.
        member: who is to do it.
        capability: what it must declare.
        whole: the name of the retriever that it is a member of.

    Raises:
        UnsupportedOperation: it does not declare it.
    """
    if capability not in member.capabilities:
        raise UnsupportedOperation.of(f"retriever {name!r}, and so the {whole} of it,", capability)


def give_passages(member: Retriever, passages: PassageSource) -> None:
    """Hand passages to a member if it reads them."""
    if "passages" in member.capabilities:
        cast(PassageReader, member).use_passages(passages)


def give_scratch(member: Retriever, folder: Path) -> int | None:
    """Let a member work in a new folder if it can; for how many passages it has nothing to do."""
    if "scratch" not in member.capabilities:
        return None
    folder.mkdir(exist_ok=True)
    return cast(ScratchUser, member).use_scratch(folder)


def ask(
    name: str,
    member: Retriever,
    whole: str,
    questions: Sequence[str],
    k: int,
    allowed: Rows | None,
) -> Hits:
    """What a member finds, [B, k], each row once; `name` and `whole` as in `require`.

    Where it cannot filter, the allowed ones are taken out of its ranking, as deep as they lie.

    Raises:
        ComponentError: it breaks its contract.
    """

    def ranking(questions: Sequence[str], depth: int) -> Hits:
        return _checked(name, whole, member.search(questions, depth), len(questions), depth)

    if allowed is None:
        return ranking(questions, k)
    if "filter" in member.capabilities:
        hits = member.search(questions, k, allowed=allowed)
        return _checked(name, whole, hits, len(questions), k)
    rows = np.unique(np.asarray(allowed, np.int64))
    if not len(rows):
        return empty_hits(len(questions), k)
    exact = "exact" in member.capabilities
    return search_deeper(ranking, len(member), questions, k, rows, exact=exact)


def _checked(name: str, whole: str, hits: Hits, count: int, k: int) -> Hits:
    """Hits of `count` questions that keep the contract."""
    if hits.rows.shape != (count, k):
        raise ComponentError(
            f"retriever {name!r} of a {whole} gave hits of shape {hits.rows.shape}: expected "
            f"({count}, {k})"
        )
    rows = np.sort(hits.rows, axis=1)
    twice = (rows[:, 1:] == rows[:, :-1]) & (rows[:, 1:] != MISSING_ROW)
    if twice.any():
        raise ComponentError(
            f"retriever {name!r} of a {whole} gave row {rows[:, 1:][twice][0]} twice: expected "
            "each row once"
        )
    return hits
