"""Pairs that several systems read are read once, and each system sees its own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ragcore.answering.answerer import Answerer
from ragcore.answering.evidence import Retrieved
from ragcore.answering.retrieve import with_prior
from ragcore.config import RagConfig
from ragcore.contracts import Generator
from ragcore.experiments.searching import depths_to_search
from ragcore.experiments.sharing import batches, pairs_of, read_batch
from ragcore.types import Passage
from tests.helpers.table_generator import TableGenerator

TEXTS = ("ab", "ac", "bc", "cab", "bca", "abc")
PASSAGES = [Passage(f"p{n}", "", text, {"n": n}) for n, text in enumerate(TEXTS)]


def retrieved(question: str, numbers: list[int]) -> Retrieved:
    passages = [PASSAGES[number] for number in numbers]
    return with_prior(question, passages, [1.0 / (1 + n) for n in numbers], 1.0)


systems_of_questions = st.integers(1, 4).flatmap(
    lambda systems: st.lists(
        st.lists(
            st.lists(st.integers(0, 5), max_size=4, unique=True),
            min_size=systems,
            max_size=systems,
        ),
        min_size=1,
        max_size=5,
    )
)


@given(systems_of_questions, st.integers(4, 12))
def test_batches_have_all_pairs_of_each_system_and_no_more_than_allowed(rows, most):
    count = len(rows[0])
    systems = [
        [retrieved(f"q{number}", row[system]) for number, row in enumerate(rows)]
        for system in range(count)
    ]
    seen = []
    for batch in batches(systems, most):
        assert len(batch.pairs) <= most
        keys = [(question, passage and passage.id) for question, passage in batch.pairs]
        assert len(set(keys)) == len(keys)
        wanted = {
            (question, passage and passage.id)
            for system in batch.systems
            for each in systems[system][batch.begin : batch.end]
            for question, passage in pairs_of(each)
        }
        assert wanted == set(keys)
        seen += [(system, n) for system in batch.systems for n in range(batch.begin, batch.end)]
    assert sorted(seen) == [(system, n) for system in range(count) for n in range(len(rows))]
    # A system's questions come in order.
    assert all(
        [n for one, n in seen if one == system] == list(range(len(rows))) for system in range(count)
    )


@pytest.mark.parametrize("marginalize", ["token", "sequence"])
@pytest.mark.parametrize("grounded", [False, True])
def test_answers_from_shared_pairs_are_those_of_a_system_alone(marginalize, grounded):
    config = RagConfig(marginalize=marginalize, max_new_tokens=3, beams=2, batch_size=2)
    config = config.model_copy(update={"grounded": grounded})
    systems = [
        [retrieved(f"q{n}", [(n + i) % 6 for i in range(k)]) for n in range(5)] for k in (1, 4, 2)
    ]
    generator = TableGenerator(TableGenerator.Config(seed=3, sharpness=1.5))
    alone = [Answerer(generator, config).answers(system, "v") for system in systems]
    passes = generator.passes
    shared: list[list[object]] = [[], [], []]
    read = 0
    for batch in batches(systems, 8):
        reader = read_batch(generator, batch)
        read += 1
        for system in batch.systems:
            questions = systems[system][batch.begin : batch.end]
            shared[system] += Answerer(reader, config).answers(questions, "v")
    assert shared == alone
    assert generator.passes == passes + read


def test_passages_of_one_id_and_other_texts_are_other_pairs():
    old, new = Passage("p", "", "old"), Passage("p", "", "new")
    systems = [[with_prior("q", [passage], [1.0], 1.0)] for passage in (old, new, old)]
    (batch,) = batches(systems, 4)
    assert [passage for _, passage in batch.pairs] == [old, new]


def test_all_members_are_those_of_the_generator():
    class Dated(TableGenerator):
        eos_token_ids = (0,)
        dtype = "bfloat16"

        def decode_prefix(self, token_ids):
            return "prefix"

        def score_all(self, read, pairs, targets):
            return [read.keys[pair] for pair in pairs.tolist()]

    generator = Dated(TableGenerator.Config())
    (batch,) = batches([[retrieved("q", [0, 1, 2])]], 8)
    reader = read_batch(generator, batch)
    view = reader.read(["q", "q"], [PASSAGES[2], PASSAGES[1]])
    assert len(view) == 2
    assert reader.dtype == "bfloat16"
    assert reader.eos_token_ids == (0,)
    assert reader.decode_prefix([1]) == "prefix"
    assert reader.capabilities == generator.capabilities
    direct = generator.read(["q", "q"], [PASSAGES[2], PASSAGES[1]])
    pairs = torch.tensor([1, 0])
    expected = generator.score_all(direct, pairs, None)
    assert reader.score_all(view, pairs, None) == expected
    targets = torch.tensor([[1, 0], [2, 0]])
    assert torch.equal(reader.score(view, pairs, targets), generator.score(direct, pairs, targets))


def test_a_member_that_the_generator_lacks_is_missing():
    generator: Generator = TableGenerator(TableGenerator.Config())
    (batch,) = batches([[retrieved("q", [0])]], 8)
    assert not hasattr(read_batch(generator, batch), "score_all")
    assert not hasattr(read_batch(generator, batch), "dtype")


def test_exact_searches_are_shared_and_others_are_not():
    assert depths_to_search([1, 5, 10, 5, 0], exact=True) == (10,)
    assert depths_to_search([1, 5, 10, 5, 0], exact=False) == (1, 5, 10)
    assert depths_to_search([0], exact=True) == ()
