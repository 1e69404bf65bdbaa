"""Prefixes of answers to many questions, decoded in one batch: the marginal of the next token.

Each prefix is carried once per passage of its question: n prefixes are the sum of their k decoder
rows, prefix-major. Questions may have unlike many passages, and leave the batch when they are done.

RAG-Token and RAG-Sequence differ in one thing only: what a passage weighs in the next token.

    p(y_i|x,y_<i) = Σ_z w_z p(y_i|x,z,y_<i)

The weights are the prior for RAG-Token, at every token anew, and the posterior after the prefix,
p(z|x,y_<i), for RAG-Sequence. Subclasses say which (token.py, sequence.py).

Ranking is done on sums of probabilities, which costs one exponential for each number. What is
reported is then computed again in log space for the few tokens that are ranked, so that a token's
log-prob is exact however small it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence

import torch
from torch import Tensor

from ragcore.contracts import Generator, Read
from ragcore.decoding.checks import check_distributions, check_log_probs
from ragcore.decoding.question_prior import QuestionPrior
from ragcore.decoding.rules import Rule

__all__ = ["Prefixes"]

_ROWS_AT_ONCE = 64
"""Decoder rows whose probabilities are held at the same time; bounds memory, and suits caches."""


class Prefixes:
    """See `ragcore.decoding.beam.PrefixModel`."""

    def __init__(self, generator: Generator, read: Read, contexts: Sequence[QuestionPrior]) -> None:
        """Begin with the empty prefix for each context.

        Args:
            generator: gives p(y_i|x,z,y_<i).
            read: the pairs that it has read.
            contexts: one for each question, with at least one passage each.
        """
        self._generator = generator
        pairs = torch.cat([context.pairs for context in contexts])
        self._state = generator.start(read, pairs)
        self._sizes = [len(context) for context in contexts]
        self._log_weights = torch.nn.utils.rnn.pad_sequence(
            [context.log_prior for context in contexts],
            batch_first=True,
            padding_value=-torch.inf,
        )
        self._log_p = generator.step(self._state, None)
        check_distributions(generator, self._log_p)

    def __len__(self) -> int:
        """n, the number of prefixes."""
        return len(self._sizes)

    def extend(self, rows: Sequence[int], tokens: Sequence[int]) -> None:
        """Keep prefixes `rows`, in this order, each followed by its token; see `PrefixModel`."""
        places = torch.tensor(rows, device=self._log_weights.device)
        self._log_weights = self._next_log_weights(
            self._log_weights[places], self._joint(rows, [[token] for token in tokens]).squeeze(2)
        )
        begins = [0, *itertools.accumulate(self._sizes)]
        kept = [range(begins[row], begins[row + 1]) for row in rows]
        self._sizes = [self._sizes[row] for row in rows]
        self._state.select(torch.tensor([row for span in kept for row in span]))
        fed = [token for token, k in zip(tokens, self._sizes, strict=True) for _ in range(k)]
        self._log_p = self._generator.step(self._state, torch.tensor(fed))
        # All rows were looked at in the first step; from now on one speaks for the others.
        check_distributions(self._generator, self._log_p[:1])

    def candidates(self, rules: Sequence[Rule], width: int) -> list[list[tuple[int, float]]]:
        """The `width` best next tokens of each prefix; see `PrefixModel`."""
        free = [row for row, rule in enumerate(rules) if rule.only is None]
        tokens: list[list[int]] = [
            [] if rule.only is None else sorted(set(rule.only) - rule.never) for rule in rules
        ]
        if free:
            forbidden = [rules[row].never for row in free]
            for row, best in zip(free, self._rank(free, forbidden, width), strict=True):
                tokens[row] = best
        longest = max(map(len, tokens))
        if longest == 0:
            return [[] for _ in tokens]
        padded = [[*row, *[0] * (longest - len(row))] for row in tokens]
        log_p = torch.logsumexp(self._joint(range(len(tokens)), padded), dim=1)
        check_log_probs(self._generator, log_p)
        found = []
        for ids, log_probs in zip(tokens, log_p.tolist(), strict=True):
            # Shorter rows end before their padding.
            pairs = [pair for pair in zip(ids, log_probs, strict=False) if pair[1] > -torch.inf]
            found.append(sorted(pairs, key=lambda pair: pair[1], reverse=True)[:width])
        return found

    def posteriors(self, rows: Sequence[int], tokens: Sequence[int]) -> list[tuple[float, ...]]:
        """p(z|x,y) over the k passages if tokens[i] follows prefix rows[i]."""
        joint = self._joint(rows, [[token] for token in tokens]).squeeze(2)
        found = torch.softmax(joint.double(), dim=1).tolist()
        return [tuple(row[: self._sizes[place]]) for place, row in zip(rows, found, strict=True)]

    def _next_log_weights(self, log_weights: Tensor, joint: Tensor) -> Tensor:
        """What the passages weigh after a token.

        Args:
            log_weights: [n, K], what they conditioned before it; -inf where there is no passage.
            joint: [n, K], the same with the token's log-prob under each passage added.
        """
        raise NotImplementedError

    def _joint(self, rows: Sequence[int], tokens: Sequence[Sequence[int]]) -> Tensor:
        """log w_z p(y|x,z,y_<i) [n, K, W] of W tokens after each of these prefixes."""
        begins = [0, *itertools.accumulate(self._sizes)]
        widest = self._log_weights.shape[1]
        device = self._log_p.device
        # A passage that does not exist borrows the row of one that does: its weight is zero.
        places = [
            [begins[row] + min(z, self._sizes[row] - 1) for z in range(widest)] for row in rows
        ]
        picked = self._log_p[
            torch.tensor(places, device=device)[:, :, None],
            torch.tensor(tokens, device=device)[:, None, :],
        ]
        weights = self._log_weights[torch.tensor(rows, device=self._log_weights.device)]
        return weights.to(device).unsqueeze(2) + picked

    def _rank(
        self, rows: Sequence[int], forbidden: Sequence[Collection[int]], width: int
    ) -> list[list[int]]:
        """The `width` tokens of highest marginal after each of these prefixes, in no order."""
        never = dict(zip(rows, forbidden, strict=True))
        # As many more as may have to be passed over.
        width += max(map(len, forbidden))
        found: dict[int, list[int]] = {}
        for first, last, begin in self._runs():
            here = [row for row in range(first, last) if row in never]
            if not here:
                continue
            k, n = self._sizes[first], last - first
            log_p = self._log_p[begin : begin + n * k].view(n, k, -1)
            log_weights = self._log_weights[first:last, :k].to(log_p.device)
            for row, tokens in zip(
                range(first, last), _best(log_weights, log_p, width), strict=True
            ):
                if row in never:
                    found[row] = [token for token in tokens if token not in never[row]]
        return [found[row] for row in rows]

    def _runs(self) -> Iterator[tuple[int, int, int]]:
        """Neighbouring prefixes of equally many passages: first, last + 1, first decoder row."""
        first = begin = rows = 0
        for row, k in enumerate(self._sizes):
            if row > first and (k != self._sizes[first] or rows + k > _ROWS_AT_ONCE):
                yield first, row, begin
                first, begin, rows = row, begin + rows, 0
            rows += k
        yield first, len(self._sizes), begin


def _best(log_weights: Tensor, log_p: Tensor, width: int) -> list[list[int]]:
    """The tokens of highest Σ_z w_z p(y|z); log_weights are [n, k], log_p [n, k, V]."""
    width = min(width, log_p.shape[2])
    if log_p.shape[1] == 1:
        places = log_p[:, 0].topk(width).indices
    else:
        marginals = torch.bmm(log_weights.exp().unsqueeze(1), log_p.exp()).squeeze(1)
        values, places = marginals.topk(width)
        if float(values.min()) <= 0:
            # Too small to be told apart as probabilities.
            marginals = torch.logsumexp(log_weights.unsqueeze(2) + log_p, dim=1)
            places = marginals.topk(width).indices
    tokens: list[list[int]] = places.tolist()
    return tokens
