"""Decoding without the checkpoint's own loop: what rows share is computed once.

Keys and values of what a pair has read are computed once, for all its rows and for scoring; rows
are selected by masks, and known targets are fed as a trie (tree.py). The numbers are those of the
checkpoint's own forward pass. Knows no architecture: a `Body` does (bart.py, t5.py).

Nothing here keeps gradients.
"""

from __future__ import annotations

import itertools
import warnings
from typing import Any, Final, Protocol

import torch
from torch import Tensor

from ragcore_transformers.attention import Attention, Encoded, bias_of
from ragcore_transformers.bart import BartBody
from ragcore_transformers.ends import EndTokens
from ragcore_transformers.head import Buffers, Head
from ragcore_transformers.int8 import project
from ragcore_transformers.t5 import T5Body
from ragcore_transformers.tree import Forest, Growth, Layout, NodeCache, Trie

__all__ = ["Body", "FastDecoder", "FastState", "fast_decoder"]

_NODES: Final = 1024
"""Nodes fed together when targets are scored; more only where one pair has more."""

_DENSE: Final = torch.contiguous_format


class Body(Protocol):
    """A model's decoder, from embeddings to the states that its head takes.

    Attributes:
        layers: the number of layers.
        heads: H.
        size: d, the length of a head's keys.
        scale: products of queries and keys are multiplied by this.
    """

    layers: int
    heads: int
    size: int
    scale: float

    @property
    def head(self) -> Head:
        """The current head."""
        ...

    def projections(self, layer: int) -> tuple[Any, Any]:
        """Return the modules from the encoder's states [·, D] to keys and values [·, H · d]."""
        ...

    def position_bias(self, relative: Tensor) -> Tensor | None:
        """Return the bias [P, H, n, N] of relative positions [P, n, N] (at most 0), if any."""
        ...

    def states(self, tokens: Tensor, depths: Tensor, attention: Attention) -> Tensor:
        """Return the states [M, D] of laid rows fed tokens int64 [M] at depths int64 [M]."""
        ...


class FastState:
    """Decoder rows; see `ragcore.contracts.State`."""

    def __init__(self, body: Body, encoded: Encoded, pairs: Tensor) -> None:
        """Begin rows for `pairs` int64 [M ≥ 1], fed nothing yet."""
        self.device = pairs.device
        self._body = body
        # A copy: the caller may use its tensor for the next call.
        self._forest = Forest(pairs.to(encoded.mask.device, copy=True), len(encoded))
        self._encoded = encoded
        self._encoded_bias: Tensor | None = None
        self._cache: NodeCache | None = None
        self._buffers = Buffers()

    def __len__(self) -> int:
        """Return M, the number of rows."""
        return len(self._forest)

    @property
    def length(self) -> int:
        """The number of tokens fed to each row."""
        return self._forest.length

    def select(self, rows: Tensor) -> None:
        """Keep rows [M'] int64, in this order; one may appear more than once."""
        self._forest.select(rows.to(self._encoded.mask.device))

    # Buffers outlive the caller's inference mode, in which they could not be written to later.
    @torch.inference_mode(False)
    @torch.no_grad()
    def step(self, tokens: Tensor) -> Tensor:
        """Feed tokens [M ≥ 1]; return the next log p [M, V], valid until the step after next."""
        body = self._body
        growth = self._forest.grow()
        if growth.move is not None:
            self._encoded = self._encoded.after(growth.move)
            self._encoded_bias = None
        layout = growth.layout
        relative = (growth.depths - growth.depth)[:, None]  # [P, 1, N]
        dtype = self._encoded.dtype
        attention = Attention(
            layout,
            body.heads,
            body.scale,
            bias_of(growth.mask, body.heads, dtype, body.position_bias(relative)),
            self._encoded,
            self._bias_of_encoded(layout.width),
            growth,
            self._cache_for(growth),
        )
        depths = torch.full_like(tokens, growth.depth)
        states = body.states(layout.arrange(tokens), depths, attention)  # [M, D], laid
        return body.head.log_probs(layout.restore(states), self._buffers)

    def _bias_of_encoded(self, width: int) -> Tensor:
        bias = self._encoded_bias
        if bias is None or bias.shape[-2] != width:
            mask = self._encoded.mask[:, None].expand(-1, width, -1)  # [P, width, S]
            bias = bias_of(mask, self._body.heads, self._encoded.dtype)
            self._encoded_bias = bias
        return bias

    def _cache_for(self, growth: Growth) -> NodeCache:
        if self._cache is None:
            self._cache = NodeCache(
                self._body.layers,
                growth.layout.pairs,
                self._body.heads,
                self._body.size,
                capacity=self._forest.capacity,
                dtype=self._encoded.dtype,
                device=self._encoded.mask.device,
            )
        else:
            self._cache.make_room(growth)
        return self._cache


class FastDecoder:
    """Decodes with a body: computes what rows share, begins rows, and scores targets."""

    def __init__(self, body: Body) -> None:
        self._body = body

    def encoded(self, states: Tensor, mask: Tensor) -> Encoded:
        """Compute keys and values of the encoder's states [P, S, D], mask bool [P, S]."""
        body = self._body
        pairs, longest, _ = states.shape
        shape = (pairs, longest, body.heads, body.size)
        # Padding is not multiplied, and stays zero in the buffer that all layers use in turn.
        places = mask.reshape(-1).nonzero()[:, 0]  # [tokens]
        tokens = states.reshape(pairs * longest, -1).index_select(0, places)  # [tokens, D]
        buffer = states.new_zeros(pairs * longest, body.heads * body.size)  # [P · S, H · d]
        projections = [body.projections(layer) for layer in range(body.layers)]
        projected = project(itertools.chain.from_iterable(projections), tokens)
        keys: list[Tensor] = []
        values: list[Tensor] = []
        for layers, rows in zip(itertools.cycle((keys, values)), projected, strict=False):
            buffer.index_copy_(0, places, rows)
            # `contiguous` would return the buffer itself where H or S is 1.
            layers.append(buffer.view(shape).transpose(1, 2).clone(memory_format=_DENSE))
        return Encoded(keys, values, mask)

    def start(self, encoded: Encoded, pairs: Tensor) -> FastState:
        """Begin decoder rows for `pairs` int64 [M ≥ 1], fed nothing yet."""
        return FastState(self._body, encoded, pairs)

    def score(
        self, encoded: Encoded, pairs: Tensor, targets: Tensor, start: int, ends: EndTokens
    ) -> Tensor:
        """Return teacher-forced log-probs of targets int64 [M, T], 0.0 where padded (-1).

        The first of the end tokens gets the probability of all.
        """
        body = self._body
        used, pair = torch.unique(pairs, return_inverse=True)  # [P'], [M]
        trie = Trie.of(pair, targets)
        predictors: Tensor | None = None  # [n, D], the state after each node
        counts = torch.bincount(trie.pair, minlength=len(used)).tolist()
        for begin, end in _groups(counts, _NODES):
            nodes = trie.of_pairs(begin, end)
            layout = Layout.of(trie.pair[nodes] - begin, end - begin)
            attention = self._among(trie, nodes, layout, encoded.of_pairs(used[begin:end]))
            tokens = trie.tokens[nodes].masked_fill(trie.depth[nodes] == 0, start)
            states = body.states(
                layout.arrange(tokens), layout.arrange(trie.depth[nodes]), attention
            )
            if predictors is None:
                predictors = states.new_empty(len(trie), states.shape[1])
            predictors[nodes] = layout.restore(states)
        if predictors is None:
            return torch.zeros(targets.shape, device=targets.device)
        return body.head.score(predictors, trie.node, targets, ends)

    def _among(self, trie: Trie, nodes: Tensor, layout: Layout, encoded: Encoded) -> Attention:
        """Return how some nodes of a trie, all those of their pairs, attend to one another."""
        body = self._body
        dtype = encoded.dtype
        sees = trie.sees[nodes][:, : layout.width]  # [nodes, width]
        depths = layout.grid(layout.arrange(trie.depth[nodes]))  # [P, width]
        # Meaningless between nodes of which neither is the other's ancestor; those are masked.
        relative = (depths[:, None] - depths[:, :, None]).clamp(max=0)  # [P, width, width]
        return Attention(
            layout,
            body.heads,
            body.scale,
            bias_of(
                layout.grid(layout.arrange(sees)), body.heads, dtype, body.position_bias(relative)
            ),
            encoded,
            bias_of(encoded.mask[:, None].expand(-1, layout.width, -1), body.heads, dtype),
        )


def _groups(counts: list[int], limit: int) -> list[tuple[int, int]]:
    """Group neighbouring pairs of at most `limit` nodes together; a group has at least one."""
    groups: list[tuple[int, int]] = []
    begin = nodes = 0
    for pair, count in enumerate(counts):
        if nodes and nodes + count > limit:
            groups.append((begin, pair))
            begin, nodes = pair, 0
        nodes += count
    if nodes:
        groups.append((begin, len(counts)))
    return groups


def fast_decoder(model: Any) -> FastDecoder | None:
    """Return the decoder of a Hugging Face model; None, with a warning, for an unknown one."""
    # Not of subclasses, which may compute something else.
    for body in (BartBody, T5Body):
        if type(model) in body.MODELS:
            return FastDecoder(body(model))
    warnings.warn(
        f"{type(model).__name__} is decoded by its own forward pass, which gives the same answers "
        "more slowly: there is a faster decoder for BART, mBART, Pegasus and T5",
        stacklevel=2,
    )
    return None
