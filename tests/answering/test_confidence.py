"""Test the confidence in an answer: its map from log p, and answers that are withheld."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragcore.answering.confidence import confidence_at
from ragcore.config import ConfidenceConfig, RagConfig
from ragcore.evaluation.choosing import make_metrics
from ragcore.evaluation.confidence import reliability
from ragcore.evaluation.prediction import make_predictions
from ragcore.evaluation.running import evaluate
from ragcore.questions import LabelledQuestion
from ragcore.rag import Rag
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.table_generator import TableGenerator, by_definition
from tests.helpers.word_encoder import dense_part

QUESTIONS = [f"who rules {name}" for name in ("chad", "mali", "peru", "oman")]
numbers = st.floats(allow_nan=False, allow_infinity=False)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    store = Store(tmp_path_factory.mktemp("store"))
    texts = ["chad is ruled", "mali is ruled", "peru and oman"]
    passages = [Passage(str(z), f"t{z}", text) for z, text in enumerate(texts)]
    store.build("v", passages, dense_part(), corpus_config=None)
    return store


def make(store: Store, **config) -> Rag:
    memory = store.open("v", retriever=dense_part())
    generator = TableGenerator(TableGenerator.Config(seed=3))
    return Rag(memory, generator, RagConfig(**{"k": 2, "max_new_tokens": 3, **config}))


@given(log_prob=st.floats(max_value=1e-6), slope=st.floats(0, 1e300), intercept=numbers)
def test_a_confidence_is_a_probability(log_prob, slope, intercept):
    if math.isnan(log_prob):
        return
    fitted = ConfidenceConfig(slope=slope, intercept=intercept)
    assert 0 <= confidence_at(log_prob, fitted) <= 1
    assert 0 <= confidence_at(log_prob, None) <= 1


@pytest.mark.parametrize(("log_prob", "expected"), [(-2.0, 1 / (1 + math.e**2.5)), (0.0, 0.622459)])
def test_the_confidence_is_the_logistic_function_of_log_p(log_prob, expected):
    fitted = ConfidenceConfig(slope=1.5, intercept=0.5)
    assert confidence_at(log_prob, fitted) == pytest.approx(expected, abs=1e-6)


def test_an_impossible_answer_has_the_confidence_of_its_limit():
    assert confidence_at(-math.inf, ConfidenceConfig(slope=2.0, intercept=1.0)) == 0
    assert confidence_at(-math.inf, ConfidenceConfig(slope=0.0, intercept=0.0)) == 0.5
    assert confidence_at(-math.inf, None) == 0


log_probs = st.floats(max_value=0.0, allow_nan=False)


@given(
    lower=st.tuples(log_probs, log_probs),
    higher=st.tuples(log_probs, log_probs),
    slope=st.floats(0, 100),
    answering=st.floats(0, 100),
    intercept=st.floats(-100, 100),
)
def test_confidence_rises_with_p_and_with_the_passages_answering(
    lower, higher, slope, answering, intercept
):
    fitted = ConfidenceConfig(slope=slope, answering=answering, intercept=intercept)
    less, more = (
        confidence_at(combine(p), fitted, unknown)
        for combine, p, unknown in (
            (min, (lower[0], higher[0]), max(lower[1], higher[1])),
            (max, (lower[0], higher[0]), min(lower[1], higher[1])),
        )
    )
    assert 0 <= less <= more <= 1


@pytest.mark.parametrize("p_unknown", [0.0, 0.25, 0.9, 1.0])
def test_the_second_slope_is_of_the_log_of_how_probable_the_passages_answer(p_unknown):
    fitted = ConfidenceConfig(slope=1.5, answering=2.0, intercept=0.5)
    log_p_unknown = math.log(p_unknown) if p_unknown else -math.inf
    # What single precision cannot tell from 1 is not taken for 1.
    odds = math.exp(0.5) * 0.3**1.5 * max(1 - p_unknown, 2**-24) ** 2
    confidence = confidence_at(math.log(0.3), fitted, log_p_unknown)
    assert confidence == pytest.approx(odds / (1 + odds))


def test_where_nothing_is_known_of_abstaining_the_second_slope_has_no_effect():
    both = ConfidenceConfig(slope=1.5, answering=2.0, intercept=0.5)
    first_slope = ConfidenceConfig(slope=1.5, intercept=0.5)
    assert confidence_at(-1.0, both) == confidence_at(-1.0, first_slope)
    assert confidence_at(-1.0, first_slope, math.log(0.5)) == confidence_at(-1.0, first_slope)


@pytest.mark.parametrize("marginalize", ["token", "sequence", "none"])
def test_an_answer_is_less_confident_the_less_its_passages_answer(marginalize, store):
    fitted = {"slope": 1.0, "answering": 3.0, "intercept": 0.5}
    rag = make(
        store,
        marginalize=marginalize,
        abstain={"answer": "b", "above": 1},
        confidence=fitted,
    )
    for answer in rag.answer(QUESTIONS):
        unknown = answer.abstention.log_prob
        expected = confidence_at(answer.log_prob, ConfidenceConfig(**fitted), unknown)
        assert answer.confidence == expected
        assert expected < confidence_at(answer.log_prob, ConfidenceConfig(**fitted))


def test_a_winner_without_some_passages_knows_how_probable_the_others_abstain(store):
    fitted = {"slope": 1.0, "answering": 3.0, "intercept": 0.5}
    config = {"abstain": {"answer": "b", "above": 1}, "confidence": fitted}
    rag = make(store, **config)
    answer = rag.answer(QUESTIONS[0])[0]
    left_out, kept = (each.passage for each in answer.evidence)
    winner = rag.without(answer, left_out.id).winner
    # As an answer read from the other passage alone.
    generator = TableGenerator(TableGenerator.Config(seed=3))
    p_unknown, _ = by_definition(
        generator, [f"{answer.question}|{kept.text}"], [1.0], generator.encode_answers(["b"])[0]
    )
    assert winner.abstention.log_prob == pytest.approx(math.log(p_unknown), abs=1e-5)
    assert winner.abstention.priors == (1.0,)
    assert winner.confidence == pytest.approx(
        confidence_at(winner.log_prob, ConfidenceConfig(**fitted), math.log(p_unknown)), abs=1e-5
    )


def test_without_a_fit_the_confidence_is_p(store):
    for answer in make(store).answer(QUESTIONS):
        assert answer.confidence == pytest.approx(math.exp(answer.log_prob))
        assert not answer.withheld
        assert answer.to_dict()["confidence"] == answer.confidence
        assert answer.to_dict()["withheld"] is False


@pytest.mark.parametrize("config", [{}, {"slope": 2.0, "intercept": 1.0}])
def test_answers_below_the_threshold_are_withheld_and_keep_their_text(config, store):
    plain = make(store, confidence=config).answer(QUESTIONS)
    middle = sorted(answer.confidence for answer in plain)[2]
    answers = make(store, confidence={**config, "threshold": middle}).answer(QUESTIONS)
    assert [answer.withheld for answer in answers] == [
        answer.confidence < middle for answer in plain
    ]
    assert 0 < sum(answer.withheld for answer in answers) < len(answers)
    assert [answer.text for answer in answers] == [answer.text for answer in plain]


def test_an_answer_without_some_passages_is_withheld_by_its_own_confidence(store):
    rag = make(store, confidence={"threshold": 1.0})
    answer = rag.answer(QUESTIONS[0])[0]
    winner = rag.without(answer, answer.evidence[0].passage.id).winner
    assert winner is not None
    assert winner.withheld
    assert winner.confidence == pytest.approx(math.exp(winner.log_prob))


def test_the_abstaining_answer_is_not_withheld_a_second_time(store):
    rag = make(
        store,
        abstain={"answer": "b", "above": 0},
        confidence={"slope": 1.0, "intercept": -9.0, "threshold": 1.0},
    )
    answer = rag.answer(QUESTIONS[0])[0]
    assert answer.abstains
    assert not answer.withheld
    assert answer.confidence == pytest.approx(math.exp(answer.log_prob))


def test_evaluation_counts_a_withheld_answer_as_an_abstention(store):
    texts = [answer.text for answer in make(store).answer(QUESTIONS)]
    asked = [LabelledQuestion(QUESTIONS[0], (texts[0],)), LabelledQuestion(QUESTIONS[1])]
    asked += [
        LabelledQuestion(QUESTIONS[2], unanswerable=True),
        # Normalised, this answer is empty.
        LabelledQuestion(QUESTIONS[3], ("The",)),
    ]
    withholding = make(store, confidence={"threshold": 1.0}).answer(QUESTIONS)
    predictions = make_predictions(asked, withholding)
    assert [each.correct for each in predictions] == [False, None, True, False]
    assert all(each.abstained and each.withheld and not each.text for each in predictions)
    assert [each.answer for each in predictions] == texts
    assert [each.confidence for each in predictions] == [each.confidence for each in withholding]
    withholding_rag = make(store, confidence={"threshold": 1.0})
    report = evaluate(withholding_rag, asked)
    values = {figure.metric: figure.value for figure in report.figures}
    assert (values["has_ans_exact_match"], values["no_ans_exact_match"]) == (0, 1)
    assert values["has_ans_f1"] == 0
    # A best guess that is withheld says nothing of how good confidences are.
    measures = evaluate(withholding_rag, asked, make_metrics(["brier", "ece"])).figures
    assert [figure.questions for figure in measures] == [0, 0]
    assert sum(each.count for each in reliability(predictions)) == 0


def test_the_slope_needs_the_intercept():
    with pytest.raises(ValueError, match="intercept is missing: set slope and intercept"):
        ConfidenceConfig(slope=1.0)
    with pytest.raises(ValueError, match="slope is missing"):
        ConfidenceConfig(intercept=1.0)


def test_the_second_slope_needs_the_first_and_a_pipeline_that_abstains():
    with pytest.raises(ValueError, match="answering is set without slope and intercept"):
        ConfidenceConfig(answering=1.0)
    with pytest.raises(ValueError, match="answering"):
        ConfidenceConfig(slope=1.0, answering=-0.1, intercept=1.0)
    fitted = {"slope": 1.0, "answering": 1.0, "intercept": 1.0}
    with pytest.raises(ValueError, match=r"confidence\.answering needs abstain"):
        RagConfig(confidence=fitted)
    assert RagConfig(confidence=fitted, abstain={}).confidence == ConfidenceConfig(**fitted)
