"""Another version of a pipeline's memory, opened next to the one that it serves from."""

from __future__ import annotations

from ragcore.rag import Rag

__all__ = ["open_candidate"]


def open_candidate(rag: Rag, version: str) -> Rag:
    """Open a pipeline over another version, with the generator and the settings of `rag`.

    Args:
        rag: left as it is; its generator is shared, not loaded again.
        version: of the same store.

    Returns:
        A pipeline that the caller closes; closing it releases that version alone.

    Raises:
        ConfigError: `rag` has no store.
        StoreError: there is no such version, it is corrupt, or of another encoder.
    """
    return Rag(rag.memory.open(version), rag.generator, rag.config)
