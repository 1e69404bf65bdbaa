"""A corpus that splits texts by tokens is passed the tokenizer of the retriever's encoder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ragcore.contracts import KnownDocuments
from ragcore.errors import CorpusError
from ragcore.registry.components import ComponentSpec
from ragcore.retrievers.dense import Dense
from ragcore.store.store import Store
from ragcore.types import Document, Passage
from tests.helpers.tokenized_parts import (
    TextsByTokens,
    TokenizedWords,
    dense_of,
    tokenized_encoder,
)
from tests.helpers.word_encoder import dense_part


class DocumentsByTokens(TextsByTokens):
    """The same with documents: an update asks for them in place of passages."""

    capabilities = frozenset({"documents", "tokenizer"})
    complete = True

    def documents(self, known: KnownDocuments) -> Iterator[Document]:
        key = f"{self.config.text}/{self.tokenizer.fingerprint}"
        passages = None if known.key("all") == key else tuple(self)
        yield Document("all", key, passages)


def corpus_of(kind: type[TextsByTokens], **settings: str) -> ComponentSpec:
    return ComponentSpec("corpus", "by-tokens", kind, kind.Config(**settings))


TEXT = " ".join(f"word{number}" for number in range(95))


@pytest.mark.parametrize("kind", [TextsByTokens, DocumentsByTokens])
def test_a_build_and_an_update_pass_the_tokenizer_to_the_corpus(
    tmp_path: Path, kind: type[TextsByTokens]
) -> None:
    store, retriever = Store(tmp_path / "store"), dense_of(tokenized_encoder(limit=21))
    spec = corpus_of(kind, text=TEXT)
    store.build("v1", spec.build(), retriever, corpus_config=spec)
    with store.open(retriever=retriever) as memory:
        lengths = [len(passage.text.split()) for passage in memory.passages]
    # Each has room for 21 words, of which the title is one.
    assert lengths == [20, 20, 20, 20, 15]

    spec = corpus_of(kind, text=f"{TEXT} one two three four five six")
    info = store.update("v2", spec.build(), retriever=retriever, corpus_config=spec)
    assert (info.passages, info.changed, info.added) == (6, 1, 1)
    with store.open(retriever=retriever) as memory:
        lengths = [len(passage.text.split()) for passage in memory.passages]
    assert sorted(lengths) == [1, 20, 20, 20, 20, 20]


class Untold(TokenizedWords):
    """Has no tokenizer once it is built, though its class declares one."""

    def __init__(self, config: TokenizedWords.Config) -> None:
        super().__init__(config)
        self.capabilities = frozenset()


@pytest.mark.parametrize(
    "retriever",
    [dense_part(), dense_of(ComponentSpec("encoder", "untold", Untold, Untold.Config()))],
)
def test_a_retriever_without_a_tokenizer_cannot_build_such_a_memory(
    tmp_path: Path, retriever: ComponentSpec[Dense]
) -> None:
    store, spec = Store(tmp_path / "store"), corpus_of(TextsByTokens)
    with pytest.raises(CorpusError) as caught:
        store.build("v1", spec.build(), retriever, corpus_config=spec)
    message = str(caught.value)
    assert message.startswith("corpus 'by-tokens' splits texts by tokens")
    assert "retriever 'dense' has no encoder" in message
    assert "memory.corpus.split.by" in message
    assert not store.versions()
    store.build("v1", [Passage("1", "", "Chad")], retriever)
    with pytest.raises(CorpusError, match="retriever 'dense' has no encoder"):
        store.update("v2", spec.build(), retriever=retriever, corpus_config=spec)
    assert [version.name for version in store.versions()] == ["v1"]


def test_a_corpus_that_declares_no_tokenizer_is_passed_none(tmp_path: Path) -> None:
    class Quiet(TextsByTokens):
        capabilities = frozenset()

        def use_tokenizer(self, tokenizer: object) -> None:
            raise AssertionError("it declares no 'tokenizer'")

        def __iter__(self) -> Iterator[Passage]:
            yield Passage("1", "Chad", "Africa")

    store = Store(tmp_path / "store")
    assert store.build("v1", Quiet(Quiet.Config()), dense_part()).passages == 1
