"""Decoding without the checkpoint's own loop: what rows share is computed once.

What a pair has read becomes keys and values once, for all its rows and for scoring; rows are
selected by masks, and given targets are fed as a trie (tree.py). The numbers are those of the
checkpoint's own forward pass. Knows no architecture: a `Body` does (bart.py, t5.py).

Nothing here keeps gradients.
"""

from __future__ import annotations

import warnings
from typing import Any, Final, Protocol

import torch
from torch import Tensor

from ragcore_transformers.attention import Attention, Encoded, bias_of
from ragcore_transformers.bart import BartBody
from ragcore_transformers.head import Buffers, Head
from ragcore_transformers.t5 import T5Body
from ragcore_transformers.tree import Forest, Growth, Layout, NodeCache, Trie

__all__ = ["Body", "FastDecoder", "FastState", "fast_decoder"]

_NODES: Final = 1024
"""Nodes that are fed at once when targets are scored, more only where one pair has more."""


_DENSE: Final = torch.contiguous_format


class Body(Protocol):
    """A model's decoder, from embeddings to the states that its head takes.

    Attributes:
        layers: how many.
        heads: H.
        size: d, the length of a head's keys.
        scale: what products of queries and keys are multiplied by.
    """

    layers: int
    heads: int
    size: int
    scale: float

    @property
    def head(self) -> Head:
        """The head, as it is now."""
        ...

    def projections(self, layer: int) -> tuple[Any, Any]:
        """The modules that make keys and values [·, H · d] of the encoder's states [·, D]."""
        ...

    def position_bias(self, relative: Tensor) -> Tensor | None:
        """The bias [P, H, n, N] of relative positions int64 [P, n, N] (at most 0), if any."""
        ...

    def states(self, tokens: Tensor, depths: Tensor, attention: Attention) -> Tensor:
        """The states [M, D] of laid rows that are fed tokens int64 [M] at depths int64 [M]."""
        ...


class FastState:
    """Decoder rows under way; see `ragcore.contracts.State`."""

    def __init__(self, body: Body, encoded: Encoded, pairs: Tensor) -> None:
        """Rows for `pairs` int64 [M ≥ 1], fed nothing yet."""
        self.device = pairs.device
        self._body = body
        self._forest = Forest(pairs.to(encoded.mask.device), len(encoded))
        self._encoded = encoded
        self._encoded_bias: Tensor | None = None
        self._cache: NodeCache | None = None
        self._buffers = Buffers()

    def __len__(self) -> int:
        """M, the number of rows."""
        return len(self._forest)

    @property
    def length(self) -> int:
        """How many tokens each row has been fed."""
        return self._forest.length

    def select(self, rows: Tensor) -> None:
        """Keep rows [M'] int64, in this order; one may appear more than once."""
        self._forest.select(rows.to(self._encoded.mask.device))

    # Buffers outlive the caller's inference mode, in which they could not be written to later.
    @torch.inference_mode(False)
    @torch.no_grad()
    def step(self, tokens: Tensor) -> Tensor:
        """Feed tokens int64 [M ≥ 1]; next log p float32 [M, V], good until the step after next."""
        body = self._body
        growth = self._forest.grow()
        if growth.move is not None:
            self._encoded = self._encoded.after(growth.move)
            self._encoded_bias = None
        layout = growth.layout
        relative = (growth.depths - growth.depth)[:, None]
        dtype = self._encoded.keys[0].dtype
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
        states = body.states(layout.arrange(tokens), depths, attention)
        return body.head.log_probs(layout.restore(states), self._buffers)

    def _bias_of_encoded(self, width: int) -> Tensor:
        held = self._encoded_bias
        if held is None or held.shape[-2] != width:
            mask = self._encoded.mask[:, None].expand(-1, width, -1)
            held = bias_of(mask, self._body.heads, self._encoded.keys[0].dtype)
            self._encoded_bias = held
        return held

    def _cache_for(self, growth: Growth) -> NodeCache:
        if self._cache is None:
            keys = self._encoded.keys[0]
            self._cache = NodeCache(
                self._body.layers,
                growth.layout.pairs,
                self._body.heads,
                self._body.size,
                capacity=self._forest.capacity,
                dtype=keys.dtype,
                device=keys.device,
            )
        else:
            self._cache.make_room(growth)
        return self._cache


class FastDecoder:
    """Decodes with a body: makes what rows share, begins rows, and scores targets."""

    def __init__(self, body: Body) -> None:
        self._body = body

    def encoded(self, states: Tensor, mask: Tensor) -> Encoded:
        """Keys and values of the encoder's states [P, S, D], mask bool [P, S]."""
        body = self._body
        pairs, longest, _ = states.shape
        shape = (pairs, longest, body.heads, body.size)
        # Padding is not multiplied, and stays zero in the room that all layers use in turn.
        places = mask.reshape(-1).nonzero()[:, 0]
        tokens = states.reshape(pairs * longest, -1).index_select(0, places)
        room = states.new_zeros(pairs * longest, body.heads * body.size)
        keys: list[Tensor] = []
        values: list[Tensor] = []
        for layer in range(body.layers):
            for made, held in zip(body.projections(layer), (keys, values), strict=True):
                room.index_copy_(0, places, made(tokens))
                # A copy even where one head or token leaves nothing to be moved.
                held.append(room.view(shape).transpose(1, 2).clone(memory_format=_DENSE))
        return Encoded(keys, values, mask)

    def start(self, encoded: Encoded, pairs: Tensor) -> FastState:
        """Decoder rows for `pairs` int64 [M ≥ 1], fed nothing yet."""
        return FastState(self._body, encoded, pairs)

    def score(self, encoded: Encoded, pairs: Tensor, targets: Tensor, start: int) -> Tensor:
        """Teacher-forced log-probs of targets int64 [M, T], float32, 0.0 where padded (-1)."""
        body = self._body
        used, pair = torch.unique(pairs, return_inverse=True)
        trie = Trie.of(pair, targets)
        found: Tensor | None = None
        counts = torch.bincount(trie.pair, minlength=len(used)).tolist()
        for begin, end in _groups(counts, _NODES):
            nodes = trie.of_pairs(begin, end)
            layout = Layout.of(trie.pair[nodes] - begin, end - begin)
            attention = self._among(trie, nodes, layout, encoded.of_pairs(used[begin:end]))
            tokens = trie.tokens[nodes].masked_fill(trie.depth[nodes] == 0, start)
            states = body.states(
                layout.arrange(tokens), layout.arrange(trie.depth[nodes]), attention
            )
            if found is None:
                found = states.new_empty(len(trie), states.shape[1])
            found[nodes] = layout.restore(states)
        if found is None:
            return torch.zeros(targets.shape, device=targets.device)
        return body.head.score(found, trie.node, targets)

    def _among(self, trie: Trie, nodes: Tensor, layout: Layout, encoded: Encoded) -> Attention:
        """How some nodes of a trie, all those of their pairs, attend to one another."""
        body = self._body
        dtype = encoded.keys[0].dtype
        sees = trie.sees[nodes][:, : layout.width]
        depths = layout.grid(layout.arrange(trie.depth[nodes]))
        # Between nodes of which neither is the other's ancestor it means nothing, and is masked.
        relative = (depths[:, None] - depths[:, :, None]).clamp(max=0)
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
    """Neighbours together, as many as have no more than `limit` nodes; at least one."""
    groups: list[tuple[int, int]] = []
    begin = held = 0
    for place, count in enumerate(counts):
        if held and held + count > limit:
            groups.append((begin, place))
            begin, held = place, 0
        held += count
    if held:
        groups.append((begin, len(counts)))
    return groups


def fast_decoder(model: Any) -> FastDecoder | None:
    """The decoder of a Hugging Face model; None, and a warning, for one that is not known here."""
    # Not of subclasses, which may compute something else.
    for body in (BartBody, T5Body):
        if type(model) in body.MODELS:
            return FastDecoder(body(model))
    warnings.warn(
        f"{type(model).__name__} is decoded by its own forward pass, which gives the same answers "
        "more slowly: there is a faster way for BART, mBART, Pegasus and T5",
        stacklevel=2,
    )
    return None
