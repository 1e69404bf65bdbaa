"""Decode prefixes of answers to many questions in one batch: the marginal of the next token.

Each prefix has one decoder row per passage of its question. The rows are ordered prefix by prefix:
n prefixes of k_1 … k_n passages are Σ k rows. Questions may have different numbers of passages, and
leave the batch when their search ends. In shapes K is the largest k of the batch.

RAG-Token and RAG-Sequence differ in one thing only, the weight of a passage in the next token:

    p(y_i|x,y_<i) = Σ_z w_z p(y_i|x,z,y_<i)

For RAG-Token w_z is the prior p(z|x) at every token, for RAG-Sequence the posterior after the
prefix, p(z|x,y_<i). The subclasses say which (token.py, sequence.py).

With `drop_below` a prefix has rows for those of its passages only that may still matter
(dropping.py); the others have no share in its sums.

Tokens are ranked by sums of probabilities, which takes one exponential per number. The marginals of
the few best are then computed again in log space: a reported log-prob is exact however small it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from ragcore.contracts import Generator, Read
from ragcore.decoding.checks import check_distributions, check_log_probs
from ragcore.decoding.dropping import DroppedAtFirst, DroppedByPrefix, kept_passages
from ragcore.decoding.question_prior import QuestionPrior
from ragcore.decoding.rules import Rule

__all__ = ["Prefixes"]

_ROWS_AT_ONCE = 64
"""Decoder rows whose probabilities are in memory together; bounds memory, and suits caches."""


class Prefixes:
    """Implements `ragcore.decoding.beam.PrefixModel` for both models."""

    _Dropped: ClassVar[type[DroppedAtFirst] | type[DroppedByPrefix]]
    """How the mass of dropped passages is bounded; by prefix, if they may be dropped at any."""

    def __init__(
        self,
        generator: Generator,
        read: Read,
        priors: Sequence[QuestionPrior],
        drop_below: float = 0.0,
    ) -> None:
        """Begin with the empty prefix of each question.

        Args:
            generator: computes p(y_i|x,z,y_<i).
            read: the pairs that it has read.
            priors: one for each question, with at least one passage each.
            drop_below: passages are dropped while their share in a prefix's probability is
                together at most this, below 1; 0 drops none.

        Raises:
            GeneratorError: the generator's log-probs of the first token form no distribution.
        """
        self._generator = generator
        self._drop_below = drop_below
        self._dropped: list[DroppedAtFirst | DroppedByPrefix] = []
        # By prefix: k, and the passages that it has rows for.
        self._counts = [len(prior) for prior in priors]
        self._live = [list(range(k)) for k in self._counts]
        if drop_below:
            priors = self._drop_by_prior(priors)
        pairs = torch.cat([prior.pairs for prior in priors])  # [Σ k]
        self._state = generator.start(read, pairs)
        self._sizes = list(map(len, self._live))
        self._log_weights = torch.nn.utils.rnn.pad_sequence(
            [prior.log_prior for prior in priors],
            batch_first=True,
            padding_value=-torch.inf,
        )  # [n, K]
        self._log_p = generator.step(self._state, None)  # [Σ k, V]
        check_distributions(generator, self._log_p)

    def __len__(self) -> int:
        """Return n, the number of prefixes."""
        return len(self._sizes)

    def extend(self, rows: Sequence[int], tokens: Sequence[int]) -> None:
        """Keep prefixes `rows`, in this order, each followed by its token; see `PrefixModel`.

        Raises:
            GeneratorError: the generator's log-probs form no distribution.
        """
        index = torch.tensor(rows, device=self._log_weights.device)
        joint = self._joint(rows, [[token] for token in tokens]).squeeze(2)  # [n', K, 1] → [n', K]
        self._log_weights = self._next_log_weights(self._log_weights[index], joint)  # [n', K]
        begins = [0, *itertools.accumulate(self._sizes)]
        spans: list[list[int]] = [list(range(begins[row], begins[row + 1])) for row in rows]
        self._live = [self._live[row] for row in rows]
        self._counts = [self._counts[row] for row in rows]
        if self._drop_below:
            log_probs = torch.logsumexp(joint, dim=1).tolist()  # [n']
            self._dropped = [
                self._dropped[row].followed_by(log_prob)
                for row, log_prob in zip(rows, log_probs, strict=True)
            ]
            if self._Dropped is DroppedByPrefix:
                spans = self._drop_rows(spans)
        self._sizes = list(map(len, self._live))
        self._state.select(torch.tensor([decoder_row for span in spans for decoder_row in span]))
        fed = [token for token, k in zip(tokens, self._sizes, strict=True) for _ in range(k)]
        self._log_p = self._generator.step(self._state, torch.tensor(fed))  # [Σ k, V]
        # The first step checked all rows. From then on one row is enough to see a fault.
        check_distributions(self._generator, self._log_p[:1])

    def candidates(self, rules: Sequence[Rule], width: int) -> list[list[tuple[int, float]]]:
        """Return the `width` best next tokens of each prefix; see `PrefixModel`.

        Raises:
            GeneratorError: a marginal is NaN or above 1.
        """
        unrestricted = [row for row, rule in enumerate(rules) if rule.only is None]
        tokens: list[list[int]] = [
            [] if rule.only is None else sorted(set(rule.only) - rule.never) for rule in rules
        ]
        if unrestricted:
            forbidden = [rules[row].never for row in unrestricted]
            ranked = self._rank(unrestricted, forbidden, width)
            for row, best in zip(unrestricted, ranked, strict=True):
                tokens[row] = best
        longest = max(map(len, tokens))  # W
        if longest == 0:
            return [[] for _ in tokens]
        padded = [[*row, *[0] * (longest - len(row))] for row in tokens]
        joint = self._joint(range(len(tokens)), padded)  # [n, K, W]
        # p(y_i|x,y_<i) = Σ_z w_z p(y_i|x,z,y_<i)
        log_p = torch.logsumexp(joint, dim=1)  # [n, W]
        check_log_probs(self._generator, log_p)
        candidates = []
        for ids, log_probs in zip(tokens, log_p.tolist(), strict=True):
            # Shorter rows end before their padding.
            scored = [pair for pair in zip(ids, log_probs, strict=False) if pair[1] > -torch.inf]
            candidates.append(sorted(scored, key=lambda pair: pair[1], reverse=True)[:width])
        return candidates

    def marginals(self) -> Iterator[Tensor]:
        """Yield log p(y_i|x,y_<i) of every token, [V], for each prefix; see `PrefixModel`."""
        for first, last, begin in self._runs():
            k, n = self._sizes[first], last - first
            log_p = self._log_p[begin : begin + n * k].view(n, k, -1)  # [n k, V] → [n, k, V]
            log_weights = self._log_weights[first:last, :k].to(log_p.device)  # [n, k]
            # p(y_i|x,y_<i) = Σ_z w_z p(y_i|x,z,y_<i)
            yield from torch.logsumexp(log_weights.unsqueeze(2) + log_p, dim=1)  # [n, V]

    def posteriors(self, rows: Sequence[int], tokens: Sequence[int]) -> list[tuple[float, ...]]:
        """Compute p(z|x,y) over the k passages, where tokens[i] follows prefix rows[i]."""
        joint = self._joint(rows, [[token] for token in tokens]).squeeze(2)  # [n', K, 1] → [n', K]
        # p(z|x,y_<=i) ∝ w_z p(y_i|x,z,y_<i)
        posteriors = torch.softmax(joint.double(), dim=1).tolist()
        return [
            _spread(posterior, self._live[row], self._counts[row])
            for row, posterior in zip(rows, posteriors, strict=True)
        ]

    def dropped_masses(
        self, rows: Sequence[int], tokens: Sequence[int], log_probs: Sequence[float]
    ) -> list[float]:
        """Compute the most that dropped passages would add to p(y|x); see `PrefixModel`."""
        if not self._drop_below:
            return [0.0] * len(rows)
        return [
            self._dropped[row].followed_by(log_prob).mass
            for row, log_prob in zip(rows, log_probs, strict=True)
        ]

    def _drop_by_prior(self, priors: Sequence[QuestionPrior]) -> list[QuestionPrior]:
        """Drop passages before the first token; return the priors of the others, not rescaled."""
        splits = [
            kept_passages(prior.log_prior.exp().tolist(), self._drop_below) for prior in priors
        ]
        self._live = [live for live, _ in splits]
        self._dropped = [self._Dropped().dropping(share) for _, share in splits]
        return [
            QuestionPrior(prior.pairs[live], prior.log_prior[live])
            for prior, live in zip(priors, self._live, strict=True)
        ]

    def _drop_rows(self, spans: Sequence[Sequence[int]]) -> list[list[int]]:
        """Drop passages of prefixes that got a token; return the decoder rows that remain.

        Args:
            spans: the decoder rows of each prefix.
        """
        shares = self._log_weights.exp().tolist()
        columns: list[list[int]] = []
        for number, (span, dropped) in enumerate(zip(spans, self._dropped, strict=True)):
            stay, share = kept_passages(
                shares[number][: len(span)], self._drop_below, dropped.share
            )
            if len(stay) < len(span):
                self._dropped[number] = dropped.dropping(share)
                self._live[number] = [self._live[number][z] for z in stay]
            columns.append(stay)
        widest = max(map(len, columns))
        device = self._log_weights.device
        index = torch.tensor(
            [[*stay, *[0] * (widest - len(stay))] for stay in columns], device=device
        )  # [n, K]
        sizes = torch.tensor(list(map(len, columns)), device=device)  # [n]
        missing = torch.arange(widest, device=device) >= sizes[:, None]  # [n, K]
        log_weights = self._log_weights.gather(1, index)  # [n, K]
        self._log_weights = log_weights.masked_fill(missing, -torch.inf)
        return [[span[z] for z in stay] for span, stay in zip(spans, columns, strict=True)]

    def _next_log_weights(self, log_weights: Tensor, joint: Tensor) -> Tensor:
        """Compute the passages' weights after a token.

        Args:
            log_weights: [n, K], log w_z before the token; -inf where there is no passage.
            joint: [n, K], log w_z p(y_i|x,z,y_<i) of the token.

        Returns:
            [n, K], log w_z for the next token.
        """
        raise NotImplementedError

    def _joint(self, rows: Sequence[int], tokens: Sequence[Sequence[int]]) -> Tensor:
        """Compute log w_z p(y_i|x,z,y_<i) of W tokens after each of n' prefixes, [n', K, W]."""
        begins = [0, *itertools.accumulate(self._sizes)]
        widest = self._log_weights.shape[1]  # K
        device = self._log_p.device
        # A passage that does not exist borrows the row of one that does: its weight is zero.
        decoder_rows = [
            [begins[row] + min(z, self._sizes[row] - 1) for z in range(widest)] for row in rows
        ]
        log_p = self._log_p[
            torch.tensor(decoder_rows, device=device)[:, :, None],  # [n', K, 1]
            torch.tensor(tokens, device=device)[:, None, :],  # [n', 1, W]
        ]  # [n', K, W]
        index = torch.tensor(rows, device=self._log_weights.device)
        log_weights = self._log_weights[index].to(device)  # [n', K]
        return log_weights.unsqueeze(2) + log_p  # [n', K, W]

    def _rank(
        self, rows: Sequence[int], forbidden: Sequence[Collection[int]], width: int
    ) -> list[list[int]]:
        """Return the `width` tokens of highest marginal after each of these prefixes, unordered."""
        never = dict(zip(rows, forbidden, strict=True))
        # As many more as may have to be skipped.
        width += max(map(len, forbidden))
        ranked: dict[int, list[int]] = {}
        for first, last, begin in self._runs():
            if not any(row in never for row in range(first, last)):
                continue
            k, n = self._sizes[first], last - first
            log_p = self._log_p[begin : begin + n * k].view(n, k, -1)  # [n k, V] → [n, k, V]
            log_weights = self._log_weights[first:last, :k].to(log_p.device)  # [n, k]
            best = _best(log_weights, log_p, width)
            for row, tokens in zip(range(first, last), best, strict=True):
                if row in never:
                    ranked[row] = [token for token in tokens if token not in never[row]]
        return [ranked[row] for row in rows]

    def _runs(self) -> Iterator[tuple[int, int, int]]:
        """Yield runs of neighbouring prefixes with the same k: first, last + 1, first decoder row.

        A run has at most `_ROWS_AT_ONCE` decoder rows, or a single prefix.
        """
        first = begin = rows = 0
        for row, k in enumerate(self._sizes):
            if row > first and (k != self._sizes[first] or rows + k > _ROWS_AT_ONCE):
                yield first, row, begin
                first, begin, rows = row, begin + rows, 0
            rows += k
        yield first, len(self._sizes), begin


def _spread(posterior: Sequence[float], live: Sequence[int], count: int) -> tuple[float, ...]:
    """Return the posterior over all passages, of which those that are not `live` have none."""
    if len(live) == count:
        return tuple(posterior[:count])
    whole = [0.0] * count
    for z, probability in zip(live, posterior, strict=False):
        whole[z] = probability
    return tuple(whole)


def _best(log_weights: Tensor, log_p: Tensor, width: int) -> list[list[int]]:
    """Return the `width` tokens of highest Σ_z w_z p(y_i|x,z,y_<i) after each prefix.

    Args:
        log_weights: [n, k], log w_z.
        log_p: [n, k, V], log p(y_i|x,z,y_<i).
        width: tokens per prefix; at most V are returned.
    """
    width = min(width, log_p.shape[2])
    if log_p.shape[1] == 1:
        # With one passage, the order of its own probabilities.
        indices = log_p[:, 0].topk(width).indices  # [n, width]
    else:
        # Σ_z w_z p(y_i|x,z,y_<i), as a product [n, 1, k] · [n, k, V].
        marginals = torch.bmm(log_weights.exp().unsqueeze(1), log_p.exp()).squeeze(1)  # [n, V]
        values, indices = marginals.topk(width)  # [n, width]
        if float(values.min()) <= 0:
            # Some underflowed to 0, where their order is lost: rank in log space.
            marginals = torch.logsumexp(log_weights.unsqueeze(2) + log_p, dim=1)  # [n, V]
            indices = marginals.topk(width).indices  # [n, width]
    tokens: list[list[int]] = indices.tolist()
    return tokens
