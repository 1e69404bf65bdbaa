"""The mutation score: the suites catch every wrong component and pass every correct one."""

from __future__ import annotations

import inspect
import string
from types import ModuleType
from typing import Final

import pytest

from ragcore.registry.components import ComponentSpec
from ragcore.retrievers.flat import Exact
from ragcore.testing import (
    CorpusSuite,
    EncoderSuite,
    GeneratorSuite,
    IndexSuite,
    PassagesSuite,
    RetrieverSuite,
    ScorerSuite,
    Suite,
    examine,
)
from tests.helpers.tokenized_parts import TextsByTokens, TokenizedWords
from tests.helpers.trained_parts import Letters, TrainedWords
from tests.helpers.word_encoder import NumpyWordEncoder, WordEncoder, dense_part
from tests.testing import (
    mutants_answerability,
    mutants_corpus,
    mutants_documents,
    mutants_encoder,
    mutants_folders,
    mutants_generator,
    mutants_guests,
    mutants_index,
    mutants_manners,
    mutants_passages,
    mutants_reads,
    mutants_retriever,
    mutants_scorer,
    mutants_search,
    mutants_tokenizer,
    mutants_training,
    mutants_widths,
)
from tests.testing.mutants_answerability import Answering
from tests.testing.mutants_corpus import Counted
from tests.testing.mutants_documents import Chapters
from tests.testing.mutants_generator import Table
from tests.testing.mutants_passages import Shelf
from tests.testing.mutants_retriever import Shared
from tests.testing.mutants_scorer import Common
from tests.testing.mutants_widths import Wide


class Retrievers(RetrieverSuite):
    variants = ({"lower": False},)


class Encoders(EncoderSuite):
    variants = ({"seed": 1}, {"dim": 33})


class TokenizedEncoders(EncoderSuite):
    variants = ({"seed": 1}, {"limit": 30})


class TrainedEncoders(EncoderSuite):
    variants = ({"seed": 1},)


class Generators(GeneratorSuite):
    answers = ("ab", "k", string.ascii_lowercase[:5])


RIGHT: Final = [
    (IndexSuite, Exact),
    (IndexSuite, Wide),
    (Retrievers, Shared),
    (RetrieverSuite, dense_part(dim=512)),
    (Encoders, WordEncoder),
    (Encoders, NumpyWordEncoder),
    (TokenizedEncoders, TokenizedWords),
    (CorpusSuite, TextsByTokens),
    (ScorerSuite, Common),
    (ScorerSuite, Answering),
    (Generators, Table),
    (Generators, ComponentSpec("generator", "table", Table, Table.Config(sharpness=40))),
    (Generators, Letters),
    (TrainedEncoders, TrainedWords),
    (CorpusSuite, Counted),
    (CorpusSuite, Chapters),
    (PassagesSuite, Shelf),
]


def mutants(module: ModuleType, right: type) -> list[type]:
    return [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, right) and value is not right
    ]


WRONG: Final = [
    (suite, mutant)
    for suite, module, right in (
        (IndexSuite, mutants_index, Exact),
        (Retrievers, mutants_retriever, Shared),
        (Encoders, mutants_encoder, WordEncoder),
        (TokenizedEncoders, mutants_tokenizer, TokenizedWords),
        (CorpusSuite, mutants_tokenizer, TextsByTokens),
        (ScorerSuite, mutants_scorer, Common),
        (ScorerSuite, mutants_answerability, Answering),
        (Generators, mutants_generator, Table),
        (Generators, mutants_reads, Table),
        (Generators, mutants_training, Letters),
        (TrainedEncoders, mutants_training, TrainedWords),
        (CorpusSuite, mutants_corpus, Counted),
        (CorpusSuite, mutants_documents, Chapters),
        (Encoders, mutants_guests, WordEncoder),
        (TrainedEncoders, mutants_guests, TrainedWords),
        (ScorerSuite, mutants_guests, Common),
        (Generators, mutants_guests, Table),
        (Generators, mutants_guests, Letters),
        (IndexSuite, mutants_manners, Exact),
        (Retrievers, mutants_manners, Shared),
        (CorpusSuite, mutants_manners, Counted),
        (IndexSuite, mutants_folders, Exact),
        (Retrievers, mutants_folders, Shared),
        (PassagesSuite, mutants_passages, Shelf),
        (IndexSuite, mutants_search, Exact),
        (IndexSuite, mutants_widths, Wide),
        (Retrievers, mutants_search, Shared),
    )
    for mutant in mutants(module, right)
]


@pytest.mark.parametrize(
    ("suite", "component"), RIGHT, ids=lambda value: getattr(value, "__name__", "dense")
)
def test_a_correct_component_passes(suite: type[Suite], component: type | ComponentSpec):
    failed = [verdict for verdict in examine(suite, component) if verdict.outcome == "failed"]
    assert not failed, "\n".join(f"{verdict.law}: {verdict.reason}" for verdict in failed)


@pytest.mark.parametrize(("suite", "mutant"), WRONG, ids=lambda value: value.__name__)
def test_a_wrong_component_is_caught(suite: type[Suite], mutant: type):
    # A mutant may name the law that was written for it. Another law may catch it too, but no other
    # need run.
    law = getattr(mutant, "caught_by", None)
    laws = None if law is None else {law}
    assert law is None or law in suite.laws(), f"{mutant.__name__}: {law} is no law"
    assert any(verdict.outcome == "failed" for verdict in examine(suite, mutant, laws)), (
        f"{mutant.__name__} survives {law or suite.__name__}"
    )


def test_there_are_enough_wrong_components():
    assert len(WRONG) >= 40
    assert {suite.kind for suite, _ in WRONG} == {suite.kind for suite, _ in RIGHT}
