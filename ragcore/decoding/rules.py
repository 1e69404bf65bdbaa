"""Decide which tokens may follow a prefix: lengths, forced and banned tokens, repeats, constraints.

Knows token ids; knows nothing of models or passages. Nothing is renormalised: forbidden tokens are
skipped, and the log-probs of the others remain the model's. So it is with the repetition penalty,
by which answers are ranked or drawn: no log-prob has it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Constraint", "DecodingOptions", "Rule", "rule"]


class Constraint(Protocol):
    """Restricts the answers to one question; `Grounding` (grounding.py) is one."""

    def allowed(self, prefix: tuple[int, ...]) -> Collection[int] | None:
        """Return the tokens that may follow a prefix, the end token included; None for any."""
        ...


@dataclass(frozen=True, slots=True)
class DecodingOptions:
    """Settings of the search; they mean the same as in the config section `rag`.

    Attributes:
        eos_token_id: the token that ends an answer.
        beams: prefixes that the search carries; 1 is greedy.
        max_new_tokens: the most tokens of an answer, its end token included.
        min_new_tokens: the fewest tokens before the end token.
        length_penalty: hypotheses are ranked by log p / length ** length_penalty; 0 ranks by
            probability itself, as the paper's argmax does.
        repetition_penalty: where hypotheses are ranked, or tokens drawn, the log p of a token that
            the answer has already counts so many times; 1 for as it is.
        no_repeat_ngram: no n-gram of this size occurs twice in an answer; 0 allows all.
        forced_bos_token_id: the first token of every answer, or None.
        banned_openings: token sequences that no answer may begin with; a forced first token is
            part of them.
        stops: whether an answer ends with these tokens, though they do not end with the end token;
            None where the end token alone ends it. Such an answer's log p has no end token.
    """

    eos_token_id: int
    beams: int = 4
    max_new_tokens: int = 32
    min_new_tokens: int = 0
    length_penalty: float = 0.0
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0
    forced_bos_token_id: int | None = None
    banned_openings: frozenset[tuple[int, ...]] = frozenset()
    stops: Callable[[tuple[int, ...]], bool] | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """The tokens that may follow one prefix.

    Attributes:
        only: these tokens alone may follow; None for any.
        never: none of these may follow.
    """

    only: Collection[int] | None = None
    never: frozenset[int] = frozenset()


def rule(
    options: DecodingOptions, prefix: tuple[int, ...], constraint: Constraint | None = None
) -> Rule:
    """Say which tokens may follow `prefix`.

    At the length limit the end token alone may follow, even if another rule forbids it. The same
    holds where the rules together leave no token: the answer then ends early rather than never.
    """
    length, eos = len(prefix), frozenset({options.eos_token_id})
    if length + 1 >= options.max_new_tokens:
        return Rule(only=eos)
    if length == 0 and options.forced_bos_token_id is not None:
        return Rule(only=frozenset({options.forced_bos_token_id}))
    never: set[int] = set()
    if length < options.min_new_tokens:
        never |= eos
    never |= {opening[-1] for opening in options.banned_openings if opening[:-1] == prefix}
    if options.no_repeat_ngram:
        never |= _repeating(prefix, options.no_repeat_ngram)
    only = None if constraint is None else constraint.allowed(prefix)
    if only is not None and not set(only) - never:
        return Rule(only=eos)
    return Rule(only, frozenset(never))


def _repeating(tokens: tuple[int, ...], size: int) -> set[int]:
    """Return the tokens that would complete an n-gram of this size that `tokens` has already."""
    opening = tokens[len(tokens) - size + 1 :] if size > 1 else ()
    if len(opening) < size - 1:
        return set()
    return {
        tokens[start + size - 1]
        for start in range(len(tokens) - size + 1)
        if tokens[start : start + size - 1] == opening
    }
