"""A causal model's prompts read once, and decoder rows that share what their pair has read.

Keys and values of a prompt are stored once for each (question, passage) pair, however many beams
there are: the rows of a pair are further query positions over them (tree.py). The checkpoint's own
forward pass computes everything, with an explicit mask and positions; `sharing_fault` says for
which models that differs from their own decoding.

Knows Hugging Face's forward pass and caches; knows nothing of text.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from ragcore_transformers.ends import EndTokens
from ragcore_transformers.gaps import Gaps
from ragcore_transformers.prefill import Prefill, masked_forward
from ragcore_transformers.tree import Forest, Growth, Layout, Trie

__all__ = ["SharedPrompts", "SharedRows", "sharing_fault"]

_WINDOWS: Final = ("sliding_window", "window_size", "attention_window", "attention_chunk_size")
"""Config keys of models in which a token does not attend to all tokens before it."""


@dataclass(frozen=True, slots=True)
class SharedPrompts:
    """Keys and values of P prompts; never changed.

    Attributes:
        model: the checkpoint.
        keys: of each layer [P, H, S, d]; any finite number behind a prompt's end.
        values: likewise.
        lengths: int64 [P].
        log_probs: float32 [P, V], of the token that follows each prompt.
        ends: the end tokens, whose probabilities are added.
    """

    model: Any
    keys: list[Tensor]
    values: list[Tensor]
    lengths: Tensor
    log_probs: Tensor
    ends: EndTokens

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        model: Any,
        prompts: Sequence[Sequence[int]],
        batch_size: int,
        vocabulary_size: int,
        ends: EndTokens,
    ) -> SharedPrompts:
        """Run the prompts through the model, in batches of similar length."""
        prefill = Prefill(model, prompts, batch_size, vocabulary_size, ends)
        prefill.whole(range(len(prompts)))
        return cls.filled(model, prefill, ends)

    @classmethod
    def filled(cls, model: Any, prefill: Prefill, ends: EndTokens) -> SharedPrompts:
        """Take what was computed of prompts that were all read."""
        keys, values = prefill.keys, prefill.values
        return cls(model, keys, values, prefill.lengths, prefill.log_probs, ends)

    def start(self, pairs: Tensor) -> SharedRows:
        """Begin rows that continue the prompts of pairs int64 [M]."""
        return SharedRows(self, pairs)

    @torch.no_grad()
    def score(self, pairs: Tensor, targets: Tensor, batch_size: int) -> Tensor:
        """Return log-probs of targets int64 [M, T] after the prompts of pairs [M], float32 [M, T].

        Every distinct prefix is fed once. Padding (-1) has 0.0.
        """
        log_p = torch.zeros(targets.shape, device=targets.device)  # [M, T]
        if not targets.numel():
            return log_p
        goal = targets.clamp(min=0)
        log_p[:, 0] = self.log_probs[pairs].gather(1, goal[:, :1])[:, 0]
        used, pair = torch.unique(pairs, return_inverse=True)
        trie = Trie.of(pair, targets)
        for begin in range(0, len(used), batch_size):
            part = used[begin : begin + batch_size]
            nodes = trie.of_pairs(begin, begin + len(part))
            # A root stands for the prompt, whose next token has its log-probs already. It is its
            # pair's first node.
            nodes = nodes[trie.depth[nodes] > 0]
            if not len(nodes):
                continue
            layout = Layout.of(trie.pair[nodes] - begin, len(part))
            logits = self._feed(
                part, layout, trie.tokens[nodes], trie.depth[nodes], trie.sees[nodes, 1:]
            )  # [nodes, V]
            row_of = torch.full((len(trie),), -1, dtype=torch.int64, device=nodes.device)
            row_of[nodes] = torch.arange(len(nodes), device=nodes.device)
            # Position 0 follows the root, and is done.
            after = torch.where(trie.node[:, 1:] >= 0, row_of[trie.node[:, 1:]], -1)  # [M, T - 1]
            row, position = (after >= 0).nonzero(as_tuple=True)
            after = after[row, position]  # [tokens]
            chosen = logits[after, goal[row, position + 1]] - logits.logsumexp(dim=-1)[after]
            log_p[row, position + 1] = chosen
        return log_p.masked_fill(targets < 0, 0.0)

    def _feed(
        self, pairs: Tensor, layout: Layout, tokens: Tensor, depths: Tensor, sees: Tensor
    ) -> Tensor:
        """Return logits float32 [n, V] after n nodes of a trie, in the nodes' order."""
        width = layout.width
        cache = _RoomyCache(self, pairs, room=width)
        mask = layout.grid(layout.arrange(sees[:, :width]))  # [P, width, width]
        depth = layout.grid(layout.arrange(depths))  # [P, width]
        grid = layout.grid(layout.arrange(tokens))  # [P, width]
        logits = cache.forward(grid, mask, self.lengths[pairs, None] + depth - 1)
        return self.ends.merged(layout.restore(layout.flat(logits)).float())


class SharedRows:
    """Decoder rows; all of them have been fed equally many tokens."""

    def __init__(self, prompts: SharedPrompts, pairs: Tensor) -> None:
        """Begin rows of pairs int64 [M], nothing fed yet."""
        self._prompts = prompts
        self.pairs = pairs
        used, pair = torch.unique(pairs, return_inverse=True)
        self._used = used
        self._forest = Forest(pair, len(used))
        self._cache: _RoomyCache | None = None

    def __len__(self) -> int:
        """Return M, the number of rows."""
        return len(self._forest)

    def select(self, rows: Tensor) -> None:
        """Keep rows [M'] int64, in this order; one may appear more than once."""
        self.pairs = self.pairs.index_select(0, rows)
        self._forest.select(rows)

    def step(self, tokens: Tensor | None) -> Tensor:
        """Feed one token to each row (None: nothing yet); return log-probs of the next [M, V]."""
        if tokens is None:
            return self._prompts.log_probs.index_select(0, self.pairs)
        capacity = self._forest.capacity
        growth = self._forest.grow()
        if self._cache is None:
            # Only now: answers that end with the first token need no copy of the prompts.
            self._cache = _RoomyCache(self._prompts, self._used, room=capacity)
        self._cache.make_room(growth)
        layout = growth.layout
        grid = layout.grid(layout.arrange(tokens))  # [P, width]
        positions = (self._cache.lengths + growth.depth)[:, None].expand(-1, layout.width)
        logits = self._cache.forward(grid, growth.mask, positions)  # [P, width, V]
        log_probs = layout.restore(layout.flat(logits)).float().log_softmax(dim=-1)
        return self._prompts.ends.merged(log_probs)


class _RoomyLayer(DynamicLayer):  # type: ignore[no-untyped-call, unused-ignore]
    """Keys and values [P, H, columns, d] of which the first `used` columns are filled."""

    keys: Tensor
    values: Tensor

    def __init__(self, keys: Tensor, values: Tensor, used: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]
        self.lazy_initialization(keys, values)
        self.keys, self.values = keys, values
        self.used = used

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write the next columns in place; all that are filled, as views."""
        begin, self.used = self.used, self.used + key_states.shape[2]
        self.keys[:, :, begin : self.used] = key_states
        self.values[:, :, begin : self.used] = value_states
        return self.keys[:, :, : self.used], self.values[:, :, : self.used]

    def get_seq_length(self) -> int:
        """Return the number of filled columns."""
        return self.used


class _RoomyCache:
    """Copies of some pairs' prompts, with room after them for the tokens that are fed."""

    def __init__(self, prompts: SharedPrompts, pairs: Tensor, *, room: int) -> None:
        self._model = prompts.model
        self.lengths = prompts.lengths[pairs]
        self._begin = int(self.lengths.max())
        self._layers = [
            _RoomyLayer(
                self._copied(keys, pairs, room), self._copied(values, pairs, room), self._begin
            )
            for keys, values in zip(prompts.keys, prompts.values, strict=True)
        ]

    def _copied(self, prompts: Tensor, pairs: Tensor, room: int) -> Tensor:
        copied = prompts.new_empty(
            len(pairs), prompts.shape[1], self._begin + room, prompts.shape[3]
        )  # [P', H, S + room, d]
        copied[:, :, : self._begin] = prompts[pairs, :, : self._begin]
        return copied

    def make_room(self, growth: Growth) -> None:
        """Apply the move that a growth asks for, if any."""
        move = growth.move
        if move is None:
            return
        begin, used = self._begin, self._begin + growth.begin
        self.lengths = move.of_pairs(self.lengths)
        for layer in self._layers:
            for name in ("keys", "values"):
                old = getattr(layer, name)
                nodes = move.of_columns(old[:, :, begin:])
                new = nodes.new_empty(*nodes.shape[:2], begin + move.capacity, nodes.shape[3])
                new[:, :, :begin] = move.of_pairs(old[:, :, :begin])
                new[:, :, begin:used] = nodes[:, :, : growth.begin]
                setattr(layer, name, new)
            layer.used = used

    def forward(self, grid: Tensor, sees: Tensor, positions: Tensor) -> Tensor:
        """Return logits [P, width, V] after a grid of tokens int64 [P, width].

        Args:
            grid: the tokens, whose keys and values are written into the next columns.
            sees: bool [P, width, N], the columns after the prompts that each token sees.
            positions: int64 [P, width], how many tokens are before each.
        """
        prompt = torch.arange(self._begin, device=grid.device) < self.lengths[:, None]  # [P, S]
        # A cell without a row sees the prompt too: a softmax over nothing is NaN, and would stay in
        # its column.
        visible = torch.cat(
            [prompt[:, None].expand(-1, grid.shape[1], -1), sees], dim=2
        )  # [P, width, S + N]
        return masked_forward(self._model, grid, visible, positions, self._layers)


def sharing_fault(model: Any) -> str | None:
    """Return why rows of this model cannot share a prompt, or None where they can.

    Args:
        model: a causal model of Hugging Face's.
    """
    accepted = inspect.signature(model.forward).parameters
    for name in ("position_ids", "logits_to_keep"):
        if name not in accepted:
            return f"its forward pass takes no {name}"
    config = model.config.get_text_config(decoder=True)
    for name in _WINDOWS:
        if getattr(config, name, None):
            return f"its attention has a window ({name})"
    if any(type(layer) is not DynamicLayer for layer in DynamicCache(config=model.config).layers):
        return "its cache holds more than keys and values"
    try:
        gaps = _probe(model)
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as fault:
        return f"its forward pass fails with a mask of its own ({fault})"
    if gaps.exceeded:
        kind = "log-probs" if gaps.fine else "probabilities"
        return f"{kind} would be off by {gaps.largest:.2g}"
    return None


@torch.no_grad()
def _probe(model: Any) -> Gaps:
    """Return how far off decoding is when rows share prompts, tried with two short prompts."""
    vocabulary = model.get_output_embeddings().weight.shape[0]

    def ids(first: int, count: int) -> list[int]:
        return [(first + 7 * number) % vocabulary for number in range(count)]

    prompts = [ids(1, 3), ids(2, 6)]
    pairs = [0, 0, 1, 1, 1]
    fed = [ids(3 + row, 2) for row in range(len(pairs))]
    read = SharedPrompts.of(model, prompts, 2, vocabulary, EndTokens(0))
    numbers = torch.tensor(pairs, device=model.device)
    rows = read.start(numbers)
    tokens = torch.tensor(fed, device=model.device)
    scored = read.score(numbers, tokens, 2)  # [M, T]
    steps = [rows.step(None), *(rows.step(column) for column in tokens.unbind(1))]  # [M, V] each
    gaps = Gaps(model)
    for row, pair in enumerate(pairs):
        whole = torch.tensor([prompts[pair] + fed[row]], device=model.device)
        logits = model(input_ids=whole, use_cache=False).logits[0]
        expected = logits.float().log_softmax(dim=-1)[-len(steps) :]  # [steps, V]
        for number, log_p in enumerate(expected):
            gaps.compare(steps[number][row], log_p)
        for number, token in enumerate(fed[row]):
            gaps.compare(scored[row, number, None], expected[number, token, None])
            gaps.follow(expected[number], expected[number + 1])
    return gaps
