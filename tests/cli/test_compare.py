"""`ragcore memory compare`, in the terminal and as an HTML page."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ragcore.build import build_memory
from ragcore.cli import main
from tests.conftest import Installed

PIPELINE = """\
ragcore: 1
memory:
  store: store
  corpus: {use: jsonl, path: passages.jsonl}
  retriever: {use: dense, encoder: {use: words}, index: {use: exact}}
generator: {use: table, sharpness: 1.5, seed: 3}
rag: {k: 2, max_new_tokens: 4}
"""
GENERATORS = """
from ragcore import hookimpl


@hookimpl
def ragcore_generators():
    return {"table": "tests.helpers.table_generator:TableGenerator"}
"""
LANDS = ("chad", "mali", "<b>niger</b>", "peru")
VOID = {"br", "meta"}


@pytest.fixture
def pipeline(installed: Installed, tmp_path: Path) -> Path:
    installed.add("words", "from tests.helpers.word_encoder import ragcore_encoders\n")
    installed.add("table", GENERATORS)
    path = tmp_path / "pipeline.yaml"
    path.write_text(PIPELINE, encoding="utf-8")
    for version in ("old", "new"):
        rows = [
            {"id": land, "title": f"[{land}]", "text": f"{land} is ruled <i>{version}</i>"}
            for land in LANDS
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / "passages.jsonl").write_text(text, encoding="utf-8")
        build_memory(path, version=version)
    lines = [{"question": f"who rules {land}", "answer": f"{land} is"} for land in LANDS]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "q.jsonl").write_text(text, encoding="utf-8")
    return path


def run(capsys: pytest.CaptureFixture[str], pipeline: Path, *more: str) -> str:
    questions = str(pipeline.parent / "q.jsonl")
    code = main(["memory", "compare", str(pipeline), questions, "old", "new", *more])
    out, err = capsys.readouterr()
    assert code == 0, err
    return out


class Page(HTMLParser):
    """Collect open tags, all tags, the text, and the links that a browser fetches."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_changed_answers_and_a_summary_are_printed(
    pipeline: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    row = json.loads(run(capsys, pipeline, "--json"))
    summary, questions = row["summary"], row["questions"]
    assert (summary["questions"], summary["k"]) == (4, 2)
    changed = [one for one in questions if one["changed"]]
    assert 0 < len(changed) == summary["changed"] < 4
    out = run(capsys, pipeline)
    for one in questions:
        assert (one["question"] in out) == one["changed"]
    first = changed[0]
    lines = [line for line in out.splitlines() if f"{first['old']['log_prob']:.3f}" in line]
    assert len(lines) == 1
    assert f"{first['old']['other_log_prob']:.3f}" in lines[0]
    assert f"[{first['old']['best']}]" in lines[0]
    assert "2/2 only here" in lines[0]
    share = f"{len(changed) / 4:.1%} ({len(changed)}/4) of the answers change"
    assert share in out
    recalled = summary["new"]["recalled"]
    assert recalled > 0
    assert f"new 0.0% (0/4) {recalled / 4:.1%} ({recalled}/4)" in " ".join(out.split())


def test_overrides_change_the_pipeline(pipeline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = json.loads(run(capsys, pipeline, "rag.k=3", "--json"))
    assert row["summary"]["k"] == 3
    assert len(row["questions"][0]["old"]["passages"]) == 3


def test_the_page_is_self_contained_and_complete(
    pipeline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = pipeline.parent / "compared.html"
    row = json.loads(run(capsys, pipeline, "--json", "--html", str(path)))
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()
    assert page.open == []
    assert page.links == []
    assert not {"b", "i", "script", "link", "img"} & set(page.tags)
    assert "prefers-color-scheme: dark" in page.text
    for one in row["questions"]:
        assert one["question"] in page.text
        assert f"{one['new']['other_log_prob']:.3f}" in page.text
    assert "is ruled <i>old</i>" in page.text
    changed = [page.text.index(one["question"]) for one in row["questions"] if one["changed"]]
    same = [page.text.index(one["question"]) for one in row["questions"] if not one["changed"]]
    assert max(changed) < min(same)


def test_errors_come_before_any_question_is_answered(
    pipeline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*arguments: str) -> str:
        assert main(["memory", "compare", *arguments]) == 2
        return capsys.readouterr().err

    file, questions = str(pipeline), str(pipeline.parent / "q.jsonl")
    assert "there is no folder" in fails(file, questions, "old", "new", "--html", "none/x.html")
    assert "no version 'newer'; versions: new, old" in fails(file, questions, "old", "newer")
    assert "no such file" in fails(file, f"{questions}.none", "old", "new")
    assert "no generator" in fails(file, questions, "old", "new", "generator=null")
