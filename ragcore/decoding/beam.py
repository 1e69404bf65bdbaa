"""Beam search over prefixes: works on token ids and on whatever gives log-probs of the next one.

Knows nothing of passages. A `PrefixModel` is asked for the next token's log-probs, and told which
prefixes go on; RAG-Token and RAG-Sequence are two such models (token.py, sequence.py).

Probabilities are never renormalised: what a constraint forbids is skipped, and the log-prob of a
hypothesis is that of its tokens under the model. An answer is complete: its last token is the end
token, charged like any other, also at the length limit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["BeamSearch", "DecodingOptions", "Hypothesis", "PrefixModel", "Step"]


class PrefixModel(Protocol):
    """Gives the next token's marginal log-probs for n prefixes at a time."""

    def step(self, tokens: Tensor | None) -> Tensor:
        """Append one token to each prefix, int64 [n] (None: begin with the empty one); [n, V]."""
        ...

    def select(self, rows: Tensor) -> None:
        """Keep these prefixes, int64 [n'], in this order; one may appear more than once."""
        ...

    def posterior(self, row: int, token: int) -> tuple[float, ...]:
        """p(z|x,y) over the k passages if `token` follows prefix `row` of the last step."""
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
        banned_first: tokens that no answer may begin with.
    """

    eos_token_id: int
    beams: int = 4
    max_new_tokens: int = 32
    min_new_tokens: int = 0
    length_penalty: float = 0.0
    no_repeat_ngram: int = 0
    forced_bos_token_id: int | None = None
    banned_first: frozenset[int] = frozenset()


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


@dataclass(slots=True)
class BeamSearch:
    """A search under way: `advance()` until it says that it is done, then read `best()`."""

    model: PrefixModel
    options: DecodingOptions
    live: list[Hypothesis] = field(default_factory=lambda: [Hypothesis()])
    finished: list[Hypothesis] = field(default_factory=list)

    def run(self) -> list[Hypothesis]:
        """Search to the end; the finished hypotheses, best first, at most `beams`."""
        while self.advance():
            pass
        return self.best()

    def best(self) -> list[Hypothesis]:
        """The finished hypotheses so far, best first."""
        return sorted(self.finished, key=self._score, reverse=True)[: self.options.beams]

    def decided(self) -> tuple[Step, ...]:
        """The steps that every hypothesis still in the race shares: these will not change."""
        racing = [*self.live, *self.finished] if self.live else self.best()[:1]
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
        """Extend every live prefix by one token; False once no live prefix can win."""
        length = len(self.live[0].steps)
        if length == 0:
            log_p = self.model.step(None)
        else:
            last = [prefix.steps[-1].token for prefix in self.live]
            log_p = self.model.step(torch.tensor(last, dtype=torch.int64))
        allowed = log_p.float().masked_fill(self._forbidden(log_p), -math.inf)
        so_far = torch.tensor([prefix.log_prob for prefix in self.live], device=log_p.device)
        totals = (so_far.unsqueeze(1) + allowed).flatten()
        # Of 2 · beams candidates at most `beams` end here, so that `beams` are left to go on.
        width = min(2 * self.options.beams, totals.numel())
        best, places = totals.topk(width)
        vocabulary = log_p.shape[1]
        parents: list[int] = []
        live: list[Hypothesis] = []
        for rank, (total, place) in enumerate(zip(best.tolist(), places.tolist(), strict=True)):
            if total == -math.inf or len(live) == self.options.beams:
                break
            row, token = divmod(place, vocabulary)
            ends = token == self.options.eos_token_id
            if ends and rank >= self.options.beams:
                continue
            step = Step(token, float(log_p[row, token]), self.model.posterior(row, token))
            prefix = self.live[row]
            grown = replace(prefix, steps=(*prefix.steps, step), log_prob=total, finished=ends)
            if ends:
                self.finished.append(grown)
            else:
                parents.append(row)
                live.append(grown)
        self.finished = self.best()
        self.live = live
        if self._settled():
            self.live = []
            return False
        self.model.select(torch.tensor(parents, dtype=torch.int64))
        return True

    def _forbidden(self, log_p: Tensor) -> Tensor:
        """True [n, V] for each token that may not follow prefix n."""
        options, length = self.options, len(self.live[0].steps)
        forbidden = torch.zeros_like(log_p, dtype=torch.bool)
        if length + 1 >= options.max_new_tokens:
            forbidden[:] = True
            forbidden[:, options.eos_token_id] = False
            return forbidden
        if length == 0 and options.forced_bos_token_id is not None:
            forbidden[:] = True
            forbidden[:, options.forced_bos_token_id] = False
            return forbidden
        if length < options.min_new_tokens:
            forbidden[:, options.eos_token_id] = True
        opening = 0 if options.forced_bos_token_id is None else 1
        if length == opening:
            forbidden[:, sorted(options.banned_first)] = True
        if options.no_repeat_ngram:
            for row, prefix in enumerate(self.live):
                forbidden[row, sorted(_repeating(prefix.tokens, options.no_repeat_ngram))] = True
        return forbidden

    def _settled(self) -> bool:
        """Whether no live prefix can still beat the finished ones."""
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
