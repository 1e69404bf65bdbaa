"""Test evaluating a pipeline: what is refused, what is warned of, and how abstaining counts."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest

from ragcore.config import AbstainConfig, RagConfig
from ragcore.errors import QuestionError
from ragcore.evaluation.choosing import ANSWERABILITY_METRICS, make_metrics
from ragcore.evaluation.comparison import compare
from ragcore.evaluation.running import evaluate
from ragcore.questions import LabelledQuestion
from ragcore.rag import Rag
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


def make(store: Store, abstain: AbstainConfig | None = None) -> Rag:
    return Rag(
        store.open("v1", retriever=dense_part()),
        TableGenerator(TableGenerator.Config(seed=3, sharpness=1.5)),
        RagConfig(k=1, max_new_tokens=3, abstain=abstain),
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
        ({"passage_ids": ("p0",)}, ["exact_match", "recall@1"]),
        ({"unanswerable": True}, ["exact_match"]),
        ({"answers": {"v1": ()}}, ["exact_match"]),
    ],
)
def test_questions_are_measured_by_what_is_known(store, labels, names):
    with make(store) as rag:
        report = evaluate(rag, asked(**labels), make_metrics(names))
    assert [figure.error for figure in report.figures] == [None] * len(names)


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
        report = evaluate(rag, questions, make_metrics(["recall@1"]))
    assert [one.passages[0].answers for one in report.predictions] == [False, True, False]


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
