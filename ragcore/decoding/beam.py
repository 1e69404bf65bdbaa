"""Search with beams over prefixes of many answers in one batch, on token ids alone.

Knows nothing of passages. A `PrefixModel` proposes the best next tokens, and is told which prefixes
to extend; RAG-Token and RAG-Sequence are two such models (token.py, sequence.py). Each answer has a
search of its own; the searches share a batch, and leave it when they end.

The log-prob of a hypothesis is that of its tokens under the model, also where rules narrowed the
search (rules.py). An answer is complete: its last token is the end token, whose log-prob counts
like any other's, also at the length limit; or its text has come to a stop string.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from ragcore.arrays import without_gradient
from ragcore.decoding.hypotheses import Hypothesis, Step, shared_steps
from ragcore.decoding.rules import Constraint, DecodingOptions, Rule, rule

__all__ = ["BeamSearch", "PrefixModel"]


class PrefixModel(Protocol):
    """The marginal distribution of the next token after each of n prefixes.

    It starts with the empty prefix of each answer.
    """

    def __len__(self) -> int:
        """Return n, the number of prefixes."""
        ...

    def candidates(self, rules: Sequence[Rule], width: int) -> list[list[tuple[int, float]]]:
        """Return for each prefix at most `width` tokens that its rule allows, with log-probs."""
        ...

    def posteriors(self, rows: Sequence[int], tokens: Sequence[int]) -> list[tuple[float, ...]]:
        """Compute p(z|x,y) over the passages, where tokens[i] follows prefix rows[i]."""
        ...

    def dropped_masses(
        self, rows: Sequence[int], tokens: Sequence[int], log_probs: Sequence[float]
    ) -> list[float]:
        """Compute the most that what is not summed would add to p(y|x).

        tokens[i], of log_probs[i], follows prefix rows[i]; 0 where all is summed.
        """
        ...

    def extend(self, rows: Sequence[int], tokens: Sequence[int]) -> None:
        """Keep prefixes `rows`, in this order, each followed by its token; rows may repeat."""
        ...


class _Continuation(NamedTuple):
    """A live prefix followed by one more token."""

    prefix: int
    """Its position among the live prefixes of its search."""
    token: int
    log_prob: float
    """Of the token alone."""
    ends: bool = False
    """Whether the answer is then complete."""


@dataclass(slots=True)
class _AnswerSearch:
    """The search for one answer: its live prefixes, and the best finished hypotheses so far."""

    options: DecodingOptions
    constraint: Constraint | None
    live: list[Hypothesis] = field(default_factory=lambda: [Hypothesis()])
    finished: list[Hypothesis] = field(default_factory=list)

    def rules(self) -> list[Rule]:
        """Return what may follow each live prefix."""
        return [rule(self.options, prefix.tokens, self.constraint) for prefix in self.live]

    def choose(self, candidates: Sequence[list[tuple[int, float]]]) -> list[_Continuation]:
        """Choose which of the live prefixes' candidates to keep, best first."""
        options = self.options
        beams, penalty = options.beams, options.repetition_penalty
        ranked: list[tuple[float, _Continuation]] = []
        for prefix, (hypothesis, tokens) in enumerate(zip(self.live, candidates, strict=True)):
            so_far = hypothesis.score(0.0, penalty)
            repeated = frozenset(hypothesis.tokens) if penalty != 1 else frozenset()
            ranked += [
                (
                    so_far + (penalty * log_prob if token in repeated else log_prob),
                    _Continuation(prefix, token, log_prob),
                )
                for token, log_prob in tokens
            ]
        ranked.sort(key=lambda scored: scored[0], reverse=True)
        chosen: list[_Continuation] = []
        unfinished = 0
        # At most `beams` of 2 · beams candidates end here, so that `beams` remain unfinished.
        for rank, (_, continuation) in enumerate(ranked[: 2 * beams]):
            if unfinished == beams:
                break
            ends = self.live[continuation.prefix].ends_with(continuation.token, options)
            if ends and rank >= beams:
                continue
            chosen.append(continuation._replace(ends=ends))
            unfinished += not ends
        return chosen

    def advance(self, hypotheses: Sequence[Hypothesis]) -> None:
        """Continue with these; end if no live prefix can still beat the finished ones."""
        self.finished += [hypothesis for hypothesis in hypotheses if hypothesis.finished]
        self.finished = self.best()
        self.live = [hypothesis for hypothesis in hypotheses if not hypothesis.finished]
        if self._settled():
            self.live = []

    def best(self) -> list[Hypothesis]:
        """Return the finished hypotheses so far, best first."""
        return sorted(self.finished, key=self._score, reverse=True)[: self.options.beams]

    def _settled(self) -> bool:
        options = self.options
        if not self.live:
            return True
        if len(self.finished) < options.beams:
            return False
        if options.beams == 1:
            return True
        # A log-prob only falls as a prefix grows. With a positive penalty a prefix scores best at
        # the length limit, where its log-prob is divided by the most.
        longest = options.max_new_tokens if options.length_penalty > 0 else len(self.live[0].steps)
        best = max(prefix.score(0.0, options.repetition_penalty) for prefix in self.live)
        attainable = best / float(longest**options.length_penalty)
        return attainable <= min(map(self._score, self.finished))

    def _score(self, hypothesis: Hypothesis) -> float:
        return hypothesis.score(self.options.length_penalty, self.options.repetition_penalty)


class BeamSearch:
    """Searches for many answers in one batch: `run()`, or `advance()` until it returns False."""

    def __init__(
        self,
        model: PrefixModel,
        options: DecodingOptions,
        constraints: Sequence[Constraint | None] | None = None,
        check: Callable[[], None] | None = None,
    ) -> None:
        """Begin a search from each of the model's prefixes.

        Args:
            model: proposes next tokens.
            options: of all searches.
            constraints: what restricts each search, if anything does.
            check: called before each step; what it raises ends the search.
        """
        self._model = model
        self._check = check
        self._options = options
        self._searches = [
            _AnswerSearch(options, constraint) for constraint in constraints or [None] * len(model)
        ]
        self._pending: tuple[list[int], list[int]] = ([], [])

    def run(self) -> list[list[Hypothesis]]:
        """Search to the end; return each answer's finished hypotheses, best first."""
        while self.advance():
            pass
        return [search.best() for search in self._searches]

    def best(self, answer: int = 0) -> list[Hypothesis]:
        """Return one answer's finished hypotheses so far, best first."""
        return self._searches[answer].best()

    def decided(self, answer: int = 0) -> tuple[Step, ...]:
        """Return the steps of one answer that can no longer change.

        All hypotheses that may still win share them.
        """
        search = self._searches[answer]
        hypotheses = [*search.live, *search.finished] if search.live else search.best()[:1]
        return shared_steps(hypotheses)

    def advance(self) -> bool:
        """Extend every live prefix by one token; return False once all searches have ended."""
        with without_gradient():
            return self._advance()

    def _advance(self) -> bool:
        running = [search for search in self._searches if search.live]
        if not running:
            return False
        if self._check is not None:
            self._check()
        if self._pending[0]:
            self._model.extend(*self._pending)
        rules = [prefix_rule for search in running for prefix_rule in search.rules()]
        candidates = self._model.candidates(rules, self._width(running))
        # The live prefixes of search i are rows bounds[i] to bounds[i + 1] of the batch.
        bounds = [0, *itertools.accumulate(len(search.live) for search in running)]
        chosen = [
            search.choose(candidates[begin:end])
            for search, (begin, end) in zip(running, itertools.pairwise(bounds), strict=True)
        ]
        rows = [
            begin + continuation.prefix
            for begin, continuations in zip(bounds[:-1], chosen, strict=True)
            for continuation in continuations
        ]
        tokens = [continuation.token for continuations in chosen for continuation in continuations]
        posteriors = iter(self._model.posteriors(rows, tokens))
        log_probs = [
            continuation.log_prob for continuations in chosen for continuation in continuations
        ]
        masses = iter(self._model.dropped_masses(rows, tokens, log_probs))
        self._pending = ([], [])
        for search, begin, continuations in zip(running, bounds[:-1], chosen, strict=True):
            hypotheses = [
                search.live[prefix].followed_by(
                    Step(token, log_prob, next(posteriors)), ends, next(masses)
                )
                for prefix, token, log_prob, ends in continuations
            ]
            search.advance(hypotheses)
            if search.live:
                for prefix, token, _, ends in continuations:
                    if not ends:
                        self._pending[0].append(begin + prefix)
                        self._pending[1].append(token)
        return bool(self._pending[0])

    def _width(self, running: Sequence[_AnswerSearch]) -> int:
        """Return how many tokens of a prefix may be needed: with a penalty, others may rank higher.

        Only tokens of the prefix have it, so that as many more are enough.
        """
        width = 2 * self._options.beams
        if self._options.repetition_penalty == 1:
            return width
        return width + max(len(prefix.steps) for search in running for prefix in search.live)
