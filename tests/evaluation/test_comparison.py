"""Test comparing versions: each side as its version serves it, each change scored under both."""

from __future__ import annotations

import json

import pytest

from ragcore.config import RagConfig
from ragcore.errors import ConfigError, QuestionError, UnknownVersionError
from ragcore.evaluation import comparison
from ragcore.evaluation.comparison import compare
from ragcore.questions import LabelledQuestion, read_questions
from ragcore.questions.matching import same_answer
from ragcore.rag import Rag
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.table_generator import TableGenerator
from tests.helpers.word_encoder import dense_part

QUESTIONS = [f"who rules {land}" for land in ("chad", "mali", "niger", "peru", "fiji", "oman")]


def passages(version: str) -> list[Passage]:
    """Of six passages the first three are the same in both; ids are not."""
    lands = [question.split()[-1] for question in QUESTIONS]
    endings = ["", "", "", *[f" {version}"] * 3]
    return [
        Passage(f"{version}:{n}", f"t{n}", f"{land} is ruled{ending}")
        for n, (land, ending) in enumerate(zip(lands, endings, strict=True))
    ]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    store = Store(tmp_path_factory.mktemp("store"))
    for version in ("old", "new"):
        store.build(version, passages(version), dense_part(), corpus_config=None)
    return store


def make(
    store: Store,
    version: str = "old",
    temperature: float = 2.0,
    kind: type[TableGenerator] = TableGenerator,
    **rag,
) -> Rag:
    return Rag(
        store.open(version, retriever=dense_part(), temperature=temperature),
        kind(TableGenerator.Config(seed=3, sharpness=1.5)),
        RagConfig(**{"k": 2, "max_new_tokens": 4, "batch_size": 2, **rag}),
        store=store,
        retriever=dense_part(),
    )


def test_each_side_is_what_its_version_serves(store, monkeypatch):
    monkeypatch.setattr(comparison, "BATCH", 4)
    seen = []
    compared = compare(
        make(store), QUESTIONS, "old", "new", progress=lambda *counts: seen.append(counts)
    )
    assert seen == [(4, 6), (6, 6)]
    for version, sides in (
        ("old", [pair.old for pair in compared.pairs]),
        ("new", [pair.new for pair in compared.pairs]),
    ):
        served = make(store, version).answer(QUESTIONS)
        assert [side.text for side in sides] == [answer.text for answer in served]
        for side, answer in zip(sides, served, strict=True):
            assert side.log_prob == pytest.approx(answer.log_prob, abs=1e-5)
            assert [one.id for one in side.passages] == [e.passage.id for e in answer.evidence]
            assert side.best.posterior == max(e.posterior for e in answer.evidence)
            assert (side.correct, side.recalled) == (None, None)
    assert [pair.question for pair in compared.pairs] == QUESTIONS
    assert (compared.old, compared.new, compared.k) == ("old", "new", 2)


def test_a_changed_answer_is_scored_by_both_versions(store):
    compared = compare(make(store), QUESTIONS, "old", "new")
    assert 0 < len(compared.changed) < len(compared.pairs)
    for pair in compared.changed:
        by_old = make(store, "old").log_prob([pair.question] * 2, [pair.old.text, pair.new.text])
        by_new = make(store, "new").log_prob([pair.question] * 2, [pair.new.text, pair.old.text])
        old, new = pair.old, pair.new
        assert [old.log_prob, old.other_log_prob] == pytest.approx(by_old, abs=1e-4)
        assert [new.log_prob, new.other_log_prob] == pytest.approx(by_new, abs=1e-4)
        assert old.text != new.text


def test_the_same_version_twice_has_no_change(store):
    compared = compare(make(store), QUESTIONS, "old", "old")
    assert compared.changed == []
    for pair in compared.pairs:
        assert pair.old == pair.new
        assert pair.old.other_log_prob == pair.old.log_prob
        assert not any(one.alone for one in pair.old.passages)


def test_passages_are_compared_by_title_and_text(store):
    compared = compare(make(store, k=6), QUESTIONS[:1], "old", "new")
    for side in (compared.pairs[0].old, compared.pairs[0].new):
        alone = {one.id.partition(":")[2] for one in side.passages if one.alone}
        assert alone == {"3", "4", "5"}


def test_an_answer_that_differs_in_spelling_alone_has_not_changed(store):
    class Spelling(TableGenerator):
        """Writes every answer with a full stop at the second asking, and none at the first."""

        texts = 0

        def decode_tokens(self, token_ids):
            return super().decode_tokens(token_ids) + "." * self.passes

        def encode_answers(self, answers):
            return super().encode_answers([answer.rstrip(".") for answer in answers])

    rag = make(store, kind=Spelling, batch_size=6)
    compared = compare(rag, QUESTIONS, "old", "old")
    assert all(pair.old.text != pair.new.text for pair in compared.pairs)
    assert compared.changed == []


def test_each_version_is_judged_by_its_own_right_answers(store):
    served = {version: make(store, version).answer(QUESTIONS) for version in ("old", "new")}
    pairs = zip(served["old"], served["new"], strict=True)
    index = [same_answer(old.text, new.text) for old, new in pairs].index(False)
    old, new = (served[version][index].text for version in ("old", "new"))
    question = QUESTIONS[index]
    asked = [
        LabelledQuestion(question, (old,)),
        LabelledQuestion(question, {"old": (old,), "new": ("z", new)}),
        LabelledQuestion(question, {"new": (old,)}),
        LabelledQuestion(question),
    ]
    compared = compare(make(store), asked, "old", "new")
    assert [pair.old.correct for pair in compared.pairs] == [True, True, None, None]
    assert [pair.new.correct for pair in compared.pairs] == [False, True, False, None]
    assert (compared.old_tally.correct, compared.old_tally.with_answers) == (2, 2)
    assert (compared.new_tally.correct, compared.new_tally.with_answers) == (1, 3)
    assert compared.old_tally.exact_match == 1
    assert compared.new_tally.exact_match == pytest.approx(1 / 3)


def test_a_passage_is_recalled_by_its_id_or_by_what_it_holds(store):
    question = QUESTIONS[3]
    asked = [
        LabelledQuestion(question, ("is ruled new",)),
        LabelledQuestion(question, ("nowhere",), {"old": ("old:3",), "new": ("old:3",)}),
        LabelledQuestion(question, ("is ruled",), ("new:3", "nowhere")),
        LabelledQuestion(question),
    ]
    compared = compare(make(store), asked, "old", "new")
    assert [pair.old.recalled for pair in compared.pairs] == [False, True, False, None]
    assert [pair.new.recalled for pair in compared.pairs] == [True, False, True, None]
    assert (compared.new_tally.recalled, compared.new_tally.with_gold) == (2, 3)
    assert compared.new_tally.recall == pytest.approx(2 / 3)
    assert compare(make(store), [question], "old", "new").new_tally.recall is None


def test_patterns_and_titles_are_judged_as_in_evaluate(store):
    question = QUESTIONS[3]
    questions = [
        LabelledQuestion(question, ("(.* ruled)?",), regex=True),
        LabelledQuestion(question, ("is ruled o.d",), regex=True),
        LabelledQuestion(question, ("nowhere",), titles=("t3",)),
        LabelledQuestion(question, ("is ruled",), titles=("nowhere",)),
    ]
    pairs = compare(make(store), questions, "old", "new").pairs
    assert [pair.old.correct for pair in pairs] == [True, False, False, False]
    assert [pair.old.recalled for pair in pairs] == [True, True, True, False]
    assert [pair.new.recalled for pair in pairs[1:]] == [False, True, False]


def test_a_running_pipeline_is_left_as_it_is(store):
    opened = []

    class Counting(Store):
        def open(self, *arguments, **named):
            opened.append(super().open(*arguments, **named))
            return opened[-1]

    rag = make(Counting(store.folder))
    before = rag.answer(QUESTIONS)
    (served,) = opened
    opened.clear()
    compare(rag, QUESTIONS, "old", "new")
    assert rag.answer(QUESTIONS) == before
    assert [memory.version for memory in opened] == ["old", "new"]
    assert all(memory._closed for memory in opened)
    assert not served._closed
    assert all(memory.temperature == 2.0 for memory in opened)


def test_a_comparison_is_ready_for_json(store):
    compared = compare(
        make(store), [LabelledQuestion(QUESTIONS[0], ("z",)), QUESTIONS[4]], "old", "new"
    )
    row = json.loads(json.dumps(compared.to_dict(), allow_nan=False))
    assert row["summary"]["questions"] == 2
    assert row["summary"]["changed"] == len(compared.changed)
    assert row["summary"]["old"]["version"] == "old"
    assert row["summary"]["old"]["exact_match"] == 0
    assert row["questions"][1]["new"]["best"] == compared.pairs[1].new.best.id
    assert row["questions"][1]["new"]["passages"][0]["alone"] in (True, False)


def test_what_cannot_be_compared_is_refused(store):
    with pytest.raises(QuestionError, match="no question to compare"):
        compare(make(store), [], "old", "new")
    with pytest.raises(QuestionError, match=r"question 1 of 1 .* has answers for 'older'"):
        compare(make(store), [LabelledQuestion("who", {"older": ("x",)})], "old", "new")
    with pytest.raises(UnknownVersionError, match="'newer'"):
        compare(make(store), QUESTIONS, "old", "newer")
    alone = Rag(store.open("old", retriever=dense_part()), make(store).generator)
    with pytest.raises(ConfigError, match="without a store"):
        compare(alone, QUESTIONS, "old", "new")


def test_questions_are_read_with_what_is_right(tmp_path):
    path = tmp_path / "q.jsonl"
    lines = [
        {"question": "a"},
        {"question": "b", "answer": "x", "more": 1},
        {"question": "c", "answers": {"old": ["x"], "new": ["y", "z"]}, "passage_ids": ["p"]},
        {"question": "d", "passage_ids": {"new": ["p", "q"]}},
    ]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    assert read_questions(path) == [
        LabelledQuestion("a", id="1"),
        LabelledQuestion("b", ("x",), id="2"),
        LabelledQuestion("c", {"old": ("x",), "new": ("y", "z")}, ("p",), id="3"),
        LabelledQuestion("d", (), {"new": ("p", "q")}, id="4"),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"question": "a", "answer": "b", "answers": ["b"]}, ".*found both"),
        ({"question": "a", "answers": {"old": [""]}}, r"answers\.old: expected texts"),
        ({"question": "a", "answers": {"old": "x"}}, r"answers\.old: expected a list"),
        ({"question": "a", "passage_ids": [3]}, "passage_ids: expected texts"),
        ({"question": "", "answer": "b"}, "question: expected a text"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, message):
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps(line), encoding="utf-8")
    with pytest.raises(QuestionError, match=rf"q\.jsonl:1: {message}"):
        read_questions(path)
