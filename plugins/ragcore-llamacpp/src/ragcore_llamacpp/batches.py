"""Batches of tokens in the memory layout that llama.cpp reads, and the logits that it leaves.

Knows arrays and pointers; knows nothing of prompts or answers.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import llama_cpp
import numpy as np
import torch
from torch import Tensor

__all__ = ["Tokens", "decode"]

_INT32: Final = ctypes.POINTER(ctypes.c_int32)
_INT32_ROWS: Final = ctypes.POINTER(_INT32)
_INT8: Final = ctypes.POINTER(ctypes.c_int8)


@dataclass(slots=True)
class Tokens:
    """Tokens to feed; one may belong to several sequences.

    Attributes:
        ids: of each token.
        positions: how many tokens are before it.
        sequences: which sequences it continues.
        outputs: whether the logits after it are wanted.
    """

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    sequences: list[Sequence[int]] = field(default_factory=list)
    outputs: list[bool] = field(default_factory=list)

    def __len__(self) -> int:
        """Return how many tokens there are."""
        return len(self.ids)

    def add(self, token: int, position: int, sequences: Sequence[int], output: bool) -> None:
        """Add a token; those of a sequence are added in the order of their positions."""
        self.ids.append(token)
        self.positions.append(position)
        self.sequences.append(sequences)
        self.outputs.append(output)

    def parts(self, most_tokens: int, most_outputs: int) -> list[slice]:
        """Cut the tokens into stretches that one run of the model may take."""
        slices = []
        begin, outputs = 0, 0
        for number, output in enumerate(self.outputs):
            if number - begin == most_tokens or outputs + output > most_outputs:
                slices.append(slice(begin, number))
                begin, outputs = number, 0
            outputs += output
        return [*slices, slice(begin, len(self))] if self.ids else []


def decode(context: Any, tokens: Tokens, part: slice, vocabulary_size: int) -> tuple[int, Tensor]:
    """Run a stretch of tokens through the model.

    Args:
        context: llama.cpp's.
        tokens: of which a stretch is run.
        part: the stretch.
        vocabulary_size: V.

    Returns:
        llama.cpp's code: 0, or 1 where its cache has no room; and the logits float32 [outputs, V],
        which the next run overwrites.
    """
    ids = np.array(tokens.ids[part], np.int32)
    positions = np.array(tokens.positions[part], np.int32)
    outputs = np.array(tokens.outputs[part], np.int8)
    sequences = tokens.sequences[part]
    counts = np.array([len(of_token) for of_token in sequences], np.int32)
    flat = np.array([sequence for of_token in sequences for sequence in of_token], np.int32)
    # llama.cpp wants a pointer to each token's sequences.
    first = np.cumsum(counts, dtype=np.uint64) - counts.astype(np.uint64)
    pointers = flat.ctypes.data + first * np.uint64(flat.itemsize)
    batch = llama_cpp.llama_batch(
        n_tokens=len(ids),
        token=ids.ctypes.data_as(_INT32),
        embd=None,
        pos=positions.ctypes.data_as(_INT32),
        n_seq_id=counts.ctypes.data_as(_INT32),
        seq_id=pointers.ctypes.data_as(_INT32_ROWS),
        logits=outputs.ctypes.data_as(_INT8),
    )
    code: int = llama_cpp.llama_decode(context, batch)
    count = int(outputs.sum())
    if code != 0 or not count:
        return code, torch.empty(0, vocabulary_size)
    logits = np.ctypeslib.as_array(
        llama_cpp.llama_get_logits(context), shape=(count, vocabulary_size)
    )
    return code, torch.from_numpy(logits)
