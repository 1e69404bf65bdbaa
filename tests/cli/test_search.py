"""`ragcore search`: for people, as JSON, as a TREC run; one question, lines, or a file."""

from __future__ import annotations

import io
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from ragcore.build import build_memory, open_memory
from ragcore.cli import main
from tests.conftest import Installed

PIPELINE = """\
ragcore: 1
memory:
  store: store
  corpus: {use: jsonl, path: passages.jsonl}
  retriever: {use: dense, encoder: {use: words}, index: {use: exact}}
  temperature: 0.5
rag: {k: 2}
"""

EVENTS = """
import sys
from ragcore import hookimpl

@hookimpl
def ragcore_retrieved(questions, hits, memory):
    print("searched", len(questions), hits.rows.shape[1])
"""


@pytest.fixture
def folder(installed: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    installed.add("words", "from tests.helpers.word_encoder import ragcore_encoders\n")
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    write_passages([f"p{n}" for n in range(9)])
    Path("p.yaml").write_text(PIPELINE, encoding="utf-8")
    build_memory("p.yaml", version="one")
    return folder


def write_passages(ids: list[str]) -> None:
    rows = [
        {"id": id_, "title": f"Title {n}", "text": f"word{n} [b]", "n": n, "path": f"{n}.txt"}
        for n, id_ in enumerate(ids)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    Path("passages.jsonl").write_text(text, encoding="utf-8")


def write_questions(*rows: dict[str, Any]) -> Path:
    path = Path("q.jsonl")
    path.write_text("".join(json.dumps({"answer": "x", **row}) + "\n" for row in rows))
    return path


def out_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    code = main(["search", "p.yaml", *arguments])
    out, err = capsys.readouterr()
    assert code == 0, err
    return out


def rows_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[Any]:
    return [json.loads(line) for line in out_of(capsys, *arguments, "--json").splitlines()]


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["search", "p.yaml", *arguments]) == 2
    err = capsys.readouterr().err
    assert "Traceback" not in err
    return err


def test_a_search_for_people(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = out_of(capsys, "title 3 word3").splitlines()
    with open_memory("p.yaml") as memory:
        (result,) = memory.search("title 3 word3", 2)
    assert lines[0] == f"  1{result.scores[0]:12.4f}  {result.prior[0]:.3f}  Title 3  p3"
    # The next one follows an empty line.
    assert lines[1:4] == ["3.txt", "word3 [b]", ""]
    assert lines[4].startswith("  2 ")
    assert lines[-1] == "2 passages from memory one"


@pytest.mark.parametrize("k", [[], ["-k", "3"], ["--k", "3"], ["rag.k=3"]])
def test_rows_are_those_of_a_memorys_results(
    folder: Path, capsys: pytest.CaptureFixture[str], k: list[str]
) -> None:
    rows = rows_of(capsys, "word4", *k)
    with open_memory("p.yaml") as memory:
        (result,) = memory.search("word4", 3 if k else 2)
    assert rows == [
        {"question_id": "1", "question": "word4", **passage, "memory": "one"}
        for passage in result.to_dict()["passages"]
    ]
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    assert rows[0]["source"] == {"title": "Title 4", "path": "4.txt"}
    assert sum(row["prior"] for row in rows) == pytest.approx(1)


def test_filters_of_the_file_and_the_command_both_hold(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--where", '{"n": {"lt": 4}}']
    rows = rows_of(capsys, "word4", "rag.where={n: {gte: 2}}", "-k", "9", *where)
    assert sorted(row["metadata"]["n"] for row in rows) == [2, 3]


def test_the_name_that_it_had_still_works(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = out_of(capsys, "word4", "--json", "rag.k=3")
    assert main(["memory", "search", "p.yaml", "word4", "--json", "rag.k=3"]) == 0
    assert capsys.readouterr().out == expected


def test_a_run_for_trecs_tools(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = out_of(capsys, "word4", "--trec", "-k", "9", "--tag", "mine")
    with open_memory("p.yaml") as memory:
        (result,) = memory.search("word4", 9)
    fields = [line.split(" ") for line in out.splitlines()]
    assert [field[:4] for field in fields] == [
        ["1", "Q0", passage.id, str(rank)] for rank, passage in enumerate(result.passages, 1)
    ]
    scores = [float(field[4]) for field in fields]
    assert scores == pytest.approx(list(result.scores))
    assert all(above > below for above, below in itertools.pairwise(scores))
    assert {field[5] for field in fields} == {"mine"}


def test_a_file_of_questions_keeps_its_order_and_ids(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_questions(
        {"question": "word7", "id": "zz"}, {"question": "word2"}, {"question": "word5", "id": "a"}
    )
    rows = rows_of(capsys, "--questions", str(path), "-k", "1")
    asked = [(row["question_id"], row["question"], row["id"]) for row in rows]
    assert asked == [("zz", "word7", "p7"), ("2", "word2", "p2"), ("a", "word5", "p5")]
    run = out_of(capsys, "--questions", str(path), "rag.k=1", "--trec").splitlines()
    assert [line.split()[0] for line in run] == ["zz", "2", "a"]
    shown = out_of(capsys, "--questions", str(path), "-k", "1")
    assert shown.index("word7\n") < shown.index("word2\n") < shown.index("word5\n")
    # A number is that of the whole file, whatever is left out.
    rows = rows_of(capsys, "--questions", str(path), "-k", "1", "--limit", "2", "--format", "jsonl")
    assert [row["question_id"] for row in rows] == ["zz", "2"]


def test_a_long_file_is_searched_and_printed_in_batches(
    folder: Path, installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    installed.add("events", EVENTS)
    path = write_questions(*({"question": f"word{n % 9}"} for n in range(150)))
    lines = out_of(capsys, "--questions", str(path), "-k", "1", "--trec").splitlines()
    searched = [number for number, line in enumerate(lines) if line.startswith("searched")]
    assert [lines[number] for number in searched] == ["searched 64 1"] * 2 + ["searched 22 1"]
    assert searched == [0, 65, 130], "a batch is printed before the next is searched for"
    topics = [line.split()[0] for line in lines if "Q0" in line]
    assert topics == [str(number) for number in range(1, 151)]
    passage_ids = [line.split()[2] for line in lines if "Q0" in line]
    assert passage_ids == [f"p{number % 9}" for number in range(150)]


def test_lines_of_standard_input_are_searched_one_by_one(
    folder: Path,
    installed: Installed,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed.add("events", EVENTS)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"word1\n\n word8 \n")))
    out = out_of(capsys, "-", "-k", "1", "--trec")
    assert [line.split()[:3] for line in out.splitlines()] == [
        ["searched", "1", "1"],
        ["1", "Q0", "p1"],
        ["searched", "1", "1"],
        ["2", "Q0", "p8"],
    ]


def test_a_whole_block_may_be_changed_behind_the_question(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", "p.yaml", "word1", "rag={k: 2, beams: 1}"]) == 0
    assert "2 passages from memory" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["ask", "search"])
@pytest.mark.parametrize("further", ["word2", "Who is a = b?", "word2 of the list"])
def test_a_further_question_is_referred_to_standard_input(
    folder: Path, command: str, further: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "p.yaml", "word1", "rag.k=1", further]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert f"{further!r} follows the question" in error
    assert "standard input" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to search for: give a question, - or --questions FILE"),
        (["word", "--questions", "q.jsonl"], "the question 'word' with --questions q.jsonl"),
        (["word", "--json", "--trec"], "--json with --trec"),
        (["word", "--limit", "3"], "--limit without --questions"),
        (["word", "--format", "jsonl"], "--format without --questions"),
        (["word", "--tag", "x"], "--tag without --trec"),
        (["word", "--trec", "--tag", "x y"], "tag 'x y' has white space in it"),
        (["word", "--trec", "--tag", "x\x1b"], "has a control character"),
        (["--questions", "none.jsonl"], "none.jsonl: no such file"),
        (["--questions", "q.jsonl", "--format", "none"], "format 'none': expected one of"),
        (["word", "rag.k=0"], "rag.k is 0"),
        (["word", "--where", "{"], "where"),
    ],
)
def test_errors_are_one_message(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    write_questions({"question": "word"})
    assert message in error_of(capsys, *arguments)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": "a"}, {"id": "b c"}], "q.jsonl:2: question id 'b c' has white space in it"),
        ([{"id": "a"}, {}, {"id": "a"}], "q.jsonl:3: the question has the id 'a', as the one of"),
        ([{"id": "2"}, {}], "q.jsonl:2: the question has the id '2', as the one of line 1"),
        ([{"id": "a\x1b"}], "has a control character"),
    ],
)
def test_ids_of_questions_that_a_run_cannot_have_are_refused_before_a_search(
    folder: Path,
    installed: Installed,
    capsys: pytest.CaptureFixture[str],
    rows: list[dict[str, Any]],
    message: str,
) -> None:
    installed.add("events", EVENTS)
    path = write_questions(*({"question": "word", **row} for row in rows))
    assert main(["search", "p.yaml", "--questions", str(path), "--trec"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    # JSON can name them.
    ids = [row["question_id"] for row in rows_json(capsys, path)]
    assert ids == [row.get("id", str(n)) for n, row in enumerate(rows, 1)]


def rows_json(capsys: pytest.CaptureFixture[str], path: Path) -> list[Any]:
    out = out_of(capsys, "--questions", str(path), "--json", "-k", "1")
    return [json.loads(line) for line in out.splitlines() if not line.startswith("searched")]


@pytest.mark.parametrize(
    ("id_", "message"),
    [
        ("a b", "passage id 'a b' has white space in it"),
        ("a\u00a0b", "has white space in it"),
        ("a\x1bb", r"passage id 'a\\x1bb' has a control character"),
    ],
)
def test_ids_of_passages_that_a_run_cannot_have_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], id_: str, message: str
) -> None:
    write_passages([id_])
    build_memory("p.yaml", version="two")
    assert message.replace("\\\\", "\\") in error_of(capsys, "word0", "--trec")
    assert rows_of(capsys, "word0")[0]["id"] == id_
