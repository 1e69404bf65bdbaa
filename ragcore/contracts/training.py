"""What a component that can be trained adds to its contract."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ragcore.contracts.encoder import Encoder
from ragcore.contracts.generator import Generator, Read
from ragcore.contracts.retriever import Retriever
from ragcore.types import Hits, Passage

if TYPE_CHECKING:
    import torch

__all__ = ["Trainable", "TrainableEncoder", "TrainableGenerator", "TrainableRetriever"]


class Trainable(Protocol):
    """What an encoder or a generator with the capability `trainable` adds to its contract."""

    def trained_module(self) -> torch.nn.Module:
        """Return the module whose weights training changes: the same object at every call.

        For an encoder this is the question side alone, so that passages' vectors stay as they are
        (paper, section 2.4). Where both sides share weights, the first call gives the question
        side a copy of its own.
        """
        ...

    def save_trained(self, folder: Path) -> dict[str, str]:
        """Write the weights, and everything needed to load them, into an existing empty folder.

        Returns:
            The config keys that load them: {key: a path inside `folder`, "." for `folder`}.
        """
        ...


@runtime_checkable
class TrainableEncoder(Trainable, Encoder, Protocol):
    """An encoder with the capability `trainable`."""

    def encode_questions(self, questions: Sequence[str]) -> torch.Tensor:
        """Encode B questions as a tensor [B, d], with gradient where the caller has it enabled."""
        ...

    def passage_module(self) -> torch.nn.Module:
        """Return the module that encodes passages, for a trainer that refreshes the index."""
        ...

    def encode_passages_with_grad(self, passages: Sequence[Passage]) -> torch.Tensor:
        """Encode n passages as a tensor [n, d], with gradient where the caller has it enabled."""
        ...


@runtime_checkable
class TrainableGenerator(Trainable, Generator, Protocol):
    """A generator with the capability `trainable`."""

    def score_all(self, read: Read, pairs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Score every token of the vocabulary at each target position; differentiable.

        Label smoothing needs it. Arguments as `score`, which returns these values at the targets.

        Returns:
            log p(v|x,z,y_<i), float32 [M, T, V]; undefined where a target is padded.
        """
        ...


class TrainableRetriever(Retriever, Protocol):
    """A retriever with the capability `trainable`."""

    def trained_encoder(self) -> TrainableEncoder:
        """Return the encoder of the questions."""
        ...

    def use_encoder(self, encoder: TrainableEncoder) -> None:
        """Encode questions with this encoder from now on; its vectors must fit the passages'."""
        ...

    def search_with_grad(self, questions: Sequence[str], k: int) -> tuple[Hits, torch.Tensor]:
        """Search, and compute the scores of the hits once more, with gradient.

        Returns:
            Hits [B, k], as `search` finds them, and their scores d(z)ᵀq(x) from the stored vectors,
            [B, k] with gradient; -inf where a hit is missing.
        """
        ...
