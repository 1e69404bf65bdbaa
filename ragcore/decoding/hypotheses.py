"""Hold what a search returns: the tokens of an answer with their log-probs and posteriors.

Knows plain numbers, and is imported without torch; knows nothing of how they were computed.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Hypothesis", "Step"]


@dataclass(frozen=True, slots=True)
class Step:
    """One token of a hypothesis.

    Attributes:
        token: its id.
        log_prob: log p(y_i|x,y_<i), marginalised over the passages.
        posterior: p(z|x,y_<=i) of each of the k passages; 0 where z is no longer decoded.
    """

    token: int
    log_prob: float
    posterior: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A prefix of an answer or, once `finished`, a complete answer, with its log-prob.

    Where passages were dropped, p(y|x) is at most `dropped_mass` above the exponential of
    `log_prob`, and not below it (dropping.py).
    """

    steps: tuple[Step, ...] = ()
    log_prob: float = 0.0
    finished: bool = False
    dropped_mass: float = 0.0

    @property
    def tokens(self) -> tuple[int, ...]:
        """Return the token ids, the end token included once finished."""
        return tuple(step.token for step in self.steps)

    def score(self, length_penalty: float) -> float:
        """Compute log p / length ** length_penalty, by which hypotheses are ranked."""
        return self.log_prob / float(max(len(self.steps), 1) ** length_penalty)

    def followed_by(self, step: Step, eos_token_id: int, dropped_mass: float) -> Hypothesis:
        """Return the prefix with one more token, and with its dropped mass."""
        return Hypothesis(
            (*self.steps, step),
            self.log_prob + step.log_prob,
            step.token == eos_token_id,
            dropped_mass,
        )
