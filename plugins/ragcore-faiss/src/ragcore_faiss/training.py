"""Train a FAISS index, and say what to do where there are too few vectors.

Knows how many vectors training uses; knows nothing of rows, or of when training is due.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from ragcore.errors import ConfigError
from ragcore_faiss.config import FaissConfig
from ragcore_faiss.factory import message

if TYPE_CHECKING:
    from ragcore.types import Vectors

__all__ = ["train"]

_POINTS_NEEDED: Final = re.compile(r"as large as number of clusters \((\d+)\)")


def train(index: Any, vectors: Vectors, config: FaissConfig) -> None:
    """Train an index with the first `train_size` of vectors [n, d].

    Raises:
        ConfigError: they are too few for the factory.
    """
    try:
        index.train(vectors[: config.train_size])
    except RuntimeError as error:
        used = min(len(vectors), config.train_size)
        needed = _POINTS_NEEDED.search(str(error))
        need = f"at least {needed[1]} vectors" if needed else message(error)
        raise ConfigError(
            f"index 'faiss' ({config.factory}) cannot be trained on {used} vectors: it needs "
            f"{need}; choose a factory with fewer clusters, such as Flat (train_size is "
            f"{config.train_size})"
        ) from error
