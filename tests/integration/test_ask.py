"""Test `ragcore ask` from YAML to an answer with real plugins, and each fault it must report."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from ragcore.cli import main
from tests.integration.tiny import save_tiny

ROWS = [
    {"id": "1", "title": "chad", "text": "one rules chad"},
    {"id": "2", "title": "mali", "text": "two rules mali"},
    {"id": "3", "title": "river", "text": "the river three"},
]
QUESTION = "who rules chad ?"


class Project:
    """A folder with a corpus, a tiny model and a pipeline."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.yaml = folder / "pipeline.yaml"
        self.write(ROWS)
        save_tiny("bart", folder / "model")
        save_tiny("t5", folder / "t5", seed=1)
        self.yaml.write_text(
            "ragcore: 1\n"
            "memory:\n"
            "  store: store\n"
            "  corpus: {use: jsonl, path: rows.jsonl}\n"
            "  retriever: {use: bm25}\n"
            "generator: {use: bart, model: ./model}\n"
            "rag: {k: 2, beams: 2, max_new_tokens: 4}\n",
            encoding="utf-8",
        )

    def write(self, rows: list[dict]) -> None:
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (self.folder / "rows.jsonl").write_text(lines, encoding="utf-8")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture
def built(project: Project) -> Project:
    assert main(["memory", "build", str(project.yaml), "--version", "first"]) == 0
    return project


def ask(project: Project, *arguments: str) -> int:
    return main(["ask", str(project.yaml), *arguments])


def test_an_answer_with_its_evidence(built, capsys):
    assert ask(built, QUESTION) == 0
    shown = capsys.readouterr().out
    assert "log p = " in shown
    assert "memory first" in shown
    assert "prior" in shown
    assert "posterior" in shown
    assert "chad" in shown


def test_an_answer_without_a_passage(built, capsys):
    """As tiny models answer, with one passage all of the prior goes to the other."""
    assert ask(built, QUESTION, "--without", "1", "--json") == 0
    row = json.loads(capsys.readouterr().out)
    found = row["without"]
    assert (found["passage_ids"], found["candidates"]) == (["1"], 2)
    (rest,) = found["winner"]["evidence"]
    assert (rest["passage"]["id"], rest["prior"]) == ("2", pytest.approx(1))
    assert ask(built, QUESTION, "--without", "1") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"without [1] 1 {row['text'] or '(an empty answer)'} log p =" in shown
    assert f"log p = {found['log_prob']:.3f}" in shown
    assert f"instead of log p = {row['log_prob']:.3f}" in shown
    assert "of the 2 answers that the search reached" in shown
    assert ask(built, QUESTION, "--without", "1", "--without", "2") == 2
    assert "nothing would be left" in capsys.readouterr().err


def test_json_is_complete_and_overrides_apply(built, capsys):
    assert ask(built, QUESTION, "rag.k=1", "rag.marginalize=sequence", "--json") == 0
    row = json.loads(capsys.readouterr().out)
    assert row["question"] == QUESTION
    assert [e["passage"]["id"] for e in row["evidence"]] == ["1"]
    assert row["evidence"][0]["posterior"] == pytest.approx(1)
    assert row["memory"] == "first"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "auto"])
def test_an_answer_names_the_type_that_answered(built, capsys, dtype):
    assert ask(built, QUESTION, f"generator.dtype={dtype}", "--json") == 0
    # No layer of a tiny model is worth a trial.
    expected = "float32" if dtype == "auto" else dtype
    assert json.loads(capsys.readouterr().out)["dtype"] == expected


def test_check_loads_models_for_their_speed_only_where_it_is_asked(project, capsys):
    assert main(["check", str(project.yaml)]) == 0
    assert "speed" not in capsys.readouterr().out
    assert main(["check", str(project.yaml), "--speed", "generator.dtype=auto"]) == 0
    shown = capsys.readouterr().out
    assert "generator: speed\n  dtype float32, chosen by auto: no linear layer is so" in shown
    assert " x linear " in shown
    assert main(["check", str(project.yaml), "--speed", "generator=null"]) == 0
    assert "no component of this pipeline reports" in capsys.readouterr().out


def test_the_generator_is_exchanged_on_the_command_line(built, capsys):
    log_probs = []
    for generator in (["generator.model=./model"], ["generator.use=t5", "generator.model=./t5"]):
        assert ask(built, QUESTION, *generator, "--json") == 0
        log_probs.append(json.loads(capsys.readouterr().out)["log_prob"])
    assert log_probs[0] != pytest.approx(log_probs[1], abs=1e-3)


def recorded(page: Path) -> dict:
    """The answers that a page carries."""
    _, _, rest = page.read_text(encoding="utf-8").partition('id="recorded">')
    return json.loads(rest.partition("</script>")[0])


def test_a_page_has_what_is_printed_and_what_each_passage_is_worth(built, capsys, monkeypatch):
    page = built.folder / "answers.html"
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{QUESTION}\nwho rules mali ?\nzebra ?\n"))
    assert ask(built, "-", "--json", "--html", str(page)) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    data = recorded(page)
    assert data["answers"] == rows
    assert sum(rows[0]["token_log_probs"]) == pytest.approx(rows[0]["log_prob"])
    left_out = [[each["passage_ids"] for each in group] for group in data["withouts"]]
    # A single passage cannot be left out, nor one of none.
    assert left_out == [[["1"], ["2"]], [["2"], ["1"]], []]

    others = ("who rules the chad river ?", "rag.k=3", "--without", "1", "--without", "3")
    assert ask(built, *others) == 0
    printed = capsys.readouterr().out
    assert ask(built, *others, "--html", str(page)) == 0
    assert capsys.readouterr().out == f"{printed}written to {page}\n"
    (group,) = recorded(page)["withouts"]
    *alone, together = [each["passage_ids"] for each in group]
    assert sorted(alone) == [["1"], ["2"], ["3"]]
    assert together == ["1", "3"]


def test_questions_come_from_standard_input(built, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{QUESTION}\n\nwho rules mali ?\n"))
    assert ask(built, "-", "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["question"] for row in rows] == [QUESTION, "who rules mali ?"]


def test_a_k_beyond_the_corpus_is_no_error(built, capsys):
    assert ask(built, "who rules the river ?", "rag.k=99", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["evidence"]) <= 3


def test_an_answer_without_any_passage_says_so(built, capsys):
    assert ask(built, "zebra ?") == 0
    assert "answered alone" in capsys.readouterr().out


def test_only_passages_that_are_allowed_are_read(built, capsys):
    assert ask(built, QUESTION, "--json", "--where", '{"year": 1800}') == 0
    assert json.loads(capsys.readouterr().out)["closed_book"]
    assert "where.year.ge: unknown operator 'ge'" in refused(
        capsys, ask(built, QUESTION, "--where", '{"year": {"ge": 2016}}')
    )


def refused(capsys, code: int) -> str:
    """The message of an error that the user can mend."""
    captured = capsys.readouterr()
    assert code == 2
    assert "Traceback" not in captured.err
    return captured.err


def test_a_missing_pipeline(project, capsys):
    code = main(["ask", str(project.folder / "nowhere.yaml"), QUESTION])
    assert "nowhere.yaml" in refused(capsys, code)


def test_asking_before_building(project, capsys):
    assert "ragcore memory build" in refused(capsys, ask(project, QUESTION))


def test_a_missing_corpus_file(project, capsys):
    (project.folder / "rows.jsonl").unlink()
    message = refused(capsys, main(["memory", "build", str(project.yaml)]))
    assert "rows.jsonl" in message


def test_an_empty_corpus(project, capsys):
    project.write([])
    assert "no passage" in refused(capsys, main(["memory", "build", str(project.yaml)]))


def test_a_passage_without_text(project, capsys):
    project.write([*ROWS, {"id": "4", "title": " ", "text": " "}])
    message = refused(capsys, main(["memory", "build", str(project.yaml)]))
    assert "rows.jsonl:4" in message


def test_an_empty_question(built, capsys):
    assert "empty" in refused(capsys, ask(built, "  "))


def test_a_question_of_ten_thousand_words(built, capsys):
    message = refused(capsys, ask(built, "who rules chad " * 3334))
    assert "never cut" in message


def test_a_store_of_another_analyser(built, capsys):
    message = refused(capsys, ask(built, QUESTION, "memory.retriever.stemmer=null"))
    assert "build the memory again" in message


def test_a_corrupt_file(built, capsys):
    file = built.folder / "store/versions/first/passages.arrow"
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    file.write_bytes(content)
    message = refused(capsys, main(["memory", "verify", str(built.yaml)]))
    assert "passages.arrow" in message


def test_an_unknown_version(built, capsys):
    message = refused(capsys, ask(built, QUESTION, "memory.version=second"))
    assert "second" in message
    assert "first" in message


def test_a_model_that_is_not_there(built, capsys):
    message = refused(capsys, ask(built, QUESTION, "generator.model=./nowhere"))
    assert "nowhere" in message
