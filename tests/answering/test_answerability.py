"""Test abstaining by a scorer: the same for generators of all tiers, and by the definition."""

from __future__ import annotations

import itertools
import math
from typing import ClassVar

import numpy as np
import pytest

from ragcore.answering.answerability import log_unanswerable
from ragcore.answering.confidence import confidence_at
from ragcore.answering.retrieve import with_prior
from ragcore.config import ConfidenceConfig, RagConfig
from ragcore.errors import ComponentError, UnsupportedOperation
from ragcore.evaluation.calibrating import calibrate_pipeline
from ragcore.evaluation.calibration import calibrate
from ragcore.evaluation.prediction import make_predictions
from ragcore.evaluation.verification import verify_answer
from ragcore.questions import LabelledQuestion
from ragcore.rag import Rag
from ragcore.registry.components import ComponentSpec
from ragcore.store.store import Store
from ragcore.types import Answer, Correction, Passage, Token
from tests.helpers.table_answerability import TableAnswerability, answerability
from tests.helpers.table_generator import TableGenerator, by_definition
from tests.helpers.tiers import PASSAGES, QUESTION, pipeline

TIERS = ["steps", "score", "top", "text"]
QUESTIONS = [QUESTION, "who rules a river", "chad", "rules"]
FORMULAS = [
    {"marginalize": "token"},
    {"marginalize": "sequence", "decode": "joint"},
    {"marginalize": "none"},
]
SURE = 0.96
"""Above every p(unknown) of the tables."""


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


def make(
    store: Store, tier: str = "steps", above: float = SURE, *, seed=0, passages=PASSAGES, **rag
):
    """Make a pipeline that abstains by the scorer's table; its generator never heard of it."""
    beams = {"beams": 1} if tier in ("score", "text") else {}
    abstain = {"answer": "not there", "above": above, "scorer": answerability(seed)}
    return pipeline(store, tier, seed, passages=passages, **{"abstain": abstain, **beams, **rag})


def passages_of(answer: Answer) -> list[Passage]:
    return [hit.passage for hit in answer.evidence]


def prior_of(answer: Answer) -> list[float]:
    """Compute p(z|x) by the scores, at the temperature of the pipelines here."""
    weights = [math.exp(hit.score / 20.0) for hit in answer.evidence]
    return [weight / sum(weights) for weight in weights]


def p_unanswerable(answer: Answer, seed: int = 0) -> list[float]:
    scorer = TableAnswerability(TableAnswerability.Config(seed=seed))
    return [scorer.p_unanswerable(answer.question, passage) for passage in passages_of(answer)]


def p_unknown(answer: Answer, seed: int = 0) -> float:
    """Compute Σ_z p(z|x) p(unknown|x,z)."""
    pairs = zip(prior_of(answer), p_unanswerable(answer, seed), strict=True)
    return sum(p * p_z for p, p_z in pairs)


@pytest.mark.parametrize("formula", FORMULAS, ids=lambda formula: formula["marginalize"])
@pytest.mark.parametrize("tier", TIERS)
def test_a_question_abstains_where_its_passages_do_not_answer_together(store, tier, formula):
    rag = make(store, tier, **formula)
    answers = rag.answer(QUESTIONS)
    for answer in answers:
        assert math.exp(answer.abstention.log_prob) == pytest.approx(p_unknown(answer), abs=1e-5)
        assert not answer.abstains
        assert answer.text != "not there"
    middle = sorted(map(p_unknown, answers))[2] - 1e-4
    sure = make(store, tier, middle, **formula).answer(QUESTIONS)
    assert [answer.abstains for answer in sure] == [p_unknown(each) > middle for each in answers]
    assert sum(answer.abstains for answer in sure) == 2
    for answer, before in zip(sure, answers, strict=True):
        if not answer.abstains:
            assert (answer, answer.abstention) == (before, before.abstention)
            continue
        assert answer.text == answer.abstention.text == "not there"
        known = tier != "text"
        assert answer.log_prob == (answer.abstention.log_prob if known else None)
        assert [hit.prior for hit in answer.evidence] == pytest.approx(prior_of(answer), abs=1e-6)
        posterior = [hit.posterior for hit in answer.evidence]
        if not known or formula["marginalize"] == "none":
            assert posterior == [None] * 4
            continue
        pairs = zip(prior_of(answer), p_unanswerable(answer), strict=True)
        expected = [p * p_z / p_unknown(answer) for p, p_z in pairs]
        assert posterior == pytest.approx(expected, abs=1e-5)
        assert answer.token_log_probs == (answer.log_prob,)


def test_the_geometric_mean_counts_each_passage_by_its_prior(store):
    answers = make(store).answer(QUESTIONS)
    means = [
        math.prod(p_z**p for p, p_z in zip(prior_of(each), p_unanswerable(each), strict=True))
        for each in answers
    ]
    middle = sorted(means)[2] - 1e-4
    abstain = {"answer": "not there", "above": middle, "mean": "geometric"}
    rag = make(store, abstain={**abstain, "scorer": answerability()})
    decided = rag.answer(QUESTIONS)
    assert [answer.abstains for answer in decided] == [m > middle for m in means]
    for answer, mean in zip(decided, means, strict=True):
        test = answer.abstention_test
        assert (test.mean, test.above) == ("geometric", middle)
        assert math.exp(test.log_mean) == pytest.approx(mean, abs=1e-5)


@pytest.mark.parametrize("tier", ["steps", "score"])
@pytest.mark.parametrize("marginalize", ["token", "sequence"])
def test_answers_have_the_probability_given_that_their_passage_answers(store, tier, marginalize):
    rag = make(store, tier, marginalize=marginalize, decode="joint")
    generator = TableGenerator(TableGenerator.Config(seed=0))
    for answer in rag.answer(QUESTIONS):
        pairs = zip(prior_of(answer), p_unanswerable(answer), strict=True)
        weights = [p * (1 - p_z) for p, p_z in pairs]
        prior = [weight / sum(weights) for weight in weights]
        assert [hit.prior for hit in answer.evidence] == pytest.approx(prior, abs=1e-5)
        keys = [f"{answer.question}|{passage.text}" for passage in passages_of(answer)]
        (target,) = generator.encode_answers([answer.text])
        token, sequence = by_definition(generator, keys, prior, target)
        p = token if marginalize == "token" else sequence
        assert math.exp(answer.log_prob) == pytest.approx(p, abs=1e-5)
        scored = rag.log_prob([answer.question] * 2, [answer.text, "not there"])
        assert scored == pytest.approx([answer.log_prob, answer.abstention.log_prob], abs=1e-5)


@pytest.mark.parametrize("tier", TIERS)
def test_votes_and_tops_are_weighed_by_what_answers_too(store, tier):
    for answer in make(store, tier).answer(QUESTIONS):
        pairs = zip(prior_of(answer), p_unanswerable(answer), strict=True)
        weights = [p * (1 - p_z) for p, p_z in pairs]
        expected = [weight / sum(weights) for weight in weights]
        assert [hit.prior for hit in answer.evidence] == pytest.approx(expected, abs=1e-5)


def test_passages_of_a_question_that_abstains_are_not_read(store):
    rag = make(store, above=0.0)
    assert all(answer.abstains for answer in rag.answer(QUESTIONS))
    assert rag.generator.passes == 0


@pytest.mark.parametrize("formula", FORMULAS, ids=lambda formula: formula["marginalize"])
@pytest.mark.parametrize("above", [0.0, SURE])
@pytest.mark.parametrize("tier", TIERS)
def test_a_stream_is_the_answer_in_parts(store, tier, above, formula):
    rag = make(store, tier, above, **formula)
    for question in QUESTIONS:
        result, *parts, answer = rag.events(question)
        assert answer == rag.answer(question)[0]
        assert answer.abstention == rag.answer(question)[0].abstention
        corrections = [part.text for part in parts if isinstance(part, Correction)]
        text = "".join(part.text for part in parts if isinstance(part, Token))
        assert (corrections or [text])[-1] == answer.text
        assert result.question == question


@pytest.mark.parametrize("tier", TIERS)
def test_questions_together_are_answered_as_each_alone(store, tier):
    middle = 0.45
    rag = make(store, tier, middle, batch_size=3)
    alone = [rag.answer(question)[0] for question in QUESTIONS]
    assert rag.answer(QUESTIONS) == alone
    assert 0 < sum(answer.abstains for answer in alone) < len(alone)
    together = rag.answer_each(QUESTIONS)
    assert together == alone


@pytest.mark.parametrize(
    ("tier", "marginalize"),
    [*itertools.product(["steps"], ["token", "sequence", "none"]), ("score", "token")],
)
def test_without_passages_it_is_as_in_a_memory_without_them(store, tier, marginalize):
    kinds = set()
    for seed, above in itertools.product(range(3), (0.4, SURE)):
        mode = {"marginalize": marginalize, "decode": "joint"}
        if tier == "steps":
            mode["beams"] = 200
        rag = make(store, tier, above, seed=seed, **mode)
        (answer,) = rag.answer(QUESTION)
        for left_out in range(4):
            kept = [passage for z, passage in enumerate(PASSAGES) if z != left_out]
            other = make(store, tier, above, seed=seed, passages=kept, **mode)
            (expected,) = other.answer(QUESTION)
            ablated = rag.without(answer, PASSAGES[left_out].id)
            winner = ablated.winner
            kinds.add((answer.abstains, expected.abstains))
            if answer.abstains and not expected.abstains and marginalize != "none":
                # It was not searched.
                assert winner is None
                continue
            assert winner.abstains == expected.abstains
            assert winner.abstention.log_prob == pytest.approx(
                expected.abstention.log_prob, abs=1e-4
            )
            if expected.abstains or tier == "steps":
                assert winner.text == expected.text
                assert winner.log_prob == pytest.approx(expected.log_prob, abs=1e-4)
            if answer.abstains == expected.abstains:
                (same,) = other.log_prob([QUESTION], [answer.text])
                assert ablated.log_prob == pytest.approx(same, abs=1e-4)
    assert len(kinds) > 2


@pytest.mark.parametrize("formula", FORMULAS, ids=lambda formula: formula["marginalize"])
@pytest.mark.parametrize("tier", ["steps", "score"])
def test_answers_hold_when_they_are_computed_again_by_the_definition(store, tier, formula):
    for above, question in itertools.product((0.0, SURE), QUESTIONS):
        verification = verify_answer(make(store, tier, above, **formula), question)
        assert verification.answer.abstains == (above == 0)
        assert verification.holds(1e-4)
        assert sum(reading.posterior for reading in verification.readings) == pytest.approx(1)


@pytest.mark.parametrize("tier", TIERS)
def test_where_nothing_is_found_the_question_abstains(store, tier):
    (answer,) = make(store, tier, 1.0).answer(QUESTION, where={"year": 2000})
    assert answer.abstains
    assert answer.text == "not there"
    assert answer.abstention.log_prob == 0
    assert answer.closed_book


@pytest.mark.parametrize("tier", TIERS)
def test_a_closed_book_answer_has_no_passage_to_abstain_by(store, tier):
    abstain = {"answer": "b", "above": 1.0, "scorer": answerability()}
    rag = make(store, tier, abstain=abstain)
    (answer,) = rag.answer(QUESTION, k=0)
    assert not answer.abstains
    # As without the scorer: the generator says whether it knows, if its tier can.
    own = None if tier == "top" else {"answer": "b", "above": 1.0}
    (expected,) = make(store, tier, abstain=own).answer(QUESTION, k=0)
    assert (answer, answer.abstention) == (expected, expected.abstention)


class _Writer(TableGenerator):
    """Writes the same answer for all that it reads."""

    def next_log_probs(self, key, prefix):
        target = (2, 0)  # "b", and the end
        log_probs = super().next_log_probs(key, prefix)
        log_probs[target[len(prefix)] if len(prefix) < 2 else 0] += 50
        return log_probs.log_softmax(0)


@pytest.mark.parametrize("tier", ["steps", "score", "top", "text"])
def test_the_abstaining_answer_of_the_generator_itself_abstains_too(store, tier, monkeypatch):
    monkeypatch.setattr("tests.helpers.tiers.TableGenerator", _Writer)
    abstain = {"answer": "B.", "above": SURE, "scorer": answerability()}
    (answer,) = make(store, tier, abstain=abstain).answer(QUESTION)
    if tier == "steps":
        # Where tokens are chosen, no answer begins as it does.
        abstain = {**abstain, "answer": "b"}
        (other,) = make(store, tier, abstain=abstain).answer(QUESTION)
        assert not other.abstains
        assert not other.text.startswith("b")
    assert answer.abstains
    assert answer.text == "B."
    *parts, streamed = make(store, tier, abstain={**abstain, "answer": "B."}).events(QUESTION)
    assert streamed == answer
    # Its tokens say it in another spelling.
    assert parts[-1] == Correction("B.")
    assert math.exp(answer.abstention.log_prob) == pytest.approx(p_unknown(answer), abs=1e-5)
    assert make_predictions([LabelledQuestion(QUESTION, unanswerable=True)], [answer])[0].correct


class _Wordless(TableGenerator):
    """Finds no word in any passage."""

    def encode_words(self, texts):
        return [[] for _ in texts]


def test_a_grounded_answer_without_words_abstains(store, monkeypatch):
    assert not make(store, grounded=True).answer(QUESTION)[0].abstains
    monkeypatch.setattr("tests.helpers.tiers.TableGenerator", _Wordless)
    (answer,) = make(store, grounded=True).answer(QUESTION)
    assert answer.abstains
    assert answer.text == "not there"
    assert math.exp(answer.abstention.log_prob) == pytest.approx(p_unknown(answer), abs=1e-5)
    assert "".join(part.text for part in make(store, grounded=True).stream(QUESTION)) == answer.text


@pytest.mark.parametrize("tier", ["steps", "score", "top"])
def test_the_confidence_counts_what_the_scorer_finds(store, tier):
    fitted = {"slope": 1.0, "answering": 2.0, "intercept": 3.0}
    plain = make(store, tier).answer(QUESTIONS)
    expected = [
        confidence_at(each.log_prob, ConfidenceConfig(**fitted), each.abstention.log_prob)
        for each in plain
    ]
    threshold = sorted(expected)[1]
    answers = make(store, tier, confidence={**fitted, "threshold": threshold}).answer(QUESTIONS)
    assert [answer.confidence for answer in answers] == pytest.approx(expected)
    assert sum(answer.withheld for answer in answers) == 1


def test_the_temperature_is_fitted_to_what_is_answered(store):
    rag = make(store, min_new_tokens=1)
    answers = [answer.text for answer in rag.answer(QUESTIONS)]
    fit = calibrate(rag, QUESTIONS, answers)
    scored = rag.log_prob(QUESTIONS, answers)
    assert fit.current.log_prob == pytest.approx(sum(scored) / len(scored), abs=1e-5)
    assert fit.fitted.log_prob >= fit.current.log_prob
    rag = make(store, abstain={"answer": "cab", "above": SURE, "scorer": answerability()})
    unknown = calibrate(rag, QUESTIONS, ["cab"] * len(QUESTIONS))
    scored = rag.log_prob(QUESTIONS, ["cab"] * len(QUESTIONS))
    assert unknown.current.log_prob == pytest.approx(sum(scored) / len(scored), abs=1e-5)


def test_a_pipeline_with_a_scorer_is_calibrated_with_both_slopes(store):
    rag = make(store, min_new_tokens=1)
    questions = [f"who rules {number}" for number in range(24)]
    asked = [
        LabelledQuestion(each.question, (each.text if number % 3 else "abc",))
        for number, each in enumerate(rag.answer(questions))
    ]
    calibration = calibrate_pipeline(rag, asked)
    assert calibration.confidence is not None
    assert calibration.confidence.answering is not None


class _Ranker(TableAnswerability):
    capabilities: ClassVar[frozenset[str]] = frozenset()


class _Positive(TableAnswerability):
    def log_unanswerable(self, questions, passages):
        return -super().log_unanswerable(questions, passages)


def spec(component: type) -> ComponentSpec:
    return ComponentSpec("scorer", "mine", component, component.Config())


def test_a_scorer_that_ranks_alone_is_refused_before_a_question_is_asked(store):
    with pytest.raises(UnsupportedOperation, match="scorer mine has no capability `answerability`"):
        make(store, abstain={"scorer": spec(_Ranker)})


def test_numbers_that_are_no_log_probabilities_are_refused(store):
    rag = make(store, abstain={"scorer": spec(_Positive)})
    with pytest.raises(
        ComponentError, match=r"mine: `log_unanswerable` returned shape .* not above 0"
    ):
        rag.answer(QUESTION)


def test_questions_with_and_without_passages_keep_their_numbers():
    scorer = TableAnswerability(TableAnswerability.Config())
    hits = [PASSAGES[:2], [], PASSAGES[2:3], []]
    retrieved = [
        with_prior(f"q{n}", passages, [1.0] * len(passages), 1.0) for n, passages in enumerate(hits)
    ]
    scores = log_unanswerable(scorer, retrieved)
    assert [len(each) for each in scores] == [2, 1, 1, 1]
    assert scores[1] == scores[3] == [0]
    assert np.exp(scores[2][0]) == pytest.approx(scorer.p_unanswerable("q2", PASSAGES[2]))
    assert log_unanswerable(scorer, []) == []


def test_all_pipelines_with_the_same_settings_share_one_scorer(store):
    abstain = RagConfig(abstain={"scorer": answerability(5)}).abstain
    assert abstain is not None
    assert abstain.scorer is not None
    with make(store, abstain={"scorer": answerability(5)}) as first:
        shared = abstain.scorer.shared()
        with make(store, abstain={"scorer": answerability(5)}) as second:
            assert isinstance(first, Rag)
            assert second.config.abstain.scorer.shared() is shared
