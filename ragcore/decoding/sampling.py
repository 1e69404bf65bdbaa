"""Draw answers from the marginal: one token after another, each from its own distribution.

With a temperature of 1 and nothing cut off, an answer y is drawn with the probability p(y|x) that
its log-prob says: the product of p(y_i|x,y_<i) is p(y|x), for RAG-Token as for RAG-Sequence, whose
marginal of the next token carries the posterior of the prefix. The length limit ends an answer
as it does in a search: its prefix is drawn, and the end token is then certain.

What changes the distribution changes that of the marginal, in this order: tokens that a rule
forbids have no share; the repetition penalty; the temperature; the `top_k` most probable tokens;
the fewest of these whose shares sum to `top_p`. The rest is scaled to sum to 1. A drawn answer's
log-prob has none of this: it is the model's.

The random numbers are those of chances.py, each answer's own.

Knows prefixes of answers (beam.py) and rules; knows nothing of passages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from ragcore.decoding.beam import PrefixModel
from ragcore.decoding.chances import Chance, SamplingOptions
from ragcore.decoding.hypotheses import Hypothesis, Step, shared_steps
from ragcore.decoding.rules import Constraint, DecodingOptions, Rule, rule
from ragcore.errors import GeneratorError

__all__ = ["Drawable", "Sampling", "draw_from", "merged"]


class Drawable(PrefixModel, Protocol):
    """A `PrefixModel` that knows the probability of every next token."""

    def marginals(self) -> Iterator[Tensor]:
        """Yield log p(y_i|x,y_<i) of every token, [V], for each prefix in order."""
        ...


def draw_from(weights: Tensor, chance: float) -> int:
    """Draw a position with a probability that is proportional to its weight.

    Args:
        weights: float64 [V] on the CPU, not negative, at least one positive.
        chance: uniform in [0, 1).
    """
    cumulative = weights.cumsum(0)  # [V]
    drawn = int(torch.searchsorted(cumulative, chance * float(cumulative[-1]), right=True))
    # Rounding may reach the total itself, and there is nothing beyond the last positive weight.
    return min(drawn, int(weights.nonzero()[-1]))


@dataclass(slots=True)
class _Draw:
    """An answer that is being drawn.

    Attributes:
        answer: whose it is, by its position in the batch.
        number: of the draw, from 0.
        chance: its random numbers.
        row: its prefix in the model; draws share one as long as they have no token.
        hypothesis: what is drawn so far.
    """

    answer: int
    number: int
    chance: Chance
    row: int
    hypothesis: Hypothesis = Hypothesis()  # noqa: RUF009


class Sampling:
    """Draws answers in one batch: `run()`, or `advance()` until it returns False.

    It can be used in place of a `BeamSearch`: what it finds for an answer are the different
    hypotheses that were drawn.
    """

    def __init__(
        self,
        model: Drawable,
        options: DecodingOptions,
        sampling: SamplingOptions,
        draws: Sequence[Mapping[int, Chance]],
        constraints: Sequence[Constraint | None] | None = None,
        check: Callable[[], None] | None = None,
    ) -> None:
        """Begin with no token.

        Args:
            model: the marginal of the next token.
            options: of all draws; beams have no meaning here.
            sampling: how tokens are drawn.
            draws: for each of the model's prefixes, the random numbers of its draws by their
                numbers.
            constraints: what restricts the draws of each prefix, if anything does.
            check: called before each step; what it raises ends the drawing.
        """
        self._model = model
        self._options = options
        self._sampling = sampling
        self._constraints = constraints or [None] * len(model)
        self._check = check
        self._draws = [
            _Draw(answer, number, chance, answer)
            for answer, of_answer in enumerate(draws)
            for number, chance in of_answer.items()
        ]
        self._pending: tuple[list[int], list[int]] = ([], [])

    def run(self) -> list[list[Hypothesis]]:
        """Draw to the end; return each answer's different hypotheses, best first."""
        while self.advance():
            pass
        return [self.best(answer) for answer in range(len(self._constraints))]

    def best(self, answer: int = 0) -> list[Hypothesis]:
        """Return the different hypotheses that were drawn for one answer so far, best first."""
        finished = [
            replace(draw.hypothesis, draws=(draw.number,))
            for draw in self._draws
            if draw.answer == answer and draw.hypothesis.finished
        ]
        return merged(finished, self._options)

    def decided(self, answer: int = 0) -> tuple[Step, ...]:
        """Return the steps of one answer that can no longer change."""
        draws = [draw for draw in self._draws if draw.answer == answer]
        if all(draw.hypothesis.finished for draw in draws):
            return self.best(answer)[0].steps
        return shared_steps([draw.hypothesis for draw in draws])

    @torch.no_grad()
    def advance(self) -> bool:
        """Draw one token for every unfinished answer; return False once all have ended."""
        running = [draw for draw in self._draws if not draw.hypothesis.finished]
        if not running:
            return False
        if self._check is not None:
            self._check()
        if self._pending[0]:
            self._model.extend(*self._pending)
            for row, draw in enumerate(running):
                draw.row = row
        tokens = self._draw_tokens(running)
        rows = [draw.row for draw in running]
        log_probs = self._log_probs(rows, tokens)
        posteriors = self._model.posteriors(rows, tokens)
        masses = self._model.dropped_masses(rows, tokens, log_probs)
        self._pending = ([], [])
        steps = map(Step, tokens, log_probs, posteriors)
        for draw, step, mass in zip(running, steps, masses, strict=True):
            ends = draw.hypothesis.ends_with(step.token, self._options)
            draw.hypothesis = draw.hypothesis.followed_by(step, ends, mass)
            if not ends:
                self._pending[0].append(draw.row)
                self._pending[1].append(step.token)
        return bool(self._pending[0])

    def _draw_tokens(self, running: Sequence[_Draw]) -> list[int]:
        """Draw the next token of each of these."""
        by_row: dict[int, list[_Draw]] = {}
        for draw in running:
            by_row.setdefault(draw.row, []).append(draw)
        tokens: dict[int, int] = {}
        for row, log_p in enumerate(self._model.marginals()):
            draws = by_row.get(row, [])
            if not draws:
                continue
            # Draws with the same row have the same tokens.
            prefix = draws[0].hypothesis.tokens
            allowed = rule(self._options, prefix, self._constraints[draws[0].answer])
            weights = self._weights(log_p, allowed, prefix)
            for draw in draws:
                tokens[id(draw)] = draw_from(weights, draw.chance())
        return [tokens[id(draw)] for draw in running]

    def _weights(self, log_p: Tensor, allowed: Rule, prefix: tuple[int, ...]) -> Tensor:
        """Return the probability with which each token is drawn, float64 [V]; see the module.

        Raises:
            GeneratorError: no token that may follow has a probability above 0.
        """
        log_p = log_p.float().cpu().double()  # [V]
        if allowed.only is not None:
            only = torch.tensor(sorted(allowed.only), dtype=torch.int64)
            log_p = torch.full_like(log_p, -torch.inf).index_copy_(0, only, log_p[only])
        if allowed.never:
            log_p[torch.tensor(sorted(allowed.never))] = -torch.inf
        if self._options.repetition_penalty != 1 and prefix:
            log_p[torch.tensor(sorted(set(prefix)))] *= self._options.repetition_penalty
        largest = float(log_p.max())
        if not largest > -torch.inf:
            raise GeneratorError(
                "no answer can be drawn: none of the tokens that may follow "
                f"{len(prefix)} tokens has a probability above 0: allow others with rag.grounded, "
                "rag.min_new_tokens or rag.no_repeat_ngram, or leave rag.sample out"
            )
        # The largest is factored out, so that no temperature makes all of them 0.
        weights = torch.exp((log_p - largest) / self._sampling.temperature)  # [V]
        return self._cut(weights / weights.sum(), log_p)

    def _cut(self, weights: Tensor, log_p: Tensor) -> Tensor:
        """Leave the weights of the tokens that `top_k` and `top_p` allow, by falling log_p; [V]."""
        top_k, top_p = self._sampling.top_k, self._sampling.top_p
        if not 0 < top_k < len(weights) and top_p == 1:
            return weights
        # A high temperature makes all weights equal, and no token less probable than another.
        order = log_p.argsort(descending=True, stable=True)  # [V]
        shares = weights[order]
        if top_k:
            shares[top_k:] = 0
        # Those before a token, without itself.
        before = shares.cumsum(0) - shares  # [V]
        outside = before >= top_p * shares.sum()
        # The first one always stays, also where the product underflows to 0.
        outside[0] = False
        shares[outside] = 0
        return torch.zeros_like(weights).index_copy_(0, order, shares)

    def _log_probs(self, rows: Sequence[int], tokens: Sequence[int]) -> list[float]:
        """Compute log p(y_i|x,y_<i) of the drawn tokens in log space, as a search reports it."""
        drawn: list[set[int]] = [set() for _ in range(len(self._model))]
        for row, token in zip(rows, tokens, strict=True):
            drawn[row].add(token)
        candidates = self._model.candidates(
            [Rule(only=row_tokens) for row_tokens in drawn], max(map(len, drawn))
        )
        by_row = [dict(row) for row in candidates]
        return [by_row[row][token] for row, token in zip(rows, tokens, strict=True)]


def merged(hypotheses: Sequence[Hypothesis], options: DecodingOptions) -> list[Hypothesis]:
    """Merge equal answers, with the numbers of all their draws; return them best first.

    Args:
        hypotheses: finished, with their draws.
        options: how hypotheses are ranked; of equally good ones the first to be drawn is first.
    """
    different: dict[tuple[int, ...], Hypothesis] = {}
    for hypothesis in sorted(hypotheses, key=lambda hypothesis: hypothesis.draws):
        first = different.get(hypothesis.tokens)
        if first is None:
            different[hypothesis.tokens] = hypothesis
        else:
            draws = tuple(sorted((*first.draws, *hypothesis.draws)))
            different[hypothesis.tokens] = replace(first, draws=draws)
    return sorted(
        different.values(),
        key=lambda hypothesis: hypothesis.score(options.length_penalty, options.repetition_penalty),
        reverse=True,
    )
