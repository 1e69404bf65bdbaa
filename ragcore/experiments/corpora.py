"""Check that corpora can be read, before the first memory is built from one of them.

Knows corpora; knows nothing of how a memory is built.
"""

from __future__ import annotations

from ragcore.contracts import Corpus
from ragcore.errors import EmptyCorpusError
from ragcore.experiments.memories import corpus_of
from ragcore.experiments.systems import System
from ragcore.registry.components import ComponentSpec
from ragcore.store.checking import checked_passages
from ragcore.store.tokenizers import give_tokenizer

__all__ = ["CorpusChecks"]


class CorpusChecks:
    """Reads the first passage of corpora, of each once."""

    def __init__(self) -> None:
        self._readable: list[ComponentSpec[Corpus]] = []

    def check(self, system: System) -> None:
        """Read the first passage of a system's corpus.

        Raises:
            ConfigError: the pipeline has no corpus.
            CorpusError: the corpus cannot be read, is empty, or needs a tokenizer that the
                retriever does not have.
        """
        spec = corpus_of(system)
        if spec in self._readable:
            return
        corpus = spec.build()
        needs_tokenizer = "tokenizer" in getattr(corpus, "capabilities", ())
        if needs_tokenizer:
            assert system.config is not None
            retriever = system.config.memory.retriever
            give_tokenizer(corpus, spec.use, retriever.build(), retriever.use)
        if next(checked_passages(corpus, spec.use), None) is None:
            raise EmptyCorpusError(
                "the corpus gave no passage: a memory needs at least one; check memory.corpus"
            )
        if not needs_tokenizer:
            self._readable.append(spec)
