"""The package rank-bm25 as a backend: the reference for its three variants, slow and exact.

It computes in float64 from each passage's own terms, again for each question. Knows terms by number
and passages by position, as `ragcore.postings` does, and answers as that does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ragcore.errors import ComponentError
from ragcore.postings import best
from ragcore.registry.installation import install_hint
from ragcore_bm25.counts import Counts
from ragcore_bm25.variants import Formula

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Yardstick", "require_rank_bm25"]

_CLASSES: Final = {"okapi": "BM25Okapi", "l": "BM25L", "plus": "BM25Plus"}


def require_rank_bm25() -> Any:
    """Import the package rank-bm25.

    Raises:
        ComponentError: it is not installed.
    """
    try:
        import rank_bm25  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ModuleNotFoundError as error:
        raise ComponentError(
            "retriever 'bm25': backend rank-bm25 needs the package rank-bm25, which is not "
            f"installed: {install_hint('ragcore-bm25', 'rank-bm25')}, or leave out 'backend'"
        ) from error
    return rank_bm25


class Yardstick:
    """Search with rank-bm25, over passages whose terms are counted."""

    def __init__(self, counts: Counts, formula: Formula) -> None:
        module = require_rank_bm25()
        self._counts = counts
        # It divides by the number of terms, so it cannot be built if no passage has any.
        self._ranker = None
        if len(counts.positions):
            extra = (
                {"epsilon": formula.epsilon}
                if formula.variant == "okapi"
                else {"delta": formula.delta}
            )
            ranker = getattr(module, _CLASSES[formula.variant])
            self._ranker = ranker(_documents(counts), k1=formula.k1, b=formula.b, **extra)

    def search(
        self, terms: Sequence[int], k: int, kept: npt.NDArray[np.bool_] | None
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Search as `Postings.search` does."""
        nothing = np.float32(-np.inf)
        scores = np.full(len(self._counts), nothing)
        if self._ranker is not None:
            bounds = self._counts.bounds
            parts = [self._counts.positions[bounds[term] : bounds[term + 1]] for term in terms]
            holders = np.concatenate(parts)
            # With b = 1 a passage without terms has the score 0 / 0; it is no hit.
            with np.errstate(invalid="ignore"):
                scores[holders] = self._ranker.get_scores(terms)[holders]
        if kept is not None:
            scores[~kept] = nothing
        return best(scores, k, nothing, np.float32(0))


def _documents(counts: Counts) -> list[list[int]]:
    """Return each passage's terms by number; scores do not depend on their order."""
    terms = np.repeat(np.arange(counts.terms), counts.document_frequencies)
    tokens = np.repeat(terms, counts.frequencies)
    holders = np.repeat(counts.positions, counts.frequencies)
    ordered = tokens[np.argsort(holders, kind="stable")]
    cuts = np.cumsum(counts.lengths)[:-1]
    return [part.tolist() for part in np.split(ordered, cuts)]
