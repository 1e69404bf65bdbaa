"""Test questions and judgments as information retrieval keeps them: TREC, BEIR, ir_datasets."""

from __future__ import annotations

import gzip
import json
import logging
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragcore.errors import QuestionError
from ragcore.questions import LabelledQuestion, questions_digest, read_questions
from ragcore.questions.trec import read_qrels

TAGGED = """<top>
<num> Number: 301
<title> International Organized   Crime
<desc> Description:
Identify organizations.
</top>

<top><num>302<title>Polio &amp; after</top>
"""
XML = """<?xml version="1.0"?>
<topics>
  <topic number="1"><query>coronavirus origin</query><question>what?</question></topic>
  <topic number=2><title><![CDATA[weather <now> & then]]></title></topic>
</topics>
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "topics.tsv").write_text("7\thow many\n9\twhy not\n", encoding="utf-8")
    (tmp_path / "qrels.txt").write_text("7 0 a 2\n7 0 b 0\n9 0 c 1\n", encoding="utf-8")
    return tmp_path


def test_topics_are_joined_with_their_judgments(folder):
    expected = [
        LabelledQuestion("how many", id="7", relevance={"a": 2, "b": 0}),
        LabelledQuestion("why not", id="9", relevance={"c": 1}),
    ]
    assert read_questions(folder / "topics.tsv", qrels=folder / "qrels.txt") == expected
    assert expected[0].passage_ids_by("any") == ("a",)
    alone = read_questions(folder / "topics.tsv", format="topics")
    assert [(question.id, question.question) for question in alone] == [
        ("7", "how many"),
        ("9", "why not"),
    ]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (
            "topics.topics",
            TAGGED,
            [("301", "International Organized Crime"), ("302", "Polio & after")],
        ),
        ("topics.xml", XML, [("1", "coronavirus origin"), ("2", "weather <now> & then")]),
    ],
)
def test_topics_in_tags_are_read(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text, encoding="utf-8")
    questions = read_questions(tmp_path / name)
    assert [(question.id, question.question) for question in questions] == expected
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
    assert read_questions(tmp_path / f"{name}.gz") == questions


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("7\thow\nno tab\n", r"t.tsv:2: the topic has no question"),
        ("\thow\n", r"t.tsv:1: the topic has no id"),
        ("7\ta\n8\tb\n7\tc\n", r"t.tsv:3: the topic has the id '7' of line 1"),
        ("\n", "no topic"),
        ("<top>\n<title> x\n</top>\n<top><num>2</top>", r"t.tsv:1: .*no id[^\x00]*t.tsv:4: .*no q"),
    ],
)
def test_faulty_topics_are_named(tmp_path, text, message):
    (tmp_path / "t.tsv").write_text(text, encoding="utf-8")
    with pytest.raises(QuestionError, match=message):
        read_questions(tmp_path / "t.tsv", format="topics")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("7 0 a 1\n7 0 a\n", r"q.txt:2: 3 columns, expected 4"),
        ("7 0 a high\n", r"q.txt:1: the grade is 'high'"),
        ("7 0 a 1_0\n", r"q.txt:1: the grade is '1_0'"),
        ("7 0 a ٣\n", r"q.txt:1: the grade is '٣'"),
        ("7 0 a 2147483647\n", r"q.txt:1: the grade is '2147483647'"),
        ("7 0 a 1.5\n", r"q.txt:1: the grade is '1.5'"),
        ("7 0 a 1\n7 0 a 0\n", r"q.txt:2: passage 'a' has grade 0 for question '7', and 1"),
        ("", "no judgment"),
    ],
)
def test_faulty_judgments_are_named(tmp_path, text, message):
    (tmp_path / "q.txt").write_text(text, encoding="utf-8")
    with pytest.raises(QuestionError, match=message):
        read_qrels(tmp_path / "q.txt")


def test_only_the_first_of_many_faults_are_listed(tmp_path):
    (tmp_path / "q.txt").write_text("x\n" * 30, encoding="utf-8")
    with pytest.raises(QuestionError, match=r"q.txt:20: .*\nand 10 more$"):
        read_qrels(tmp_path / "q.txt")


ids = st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1)


@given(st.dictionaries(ids, st.dictionaries(ids, st.integers(-2, 4), min_size=1), min_size=1))
def test_all_that_is_written_is_read(tmp_path_factory, grades):
    path = tmp_path_factory.mktemp("q") / "qrels"
    rows = [(query, name, grade) for query, own in grades.items() for name, grade in own.items()]
    path.write_text("".join(f"{q} 0 {name} {grade}\n" for q, name, grade in rows), "utf-8")
    assert read_qrels(path).grades == grades
    tabs = "query-id\tcorpus-id\tscore\n" + "".join(f"{q}\t{n}\t{g}\n" for q, n, g in rows)
    path.write_text(tabs, encoding="utf-8")
    assert read_qrels(path).grades == grades


def test_what_has_no_counterpart_is_counted(folder, caplog):
    (folder / "qrels.txt").write_text("7 0 a 2\n8 0 b 1\n", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        questions = read_questions(folder / "topics.tsv", qrels=folder / "qrels.txt")
    assert [bool(question.relevance) for question in questions] == [True, False]
    messages = [record.getMessage() for record in caplog.records]
    assert messages[0].startswith("1 questions of")
    assert "('8') are not among those asked" in messages[0]
    assert "1 questions asked have no judgment" in messages[1]
    (folder / "qrels.txt").write_text("8 0 b 1\n", encoding="utf-8")
    with pytest.raises(QuestionError, match="no judgment of any of the 2 questions"):
        read_questions(folder / "topics.tsv", qrels=folder / "qrels.txt")


def test_questions_with_answers_are_not_called_left_out(tmp_path, caplog):
    rows = '{"question": "q", "id": "1"}\n{"question": "r", "id": "2", "answer": "x"}\n'
    (tmp_path / "q.jsonl").write_text(rows + '{"question": "s", "id": "3"}\n', encoding="utf-8")
    (tmp_path / "qrels").write_text("1 0 a 1\n", encoding="utf-8")
    read_questions(tmp_path / "q.jsonl", qrels=tmp_path / "qrels")
    left_out, by_answers = [record.getMessage() for record in caplog.records]
    assert "('3'): ranking metrics leave them out" in left_out
    assert "('2'): ranking metrics judge them by their own" in by_answers


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    rows = [{"_id": "q1", "text": "one"}, {"_id": 2, "text": "two"}, {"_id": "q3", "text": "three"}]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "queries.jsonl").write_text(text, encoding="utf-8")
    (tmp_path / "qrels").mkdir()
    header = "query-id\tcorpus-id\tscore\n"
    (tmp_path / "qrels" / "test.tsv").write_text(f"{header}q1\td 1\t1\n2\td2\t2\n", "utf-8")
    (tmp_path / "qrels" / "dev.tsv").write_text(f"{header}q3\td3\t1\n", "utf-8")
    return tmp_path


def test_a_folder_of_beir_has_the_queries_of_its_split(beir):
    expected = [
        LabelledQuestion("one", id="q1", relevance={"d 1": 1}),
        LabelledQuestion("two", id="2", relevance={"d2": 2}),
    ]
    assert read_questions(beir) == read_questions(beir, format="beir") == expected
    (other,) = read_questions(beir, qrels=beir / "qrels" / "dev.tsv")
    assert other.id == "q3"
    (beir / "qrels" / "test.tsv").unlink()
    with pytest.raises(QuestionError, match=r"test.tsv: no such file.*found dev.tsv"):
        read_questions(beir)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"queries.jsonl:4: "),
        ('{"_id": "q1", "text": "again"}', r"queries.jsonl:4: the _id 'q1' is that of line 1"),
        ('{"_id": "q4", "text": " "}', r"queries.jsonl:4: text: expected a text"),
        ('{"id": "q9", "text": "x"}', r"queries.jsonl:4: expected a query as"),
        ("[" * 100_000, r"queries.jsonl:4: nested too deeply"),
    ],
)
def test_faulty_queries_are_named(beir, line, message):
    with (beir / "qrels" / "test.tsv").open("a", encoding="utf-8") as file:
        file.write("q4\td4\t1\n")
    with (beir / "queries.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(QuestionError, match=message):
        read_questions(beir)


def test_queries_without_judgments_may_be_empty(beir):
    with (beir / "queries.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"_id": "q9", "text": " "}\n')
    assert [question.id for question in read_questions(beir)] == ["q1", "2"]
    with pytest.raises(QuestionError, match=r"queries.jsonl: a file: expected a folder"):
        read_questions(beir / "queries.jsonl", format="beir")


def test_grades_are_read_from_ragcores_own_form(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text('{"question": "q", "relevance": {"a": 2, "b": 0}}\n', encoding="utf-8")
    (question,) = read_questions(path)
    assert question.grades_by("v") == {"a": 2, "b": 0}
    for value in (
        "[1]",
        '{"a": "2"}',
        '{"a": true}',
        '{"a": 2147483647}',
        '{"": 1}',
        '{"a": 1}, "passage_ids": ["a"]',
    ):
        path.write_text(f'{{"question": "q", "relevance": {value}}}\n', encoding="utf-8")
        with pytest.raises(QuestionError, match=r"q.jsonl:1: .*relevance"):
            read_questions(path)


def test_other_labels_give_another_digest():
    one = LabelledQuestion("q", relevance={"a": 1, "b": 2}, line=1)
    same = LabelledQuestion("q", relevance={"b": 2, "a": 1}, line=7)
    assert questions_digest([one]) == questions_digest([same])
    others = [LabelledQuestion("q", relevance={"a": 1}), LabelledQuestion("q", id="1")]
    assert len({questions_digest([each]) for each in [one, *others]}) == 3


def test_a_catalogue_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    with pytest.raises(QuestionError, match="ir_datasets is not installed: pip install"):
        read_questions("ir_datasets:beir/scifact/test")


def test_questions_of_a_catalogue_are_read(folder):
    import ir_datasets as catalogue
    from ir_datasets.datasets.base import Dataset
    from ir_datasets.formats import TrecQrels, TsvQueries
    from ir_datasets.util import LocalDownload

    def registered(topics: Path, qrels: Path) -> str:
        name = f"ragcore-test/{folder.name}-{topics.stem}-{qrels.stem}"
        queries = TsvQueries(LocalDownload(topics))
        catalogue.registry.register(name, Dataset(queries, TrecQrels(LocalDownload(qrels), {})))
        return f"ir_datasets:{name}"

    topics, qrels = folder / "topics.tsv", folder / "qrels.txt"
    expected = read_questions(topics, qrels=qrels)
    assert read_questions(registered(topics, qrels)) == expected
    # A query without text is refused only if it is judged.
    (folder / "odd.tsv").write_text(topics.read_text() + "unjudged\t \n")
    assert read_questions(registered(folder / "odd.tsv", qrels)) == expected
    judged = qrels.read_text().splitlines()[0].split()[0]
    (folder / "empty.tsv").write_text(f"{judged}\t \n")
    with pytest.raises(QuestionError, match=f"query '{judged}' is empty"):
        read_questions(registered(folder / "empty.tsv", qrels))
    (folder / "large.txt").write_text(f"{judged} 0 d 1001\n")
    with pytest.raises(QuestionError, match="is 1001: expected one from -1000 to 1000"):
        read_questions(registered(topics, folder / "large.txt"))
    with pytest.raises(QuestionError, match="no such data set"):
        read_questions("ir_datasets:ragcore-test/other")
