"""Which tokens may follow a prefix: lengths, forced and banned tokens, repeats, and constraints.

Works on token ids alone. Nothing is renormalised: what a rule forbids is skipped, and the log-prob
of what remains is the model's own.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Constraint", "DecodingOptions", "Rule", "rule"]


class Constraint(Protocol):
    """Narrows the answers to one question; grounding.py has one."""

    def allowed(self, prefix: tuple[int, ...]) -> Collection[int] | None:
        """The tokens that may follow a prefix, the end token among them; None for any."""
        ...


@dataclass(frozen=True, slots=True)
class DecodingOptions:
    """How to search; the same meanings as in the config section `rag`.

    Attributes:
        eos_token_id: the token that ends an answer.
        beams: prefixes kept; 1 is greedy.
        max_new_tokens: most tokens of an answer, its end token included.
        min_new_tokens: fewest tokens before the end token.
        length_penalty: hypotheses are ranked by log p / length ** length_penalty; 0 ranks by
            probability itself, which is what the paper's argmax means.
        no_repeat_ngram: no n-gram of this size twice in an answer; 0 allows all.
        forced_bos_token_id: the first token of every answer, or None.
        banned_openings: tokens that no answer may begin with, forced ones included.
    """

    eos_token_id: int
    beams: int = 4
    max_new_tokens: int = 32
    min_new_tokens: int = 0
    length_penalty: float = 0.0
    no_repeat_ngram: int = 0
    forced_bos_token_id: int | None = None
    banned_openings: frozenset[tuple[int, ...]] = frozenset()


@dataclass(frozen=True, slots=True)
class Rule:
    """The tokens that may follow one prefix: `only` these where it is not None, `never` those."""

    only: Collection[int] | None = None
    never: frozenset[int] = frozenset()


def rule(
    options: DecodingOptions, prefix: tuple[int, ...], constraint: Constraint | None = None
) -> Rule:
    """What may follow `prefix`.

    At the length limit the end token alone may, whatever else is asked. So may it where the rules
    together leave nothing: an answer then ends early rather than never.
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
    """The tokens that would end an n-gram of this size that `tokens` already holds."""
    opening = tokens[len(tokens) - size + 1 :] if size > 1 else ()
    if len(opening) < size - 1:
        return set()
    return {
        tokens[start + size - 1]
        for start in range(len(tokens) - size + 1)
        if tokens[start : start + size - 1] == opening
    }
