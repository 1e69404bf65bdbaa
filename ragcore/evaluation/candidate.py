"""Another version of a pipeline's memory, opened beside the one that it serves from."""

from __future__ import annotations

from ragcore.rag import Rag

__all__ = ["open_candidate"]


def open_candidate(rag: Rag, version: str) -> Rag:
    """A pipeline over another version, with the generator and the settings of `rag`.

    Args:
        rag: left as it is; its generator is shared, and loaded once.
        version: of the same store.

    Returns:
        A pipeline to close by itself; closing it closes that version alone.

    Raises:
        ConfigError: `rag` has no store.
        StoreError: there is no such version, it is corrupt, or of another encoder.
    """
    return Rag(rag.memory.open(version), rag.generator, rag.config)
