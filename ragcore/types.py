"""The plain values that travel through ragcore: passages, hits, evidence, answers.

They know nothing of who makes or reads them. Each is frozen; arrays are not copied, so whoever
receives one treats it as read-only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Rows = npt.NDArray[np.int64]
    """Row numbers of passages or vectors, int64."""
    Scores = npt.NDArray[np.float32]
    Vectors = npt.NDArray[np.float32]
    """One vector a line, float32 [n, d]."""

__all__ = ["MISSING_ROW", "Answer", "Evidence", "Hits", "Passage", "Token", "Word"]

MISSING_ROW: Final = -1
"""The row of a hit that does not exist; its score is minus infinity."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of text that can be retrieved: what the paper calls a document z."""

    id: str
    title: str
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hits:
    """What a search found, best first.

    Attributes:
        rows: int64 [B, k], rows of passages; `MISSING_ROW` where fewer than k were found.
        scores: float32 [B, k], descending; -inf where the row is missing.

    Raises:
        ComponentError: shapes differ, a score is NaN, scores rise, or a missing row comes before
            an existing one.
    """

    rows: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]

    @classmethod
    def empty(cls, count: int, k: int) -> Hits:
        """Return hits [count, k] of which every one is missing."""
        import numpy as np

        rows = np.full((count, k), MISSING_ROW, np.int64)
        return cls(rows, np.full((count, k), -np.inf, np.float32))

    def __post_init__(self) -> None:
        import numpy as np

        whole = self.rows.ndim == 2 and self.rows.shape == self.scores.shape and self.rows.size
        # Most hits are all there and in order, and a search may take no longer than this check.
        if (
            whole
            and self.rows.min() >= 0
            and np.isfinite(self.scores).all()
            and (self.scores[:, 1:] <= self.scores[:, :-1]).all()
        ):
            return
        from ragcore.errors import ComponentError

        if self.rows.ndim != 2 or self.rows.shape != self.scores.shape:
            raise ComponentError(
                f"hits have rows of shape {self.rows.shape} and scores of shape "
                f"{self.scores.shape}: both must be [B, k]"
            )
        if np.isnan(self.scores).any():
            raise ComponentError(
                "hits contain NaN scores: a retriever must give finite scores for rows that exist"
            )
        missing = self.rows == MISSING_ROW
        if not (np.isneginf(self.scores) == missing).all() or np.isposinf(self.scores).any():
            raise ComponentError(
                "hits must have a finite score for each row that exists, and row -1 with score "
                "-inf for each that does not"
            )
        # Compared pairwise, not subtracted: -inf minus -inf would be NaN.
        if (self.scores[:, 1:] > self.scores[:, :-1]).any():
            raise ComponentError("hits are not sorted: scores must descend along each row")


@dataclass(frozen=True, slots=True)
class Word:
    """How a generator writes one word of a passage's text, or a part of one, in an answer.

    An answer out of the passage is one word that `opens` it, then words that do not, each starting
    where the one before it ends.

    Attributes:
        start: character offset in the text where it starts; for a word that does not open an
            answer the end of the word before it, white space between them included.
        end: where it ends; an answer may end here.
        tokens: its ids in the generator's vocabulary, at least one, no end token.
        opens: whether an answer may begin with it. The same word is often written otherwise at the
            beginning of an answer than within it, and is then two words here.
    """

    start: int
    end: int
    tokens: tuple[int, ...]
    opens: bool


@dataclass(frozen=True, slots=True)
class Evidence:
    """One passage that an answer was read from.

    Attributes:
        passage: the passage.
        score: the retriever's raw score.
        prior: p(z|x), the softmax over the passages that were found; with `rag.abstain`, among
            those that do not abstain (ragcore/decoding/abstention.py).
        posterior: p(z|x,y) for RAG-Sequence. For RAG-Token, which has no single z, the mean over
            the answer's tokens of p(z|x,y_<=i) (the paper's figure 2, averaged).
        spans: with `rag.grounded`, where the answer stands in the passage's text: character
            offsets [start, end) of each place, in order.
    """

    passage: Passage
    score: float
    prior: float
    posterior: float
    spans: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a streamed answer.

    Attributes:
        text: the piece of text that this token adds to the answer.
        log_prob: log of the marginal probability of this token given those before it.
        posterior: p(z|x,y_<=i) for each passage found, in order of the evidence; sums to 1.
    """

    text: str
    log_prob: float
    posterior: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A whole answer that the search came to, with all that weighing it anew takes.

    Attributes:
        token_ids: end-of-sequence included.
        token_log_probs: log of the marginal probability of each token given those before it.
        priors: the prior that was marginalised over, of each passage found; sums to 1.
        posteriors: `[tokens][passages]`, as `Answer.token_posteriors`.
        spans: for each passage, as `Evidence.spans`.
    """

    token_ids: tuple[int, ...]
    token_log_probs: tuple[float, ...]
    priors: tuple[float, ...]
    posteriors: tuple[tuple[float, ...], ...]
    spans: tuple[tuple[tuple[int, int], ...], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with its probability and what it rests on.

    Attributes:
        question: as it was asked.
        text: the answer; in the spelling of the passage that supports it best where it is found
            there.
        log_prob: log p(y|x), marginalised over the passages (paper, section 2.1), end-of-sequence
            included.
        evidence: the passages, by falling prior.
        memory: the version of the memory that was read.
        tokens: the decoded tokens, end-of-sequence included.
        token_posteriors: `[tokens][passages]`, p(z|x,y_<=i); rows sum to 1. For RAG-Sequence row i
            is the posterior after the prefix y_1..i.
        token_ids: the ids of `tokens`, in the generator's vocabulary.
        candidates: the answers that the search came to, best first, this one at the head; more
            than one with beams, or by thorough and fast decoding. See `Rag.without`.
        abstention: with `rag.abstain` the abstaining answer, over the prior as it was found.
    """

    question: str
    text: str
    log_prob: float
    evidence: tuple[Evidence, ...]
    memory: str
    tokens: tuple[str, ...]
    token_posteriors: tuple[tuple[float, ...], ...]
    token_ids: tuple[int, ...]
    candidates: tuple[Candidate, ...] = field(default=(), repr=False, compare=False)
    abstention: Candidate | None = field(default=None, repr=False, compare=False)

    @property
    def closed_book(self) -> bool:
        """Whether no passage was found, so that the generator answered alone."""
        return not self.evidence

    def to_dict(self) -> dict[str, Any]:
        """The answer as plain JSON-ready values, without the candidates."""
        from dataclasses import asdict, replace

        row = asdict(replace(self, candidates=(), abstention=None))
        del row["candidates"], row["abstention"]
        row["closed_book"] = self.closed_book
        for piece, source in zip(row["evidence"], self.evidence, strict=True):
            piece["passage"]["metadata"] = dict(source.passage.metadata)
        return row
