"""Another version of a pipeline's memory, opened beside the one that it serves from."""

from __future__ import annotations

from ragcore.errors import ConfigError
from ragcore.rag import Rag

__all__ = ["beside"]


def beside(rag: Rag, version: str) -> Rag:
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
    store, retriever = rag._store, rag._retriever
    if store is None:
        raise ConfigError(
            "this Rag was made from an opened memory, without a store: give `store=` to read "
            f"version {version!r} beside it"
        )
    with rag.memory.reading() as current:
        temperature = current.temperature
    memory = store.open(version, retriever=retriever, temperature=temperature)
    return Rag(memory, rag.generator, rag.config, store=store, retriever=retriever)
