"""The retriever `rerank`: another retriever's best hits, scored anew by reading the passages.

Owns the other retriever and how deep it is asked; the scorer is shared with whoever else uses the
same, and loaded only when something is to be scored. It keeps no passages: the memory that it is
in hands them over (capability `passages`), so that they lie on disk once.

The other retriever is asked for `depth` hits, whatever k is: what is scored, and so the ranking,
does not change with k.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from pydantic import Field

from ragcore.contracts import PassageSource, Retriever, Scorer
from ragcore.errors import ComponentError, MemoryMismatchError, StoreCorruptError
from ragcore.registry.components import ComponentConfig, ComponentSpec
from ragcore.retrievers.members import ANY_HAS, PASSED_ON, ask, give_passages, give_scratch, require
from ragcore.types import MISSING_ROW, Hits, Passage

if TYPE_CHECKING:
    import numpy.typing as npt

    from ragcore.types import Rows


__all__ = ["Rerank"]

ABOUT: Final = "rerank.json"


class Rerank:
    """See `ragcore.contracts.Retriever`; scores are the scorer's, float32.

    Attributes:
        fingerprint: the other retriever's: scoring is no matter of building.
    """

    class Config(ComponentConfig):
        """What YAML may say of `{use: rerank}`."""

        retriever: ComponentSpec[Retriever] = Field(
            description="finds the passages that are scored"
        )
        scorer: ComponentSpec[Scorer] = Field(description="gives each question and passage a score")
        depth: int = Field(50, ge=1, description="passages scored for a question")

    def __init__(self, config: Config) -> None:
        self._config = config
        self._inner: Retriever = config.retriever.build()
        self._passages: PassageSource | None = None

    @property
    def capabilities(self) -> frozenset[str]:
        """What the other retriever can, `passages`, and `filter` whatever that can."""
        return (self._inner.capabilities & (PASSED_ON | ANY_HAS)) | {"filter", "passages"}

    @property
    def fingerprint(self) -> str:
        """The other retriever's: how its hits are scored may differ from opening to opening."""
        return self._inner.fingerprint

    @functools.cached_property
    def _scorer(self) -> Scorer:
        scorer: Scorer = self._config.scorer.shared()
        return scorer

    def __len__(self) -> int:
        return len(self._inner)

    def use_passages(self, passages: PassageSource) -> None:
        """Read what is scored from here, by row."""
        self._passages = passages
        give_passages(self._inner, passages)

    def use_scratch(self, folder: Path) -> int:
        """Let the other retriever work there: see `ScratchUser`."""
        return give_scratch(self._inner, folder / "retriever") or 0

    def add(self, rows: Rows, passages: Sequence[Passage]) -> None:
        """Add passages under rows [n] to the other retriever."""
        self._inner.add(rows, passages)

    def search(self, questions: Sequence[str], k: int, *, allowed: Rows | None = None) -> Hits:
        """The k best of `depth` hits by their new scores, [B, k], ties by row.

        Raises:
            ComponentError: k is less than 1, no passages were handed over, or the scorer broke its
                contract.
        """
        if k < 1:
            raise ComponentError(f"retriever 'rerank' was asked for {k} hits: ask for 1 or more")
        if self._passages is None:
            raise ComponentError(
                "retriever 'rerank' has no passages to read: search it in a memory, or hand them "
                "over by use_passages"
            )
        rows = np.full((len(questions), k), MISSING_ROW, np.int64)
        scores = np.full((len(questions), k), -np.inf, np.float32)
        depth = min(self._config.depth, len(self))
        if depth and len(questions):
            name = self._config.retriever.use
            found = ask(name, self._inner, "rerank", questions, depth, allowed).rows
            scored = self._scored(questions, found, self._passages)
            order = np.lexsort((found, -scored), axis=1)[:, :k]
            rows[:, :depth] = np.take_along_axis(found, order, axis=1)
            scores[:, :depth] = np.take_along_axis(scored, order, axis=1)
        return Hits(rows, scores)

    def remove(self, rows: Rows) -> None:
        """Forget rows.

        Raises:
            UnsupportedOperation: the other retriever has no capability `remove`.
        """
        require(self._config.retriever.use, self._inner, "remove", "rerank")
        self._inner.remove(rows)

    def save(self, folder: Path) -> None:
        """Write rerank.json, and what the other retriever writes into retriever/."""
        about = {"retriever": self._config.retriever.use}
        (folder / ABOUT).write_text(json.dumps(about) + "\n", encoding="utf-8")
        (folder / "retriever").mkdir()
        self._inner.save(folder / "retriever")

    @classmethod
    def load(cls, folder: Path, config: Config, *, mmap: bool = True) -> Rerank:
        """What `save` wrote; the scorer and the depth may differ from those at build time.

        Raises:
            MemoryMismatchError: another retriever wrote it.
            StoreCorruptError: rerank.json is missing or broken.
        """
        try:
            built_by = json.loads((folder / ABOUT).read_bytes())["retriever"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreCorruptError(
                f"{folder / ABOUT} cannot be read ({type(error).__name__}: {error}): rebuild this "
                "version of the memory"
            ) from error
        part = config.retriever
        if built_by != part.use:
            raise MemoryMismatchError(
                f"{folder} was built with retriever {built_by!r}, but the one in use is "
                f"{part.use!r}: rebuild the memory or set memory.retriever.retriever.use to "
                f"{built_by}"
            )
        loaded = cls(config)
        loaded._inner = part.component.load(folder / "retriever", part.config, mmap=mmap)
        return loaded

    def _scored(
        self, questions: Sequence[str], found: Rows, passages: PassageSource
    ) -> npt.NDArray[np.float32]:
        """The scores [B, depth] of rows; -inf where one is missing."""
        scored = np.full(found.shape, -np.inf, np.float32)
        exists = found != MISSING_ROW
        asked = [questions[at] for at in np.nonzero(exists)[0].tolist()]
        if asked:
            given = self._scorer.score(asked, passages.take(found[exists].tolist()))
            if np.shape(given) != (len(asked),) or not np.isfinite(given).all():
                raise ComponentError(
                    f"scorer {self._config.scorer.use!r} gave an array of shape {np.shape(given)} "
                    f"for {len(asked)} pairs, or a number that is not finite: expected one finite "
                    "score for each pair"
                )
            scored[exists] = given
        return scored
