"""What generators give: next-token probabilities, scores of texts, or texts alone.

Knows the names of these tiers, and what is known of an answer by the lesser ones: votes, and what
a server counted.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final, Literal, get_args

__all__ = ["TIERS", "Meter", "Tier", "Usage", "Vote"]

Tier = Literal["steps", "score", "top", "text"]
"""What a generator gives, from which follows what can be computed exactly.

- steps: log-probs of the whole vocabulary at each step. Everything.
- score: texts, and the log-probs of given texts. RAG-Sequence and RAG-Token of candidates.
- top: the most probable tokens of each step with their log-probs. RAG-Token, with a bound.
- text: texts alone. Votes of the passages, weighted by the prior; no probability.
"""

TIERS: Final[tuple[Tier, ...]] = get_args(Tier)
"""All tiers, from the one that gives most to the one that gives least."""


@dataclass(frozen=True, slots=True)
class Vote:
    """One of the different answers that a generator of texts gave for a question's passages.

    Attributes:
        text: the answer, as it was given for the passage of highest prior among its passages.
        share: the sum of the priors of its passages; not a probability of the answer. With
            `rag.sample`, its share of the draws, which estimates p(y|x).
        passage_ids: of the passages for which it was given, by falling prior.
    """

    text: str
    share: float
    passage_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Usage:
    """What answering one question cost at a generator behind an API, as its server counted it.

    Attributes:
        requests: sent, those that were sent again included.
        prompt_tokens: read; None where the server does not say.
        completion_tokens: written; None where the server does not say.
        fingerprints: of the server's configurations that answered (`system_fingerprint`), sorted.
        seed: that was sent; None where the server takes none. With `rag.sample`, the one that the
            seeds of the draws were derived from.
    """

    requests: int
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    fingerprints: tuple[str, ...] = ()
    seed: int | None = None

    def __add__(self, other: Usage) -> Usage:
        """Return what both cost together, with the seed of this one."""
        return Usage(
            self.requests + other.requests,
            _sum(self.prompt_tokens, other.prompt_tokens),
            _sum(self.completion_tokens, other.completion_tokens),
            tuple(sorted({*self.fingerprints, *other.fingerprints})),
            self.seed,
        )


class Meter:
    """Counts what one question costs; safe to add to from several threads."""

    def __init__(self, seed: int | None = None) -> None:
        """Begin at 0; the seed is that of the question's requests."""
        self._lock = threading.Lock()
        self._requests = 0
        self._prompt_tokens: int | None = 0
        self._completion_tokens: int | None = 0
        self._fingerprints: set[str] = set()
        self._seed = seed

    def add(
        self,
        *,
        requests: int = 1,
        prompt_tokens: int | None = None,
        completion_tokens: int | None = None,
        fingerprint: str | None = None,
    ) -> None:
        """Add a reply of a server: the requests it took, and what the server counted."""
        with self._lock:
            self._requests += requests
            self._prompt_tokens = _sum(self._prompt_tokens, prompt_tokens)
            self._completion_tokens = _sum(self._completion_tokens, completion_tokens)
            if fingerprint:
                self._fingerprints.add(fingerprint)

    def usage(self) -> Usage:
        """Return the sums so far; a sum with an unknown number in it is unknown."""
        with self._lock:
            return Usage(
                self._requests,
                self._prompt_tokens,
                self._completion_tokens,
                tuple(sorted(self._fingerprints)),
                self._seed,
            )


def _sum(total: int | None, count: int | None) -> int | None:
    return None if total is None or count is None else total + count
