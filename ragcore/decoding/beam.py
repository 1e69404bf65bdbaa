"""Beam search over prefixes of many answers at once, on token ids alone.

Knows nothing of passages. A `PrefixModel` is asked for the best next tokens, and told which
prefixes go on; RAG-Token and RAG-Sequence are two such models (token.py, sequence.py). Each answer
is searched for on its own; they share a batch, which those that are found leave.

The log-prob of a hypothesis is that of its tokens under the model, whatever rules narrowed the
search (rules.py). An answer is complete: its last token is the end token, charged like any other,
also at the length limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from ragcore.decoding.rules import Constraint, DecodingOptions, Rule, rule

__all__ = ["BeamSearch", "Hypothesis", "PrefixModel", "Step"]


class PrefixModel(Protocol):
    """The marginals of the next token after n prefixes, at first the empty one of each answer."""

    def __len__(self) -> int:
        """n, the number of prefixes."""
        ...

    def candidates(self, rules: Sequence[Rule], width: int) -> list[list[tuple[int, float]]]:
        """For each prefix at most `width` tokens that its rule allows, with their log-probs."""
        ...

    def posteriors(self, rows: Sequence[int], tokens: Sequence[int]) -> list[tuple[float, ...]]:
        """p(z|x,y) over the passages if tokens[i] follows prefix rows[i]."""
        ...

    def extend(self, rows: Sequence[int], tokens: Sequence[int]) -> None:
        """Keep prefixes `rows`, in this order, each followed by its token; one may come twice."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """One token of a hypothesis: its id, log-prob given the prefix, and the posterior after it."""

    token: int
    log_prob: float
    posterior: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A prefix, or once `finished` a whole answer, with its log-prob."""

    steps: tuple[Step, ...] = ()
    log_prob: float = 0.0
    finished: bool = False

    @property
    def tokens(self) -> tuple[int, ...]:
        """The token ids, the end token included once finished."""
        return tuple(step.token for step in self.steps)

    def score(self, length_penalty: float) -> float:
        """What hypotheses are ranked by."""
        return self.log_prob / float(max(len(self.steps), 1) ** length_penalty)

    def followed_by(self, step: Step, eos_token_id: int) -> Hypothesis:
        """The prefix with one more token."""
        return Hypothesis(
            (*self.steps, step), self.log_prob + step.log_prob, step.token == eos_token_id
        )


@dataclass(slots=True)
class _Race:
    """The search for one answer: the prefixes that go on, and the best answers so far."""

    options: DecodingOptions
    constraint: Constraint | None
    live: list[Hypothesis] = field(default_factory=lambda: [Hypothesis()])
    finished: list[Hypothesis] = field(default_factory=list)

    def rules(self) -> list[Rule]:
        """What may follow each live prefix."""
        return [rule(self.options, prefix.tokens, self.constraint) for prefix in self.live]

    def choose(self, candidates: Sequence[list[tuple[int, float]]]) -> list[tuple[int, int, float]]:
        """The continuations to keep, best first: live prefix, token, the token's log-prob."""
        beams, eos = self.options.beams, self.options.eos_token_id
        ranked = sorted(
            (
                (prefix.log_prob + log_prob, place, token, log_prob)
                for place, (prefix, found) in enumerate(zip(self.live, candidates, strict=True))
                for token, log_prob in found
            ),
            key=lambda candidate: candidate[0],
            reverse=True,
        )
        chosen: list[tuple[int, int, float]] = []
        going_on = 0
        # Of 2 · beams candidates at most `beams` end here, so that `beams` are left to go on.
        for rank, (_, place, token, log_prob) in enumerate(ranked[: 2 * beams]):
            if going_on == beams:
                break
            if token == eos and rank >= beams:
                continue
            chosen.append((place, token, log_prob))
            going_on += token != eos
        return chosen

    def grow(self, grown: Sequence[Hypothesis]) -> None:
        """Go on with these, and end if no live prefix can still beat the finished ones."""
        self.finished += [one for one in grown if one.finished]
        self.finished = self.best()
        self.live = [one for one in grown if not one.finished]
        if self._settled():
            self.live = []

    def best(self) -> list[Hypothesis]:
        """The finished hypotheses so far, best first."""
        return sorted(self.finished, key=self._score, reverse=True)[: self.options.beams]

    def _settled(self) -> bool:
        options = self.options
        if not self.live:
            return True
        if len(self.finished) < options.beams:
            return False
        if options.beams == 1:
            return True
        # A log-prob only falls as a prefix grows; a positive penalty forgives most at the limit.
        longest = options.max_new_tokens if options.length_penalty > 0 else len(self.live[0].steps)
        attainable = max(p.log_prob for p in self.live) / float(longest**options.length_penalty)
        return attainable <= min(map(self._score, self.finished))

    def _score(self, hypothesis: Hypothesis) -> float:
        return hypothesis.score(self.options.length_penalty)


class BeamSearch:
    """Searches under way, one for each answer: `advance()` until it says that all are done."""

    def __init__(
        self,
        model: PrefixModel,
        options: DecodingOptions,
        constraints: Sequence[Constraint | None] | None = None,
    ) -> None:
        """Begin a search from each of the model's prefixes, each with its constraint if any."""
        self._model = model
        self._options = options
        self._races = [
            _Race(options, constraint) for constraint in constraints or [None] * len(model)
        ]
        self._pending: tuple[list[int], list[int]] = ([], [])

    def run(self) -> list[list[Hypothesis]]:
        """Search to the end; for each answer its finished hypotheses, best first."""
        while self.advance():
            pass
        return [race.best() for race in self._races]

    def decided(self, place: int = 0) -> tuple[Step, ...]:
        """The steps of one answer that all its hypotheses still in the race share: they stay."""
        race = self._races[place]
        racing = [*race.live, *race.finished] if race.live else race.best()[:1]
        shared = racing[0].steps
        for other in racing[1:]:
            agreed = 0
            for mine, theirs in zip(shared, other.steps, strict=False):
                if mine.token != theirs.token:
                    break
                agreed += 1
            shared = shared[:agreed]
        return shared

    @torch.no_grad()
    def advance(self) -> bool:
        """Extend every live prefix by one token; False once no search goes on."""
        running = [race for race in self._races if race.live]
        if not running:
            return False
        if self._pending[0]:
            self._model.extend(*self._pending)
        rules = [one for race in running for one in race.rules()]
        found = self._model.candidates(rules, 2 * self._options.beams)
        chosen: list[list[tuple[int, int, float]]] = []
        begins: list[int] = []
        begin = 0
        for race in running:
            chosen.append(race.choose(found[begin : begin + len(race.live)]))
            begins.append(begin)
            begin += len(race.live)
        rows = [
            first + place
            for first, kept in zip(begins, chosen, strict=True)
            for place, _, _ in kept
        ]
        tokens = [token for kept in chosen for _, token, _ in kept]
        posteriors = iter(self._model.posteriors(rows, tokens))
        self._pending = ([], [])
        for race, first, kept in zip(running, begins, chosen, strict=True):
            grown = [
                race.live[place].followed_by(
                    Step(token, log_prob, next(posteriors)), self._options.eos_token_id
                )
                for place, token, log_prob in kept
            ]
            race.grow(grown)
            if race.live:
                going_on = [one for one in kept if one[1] != self._options.eos_token_id]
                self._pending[0].extend(first + place for place, _, _ in going_on)
                self._pending[1].extend(token for _, token, _ in going_on)
        return bool(self._pending[0])
