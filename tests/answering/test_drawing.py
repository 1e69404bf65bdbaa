"""Answers that are drawn from a generator of texts: how often each comes, and what is known."""

from __future__ import annotations

import json
import math
import random
from itertools import product

import pytest
from scipy.stats import chisquare

from ragcore.answering.drawing import DrawnText
from ragcore.answering.votes import count_draws
from ragcore.decoding.chances import drawn_position
from ragcore.errors import ConfigError, UnsupportedOperation
from ragcore.store.store import Store
from ragcore.tiers import Vote
from ragcore.types import Token
from tests.helpers.table_generator import EOS, TableGenerator
from tests.helpers.tiers import PASSAGES, QUESTION, pipeline

TIERS = ["score", "top", "text"]
N = 1500
LONGEST = 3
"""Letters of an answer: one fewer than `max_new_tokens`, which counts the end."""


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return Store(tmp_path_factory.mktemp("draws") / "store")


def drawing(store: Store, tier: str, *, sample=None, **rag):
    settings = {"marginalize": "sequence", "sample": {"n": 40, "seed": 3} | (sample or {})}
    return pipeline(store, tier, **{**settings, **rag})


def exact(answer, *, temperature: float = 1.0, top_p: float = 1.0) -> dict[str, float]:
    """p(y|x) of every text by the definition: Σ_z p(z|x) Π_i p(y_i|x,z,y_<i), cut at the longest.

    The temperature, and the cut at `top_p`, change each passage's own distributions.
    """
    generator = TableGenerator(TableGenerator.Config(seed=0, sharpness=2.0))
    keys = [f"{QUESTION}|{hit.passage.text}" for hit in answer.evidence]
    shares: dict[str, float] = {}
    for length in range(LONGEST + 1):
        for letters in product(range(1, 4), repeat=length):
            target = letters if length == LONGEST else (*letters, EOS)
            text = generator.decode_tokens(letters)
            shares[text] = math.fsum(
                hit.prior
                * math.prod(
                    step(generator, keys[z], target[:i], temperature, top_p)[target[i]]
                    for i in range(len(target))
                )
                for z, hit in enumerate(answer.evidence)
            )
    assert math.fsum(shares.values()) == pytest.approx(1, abs=1e-6)
    return shares


def step(generator, key: str, prefix, temperature: float, top_p: float) -> list[float]:
    p = (generator.next_log_probs(key, tuple(prefix)).double() / temperature).softmax(0).tolist()
    kept, total = set(), 0.0
    for token in sorted(range(len(p)), key=lambda token: -p[token]):
        if total < top_p - 1e-9:
            kept.add(token)
            total += p[token]
    return [p[token] / total if token in kept else 0.0 for token in range(len(p))]


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize(
    "how", [{}, {"temperature": 0.5}, {"temperature": 1.5, "top_p": 0.7}], ids=str
)
def test_each_text_is_drawn_as_often_as_its_probability(store, tier, how):
    (answer,) = drawing(store, tier, sample={"n": N, **how}).answer(QUESTION)
    shares = exact(answer, **how)
    counts = dict.fromkeys(shares, 0)
    for sample in answer.samples:
        counts[sample.text] += 1
    assert sum(counts.values()) == N
    assert not any(counts[text] for text, share in shares.items() if share == 0)
    # Texts of fewer than 5 expected draws are counted together, as the test asks for.
    rare = [text for text, share in shares.items() if N * share < 5]
    often = [text for text in shares if text not in rare]
    drawn = [*(counts[text] for text in often), sum(counts[text] for text in rare)]
    expected = [*(N * shares[text] for text in often), N * sum(shares[text] for text in rare)]
    if not expected[-1]:
        drawn, expected = drawn[:-1], expected[:-1]
    assert chisquare(drawn, expected, sum_check=False).pvalue > 1e-3


def test_only_a_draw_s_own_passage_writes_for_it(store):
    (answer,) = drawing(store, "text", sample={"n": 7}).answer(QUESTION)
    assert answer.usage.requests == 7
    assert answer.usage.seed == 3
    assert len(answer.samples) == 7


@pytest.mark.parametrize("tier", TIERS)
def test_the_seed_the_question_and_the_number_decide_what_is_drawn(store, tier):
    rag = drawing(store, tier)
    alone, _ = (rag.answer(question)[0] for question in (QUESTION, "a river"))
    together, _ = rag.answer([QUESTION, "a river"])
    (more,) = rag.answer(QUESTION, sample={"n": 60})
    (other,) = rag.answer(QUESTION, sample={"seed": 4})
    texts = [sample.text for sample in alone.samples]
    assert [sample.text for sample in together.samples] == texts
    assert [sample.text for sample in more.samples][:40] == texts
    assert [sample.text for sample in other.samples] != texts


@pytest.mark.parametrize("tier", ["top", "text"])
def test_without_log_p_the_most_frequent_answer_wins_and_no_number_is_made_up(store, tier):
    rag = drawing(store, tier)
    (answer,) = rag.answer(QUESTION)
    texts = [sample.text for sample in answer.samples]
    assert texts.count(answer.text) == max(map(texts.count, texts))
    assert answer.votes[0].share == texts.count(answer.text) / 40
    assert sum(vote.share for vote in answer.votes) == pytest.approx(1)
    assert answer.log_prob is answer.confidence is None
    assert all(hit.posterior is None for hit in answer.evidence)
    assert {candidate.log_prob for candidate in answer.candidates} == {None}
    row = json.loads(json.dumps(answer.to_dict(), allow_nan=False))
    assert [sample["text"] for sample in row["samples"]] == texts
    assert {sample["log_prob"] for sample in row["samples"]} == {None}
    with pytest.raises(UnsupportedOperation, match="no log p"):
        rag.without(answer, answer.evidence[0].passage.id)
    for sample, text in zip(rag.samples(answer), texts, strict=True):
        assert (sample.text, sample.log_prob, sample.confidence) == (text, None, None)
        assert all(hit.posterior is None for hit in sample.evidence)


def test_the_tier_score_knows_log_p_of_what_was_drawn(store):
    rag = drawing(store, "score")
    (answer,) = rag.answer(QUESTION)
    texts = [sample.text for sample in answer.samples]
    scored = rag.log_prob([QUESTION] * len(texts), texts)
    assert [sample.log_prob for sample in answer.samples] == pytest.approx(scored, abs=1e-6)
    assert answer.log_prob == pytest.approx(max(scored), abs=1e-6)
    assert answer.votes == ()
    left_out = rag.without(answer, answer.evidence[0].passage.id)
    assert left_out.log_prob <= 0
    for sample, log_prob in zip(rag.samples(answer), scored, strict=True):
        assert sample.log_prob == pytest.approx(log_prob, abs=1e-6)
        assert len(sample.tokens) == len(sample.token_posteriors) > 0


@pytest.mark.parametrize("tier", TIERS)
def test_one_prompt_of_all_passages_can_be_drawn_from_too(store, tier):
    (answer,) = drawing(store, tier, marginalize="none").answer(QUESTION)
    assert len(answer.samples) == 40
    assert len({sample.text for sample in answer.samples}) > 1
    assert (answer.log_prob is not None) == (tier == "score")


@pytest.mark.parametrize("tier", TIERS)
def test_a_temperature_of_0_and_no_sample_are_the_same(store, tier):
    settings = {"marginalize": "sequence", "decode": "joint"}
    (searched,) = pipeline(store, tier, **settings).answer(QUESTION)
    sample = {"temperature": 0, "top_k": 3}
    (answer,) = pipeline(store, tier, sample=sample, **settings).answer(QUESTION)
    assert answer == searched
    assert answer.samples == ()


@pytest.mark.parametrize("tier", TIERS)
def test_a_request_draws_where_its_pipeline_searches(store, tier):
    rag = pipeline(store, tier)
    (answer,) = rag.answer(QUESTION, marginalize="sequence", sample={"n": 40, "seed": 3})
    assert answer.samples == drawing(store, tier).answer(QUESTION)[0].samples
    with pytest.raises(UnsupportedOperation, match="RAG-Token draws each token from all passages"):
        rag.answer(QUESTION, sample={})
    with pytest.raises(ConfigError, match="top_p"):
        rag.answer(QUESTION, sample={"top_p": 2})


def test_an_abstaining_text_is_drawn_as_any_other(store):
    (plain,) = drawing(store, "text").answer(QUESTION)
    unknown = plain.votes[0]
    abstain = {"answer": unknown.text.upper(), "above": unknown.share - 0.01}
    (answer,) = drawing(store, "text", abstain=abstain).answer(QUESTION)
    assert answer.abstains
    assert answer.text == unknown.text.upper()
    (answer,) = drawing(store, "text", abstain={**abstain, "above": 1.0}).answer(QUESTION)
    assert not answer.abstains
    assert answer.text == plain.votes[1].text
    assert [each.text for each in answer.samples] == [each.text for each in plain.samples]


def test_the_tier_score_ranks_abstaining_draws_behind_and_scores_them(store):
    (plain,) = drawing(store, "score").answer(QUESTION)
    texts = [sample.text for sample in plain.samples]
    unknown = max((text for text in texts if text), key=texts.count)
    rag = drawing(store, "score", abstain={"answer": unknown, "above": 1.0})
    (answer,) = rag.answer(QUESTION)
    assert not answer.abstains
    assert answer.text != unknown
    # The passage is drawn from the prior that is not conditioned.
    assert [sample.text for sample in answer.samples] == texts
    assert answer.candidates[-1].text == unknown
    assert answer.candidates[-1].log_prob == pytest.approx(answer.abstention.log_prob)
    seed = next(
        seed
        for seed in range(50)
        if rag.answer(QUESTION, sample={"n": 1, "seed": seed})[0].samples[0].text == unknown
    )
    (only,) = rag.answer(QUESTION, sample={"n": 1, "seed": seed})
    assert only.abstains, "there is no other answer"
    assert [sample.text for sample in only.samples] == [unknown]


@pytest.mark.parametrize("tier", TIERS)
def test_an_answer_says_whether_it_was_cut(store, tier):
    rag = drawing(store, tier, sample={"n": 200})
    (answer,) = rag.answer(QUESTION)
    for sample in rag.samples(answer):
        assert sample.cut == (len(sample.text) == LONGEST)
    assert len({sample.cut for sample in answer.samples}) == 2


def test_stop_strings_are_the_server_s(store):
    (answer,) = drawing(store, "top", stop=["b"]).answer(QUESTION)
    assert all("b" not in sample.text for sample in answer.samples)


def test_a_stream_of_several_draws_is_the_answer_that_wins(store):
    rag = drawing(store, "text")
    _, *tokens, answer = rag.events(QUESTION)
    assert tokens == [Token(answer.text, None, ())]
    assert [answer] == rag.answer(QUESTION)


def test_draws_are_counted_once_normalised():
    drawn = [
        DrawnText("Lima", (0, 4), (1, 1), cut=False),
        DrawnText("Cusco", (1,), (0,), cut=False),
        DrawnText("the lima", (2, 3, 5), (0, 1, 2), cut=True),
    ]
    assert count_draws([0.2, 0.5, 0.3], drawn, ["a", "b", "c"]) == [
        Vote("the lima", 5 / 6, ("b", "c", "a")),
        Vote("Cusco", 1 / 6, ("a",)),
    ]
    assert count_draws([1.0], [DrawnText("Lima", (0,), (0,), cut=False)], []) == [
        Vote("Lima", 1.0, ())
    ]


def test_no_passage_that_is_impossible_is_drawn():
    weights = [0.0, 0.25, 0.0, 0.75, 0.0]
    rng = random.Random(1)
    assert {drawn_position(weights, rng.random()) for _ in range(500)} == {1, 3}
    edges = (0.0, 0.2499, 0.25, math.nextafter(1, 0))
    assert [drawn_position(weights, chance) for chance in edges] == [1, 1, 3, 3]


def test_passages_are_drawn_by_the_prior(store):
    """The passages of the votes are those that were drawn, more than one of them."""
    (answer,) = drawing(store, "text", sample={"n": 400}).answer(QUESTION)
    assert {each for vote in answer.votes for each in vote.passage_ids} == {
        passage.id for passage in PASSAGES
    }
