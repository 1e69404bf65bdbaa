"""The language-model head: decoder states to log-probabilities over the vocabulary.

Its product with the vocabulary is the largest of a decoding step, and its result the largest
tensor; so buffers are reused, and on a CPU the vocabulary is split into blocks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor

from ragcore_transformers.ends import EndTokens
from ragcore_transformers.int8 import PackedInt8Linear
from ragcore_transformers.packed import PackedLinear

__all__ = ["Buffers", "Head"]

_BLOCK: Final = 2048
"""Vocabulary rows in one product: so many that weights and results stay in a CPU's caches."""

_NODES: Final = 256
"""Decoder states whose logits are in memory at the same time when targets are scored."""


@dataclass(slots=True)
class Buffers:
    """Memory for logits and log-probs [M, V] that is reused at each step.

    Allocating memory of that size costs more than computing the numbers. Results alternate between
    two buffers: one is valid until the step after the next.
    """

    _buffers: list[Tensor] = field(default_factory=lambda: [torch.empty(0)] * 3)
    _turn: int = 0

    def logits(self, rows: int, columns: int, device: torch.device) -> Tensor:
        """Return a buffer for logits float32 [rows, columns], overwritten at the next call."""
        return self._room(2, rows, columns, device)

    def log_probs(self, rows: int, columns: int, device: torch.device) -> Tensor:
        """Return a buffer for log-probs [rows, columns], overwritten at the call after next."""
        self._turn = 1 - self._turn
        return self._room(self._turn, rows, columns, device)

    def _room(self, place: int, rows: int, columns: int, device: torch.device) -> Tensor:
        size = rows * columns
        if self._buffers[place].numel() < size:
            self._buffers[place] = torch.empty(size, dtype=torch.float32, device=device)
        return self._buffers[place][:size].view(rows, columns)


@dataclass(frozen=True, slots=True)
class Head:
    """logits = scale · states · Wᵀ + bias.

    Attributes:
        module: the checkpoint's own linear layer, or one that replaced it.
        size: V.
        bias: [1, V], one that is not part of the module, or None.
        scale: states are multiplied by this first.
    """

    module: Any
    size: int
    bias: Tensor | None = None
    scale: float = 1.0

    def log_probs(self, states: Tensor, buffers: Buffers) -> Tensor:
        """Return log p(y_i) float32 [M, V] of states [M, D], in one of `buffers`."""
        logits = self._logits(states, buffers)
        room = buffers.log_probs(len(states), self.size, states.device)
        return torch.log_softmax(logits, dim=-1, out=room)

    def score(self, states: Tensor, node: Tensor, targets: Tensor, ends: EndTokens) -> Tensor:
        """Return log-probs of targets, float32 [M, T], 0.0 where padded.

        Args:
            states: [n, D], one for each node.
            node: int64 [M, T], the node whose state predicts each target; -1 where padded.
            targets: int64 [M, T].
            ends: the end tokens, whose probabilities are added.
        """
        log_p = torch.zeros(targets.shape, dtype=torch.float32, device=states.device)  # [M, T]
        rows, positions = (node >= 0).nonzero(as_tuple=True)
        nodes, order = node[rows, positions].sort()  # [tokens] each
        rows, positions = rows[order], positions[order]
        goal = targets[rows, positions]  # [tokens]
        buffers = Buffers()
        begins = list(range(0, len(states), _NODES))
        bounds = torch.searchsorted(nodes, torch.tensor(begins, device=nodes.device)).tolist()
        for begin, first, last in zip(begins, bounds, [*bounds[1:], len(nodes)], strict=True):
            logits = self._logits(states[begin : begin + _NODES], buffers)  # [_NODES, V]
            logits = ends.merged(logits)
            line = nodes[first:last] - begin
            chosen = logits[line, goal[first:last]] - logits.logsumexp(dim=1)[line]
            log_p[rows[first:last], positions[first:last]] = chosen
        return log_p

    def _logits(self, states: Tensor, buffers: Buffers) -> Tensor:
        """Return logits float32 [M, V], in a buffer or in new memory."""
        if self.scale != 1.0:
            states = states * self.scale
        module = self.module
        plain = type(module) is torch.nn.Linear and module.bias is None
        if plain and states.device.type == "cpu" and states.dtype == torch.float32:
            logits = buffers.logits(len(states), self.size, states.device)
            weight = module.weight.t()
            for begin in range(0, self.size, _BLOCK):
                end = begin + _BLOCK
                torch.mm(states, weight[:, begin:end], out=logits[:, begin:end])
        elif isinstance(module, PackedLinear) or (
            isinstance(module, PackedInt8Linear) and states.dtype == torch.float32
        ):
            logits = module.into(states, buffers.logits(len(states), self.size, states.device))
        else:
            logits = module(states).float()
        # BART's checkpoints have a bias of zeros.
        if self.bias is not None and bool(self.bias.any()):
            logits += self.bias
        return logits
