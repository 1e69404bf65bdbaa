"""Generators of all tiers in evaluation, comparison, shadow mode, calibration and ranking."""

from __future__ import annotations

import numpy as np
import pytest

from ragcore.errors import PluginError, UnsupportedOperation
from ragcore.evaluation.calibrating import calibrate_pipeline
from ragcore.evaluation.calibration import calibrate
from ragcore.evaluation.choosing import make_metrics
from ragcore.evaluation.comparison import compare
from ragcore.evaluation.running import evaluate
from ragcore.evaluation.shadow import Shadow
from ragcore.questions import LabelledQuestion
from ragcore.registry.components import ComponentSpec
from ragcore.registry.conformance import check_class, check_instance
from ragcore.retrievers.query_likelihood import QueryLikelihood
from ragcore.store.store import Store
from ragcore.testing.as_tier import AsScores, AsTexts, AsTops
from ragcore.views.comparison import comparison_view
from ragcore.views.console import print_view
from ragcore.views.evaluation import figures_view
from tests.helpers.tiers import PASSAGES, QUESTION, generator_of, pipeline, tables

ASKED = [
    LabelledQuestion(question, answers=(right,))
    for question, right in [(QUESTION, "ab"), ("chad", "b"), ("a river", "c"), ("rules", "abc")]
]
TIERS = ["score", "top", "text"]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return Store(tmp_path_factory.mktemp("tiers") / "store")


@pytest.mark.parametrize("tier", TIERS)
def test_evaluation_has_the_figures_that_the_tier_gives(store, tier, capsys):
    rag = pipeline(store, tier)
    report = evaluate(rag, ASKED)
    figures = {figure.metric: figure for figure in report.figures}
    assert figures["exact_match"].questions == len(ASKED)
    expected = [answer.log_prob for answer in rag.answer([each.question for each in ASKED])]
    known = [log_prob for log_prob in expected if log_prob is not None]
    if tier == "text":
        assert not known
        assert figures["log_prob"].value is None
    else:
        assert figures["log_prob"].value == pytest.approx(np.mean(known))
    print_view(figures_view(report.figures))
    assert "exact_match" in capsys.readouterr().out


@pytest.mark.parametrize("metric", ["log_prob_auroc", "selective_exact_match"])
def test_rankings_by_log_p_do_not_apply_to_texts(store, metric):
    report = evaluate(pipeline(store, "text"), ASKED, make_metrics([metric]))
    assert report.figures[0].value is None


@pytest.mark.parametrize("metric", ["brier", "ece", "aurc"])
def test_metrics_of_confidence_say_why_they_are_not_of_texts(store, metric):
    (figure,) = evaluate(pipeline(store, "text"), ASKED, make_metrics([metric])).figures
    assert figure.value is None
    assert "has no log p, as those of generators that give texts" in figure.error


@pytest.mark.parametrize("tier", TIERS)
def test_two_versions_are_compared_and_shadowed(store, tier, capsys):
    few = pipeline(store, tier, passages=PASSAGES[:2])
    rag = pipeline(store, tier)
    old, new = few.memory.version, rag.memory.version
    comparison = compare(rag, ASKED, old, new)
    for pair in comparison.pairs:
        same = pair.old.text == pair.new.text
        if tier == "score" or (tier == "top" and same and pair.old.log_prob is not None):
            assert pair.old.log_prob <= 0
        if tier == "text":
            assert pair.old.log_prob is pair.old.other_log_prob is None
    assert comparison.to_dict()["summary"]["questions"] == len(ASKED)
    print_view(comparison_view(comparison))
    assert capsys.readouterr().out
    with Shadow(rag, old, share=1.0) as shadow:
        shadow.answer([each.question for each in ASKED])
        shadow.join()
        report = shadow.report()
    assert report.errors == 0
    assert report.compared == len(ASKED)
    assert report.changed == len(comparison.changed)


@pytest.mark.parametrize("more", [{}, {"abstain": {"answer": "a", "above": 0.9}}], ids=str)
@pytest.mark.parametrize("marginalize", ["token", "sequence"])
def test_a_temperature_fitted_by_scores_is_that_of_all_log_probs(store, marginalize, more):
    questions = [each.question for each in ASKED]
    right = [each.answers for each in ASKED]
    settings = {"marginalize": marginalize, **more}
    expected = calibrate(pipeline(store, "steps", 3, **settings), questions, right)
    fitted = calibrate(pipeline(store, "score", 3, **settings), questions, right)
    assert fitted.fitted.temperature == pytest.approx(expected.fitted.temperature, rel=1e-3)
    assert fitted.current.log_prob == pytest.approx(expected.current.log_prob, abs=1e-5)
    assert fitted.top_best == expected.top_best


@pytest.mark.parametrize("tier", ["top", "text"])
def test_calibrating_is_refused_before_anything_is_answered(store, tier):
    with pytest.raises(UnsupportedOperation, match="calibrating needs log p"):
        calibrate_pipeline(pipeline(store, tier), ASKED)


def test_query_likelihood_says_which_generators_it_needs():
    generator = ComponentSpec("generator", "texts", AsTexts, AsTexts.Config(generator=tables()))
    scorer = QueryLikelihood(QueryLikelihood.Config(generator=generator))
    with pytest.raises(UnsupportedOperation, match=r"tier 'steps'.*texts is of tier 'text'"):
        scorer.score([QUESTION], PASSAGES[:1])


@pytest.mark.parametrize("wrapper", [AsScores, AsTops, AsTexts])
def test_a_generator_follows_the_contract_of_its_tier(wrapper):
    check_class("generator", "mine", wrapper)
    check_instance("generator", "mine", wrapper(wrapper.Config(generator=tables())))


@pytest.mark.parametrize(
    ("tier", "missing"), [("steps", "vocabulary_size"), ("score", "score_texts"), ("top", "go_on")]
)
def test_a_member_that_the_tier_promises_is_missed(tier, missing):
    claims = type("Claims", (AsTexts,), {"tier": tier})
    with pytest.raises(PluginError, match=missing):
        check_class("generator", "mine", claims)
    late = type("Late", (AsTexts,), {"tier": property(lambda self: tier)})
    check_class("generator", "mine", late)
    with pytest.raises(PluginError, match=missing):
        check_instance("generator", "mine", late(late.Config(generator=tables())))


def test_steps_refuse_how_texts_are_written(store):
    with pytest.raises(UnsupportedOperation, match=r"tier 'steps'.*rag\.write"):
        pipeline(store, "steps", write={"candidates": 2, "temperature": 1.0})
    assert generator_of("steps")
