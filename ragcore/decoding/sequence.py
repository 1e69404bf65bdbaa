"""RAG-Sequence decoding: thorough and fast (paper, section 2.5), and joint (ours).

The paper searches with one beam per passage, because p(y|x) = Σ_z p(z|x) Π_i p(y_i|x,z,y_<i) does
not break into a product over tokens. **Thorough** scores every hypothesis of any beam under every
passage; **fast** takes p(y|x,z) as 0 where z's beam has no y.

**Joint** needs no beam per passage. Keep for each prefix the k running sums
log p(z|x) + Σ_j log p(y_j|x,z,y_<j): their log-sum-exp is the exact marginal of the prefix, and the
differences from one prefix to the next are what one beam search needs. Scores are exact as they
stand, tokens can be streamed, and the posterior is known after each.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ragcore.contracts import Generator, Read
from ragcore.decoding.beam import BeamSearch, DecodingOptions, Hypothesis
from ragcore.decoding.scoring import score_hypotheses
from ragcore.decoding.token import RagToken

__all__ = ["RagSequence", "fast", "thorough"]


class RagSequence:
    """A `PrefixModel` of RAG-Sequence for one question: joint decoding."""

    def __init__(self, generator: Generator, read: Read, pairs: Tensor, log_prior: Tensor) -> None:
        """Read the question's k pairs, int64 [k], with log p(z|x) [k]."""
        self._generator = generator
        self._k = len(log_prior)
        self._state = generator.start(read, pairs)
        self._sums = log_prior.unsqueeze(0)  # [n, k], log p(z, y_<i | x) of each prefix
        self._grown = torch.empty(0)  # [n, k, V], the same if each token followed

    def step(self, tokens: Tensor | None) -> Tensor:
        """log p(y_i|x,y_<i) [n, V], the marginal of the longer prefix over that of the shorter."""
        rows = None
        if tokens is not None:
            rows = tokens.repeat_interleave(self._k)
            chosen = tokens.to(self._grown.device).view(-1, 1, 1).expand(-1, self._k, 1)
            self._sums = self._grown.gather(2, chosen).squeeze(2)
        log_p = self._generator.step(self._state, rows)
        log_p = log_p.view(-1, self._k, log_p.shape[-1])
        self._sums = self._sums.to(log_p.device)
        self._grown = self._sums.unsqueeze(2) + log_p
        before = torch.logsumexp(self._sums, dim=1, keepdim=True)
        return torch.logsumexp(self._grown, dim=1) - before

    def select(self, rows: Tensor) -> None:
        """See `PrefixModel`."""
        self._grown = self._grown[rows.to(self._grown.device)]
        self._state.select((rows.unsqueeze(1) * self._k + torch.arange(self._k)).flatten())

    def posterior(self, row: int, token: int) -> tuple[float, ...]:
        """p(z|x,y_<=i), of the whole prefix."""
        return tuple(torch.softmax(self._grown[row, :, token].double(), dim=0).tolist())


def thorough(
    generator: Generator, read: Read, pairs: Tensor, log_prior: Tensor, options: DecodingOptions
) -> list[Hypothesis]:
    """Beam search for each passage, then every hypothesis scored under every passage.

    Args:
        generator: gives p(y_i|x,z,y_<i).
        read: the pairs that it has read.
        pairs: int64 [k], this question's.
        log_prior: [k], log p(z|x).
        options: of each passage's beam search.

    Returns:
        The union of the beams, best first, without duplicates, with exact log p(y|x).
    """
    beams = _beam_per_passage(generator, read, pairs, log_prior, options)
    candidates = list(dict.fromkeys(h.tokens for beam in beams for h in beam))
    found = score_hypotheses("sequence", generator, read, pairs, log_prior, candidates)
    return sorted(found, key=lambda h: h.score(options.length_penalty), reverse=True)


def fast(
    generator: Generator, read: Read, pairs: Tensor, log_prior: Tensor, options: DecodingOptions
) -> list[Hypothesis]:
    """Beam search for each passage, candidates ranked without scoring them again.

    p(y|x,z) counts as 0 where z's beam lacks y. Only the winner is then scored under every
    passage, so that its log-prob is exact all the same. Arguments as `thorough`; returns one.
    """
    beams = _beam_per_passage(generator, read, pairs, log_prior, options)
    shares: dict[tuple[int, ...], list[Tensor]] = {}
    for prior, beam in zip(log_prior, beams, strict=True):
        for hypothesis in beam:
            shares.setdefault(hypothesis.tokens, []).append(prior + hypothesis.log_prob)

    ranked = {
        tokens: float(torch.logsumexp(torch.stack(found), dim=0))
        / float(len(tokens) ** options.length_penalty)
        for tokens, found in shares.items()
    }
    winner = max(ranked, key=lambda y: ranked[y])
    return score_hypotheses("sequence", generator, read, pairs, log_prior, [winner])


def _beam_per_passage(
    generator: Generator, read: Read, pairs: Tensor, log_prior: Tensor, options: DecodingOptions
) -> list[list[Hypothesis]]:
    # RAG-Token over a single passage, whose prior is then 1, is that passage's own beam search.
    alone = torch.zeros_like(log_prior[:1])
    return [
        BeamSearch(RagToken(generator, read, pair.unsqueeze(0), alone), options).run()
        for pair in pairs
    ]
