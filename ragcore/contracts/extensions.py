"""Which capability promises which further members."""

from __future__ import annotations

from typing import Any, Final, TypeGuard, TypeVar

from ragcore.contracts.component import Capability
from ragcore.contracts.corpus import DividedCorpus, DocumentCorpus
from ragcore.contracts.generator import PassageReuser, TogetherReader, WordGenerator
from ragcore.contracts.index import (
    EmptySpawner,
    FilteringIndex,
    GraphIndex,
    JoiningIndex,
    RemoteData,
    VectorSource,
)
from ragcore.contracts.retriever import (
    CacheUser,
    CompactingRetriever,
    FilteringRetriever,
    IndexTrainer,
    MergingRetriever,
    PassageReader,
    ScratchUser,
)
from ragcore.contracts.scorer import AnswerabilityScorer
from ragcore.contracts.text_generator import StreamingGenerator
from ragcore.contracts.tokenizer import TokenizedEncoder, TokenizedRetriever, TokenizerUser
from ragcore.contracts.training import TrainableEncoder, TrainableGenerator, TrainableRetriever

__all__ = ["EXTENSIONS", "supports"]


EXTENSIONS: Final[dict[type[Any], Capability]] = {
    AnswerabilityScorer: "answerability",
    CacheUser: "cache",
    CompactingRetriever: "compact",
    DividedCorpus: "parts",
    DocumentCorpus: "documents",
    EmptySpawner: "spawn_empty",
    FilteringIndex: "where",
    FilteringRetriever: "where",
    GraphIndex: "width",
    IndexTrainer: "index_training",
    JoiningIndex: "join",
    MergingRetriever: "merge",
    PassageReader: "passages",
    PassageReuser: "reuse",
    RemoteData: "remote",
    ScratchUser: "scratch",
    StreamingGenerator: "stream",
    TogetherReader: "together",
    TokenizedEncoder: "tokenizer",
    TokenizedRetriever: "tokenizer",
    TokenizerUser: "tokenizer",
    TrainableEncoder: "trainable",
    TrainableGenerator: "trainable",
    TrainableRetriever: "trainable",
    VectorSource: "vectors",
    WordGenerator: "words",
}
"""Each protocol that extends a contract, with the capability that promises it."""

E = TypeVar("E")


def supports(component: Any, extension: type[E]) -> TypeGuard[E]:
    """Return whether a component declares the capability that an extension belongs to.

    Args:
        component: of any kind.
        extension: one of the protocols that extend a contract, such as `VectorSource`.
    """
    return EXTENSIONS[extension] in component.capabilities
