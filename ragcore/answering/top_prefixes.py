"""Extend prefixes by the most probable tokens that each passage shows, with bounds on the rest.

A passage's distribution of the next token is known for its top tokens only. A token outside them
has at most the probability of the least of the top, and at most what the top leaves of 1:

    0 ≤ p(y_i|x,z,y_<i) ≤ min(least of the top, 1 − Σ top)

So both models have a lower and an upper bound, by which the sums are as those of prefixes.py:

    RAG-Token     Π_i Σ_z p(z|x) p(y_i|x,z,y_<i), each factor at most 1
    RAG-Sequence  Σ_z p(z|x) Π_i p(y_i|x,z,y_<i)

Tokens are ranked by the lower bound, and their union over the passages is searched; the difference
is a hypothesis's dropped mass. Where a top has the whole vocabulary, both bounds are the number
itself. A passage's most probable continuation tells the tops along it, so that the generator is
asked again only where a prefix leaves it.

Knows tokens by numbers of its own, 0 for the end; knows nothing of beams.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from ragcore.answering.prompting import PromptedQuestion
from ragcore.answering.text_checks import check_continuations
from ragcore.contracts import TopGenerator, TopToken, Writing, name_of
from ragcore.decoding.rules import Rule
from ragcore.marginalization import Marginal
from ragcore.process.cancellation import interruptible

__all__ = ["END", "TopPrefixes"]

END: Final = 0
"""The number of the token that ends an answer; all of a model's end tokens are one."""


@dataclass(frozen=True, slots=True)
class _Tops:
    """What is known of one distribution of the next token.

    Attributes:
        tokens: by their numbers, as they are written after this prefix.
        log_probs: by the token's number.
        rest: log of the highest probability that a token outside may have; -inf where none may.
    """

    tokens: dict[int, TopToken]
    log_probs: dict[int, float]
    rest: float

    def lower(self, token: int) -> float:
        """Return log of the least probability that a token may have."""
        return self.log_probs.get(token, -math.inf)

    def upper(self, token: int) -> float:
        """Return log of the highest probability that a token may have."""
        return self.log_probs.get(token, self.rest)


@dataclass(slots=True)
class _Vocabulary:
    """Numbers for the tokens that were seen; tokens are the same by id, or, without, by text."""

    numbers: dict[int | str, int] = field(default_factory=dict)
    tokens: list[TopToken] = field(default_factory=lambda: [TopToken("", 0.0, ends=True)])

    def number(self, token: TopToken) -> int:
        """Return the number of a token; a new one where it was not seen before."""
        if token.ends:
            # Of several end tokens the first that is seen stands for all.
            if self.tokens[END].id is None:
                self.tokens[END] = replace(token, text="")
            return END
        key = token.text if token.id is None else token.id
        if key not in self.numbers:
            self.numbers[key] = len(self.tokens)
            self.tokens.append(token)
        return self.numbers[key]


@dataclass(frozen=True, slots=True)
class _Prefix:
    """One prefix of an answer.

    Attributes:
        question: its number.
        tokens: their numbers.
        lower: log of the lower bound of each passage's weight in the next token, [k]: its prior
            for RAG-Token, p(z|x) p(y_<i|x,z) for RAG-Sequence.
        upper: the upper bounds.
        log_lower: log of the lower bound of its probability.
        log_upper: log of the upper bound.
    """

    question: int
    tokens: tuple[int, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    log_lower: float = 0.0
    log_upper: float = 0.0


class TopPrefixes:
    """Implements `ragcore.decoding.beam.PrefixModel` for generators of the tier `top`."""

    def __init__(
        self,
        generator: TopGenerator,
        questions: Sequence[PromptedQuestion],
        marginalize: Marginal,
        writing: Writing,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Begin with the empty prefix of each question.

        Args:
            generator: continues prefixes.
            questions: with their prompts and priors.
            marginalize: RAG-Token or RAG-Sequence.
            writing: how long an answer may be.
            check: called before each call of the generator; what it raises ends the search.
        """
        self._generator = generator
        self._questions = questions
        self._marginalize = marginalize
        self._writing = writing
        self._check = check
        self._vocabularies = [_Vocabulary() for _ in questions]
        self._known: dict[tuple[int, int, tuple[int, ...]], _Tops] = {}
        self._prefixes = []
        for number, question in enumerate(questions):
            log_prior = tuple(map(float, question.retrieved.log_prior))
            self._prefixes.append(_Prefix(number, (), log_prior, log_prior))

    def __len__(self) -> int:
        """Return n, the number of prefixes."""
        return len(self._prefixes)

    def candidates(self, rules: Sequence[Rule], width: int) -> list[list[tuple[int, float]]]:
        """Return the `width` tokens of highest lower bound after each prefix; see `PrefixModel`.

        Where the rules leave no token of the tops, the answer ends there. The log-prob of an end
        that no top has is -inf.

        Raises:
            GeneratorError: the generator does not answer, or its tops are no part of a
                distribution.
        """
        self._ask([(p.question, z, p.tokens) for p in self._prefixes for z in range(len(p.lower))])
        candidates = []
        for prefix, rule in zip(self._prefixes, rules, strict=True):
            tokens = {token for tops in self._tops(prefix) for token in tops.log_probs}
            if rule.only is not None:
                tokens &= set(rule.only)
            scored = [(token, self._bounds(prefix, token)[0]) for token in tokens - rule.never]
            possible = [each for each in scored if each[1] > -math.inf]
            ranked = sorted(possible, key=lambda each: (-each[1], each[0]))[:width]
            candidates.append(ranked or [(END, self._bounds(prefix, END)[0])])
        return candidates

    def posteriors(self, rows: Sequence[int], tokens: Sequence[int]) -> list[tuple[float, ...]]:
        """Compute p(z|x,y) by the lower bounds; 0 for all where no passage has the token."""
        posteriors = []
        for row, token in zip(rows, tokens, strict=True):
            prefix = self._prefixes[row]
            joint = [
                weight + tops.lower(token)
                for weight, tops in zip(prefix.lower, self._tops(prefix), strict=True)
            ]
            total = _log_sum(joint)
            posteriors.append(
                tuple(math.exp(log_p - total) if total > -math.inf else 0.0 for log_p in joint)
            )
        return posteriors

    def dropped_masses(
        self, rows: Sequence[int], tokens: Sequence[int], log_probs: Sequence[float]
    ) -> list[float]:
        """Compute by how much p(y|x) may exceed its lower bound; see `PrefixModel`."""
        followed = [self._followed(*each) for each in zip(rows, tokens, strict=True)]
        return [_difference(prefix.log_upper, prefix.log_lower) for prefix in followed]

    def extend(self, rows: Sequence[int], tokens: Sequence[int]) -> None:
        """Keep prefixes `rows`, in this order, each followed by its token; see `PrefixModel`."""
        self._prefixes = [self._followed(*each) for each in zip(rows, tokens, strict=True)]

    def written(self, question: int, tokens: Sequence[int]) -> list[TopToken]:
        """Return a question's tokens as they are written in this order; the end has no text."""
        passages = range(len(self._questions[question].prompts))
        written = []
        for length, number in enumerate(tokens):
            tops = [self._known.get((question, z, tuple(tokens[:length]))) for z in passages]
            # The text of a token may begin with a space, or not, by what is before it.
            here = [each.tokens[number] for each in tops if each and number in each.tokens]
            written.append(here[0] if here else self._vocabularies[question].tokens[number])
        return written

    def slack(self, question: int, tokens: Sequence[int]) -> tuple[tuple[float, ...], ...]:
        """Compute by how much each p(y_i|x,z,y_<i) may exceed its lower bound, [T][k].

        Args:
            question: its number.
            tokens: of a hypothesis that the search reached.
        """
        passages = range(len(self._questions[question].prompts))
        rows = []
        for length, token in enumerate(tokens):
            tops = [self._known[question, z, tuple(tokens[:length])] for z in passages]
            rows.append(tuple(_difference(each.upper(token), each.lower(token)) for each in tops))
        return tuple(rows)

    def _tops(self, prefix: _Prefix) -> list[_Tops]:
        """Return what is known of each passage's next token, [k]."""
        return [self._known[prefix.question, z, prefix.tokens] for z in range(len(prefix.lower))]

    def _bounds(self, prefix: _Prefix, token: int) -> tuple[float, float]:
        """Compute log of the bounds of p(y_i|x,y_<i), where a token follows a prefix."""
        followed = self._after(prefix, token)
        if followed.log_lower == -math.inf:
            return -math.inf, followed.log_upper - prefix.log_upper
        return followed.log_lower - prefix.log_lower, followed.log_upper - prefix.log_upper

    def _followed(self, row: int, token: int) -> _Prefix:
        return self._after(self._prefixes[row], token)

    def _after(self, prefix: _Prefix, token: int) -> _Prefix:
        """Return a prefix with one more token."""
        tops = self._tops(prefix)
        lower = tuple(w + each.lower(token) for w, each in zip(prefix.lower, tops, strict=True))
        upper = tuple(w + each.upper(token) for w, each in zip(prefix.upper, tops, strict=True))
        log_lower, log_upper = min(_log_sum(lower), 0.0), min(_log_sum(upper), 0.0)
        tokens = (*prefix.tokens, token)
        if self._marginalize == "sequence":
            return _Prefix(prefix.question, tokens, lower, upper, log_lower, log_upper)
        # The prior weighs each token again.
        return _Prefix(
            prefix.question,
            tokens,
            prefix.lower,
            prefix.upper,
            prefix.log_lower + log_lower,
            prefix.log_upper + log_upper,
        )

    def _ask(self, wanted: Sequence[tuple[int, int, tuple[int, ...]]]) -> None:
        """Let the generator continue the prefixes whose next token is not known, in one call."""
        unknown = list(dict.fromkeys(each for each in wanted if each not in self._known))
        if not unknown:
            return
        self._check()
        shortest = min(len(tokens) for _, _, tokens in unknown)
        with interruptible(self._check):
            continuations = self._generator.go_on(
                [self._questions[question].prompts[z] for question, z, _ in unknown],
                [self.written(question, tokens) for question, _, tokens in unknown],
                replace(self._writing, max_new_tokens=self._writing.max_new_tokens - shortest),
                [self._questions[question].meter for question, _, _ in unknown],
            )
        check_continuations(name_of(self._generator), len(unknown), continuations)
        for (question, z, tokens), continuation in zip(unknown, continuations, strict=True):
            for step in continuation.steps:
                self._known.setdefault((question, z, tokens), self._read(question, step))
                tokens = (*tokens, self._vocabularies[question].number(step[0]))

    def _read(self, question: int, step: Sequence[TopToken]) -> _Tops:
        """Return what a step tells of the next token."""
        tokens: dict[int, TopToken] = {}
        log_probs: dict[int, float] = {}
        for token in step:
            number = self._vocabularies[question].number(token)
            tokens.setdefault(number, replace(token, text="") if token.ends else token)
            # A model may have several end tokens: an answer ends by any of them.
            log_p = _log_sum([log_probs.get(number, -math.inf), token.log_prob])
            # What a server rounded up would make an answer more probable than 1.
            log_probs[number] = min(log_p, 0.0)
        others = [token.log_prob for token in step[1:]]
        # A token that had to be written may be less probable than some outside the top.
        least = min(others, default=step[0].log_prob)
        left = 1.0 - math.fsum(math.exp(token.log_prob) for token in step)
        return _Tops(tokens, log_probs, min(least, math.log(left)) if left > 0 else -math.inf)


def _log_sum(logs: Sequence[float]) -> float:
    """Compute log Σ exp; -inf where every term is 0."""
    largest = max(logs)
    if largest == -math.inf:
        return largest
    return largest + math.log(math.fsum(math.exp(log - largest) for log in logs))


def _difference(log_upper: float, log_lower: float) -> float:
    """Compute exp(log_upper) − exp(log_lower), at least 0, without cancellation."""
    if log_lower == -math.inf:
        return math.exp(log_upper)
    return max(0.0, math.exp(log_lower) * math.expm1(log_upper - log_lower))
