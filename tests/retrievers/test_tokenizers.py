"""Retrievers pass on the tokenizer of their encoders, and of several the one with least room."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ragcore.contracts import TokenizedRetriever, supports
from ragcore.errors import UnsupportedOperation
from ragcore.registry.components import ComponentSpec
from ragcore.retrievers.hybrid import Hybrid
from ragcore.retrievers.rerank import Rerank
from ragcore.testing import RetrieverSuite
from ragcore.types import CutPassages, Passage
from tests.helpers.tokenized_parts import TokenizedWords, dense_of, tokenized_encoder
from tests.helpers.word_encoder import dense_part
from tests.testing.mutants_scorer import Common


def hybrid(*members: ComponentSpec) -> ComponentSpec:
    config = Hybrid.Config(retrievers=list(members))
    return ComponentSpec("retriever", "hybrid", Hybrid, config)


def rerank(inner: ComponentSpec) -> ComponentSpec:
    scorer = ComponentSpec("scorer", "common", Common, Common.Config())
    return ComponentSpec(
        "retriever", "rerank", Rerank, Rerank.Config(retriever=inner, scorer=scorer)
    )


SMALL, LARGE = dense_of(tokenized_encoder(limit=20)), dense_of(tokenized_encoder(limit=50))


class Unlike(TokenizedWords):
    """Has no tokenizer once it is built, though its class declares one."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.capabilities = frozenset()


class Computed(TokenizedWords):
    """Computes its capabilities when it is built, as others may."""

    @property
    def capabilities(self) -> frozenset[str]:
        return frozenset({"tokenizer"})


def dense_without(component: type[TokenizedWords]) -> ComponentSpec:
    return dense_of(ComponentSpec("encoder", "unlike", component, component.Config()))


class TestContract(RetrieverSuite):
    @pytest.fixture
    def component(self) -> ComponentSpec:
        return dense_of(tokenized_encoder(dim=512, limit=1000))


@pytest.mark.parametrize(
    ("spec", "room"),
    [
        (SMALL, 20),
        (hybrid(LARGE, SMALL), 20),
        (hybrid(dense_part(), LARGE), 50),
        (hybrid(dense_without(Unlike), LARGE), 50),
        (rerank(LARGE), 50),
        (rerank(hybrid(SMALL, LARGE)), 20),
        (dense_without(Computed), 60),
    ],
)
def test_the_tokenizer_is_that_of_the_encoder_with_least_room(
    spec: ComponentSpec, room: int
) -> None:
    retriever = spec.build()
    assert supports(retriever, TokenizedRetriever)
    assert retriever.tokenizer.room("") == room
    assert retriever.tokenizer.room("Lake Chad") == room - 2


@pytest.mark.parametrize(
    "spec", [dense_part(), hybrid(dense_part(), dense_part(seed=1)), rerank(dense_part())]
)
def test_without_an_encoder_that_has_one_no_tokenizer_is_declared(spec: ComponentSpec) -> None:
    assert "tokenizer" not in spec.build().capabilities


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (dense_without(Unlike), "encoder 'unlike'"),
        (hybrid(dense_without(Unlike), dense_part()), "retriever 'hybrid'"),
        (rerank(dense_without(Unlike)), "retriever 'rerank'"),
    ],
)
def test_an_encoder_that_proves_to_have_none_is_an_error(spec: ComponentSpec, name: str) -> None:
    retriever = spec.build()
    with pytest.raises(UnsupportedOperation, match=rf"{name} does not support 'tokenizer'"):
        _ = retriever.tokenizer


def test_a_retriever_tells_what_each_of_its_encoders_cuts() -> None:
    retriever = rerank(hybrid(SMALL, dense_part(), LARGE)).build()
    assert retriever.cut_passages == ()
    passages = [Passage(str(count), "Chad", "word " * count) for count in (1, 19, 20, 49, 50)]
    retriever.add(np.arange(3), passages[:3])
    retriever.remove(np.array([2]))
    retriever.add(np.arange(2, 5), passages[2:])
    small, large = retriever.cut_passages
    # A passage that was removed counts, since it was added.
    assert small == CutPassages("tokenized", 4, 6, 20)
    assert large == CutPassages("tokenized", 1, 6, 50)
    assert "4 of 6 passages are longer than it reads (20 tokens" in str(small)
