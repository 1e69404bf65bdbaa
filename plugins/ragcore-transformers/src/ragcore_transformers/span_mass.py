"""The distribution over answers that an extractive reader defines, token by token.

A reader gives each span (s, e) of a passage's text a probability p(s,e|x,z), and one to "no
answer". A text y with tokens y_1 … y_T, the last of them the end token, has the probability

    p(y|x,z) = (1 - ε) [ Σ p(s,e|x,z) over spans with the tokens y_1 … y_{T-1}
                         + p(null|x,z) where y is the abstaining answer ]  +  ε V^{-T},

where V^{-T} is the probability of y if each token, the end token too, is drawn uniformly from the
vocabulary. A prefix y_<=i has the mass of all spans that begin with its tokens, the null's where
the abstaining answer does, and ε V^{-i}; so p(y_i|x,z,y_<i) is a ratio of two masses. Spans of
equal tokens add, wherever they stand.

Pure tensor functions, float32, in log space: knows no model, tokenizer or text.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

__all__ = ["SpanMasses", "SpanState", "span_masses"]


@dataclass(frozen=True, slots=True)
class SpanMasses:
    """The log-probabilities of the spans of P pairs' texts; N tokens the longest, L a span.

    Attributes:
        tokens: int64 [P, N], the texts; -1 where one is shorter.
        spans: [P, N, L], of the span of n + 1 tokens that begins at s; -inf where there is none.
        null: [P], of "no answer"; -inf where the model has no such answer.
        floor: [P], log ε; 0 where there is neither a span nor the null.
        null_target: int64 [U], the abstaining answer, its end token included; of one that is empty
            the end token alone; [0] without one.
        end: the end token.
        vocabulary_size: V.
    """

    tokens: Tensor
    spans: Tensor
    null: Tensor
    floor: Tensor
    null_target: Tensor
    end: int
    vocabulary_size: int

    def __len__(self) -> int:
        """Return P."""
        return len(self.tokens)

    def score(self, pairs: Tensor, targets: Tensor) -> Tensor:
        """Return log p(y_i|x,z,y_<i) of targets [M, T] of pairs [M]; 0.0 where padded (-1)."""
        matched = self._matched(pairs, targets)
        mass = self._masses(pairs, targets, matched)  # [M, T]
        return (mass - _before(mass)).masked_fill(targets < 0, 0.0)

    def score_all(self, pairs: Tensor, targets: Tensor) -> Tensor:
        """Return log p(v|x,z,y_<i) of every token v, [M, T, V]; undefined where padded."""
        steps, count = targets.shape[1], len(pairs)
        matched = self._matched(pairs, targets)  # [M, N, 1 + min(T, L)]
        before = _before(self._masses(pairs, targets, matched))  # [M, T]
        upcoming = torch.stack(
            [_from(self.tokens, depth)[pairs] for depth in range(min(steps, self._longest))], dim=2
        )  # [M, N, min(T, L)]
        # Spans that go on after y_<i.
        going_on = matched[:, :, : upcoming.shape[2]] & (upcoming >= 0)
        row, start, step = going_on.nonzero(as_tuple=True)
        values = [self._longer(pairs[row], start, step)]
        cells = [(row * steps + step) * self.vocabulary_size + upcoming[going_on]]
        # Spans that are y_<i.
        row, start, last = matched[:, :, 1:steps].nonzero(as_tuple=True)
        values.append(self.spans[pairs[row], start, last])
        cells.append((row * steps + last + 1) * self.vocabulary_size + self.end)
        # The abstaining answer, where it begins with y_<i.
        length = min(steps, len(self.null_target))
        begins = pad(self._begins_null(targets)[:, :length], (1, 0), value=True)[:, :length]
        row, step = begins.nonzero(as_tuple=True)
        values.append(self.null[pairs[row]])
        cells.append((row * steps + step) * self.vocabulary_size + self.null_target[step])
        shape = (count, steps, self.vocabulary_size)
        base = self._floors(pairs, steps)[:, :, None].expand(shape)
        mass = _added(base, torch.cat(values), torch.cat(cells))  # [M, T, V]
        return mass - before[:, :, None]

    @property
    def _longest(self) -> int:
        return self.spans.shape[2]

    def _masses(self, pairs: Tensor, targets: Tensor, matched: Tensor) -> Tensor:
        """Return the log of the mass of each prefix y_<=i, [M, T]; after an end, of the answer."""
        steps = targets.shape[1]
        # Spans that begin with y_<=i.
        row, start, step = matched[:, :, 1:].nonzero(as_tuple=True)
        values, cells = [self._longer(pairs[row], start, step)], [row * steps + step]
        # Where y_i is the end token, those that are y_<i.
        ended = matched[:, :, 1:steps] & (targets[:, 1:] == self.end)[:, None, : self._longest]
        row, start, last = ended.nonzero(as_tuple=True)
        values.append(self.spans[pairs[row], start, last])
        cells.append(row * steps + last + 1)
        # The abstaining answer, whose end token is among its tokens.
        row, step = self._begins_null(targets).nonzero(as_tuple=True)
        values.append(self.null[pairs[row]])
        cells.append(row * steps + step)
        return _added(self._floors(pairs, steps), torch.cat(values), torch.cat(cells))

    def _matched(self, pairs: Tensor, targets: Tensor) -> Tensor:
        """Return whether the text at s has the tokens y_<=i, bool [M, N, 1 + min(T, L)].

        The first is of the empty prefix, which every token of a text has.
        """
        matched = [self.tokens[pairs] >= 0]  # [M, N] each
        for depth in range(min(targets.shape[1], self._longest)):
            following = _from(self.tokens, depth)[pairs]
            # A target's padding matches no text's: it follows the end token, which no text has.
            matched.append(matched[-1] & (following == targets[:, depth, None]))
        return torch.stack(matched, dim=2)

    def _begins_null(self, targets: Tensor) -> Tensor:
        """Return whether y_<=i begins the abstaining answer, bool [M, min(T, U)]."""
        length = min(targets.shape[1], len(self.null_target))
        equal = targets[:, :length] == self.null_target[:length]
        return equal.cumprod(dim=1).bool()

    def _longer(self, pairs: Tensor, starts: Tensor, steps: Tensor) -> Tensor:
        """Return the log of the mass of K starts' spans with more than so many tokens, [K]."""
        spans = self.spans[pairs, starts]  # [K, L]
        lengths = torch.arange(self._longest, device=spans.device)
        return spans.masked_fill(lengths < steps[:, None], -torch.inf).logsumexp(dim=1)

    def _floors(self, pairs: Tensor, steps: int) -> Tensor:
        """Return log(ε V^{-i}) of prefixes of 1 to T tokens, [M, T]."""
        lengths = torch.arange(1, steps + 1, device=pairs.device)
        return self.floor[pairs][:, None] - lengths * math.log(self.vocabulary_size)


class SpanState:
    """Decoder rows; see `ragcore.contracts.State`. Without gradients."""

    def __init__(self, masses: SpanMasses, pairs: Tensor, device: torch.device) -> None:
        """Begin rows for pairs [M], nothing decoded yet.

        Args:
            masses: of what was read.
            pairs: the pair that each row reads.
            device: where results are returned.
        """
        self.device = device
        self._masses = masses
        self._pairs = pairs
        # Mass of a start's spans with more than n tokens: Σ over n and longer ones.
        self._longer = masses.spans.flip(2).logcumsumexp(dim=2).flip(2)  # [P, N, L]
        self._matched = masses.tokens[pairs] >= 0  # [M, N]
        self._begins_null = torch.full_like(pairs, len(masses.null_target) > 0, dtype=torch.bool)
        self._length = 0

    def __len__(self) -> int:
        """Return M, the number of rows."""
        return len(self._pairs)

    def select(self, rows: Tensor) -> None:
        """Keep rows [M'] int64, in this order; one may appear more than once."""
        rows = rows.to(self._pairs.device)
        self._pairs = self._pairs[rows]
        self._matched = self._matched[rows]
        self._begins_null = self._begins_null[rows]

    def step(self, tokens: Tensor | None) -> Tensor:
        """Feed tokens [M] (None: nothing yet); return log p [M, V] of the next."""
        masses, pairs = self._masses, self._pairs
        if tokens is not None:
            self._feed(tokens)
        length, end, size = self._length, masses.end, masses.vocabulary_size
        floor = masses.floor[pairs] - (length + 1) * math.log(size)  # [M]
        before = self._mass() if length else torch.zeros_like(floor)  # [M]
        values, cells = [], []
        if length < masses.spans.shape[2]:
            following = _from(masses.tokens, length)[pairs]  # [M, N]
            row, start = (self._matched & (following >= 0)).nonzero(as_tuple=True)
            values.append(self._longer[pairs[row], start, length] - before[row])
            cells.append(row * size + following[row, start])
        if 0 < length <= masses.spans.shape[2]:
            row, start = self._matched.nonzero(as_tuple=True)
            values.append(masses.spans[pairs[row], start, length - 1] - before[row])
            cells.append(row * size + end)
        if length < len(masses.null_target):
            (row,) = self._begins_null.nonzero(as_tuple=True)
            values.append(masses.null[pairs[row]] - before[row])
            cells.append(row * size + masses.null_target[length])
        base = (floor - before)[:, None].expand(-1, size)
        return _added(base, torch.cat(values), torch.cat(cells)) if values else base.clone()

    def _feed(self, tokens: Tensor) -> None:
        masses, length = self._masses, self._length
        if length < masses.spans.shape[2]:
            following = _from(masses.tokens, length)[self._pairs]
            self._matched = self._matched & (following == tokens[:, None])
        else:
            self._matched = torch.zeros_like(self._matched)
        # Nothing goes on after its end token.
        if length < len(masses.null_target) - 1:
            self._begins_null = self._begins_null & (tokens == masses.null_target[length])
        else:
            self._begins_null = torch.zeros_like(self._begins_null)
        self._length += 1

    def _mass(self) -> Tensor:
        """Return the log of the mass of each row's prefix, which has one token or more, [M]."""
        masses, pairs, length = self._masses, self._pairs, self._length
        row, start = self._matched.nonzero(as_tuple=True)
        (null,) = self._begins_null.nonzero(as_tuple=True)
        values = [masses.null[pairs[null]]]
        if len(row):
            values.append(self._longer[pairs[row], start, length - 1])
        floor = masses.floor[pairs] - length * math.log(masses.vocabulary_size)
        return _added(floor, torch.cat(values), torch.cat([null, row]))


def span_masses(
    start: Tensor, end: Tensor, null: Tensor, exists: Tensor, longest: int, floor: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise the logits of all spans, and of "no answer", together.

    p(s,e|x,z) ∝ exp(start_s + end_e) over s <= e < s + longest, and p(null|x,z) ∝ exp(null).

    Args:
        start: [P, N], a logit for each token of a text.
        end: likewise.
        null: [P], start and end logits at [CLS] together; -inf where the model has no such answer.
        exists: bool [P, N], which tokens there are.
        longest: the most tokens of a span.
        floor: ε.

    Returns:
        log (1 - ε) p(s,e|x,z), [P, N, L], log (1 - ε) p(null|x,z), [P], and log ε, [P]: all of
        them `SpanMasses`'.
    """
    pairs, tokens = start.shape
    width = min(longest, tokens)  # L
    start = start.masked_fill(~exists, -torch.inf)
    end = end.masked_fill(~exists, -torch.inf)
    ends = pad(end, (0, width - 1), value=-torch.inf).unfold(1, width, 1)  # [P, N, L]
    joint = torch.cat([(start[:, :, None] + ends).flatten(1), null[:, None]], dim=1)
    nothing = (joint == -torch.inf).all(dim=1)  # [P]
    log_p = joint.masked_fill(nothing[:, None], 0.0).log_softmax(dim=1)
    log_p = log_p.masked_fill(nothing[:, None], -torch.inf) + math.log1p(-floor)
    log_floor = torch.full_like(null, math.log(floor)).masked_fill(nothing, 0.0)
    return log_p[:, :-1].view(pairs, tokens, width), log_p[:, -1], log_floor


def _from(tokens: Tensor, depth: int) -> Tensor:
    """Return the token `depth` after each, [P, N]; -1 after the last."""
    return pad(tokens, (0, depth), value=-1)[:, depth:]


def _before(mass: Tensor) -> Tensor:
    """Return the log of the mass of y_<i, [M, T], from that of y_<=i; the empty prefix has 1."""
    return pad(mass[:, :-1], (1, 0))


def _added(base: Tensor, values: Tensor, cells: Tensor) -> Tensor:
    """Return base with values added to some of its cells in linear space; a copy, differentiable.

    Args:
        base: log numbers, of any shape; finite.
        values: log numbers [K]; several may belong to one cell.
        cells: int64 [K], indexes of the flat base.
    """
    flat = base.reshape(-1)
    used, group = torch.unique(cells, return_inverse=True)  # [U], [K]
    old = flat[used]
    # Σ exp, the largest number of each cell factored out.
    largest = old.detach().scatter_reduce(0, group, values.detach(), "amax")  # [U]
    total = (old - largest).exp().index_add(0, group, (values - largest[group]).exp())
    return flat.index_put((used,), largest + total.log()).view(base.shape)
