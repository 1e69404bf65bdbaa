"""Test the calibration of a whole pipeline: what is fitted is what the pipeline then does."""

from __future__ import annotations

import math

import pytest

from ragcore.config import RagConfig
from ragcore.errors import MetricError, QuestionError
from ragcore.evaluation.calibrating import calibrate_pipeline, passages_of_mass
from ragcore.evaluation.calibration import calibrate
from ragcore.evaluation.confidence_fits import with_confidences
from ragcore.evaluation.prediction import make_predictions
from ragcore.questions import LabelledQuestion
from ragcore.rag import Rag
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.table_generator import TableGenerator
from tests.helpers.word_encoder import dense_part

COUNT = 30
WRONG = {3, 9, *range(22, COUNT)}
"""Ranks by log p of the answers that count as wrong: a third of them."""


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    store = Store(tmp_path_factory.mktemp("store"))
    passages = [Passage(str(z), f"t{z}", f"word{z} is ruled") for z in range(8)]
    store.build("v", passages, dense_part(), corpus_config=None)
    return store


def make(store: Store, temperature: float = 1.0, **config) -> Rag:
    memory = store.open("v", retriever=dense_part(), temperature=temperature)
    generator = TableGenerator(TableGenerator.Config(seed=1, sharpness=2.5))
    return Rag(
        memory, generator, RagConfig(**{"k": 3, "min_new_tokens": 1, "max_new_tokens": 3, **config})
    )


@pytest.fixture(scope="module")
def asked(store) -> list[LabelledQuestion]:
    """Return questions of which two thirds are answered rightly, mostly those of high p."""
    answers = make(store).answer([f"who rules word{n}" for n in range(COUNT)])
    ranked = sorted(answers, key=lambda answer: -answer.log_prob)
    return [
        LabelledQuestion(answer.question, (f"{answer.text}a" if rank in WRONG else answer.text,))
        for rank, answer in enumerate(ranked)
    ]


def test_what_is_fitted_is_what_the_pipeline_then_does(store, asked):
    done = []
    calibration = calibrate_pipeline(
        make(store), asked, risk=0.2, progress=lambda *counts: done.append(counts)
    )
    fitted = calibration.temperature.fitted.temperature
    assert calibration.temperature == calibrate(
        make(store), [each.question for each in asked], [each.answers for each in asked]
    )
    assert fitted != 1
    assert done[-1] == (2 * COUNT, 2 * COUNT)
    config = calibration.config
    assert config is not None
    assert config.threshold > 0
    served = make(store, fitted, confidence=config).answer([each.question for each in asked])
    right = [answer.text in each.answers for answer, each in zip(served, asked, strict=True)]
    assert calibration.after.exact_match == pytest.approx(sum(right) / COUNT)
    given = [
        is_right for answer, is_right in zip(served, right, strict=True) if not answer.withheld
    ]
    threshold = calibration.threshold
    assert threshold is not None
    assert threshold.coverage == pytest.approx(len(given) / COUNT)
    assert threshold.risk == pytest.approx(1 - sum(given) / len(given))
    assert threshold.risk <= 0.2
    assert 0 < len(given) < COUNT
    found = make(store, fitted).search([each.question for each in asked])
    assert calibration.after.passages_999 == pytest.approx(
        sum(passages_of_mass(result.prior, 0.999) for result in found) / COUNT
    )
    assert calibration.before.exact_match == pytest.approx(2 / 3)


def test_where_the_pipeline_abstains_the_confidence_counts_how_probable_that_is(store, asked):
    abstain = {"answer": "c", "above": 1}
    calibration = calibrate_pipeline(make(store, abstain=abstain), asked)
    fit = calibration.confidence
    assert fit is not None
    assert fit.answering is not None
    assert fit.answering >= 0
    assert calibration.settings["rag.confidence"] == {
        "slope": fit.slope,
        "answering": fit.answering,
        "intercept": fit.intercept,
        "threshold": 0.0,
    }
    assert calibration.to_dict()["confidence"]["answering"] == fit.answering
    fitted = calibration.temperature.fitted.temperature
    rag = make(store, fitted, abstain=abstain, confidence=calibration.config)
    answers = rag.answer([each.question for each in asked])
    predictions = make_predictions(asked, answers)
    assert [each.log_p_unknown for each in predictions] == [
        answer.abstention.log_prob for answer in answers
    ]
    assert with_confidences(predictions, fit.config) == predictions
    plain = calibrate_pipeline(make(store), asked)
    assert plain.confidence is not None
    assert plain.confidence.answering is None
    assert "answering" not in plain.settings["rag.confidence"]


def test_a_confidence_that_the_pipeline_has_is_what_was_before(store, asked):
    rag = make(store, confidence={"slope": 0.0, "intercept": 0.0, "threshold": 0.9})
    calibration = calibrate_pipeline(rag, asked)
    assert calibration.confidence is not None
    # All confidences were 0.5, and no answer was withheld.
    assert calibration.confidence.brier_before == pytest.approx(0.25)
    assert calibration.confidence.ece_before == pytest.approx(abs(0.5 - 2 / 3))
    assert calibration.threshold is None
    assert calibration.config is not None
    assert calibration.config.threshold == 0
    assert rag.config.confidence is not None
    assert rag.config.confidence.threshold == 0.9


def test_a_temperature_that_is_the_best_already_is_not_answered_by_twice(store, asked):
    first = calibrate_pipeline(make(store), asked)
    again = []
    rag = make(store, first.temperature.fitted.temperature)
    second = calibrate_pipeline(rag, asked, progress=lambda *counts: again.append(counts))
    assert again[-1] == (COUNT, COUNT)
    assert second.before == second.after == first.after


def test_too_few_questions_fit_a_temperature_alone(store, asked):
    calibration = calibrate_pipeline(make(store), asked[:5], risk=0.1)
    assert calibration.temperature.questions == 5
    assert calibration.confidence is calibration.threshold is calibration.config is None
    assert "5 answers whose correctness is known" in (calibration.reason or "")


def test_questions_without_an_answer_and_patterns_count_for_the_confidence_alone(store, asked):
    more = [
        LabelledQuestion("who rules nobody", unanswerable=True),
        LabelledQuestion("who rules word1", ("[ab]*",), regex=True),
        LabelledQuestion("not judged"),
    ]
    calibration = calibrate_pipeline(make(store), [*asked, *more])
    assert calibration.temperature.questions == COUNT
    assert calibration.confidence is not None
    assert calibration.confidence.answers == COUNT + 2
    assert calibration.questions == COUNT + 3


def test_without_passages_there_are_none_to_count(store, asked):
    closed = calibrate_pipeline(make(store, k=0), asked)
    assert (closed.before.passages_99, closed.after.passages_999) == (0, 0)
    assert closed.temperature.fitted.temperature == 1


@pytest.mark.parametrize(
    ("priors", "mass", "count"),
    [([0.2, 0.5, 0.3], 0.5, 1), ([0.2, 0.5, 0.3], 0.51, 2), ([0.25] * 4, 0.99, 4), ([0.4], 1, 1)],
)
def test_passages_are_counted_from_the_most_probable(priors, mass, count):
    assert passages_of_mass(priors, mass) == count


def test_questions_and_risks_that_cannot_be_used_are_refused(store, asked):
    with pytest.raises(QuestionError, match="none of 1 questions has a right answer"):
        calibrate_pipeline(make(store), [LabelledQuestion("who", ("a.*",), regex=True)])
    with pytest.raises(QuestionError, match="none of 0 questions"):
        calibrate_pipeline(make(store), [])
    with pytest.raises(MetricError, match=r"a risk of 1\.5"):
        calibrate_pipeline(make(store), asked, risk=1.5)
    with pytest.raises(MetricError, match="a risk of nan"):
        calibrate_pipeline(make(store), asked, risk=math.nan)
