"""Hold what a search returns: the tokens of an answer with their log-probs and posteriors.

Knows plain numbers, and is imported without torch; knows nothing of how they were computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ragcore.decoding.rules import DecodingOptions

__all__ = ["Hypothesis", "Step", "shared_steps"]


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
    `log_prob`, and not below it (dropping.py). Where answers are drawn, `draws` are the numbers of
    those that came out as this one, from 0 (sampling.py).
    """

    steps: tuple[Step, ...] = ()
    log_prob: float = 0.0
    finished: bool = False
    dropped_mass: float = 0.0
    draws: tuple[int, ...] = ()

    @property
    def tokens(self) -> tuple[int, ...]:
        """Return the token ids; once finished, with what ended it."""
        return tuple(step.token for step in self.steps)

    def score(self, length_penalty: float, repetition_penalty: float = 1.0) -> float:
        """Compute what hypotheses are ranked by: log p / length ** length_penalty.

        The log p of a token that came before counts `repetition_penalty` times in this.
        """
        total = self.log_prob
        if repetition_penalty != 1:
            before: set[int] = set()
            for step in self.steps:
                if step.token in before:
                    total += (repetition_penalty - 1) * step.log_prob
                before.add(step.token)
        return total / float(max(len(self.steps), 1) ** length_penalty)

    def ends_with(self, token: int, options: DecodingOptions) -> bool:
        """Return whether the prefix is a complete answer with one more token."""
        if token == options.eos_token_id:
            return True
        return options.stops is not None and options.stops((*self.tokens, token))

    def followed_by(self, step: Step, finished: bool, dropped_mass: float) -> Hypothesis:
        """Return the prefix with one more token, and with its dropped mass."""
        return Hypothesis(
            (*self.steps, step), self.log_prob + step.log_prob, finished, dropped_mass
        )


def shared_steps(hypotheses: Sequence[Hypothesis]) -> tuple[Step, ...]:
    """Return the steps that all of these hypotheses, at least one, begin with."""
    shared = hypotheses[0].steps
    for hypothesis in hypotheses[1:]:
        length = 0
        for step, other in zip(shared, hypothesis.steps, strict=False):
            if step.token != other.token:
                break
            length += 1
        shared = shared[:length]
    return shared
