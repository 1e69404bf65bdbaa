"""Leaving passages out of an answer gives what a memory without them would."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ragcore.answering.ablation import without
from ragcore.answering.evidence import Retrieved, answer_of
from ragcore.answering.scored_candidate import scored_candidate
from ragcore.config import RagConfig
from ragcore.errors import QuestionError
from ragcore.marginalization import geometric_log_prob, log_prior
from ragcore.rag import Rag
from ragcore.store.store import Store
from ragcore.types import Answer, Passage
from tests.helpers.table_answerability import answerability
from tests.helpers.table_generator import TableGenerator
from tests.helpers.word_encoder import dense_part

QUESTION = "who rules chad"
PASSAGES = [
    Passage("p0", "who rules", "abcab"),
    Passage("p1", "rules chad", "cab"),
    Passage("p2", "chad", "bb"),
    Passage("p3", "who rules chad", "ca"),
    Passage("p4", "a river", "bca"),
]
"""The table generator's words are letters, so the titles alone decide what is retrieved."""
MODES = [
    {"marginalize": "token"},
    {"marginalize": "sequence", "decode": "thorough"},
    {"marginalize": "sequence", "decode": "joint"},
]

TABLES = TableGenerator(TableGenerator.Config())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def make(store: Store, left_out: frozenset[str] = frozenset(), seed: int = 0, **rag) -> Rag:
    """Make a pipeline over the passages that are not left out, with k reduced by as many."""
    version = "-".join(("all", *sorted(left_out)))
    if version not in {info.name for info in store.versions()}:
        remaining = [passage for passage in PASSAGES if passage.id not in left_out]
        store.build(version, remaining, dense_part())
    return Rag(
        store.open(version, retriever=dense_part(), temperature=4.0),
        TableGenerator(TableGenerator.Config(seed=seed, sharpness=1.5)),
        RagConfig(**{"max_new_tokens": 4, "beams": 200, **rag, "k": 4 - len(left_out)}),
    )


def same(one: Answer, other: Answer) -> None:
    assert one.token_ids == other.token_ids
    assert one.text == other.text
    assert one.log_prob == pytest.approx(other.log_prob, abs=1e-4)
    assert [e.passage for e in one.evidence] == [e.passage for e in other.evidence]
    for mine, its in zip(one.evidence, other.evidence, strict=True):
        assert (mine.prior, mine.posterior) == pytest.approx((its.prior, its.posterior), abs=1e-4)
        assert mine.spans == its.spans
    for row, its_row in zip(one.token_posteriors, other.token_posteriors, strict=True):
        assert row == pytest.approx(its_row, abs=1e-4)


@pytest.mark.parametrize(
    "more",
    [{}, {"grounded": True}, {"abstain": {"answer": "a", "above": 0.9}}, {"length_penalty": 0.7}],
    ids=["plain", "grounded", "abstain", "penalty"],
)
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(mode.values()))
def test_ablation_equals_a_memory_without_the_passages(store, mode, more):
    changed = 0
    for seed in range(4):
        rag = make(store, seed=seed, **mode, **more)
        (answer,) = rag.answer(QUESTION)
        ids = [hit.passage.id for hit in answer.evidence]
        for left_out in [*itertools.combinations(ids, 1), *itertools.combinations(ids, 3)]:
            other = make(store, frozenset(left_out), seed=seed, **mode, **more)
            ablated = rag.without(answer, left_out)
            (expected,) = other.log_prob([QUESTION], [answer.text])
            assert ablated.log_prob == pytest.approx(expected, abs=1e-4)
            (its_answer,) = other.answer(QUESTION)
            same(ablated.winner, its_answer)
            changed += ablated.winner.token_ids != answer.token_ids
            assert ablated.passage_ids == left_out
            assert ablated.candidates > 5
    assert changed > 3


def test_passages_keep_their_numbers_where_another_is_left_out(store):
    rag = make(store)
    (answer,) = rag.answer(QUESTION)
    number_of = {citation.passage_id: citation.number for citation in answer.citations}
    assert sorted(number_of.values()) == [1, 2, 3, 4]
    left_out = answer.citations[1].passage_id
    ablated = rag.without(answer, left_out)
    assert {each.passage_id: each.number for each in ablated.winner.citations} == {
        passage_id: number for passage_id, number in number_of.items() if passage_id != left_out
    }
    row = json.loads(json.dumps(ablated.to_dict()))
    assert [each["number"] for each in row["winner"]["citations"]] == [1, 3, 4]


def test_nothing_is_read_or_scored_again(store):
    rag = make(store)
    (answer,) = rag.answer(QUESTION)
    before = rag.generator.passes
    for hit in answer.evidence:
        rag.without(answer, hit.passage.id)
    assert rag.generator.passes == before


def test_fast_decoding_has_its_winner_as_the_only_candidate(store):
    rag = make(store, marginalize="sequence", decode="fast")
    (answer,) = rag.answer(QUESTION)
    left_out = answer.evidence[0].passage.id
    ablated = rag.without(answer, left_out)
    other = make(store, frozenset([left_out]), marginalize="sequence", decode="fast")
    (expected,) = other.log_prob([QUESTION], [answer.text])
    assert (ablated.candidates, ablated.winner.text) == (1, answer.text)
    assert ablated.log_prob == ablated.winner.log_prob == pytest.approx(expected, abs=1e-4)


def test_leaving_passages_out_may_start_or_end_an_abstention(store):
    p = {
        left_out: math.exp(make(store, frozenset(left_out)).log_prob([QUESTION], ["a"])[0])
        for left_out in [(), *((f"p{number}",) for number in range(4))]
    }
    whole = p.pop(())
    (less,), (more,) = min(p, key=p.__getitem__), max(p, key=p.__getitem__)
    assert p[less,] < whole < p[more,]
    above = (whole + p[more,]) / 2
    rag = make(store, abstain={"answer": "a", "above": above})
    (answer,) = rag.answer(QUESTION)
    assert answer.text != "a"
    ablated = rag.without(answer, more)
    assert ablated.winner.text == "a"
    assert math.exp(ablated.winner.log_prob) == pytest.approx(p[more,], abs=1e-4)
    # The other way round no answer was searched for.
    above = (whole + p[less,]) / 2
    rag = make(store, abstain={"answer": "a", "above": above})
    (answer,) = rag.answer(QUESTION)
    assert answer.text == "a"
    ablated = rag.without(answer, less)
    assert ablated.winner is None
    assert math.exp(ablated.log_prob) == pytest.approx(p[less,], abs=1e-4)
    assert json.loads(json.dumps(ablated.to_dict()))["winner"] is None


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"grounded": True},
        {"drop_below": 0.3},
        {"marginalize": "none"},
        {"marginalize": "none", "scorer": True},
        {"scorer": True},
        {"scorer": True, "grounded": True},
    ],
    ids=lambda more: "-".join(more) or "plain",
)
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(mode.values()))
def test_the_geometric_mean_decides_as_it_would_without_the_passages(store, mode, more):
    rules = {**mode, "beams": 2, **more}
    by_scorer = rules.pop("scorer", False)
    abstain = {"answer": "ab", "mean": "geometric"}
    if by_scorer:
        abstain["scorer"] = answerability()
    decided = set()
    for above in (0.3, 0.4, 0.5, 0.6, 0.7) if by_scorer else (0.001, 0.003, 0.01, 0.03, 0.1):
        rules["abstain"] = {**abstain, "above": above}
        rag = make(store, **rules)
        (answer,) = rag.answer(QUESTION)
        for left_out in itertools.combinations([hit.passage.id for hit in answer.evidence], 2):
            (expected,) = make(store, frozenset(left_out), **rules).answer(QUESTION)
            winner = rag.without(answer, left_out).winner
            decided.add(expected.abstains)
            assert (winner is not None and winner.abstains) == expected.abstains, (above, left_out)
            test = expected.abstention_test
            assert test.is_above == expected.abstains
            if winner is not None:
                log_mean = pytest.approx(test.log_mean, abs=1e-3)
                assert winner.abstention_test == replace(test, log_mean=log_mean)
    assert decided == {True, False}


def test_the_geometric_mean_is_that_of_the_formula_a_request_sets(store):
    abstains = set()
    for above in np.geomspace(0.001, 0.1, 20).tolist():
        rules = {"abstain": {"answer": "ab", "above": above, "mean": "geometric"}}
        rag = make(store, **rules)
        (answer,) = rag.answer(QUESTION, marginalize="sequence")
        for left_out in itertools.combinations([hit.passage.id for hit in answer.evidence], 2):
            other = make(store, frozenset(left_out), marginalize="sequence", **rules)
            (expected,) = other.answer(QUESTION)
            winner = rag.without(answer, left_out).winner
            abstains.add(expected.abstains)
            assert (winner is not None and winner.abstains) == expected.abstains
    assert abstains == {True, False}


_LOG_P = st.floats(-60, 0) | st.just(-math.inf)


@given(
    rows=st.lists(
        st.tuples(
            st.floats(-60, 0) | st.just(-2000.0),
            st.lists(_LOG_P, min_size=2, max_size=2),
            st.booleans(),
        ),
        min_size=2,
        max_size=5,
    ),
    above=st.floats(0, 1),
    marginalize=st.sampled_from(["token", "sequence"]),
)
def test_passages_of_no_prior_or_no_posterior_count_as_in_the_mean(rows, above, marginalize):
    scores, tables, left_out = zip(*rows, strict=True)
    remaining = [z for z, out in enumerate(left_out) if not out]
    prior = log_prior(np.array(scores))
    assume(remaining and np.exp(prior[remaining]).any())
    log_p = np.array(tables)  # [k, 2]
    passages = [Passage(f"p{z}", "", "a") for z in range(len(rows))]
    unknown, other = (
        scored_candidate(marginalize, text, ("t", "t"), prior, table, len(rows))
        for text, table in (("unknown", log_p), ("a", np.zeros_like(log_p)))
    )
    retrieved = Retrieved("q", passages, list(scores), prior)
    answer = answer_of(TABLES, retrieved, [other], marginalize, "v", abstention=unknown)
    mean = math.exp(
        geometric_log_prob(log_prior(np.array(scores)[remaining]), log_p[remaining].sum(-1))
    )
    assume(abs(mean - above) > 1e-9)
    config = RagConfig(
        marginalize=marginalize,
        abstain={"answer": "unknown", "above": above, "mean": "geometric"},
    )
    ids = [passage.id for passage, out in zip(passages, left_out, strict=True) if out]
    winner = without(answer, ids, TABLES, config).winner
    assert winner is not None
    assert winner.abstains == (mean > above)


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_passages_whose_priors_are_too_small_for_numbers_do_not_abstain(mean):
    prior = log_prior(np.array([0.0, -2000.0]))
    unknown = scored_candidate("token", "unknown", ("t",), prior, np.log([[0.5], [0.5]]), 2)
    retrieved = Retrieved("q", PASSAGES[:2], [0.0, -2000.0], prior)
    answer = answer_of(
        TABLES, retrieved, [unknown], "token", "v", abstention=unknown, abstains=True
    )
    config = RagConfig(abstain={"answer": "unknown", "above": 0.1, "mean": mean})
    ablated = without(answer, ["p0"], TABLES, config)
    assert (ablated.winner, ablated.log_prob) == (None, -math.inf)


def test_a_grounded_answer_cannot_win_without_a_passage_that_contains_it(store):
    rag = make(store, grounded=True, beams=1)
    (answer,) = rag.answer(QUESTION)
    containing = [hit.passage.id for hit in answer.evidence if hit.spans]
    if len(containing) == len(answer.evidence):
        pytest.fail("every passage contains the answer: choose other passages")
    ablated = rag.without(answer, containing)
    assert (ablated.winner, ablated.candidates) == (None, 1)
    assert ablated.log_prob < 0


def test_passages_that_cannot_be_left_out_are_named(store):
    rag = make(store)
    (answer,) = rag.answer(QUESTION)
    ids = [hit.passage.id for hit in answer.evidence]
    with pytest.raises(QuestionError, match=f"no passage 'p9' .*read from {', '.join(ids)}"):
        rag.without(answer, "p9")
    with pytest.raises(QuestionError, match="nothing would be left"):
        rag.without(answer, ids)
    filtered = make(store, where={"country": "Chad"})
    (closed,) = filtered.answer(QUESTION)
    with pytest.raises(QuestionError, match="read from none"):
        filtered.without(closed, "p1")


def test_candidates_are_the_searchs_hypotheses_and_not_part_of_json(store):
    (answer,) = make(store, beams=3).answer(QUESTION)
    assert len(answer.candidates) == 3
    best = answer.candidates[0]
    assert (best.token_ids, best.posteriors) == (answer.token_ids, answer.token_posteriors)
    assert sum(best.token_log_probs) == pytest.approx(answer.log_prob)
    assert not {"candidates", "abstention"} & set(answer.to_dict())
