"""Test evaluating a pipeline: what is refused, what is warned of, and how abstaining counts."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Literal

import pytest

from ragcore.config import AbstainConfig, RagConfig
from ragcore.errors import MetricError, QuestionError
from ragcore.evaluation.choosing import ANSWERABILITY_METRICS, make_metrics
from ragcore.evaluation.comparison import compare
from ragcore.evaluation.running import evaluate
from ragcore.questions import LabelledQuestion
from ragcore.rag import Rag
from ragcore.registry.components import ComponentSpec
from ragcore.retrievers.configs import HybridConfig
from ragcore.retrievers.hybrid import Hybrid
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.table_generator import TableGenerator
from tests.helpers.word_encoder import dense_part

LANDS = ("chad", "mali", "niger")
PASSAGES = [Passage(f"p{n}", land, f"{land} is ruled") for n, land in enumerate(LANDS)]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    store = Store(tmp_path_factory.mktemp("store"))
    store.build("v1", PASSAGES, dense_part(), corpus_config=None)
    store.build("v2", PASSAGES, dense_part(), corpus_config=None)
    return store


def make(
    store: Store,
    abstain: AbstainConfig | None = None,
    *,
    k: int = 1,
    marginalize: Literal["sequence", "token"] = "sequence",
    temperature: float = 1.0,
) -> Rag:
    return Rag(
        store.open("v1", retriever=dense_part(), temperature=temperature),
        TableGenerator(TableGenerator.Config(seed=3, sharpness=1.5)),
        RagConfig(k=k, max_new_tokens=3, abstain=abstain, marginalize=marginalize),
        store=store,
        retriever=dense_part(),
    )


def asked(**labels: object) -> list[LabelledQuestion]:
    return [LabelledQuestion(f"who rules {land}", **labels) for land in LANDS]  # type: ignore[arg-type]


def test_questions_without_an_answer_are_refused_before_one_is_asked(store):
    with make(store) as rag:
        with pytest.raises(QuestionError, match="no question has an answer"):
            evaluate(rag, asked())
        with pytest.raises(QuestionError, match="no question has an answer"):
            evaluate(rag, asked(passage_ids=("p0",)), make_metrics(["exact_match", "log_prob"]))
        assert rag.generator.passes == 0
        by_version = asked(answers={"v2": ("x",)})
        with pytest.raises(QuestionError, match=r"for memory 'v1': answers are for 'v2'"):
            evaluate(rag, by_version)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ({}, ["log_prob", "distinct_trigrams"]),
        ({}, []),
        ({"passage_ids": ("p0",)}, ["exact_match", "hit@1"]),
        ({"unanswerable": True}, ["exact_match"]),
        ({"answers": {"v1": ()}}, ["exact_match"]),
    ],
)
def test_questions_are_measured_by_what_is_known(store, labels, names):
    with make(store) as rag:
        report = evaluate(rag, asked(**labels), make_metrics(names))
    assert [figure.error for figure in report.figures] == [None] * len(names)


@pytest.mark.parametrize("marginalize", ["sequence", "token"])
def test_confidence_and_the_passages_of_a_pipelines_answers_are_measured(store, marginalize):
    names = ["brier", "ece", "aurc", "prior_entropy", "posterior_entropy", "passages_for@80"]
    with make(store, k=3, marginalize=marginalize, temperature=100) as rag:
        (answer,) = rag.answer(["who rules chad"])
        report = evaluate(rag, asked(answers=(answer.text,)), make_metrics(names))
    prior = [passage.prior for passage in answer.evidence]
    values = {figure.metric: figure.value for figure in report.figures}
    assert [(figure.error, figure.questions) for figure in report.figures] == [(None, 3)] * 6
    squares = [(math.exp(each.log_p) - each.correct) ** 2 for each in report.predictions]
    assert values["brier"] == pytest.approx(sum(squares) / 3)
    for name in ("prior_entropy", "posterior_entropy"):
        assert 0 < values[name] <= math.log(3)
    first = {figure.metric: figure.by_question[0][0] for figure in report.figures}
    assert first["prior_entropy"] == pytest.approx(-sum(p * math.log(p) for p in prior))
    assert max(prior) < 0.9
    rest = [1 - sum(sorted(prior)[-count:]) for count in (1, 2)]
    assert first["passages_for@80"] == 1 + sum(mass > 0.2 for mass in rest)


def warned(caplog: pytest.LogCaptureFixture) -> Sequence[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_questions_whose_passages_the_memory_does_not_have_are_warned_of(store, caplog):
    questions = [
        LabelledQuestion("who rules chad", passage_ids=("p0", "elsewhere")),
        LabelledQuestion("who rules mali", passage_ids=("17",)),
        LabelledQuestion("who rules niger", answers=("x",)),
    ]
    with make(store) as rag:
        report = evaluate(rag, questions)
        (warning,) = report.warnings
        assert "1 of 2 questions" in warning
        assert "'17'" in warning
        assert "elsewhere" not in warning
        assert warned(caplog) == [warning]
        assert report.to_dict()["warnings"] == [warning]
        caplog.clear()
        assert not evaluate(rag, questions[:1]).warnings
        assert not evaluate(rag, questions, make_metrics(["log_prob"])).warnings
        assert not warned(caplog)
        compare(rag, questions, "v1", "v2")
    assert ["memory 'v1'" in warned(caplog)[0], "memory 'v2'" in warned(caplog)[1]] == [True, True]


@pytest.mark.parametrize("source", ["paragraphs", "titles"])
def test_questions_of_another_corpus_are_warned_of(store, source):
    with make(store) as rag:
        own = "chad is ruled" if source == "paragraphs" else "chad"
        assert not evaluate(rag, asked(answers=("x",), **{source: (own,)})).warnings
        report = evaluate(rag, asked(answers=("x",), **{source: ("Another text.",)}))
    (warning,) = report.warnings
    assert "retrieved for 3 questions" in warning


def test_a_passage_of_the_paragraph_is_recalled(store):
    questions = asked(answers=("ruled",), titles=("chad",), paragraphs=("Mali  is ruled",))
    with make(store) as rag:
        report = evaluate(rag, questions, make_metrics(["hit@1"]))
    assert [one.passages[0].answers for one in report.predictions] == [False, True, False]
    assert [one.ranking.grades for one in report.predictions if one.ranking] == [{}, {"p1": 1}, {}]


def test_to_abstain_is_right_where_there_is_no_answer(store):
    questions = [*asked(unanswerable=True)[:2], *asked(answers=("x",))[2:]]
    always = AbstainConfig(answer="ab", above=0.0)
    with make(store, always) as rag:
        report = evaluate(rag, questions)
    assert [one.abstained for one in report.predictions] == [True] * 3
    assert [one.correct for one in report.predictions] == [True, True, False]
    values = {figure.metric: figure.value for figure in report.figures}
    assert set(ANSWERABILITY_METRICS) <= set(values)
    assert values["no_ans_exact_match"] == 1.0
    assert values["has_ans_exact_match"] == 0.0
    assert values["exact_match"] == values["f1"] == pytest.approx(2 / 3)
    never = AbstainConfig(answer="ab", above=1.0)
    with make(store, never) as rag:
        report = evaluate(rag, questions)
    assert [one.abstained for one in report.predictions] == [False] * 3
    assert [one.correct for one in report.predictions] == [
        not one.answer for one in report.predictions
    ]


def test_answerability_is_reported_only_where_it_is_known(store):
    with make(store) as rag:
        names = [figure.metric for figure in evaluate(rag, asked(answers=("x",))).figures]
    assert not set(ANSWERABILITY_METRICS) & set(names)


def graded(**grades: int) -> list[LabelledQuestion]:
    return [LabelledQuestion("who rules mali", id="q", relevance=grades)]


def test_metrics_of_passages_see_deeper_than_the_generator_reads(store):
    with make(store) as rag:
        report = evaluate(rag, graded(p2=1), make_metrics(["R@3", "hit@1"]))
        (prediction,) = report.predictions
        assert (len(prediction.passages), report.depth) == (1, 3)
        assert prediction.ranking is not None
        assert set(prediction.ranking.ids) == {"p0", "p1", "p2"}
        assert [figure.value for figure in report.figures] == [1.0, 0.0]
        # What was read is deep enough here: it is searched once.
        (prediction,) = evaluate(rag, graded(p1=1), make_metrics(["hit@1"])).predictions
        assert prediction.ranking is not None
        assert prediction.ranking.ids == ("p1",) == tuple(each.id for each in prediction.passages)


@pytest.mark.parametrize("depth", [None, 1, 2])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_memory_is_measured_as_a_pipeline_is(store, k, depth):
    """However many passages the answers are read from, fewer or more than are measured."""
    metrics = make_metrics(["AP", "R@1", "NumRet"])
    with make(store, k=k) as rag, store.open("v1", retriever=dense_part()) as memory:
        asked_for = [*graded(p2=1, p1=2), *asked(passage_ids=("p0",))]
        searched = evaluate(memory, asked_for, metrics, depth=depth)
        answered = evaluate(rag, asked_for, metrics, depth=depth)
        assert searched.figures == answered.figures
        assert searched.retrieval
        assert not answered.retrieval
        with pytest.raises(MetricError, match=r"f1, log_prob: of answers"):
            evaluate(memory, asked_for, make_metrics(["f1", "hit@1", "log_prob"]))
        names = [figure.metric for figure in evaluate(memory, graded(p1=1)).figures]
        assert names == ["nDCG@10", "RR@10", "R@100", "AP"]


def test_a_filter_holds_for_the_ranking_too(store):
    with store.open("v1", retriever=dense_part()) as memory:
        metrics = make_metrics(["R@3"])
        report = evaluate(
            memory, graded(p2=1), metrics, where={"$title": {"in": ["mali", "niger"]}}
        )
        assert not report.warnings
        assert report.predictions[0].ranking is not None
        assert set(report.predictions[0].ranking.ids) == {"p1", "p2"}
        report = evaluate(memory, graded(p1=1), metrics, where={"title": "mali"})
    assert "'title'" in report.warnings[0]
    assert report.figures[0].value == 0.0


def hybrid_part(depth: int) -> ComponentSpec:
    config = HybridConfig(retrievers=[dense_part()], depth=depth)
    return ComponentSpec("retriever", "hybrid", Hybrid, config)


def test_a_retriever_that_ranks_less_is_not_measured_deeper(tmp_path):
    store = Store(tmp_path)
    store.build("v1", PASSAGES, hybrid_part(2), corpus_config=None)
    questions = graded(p0=1, p1=1, p2=1)
    with store.open("v1", retriever=hybrid_part(2)) as memory:
        with pytest.raises(
            MetricError, match=r"R@3 is of the first 3 .* no more than 2 .* 'depth'"
        ):
            evaluate(memory, questions, make_metrics(["hit@1", "R@3"]))
        report = evaluate(memory, questions, make_metrics(["R@2", "AP"]))
        assert (report.depth, len(report.warnings)) == (2, 1)
        assert report.warnings[0].startswith("AP: of the first 2 passages and not of 1000")
        report = evaluate(memory, questions, make_metrics(["R@2"]), depth=3)
        assert report.depth == 2
        assert report.warnings[0].startswith("2 passages were searched for and not 3")
        assert not evaluate(memory, questions, make_metrics(["R@2"])).warnings
        # Nobody named these.
        report = evaluate(memory, questions)
        assert [figure.metric for figure in report.figures] == ["AP"]
        assert report.warnings[0].startswith("nDCG@10, RR@10, R@100: left out")
    with store.open("v1", retriever=hybrid_part(3)) as memory:
        report = evaluate(memory, questions, make_metrics(["R@100", "AP"]))
    assert not report.warnings, "all passages are ranked"
    assert [figure.value for figure in report.figures] == [1.0, 1.0]


def test_grades_below_one_are_not_relevant(store, caplog):
    with make(store) as rag:
        report = evaluate(rag, graded(p1=0, p2=-1, p0=1), make_metrics(["hit@1", "RR@3", "P@3"]))
        assert report.figures[0].value == 0.0
        assert report.figures[2].value == pytest.approx(1 / 3)
        with pytest.raises(QuestionError, match="none of the 1 judged questions has a relevant"):
            evaluate(rag, graded(p1=0), make_metrics(["hit@1"]))
        both = [*graded(p1=0), *graded(p1=1)]
        report = evaluate(rag, both, make_metrics(["hit@1"]))
    assert "1 of 2 judged questions have no relevant passage" in report.warnings[0]
    assert report.figures[0].value == 0.5


def test_judgments_of_another_corpus_are_refused(store):
    with store.open("v1", retriever=dense_part()) as memory:
        with pytest.raises(
            QuestionError, match=r"none of the relevant passages .*'d7'.* in memory"
        ):
            evaluate(memory, graded(d7=1, p1=0), make_metrics(["hit@1"]))
        report = evaluate(memory, graded(p1=1, d7=1, d8=0), make_metrics(["R@3"]))
    (warning,) = report.warnings
    assert "2 of 3 judged passages are not in memory 'v1' (such as 'd7', 'd8')" in warning
    assert report.figures[0].value == 0.5


def test_recall_of_passages_judged_by_their_texts_is_warned_of(store):
    with store.open("v1", retriever=dense_part()) as memory:
        report = evaluate(memory, asked(answers=("ruled",)), make_metrics(["R@3", "hit@3"]))
    (warning,) = report.warnings
    assert warning.startswith("R@3: for 3 questions it is not known which passages are relevant")


def test_questions_without_labels_are_refused_where_nothing_is_answered(store):
    with store.open("v1", retriever=dense_part()) as memory:
        with pytest.raises(QuestionError, match="no question has a known passage or answer"):
            evaluate(memory, asked())
        with pytest.raises(QuestionError, match="no question to evaluate"):
            evaluate(memory, [])


def test_a_prediction_as_a_dictionary_has_all_that_it_has(store):
    with make(store, k=2) as rag:
        report = evaluate(rag, [*graded(p1=1, p2=0), *asked(answers=("ruled",))])
    for prediction in report.predictions:
        assert prediction.ranking is not None
        assert prediction.to_dict() == asdict(prediction)
        assert json.loads(json.dumps(prediction.to_dict()))
