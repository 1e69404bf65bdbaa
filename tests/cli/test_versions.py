"""The commands on the versions of a store."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ragcore.build import build_memory
from ragcore.cli import main
from ragcore.store.store import Store
from tests.cli.test_memory import built, fails, pipeline, run
from tests.conftest import Installed

__all__ = ["built", "pipeline"]


@pytest.fixture
def two(built: Path) -> Path:
    """Build versions one and two; two has one passage removed, one added and one changed."""
    lines = [
        {"id": f"p{n}", "title": f"Title {n}", "text": f"word{n} [b]", "n": n} for n in range(1, 9)
    ]
    lines[3]["text"] = "word4 [c]"
    lines.append({"id": "new", "title": "Another", "text": "at last", "n": 10})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (built.parent / "passages.jsonl").write_text(text, encoding="utf-8")
    build_memory(built, version="two")
    return built


def test_show_prints_the_manifest(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "show", two, "one")
    for fact in ("version one created", "passages 9", "retriever use: dense encoder: use: words"):
        assert fact in out
    assert "words(seed=0,d=32)" in out
    assert "version two (current)" in run(capsys, "show", two)
    row = json.loads(run(capsys, "show", two, "--json"))
    assert (row["name"], row["current"], row["corpus"]["use"]) == ("two", True, "jsonl")
    assert row["bytes"] == sum(record["bytes"] for record in row["files"].values())
    for name, record in row["files"].items():
        assert name in out
        assert record["sha256"][:12] in run(capsys, "show", two)


def test_show_prints_settings_as_a_pipeline_has_them(
    two: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["memory", "show", str(two), "one"]) in (0, None)
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("retriever")
    end = next(number for number, line in enumerate(lines) if line.startswith("fingerprint"))
    recorded = yaml.safe_load("\n".join(lines[start + 1 : end]))
    manifest = Store(two.parent / "stores/s").manifest("one")
    assert recorded == manifest.retriever
    assert max(map(len, lines)) < 110


def test_compact_prints_what_it_did(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "compact", two) == "version two is compact already"
    changes = two.parent / "changes.jsonl"
    changes.write_text('{"id": "p2", "delete": true}\n')
    run(capsys, "update", two, changes, "--version", "three")
    assert "segments 1, with 1 removed rows" in run(capsys, "show", two)
    row = json.loads(run(capsys, "show", two, "--json"))
    assert row["fragments"] == {"segments": 1, "removed": 1}
    out = run(capsys, "compact", two, "--version", "four", "--no-activate")
    assert out.startswith(
        "compacted version three (1 segment, 1 removed row) to four (1 segment, 0 removed rows): "
    )
    assert out.endswith("; it is not the current one")
    assert "removed rows" not in run(capsys, "show", two, "four")
    row = json.loads(run(capsys, "compact", two, "--version", "five", "--json"))
    assert (row["name"], row["parent"], row["current"]) == ("five", "three", True)
    assert (row["segments"], row["removed"], row["parent_removed"]) == (1, 0, 1)
    assert row["nothing_changed"] is False


def test_rollback_and_activate(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "rollback", two)
    assert out == "version one is the current one again, in place of two"
    assert "no version to go back to" in fails(capsys, "rollback", two)
    run(capsys, "activate", two, "two")
    assert Store(two.parent / "stores/s").current() == "two"


def test_gc_prints_what_it_deletes(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(two.parent / "stores/s")
    (store.folder / "versions" / ".building-x").mkdir()
    out = run(capsys, "gc", two, "--keep", "1", "--dry-run")
    assert out.startswith("would delete version one 1 versions kept, 1 orphans, ")
    assert out.endswith(" to free")
    assert len(store.versions()) == 2
    memory = store.open("one")
    out = run(capsys, "gc", two, "--keep", "1")
    assert out.startswith("kept version one, which a program has open 2 versions kept, 1 orphan")
    memory.close()
    row = json.loads(run(capsys, "gc", store.folder, "--keep", "1", "--json"))
    assert (row["removed"], row["kept"], row["dry_run"]) == (["one"], ["two"], False)
    assert [info.name for info in store.versions()] == ["two"]
    assert run(capsys, "gc", store.folder).startswith("1 versions kept, 0 orphans, 0 B freed")


def test_diff_shows_passages_and_words(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "diff", two, "one", "two")
    assert out == (
        "- Title 0 p0 + Another new ~ Title 4 p4 … 4 | word4 [-[b]-] [+[c]+] "
        '{"n": 4} 1 added, 1 removed, 1 changed'
    )
    assert run(capsys, "diff", two, "one", "two", "--limit", "0") == "1 added, 1 removed, 1 changed"
    assert run(capsys, "diff", two, "one", "one") == "0 added, 0 removed, 0 changed"


def test_diff_as_lines_and_as_changes(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = two.parent / "changes.jsonl"
    from ragcore.cli import main

    assert main(["memory", "diff", str(two), "one", "two", "--json", "--changes", str(path)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["change"] for line in lines] == ["removed", "added", "changed"]
    assert (lines[2]["old"]["text"], lines[2]["new"]["text"]) == ("word4 [b]", "word4 [c]")
    run(capsys, "update", two, path, "--parent", "one", "--version", "three")
    assert run(capsys, "diff", two, "two", "three") == "0 added, 0 removed, 0 changed"


def test_a_version_is_exported_and_imported(
    two: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = run(capsys, "export", two, tmp_path / "one.tar", "one")
    assert out.startswith(f"wrote version one to {tmp_path}/one.tar: ")
    other = tmp_path / "other"
    assert run(capsys, "import", other, tmp_path / "one.tar").startswith("version one: 9 passages,")
    assert Store(other).current() is None
    out = run(capsys, "import", other, tmp_path / "one.tar", "--version", "1", "--activate")
    assert out.endswith("it is the current one")
    assert Store(other).current() == "1"
    assert "already has a version 'one'" in fails(capsys, "import", other, tmp_path / "one.tar")
    assert "no such file" in fails(capsys, "import", other, tmp_path / "none.tar")


def test_an_import_goes_to_the_pipeline_s_store(
    pipeline: Path, installed: Installed, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    build_memory(pipeline, version="one")
    run(capsys, "export", pipeline, tmp_path / "one.tar")
    text = pipeline.read_text().replace("stores/s", "stores/t")
    pipeline.write_text(text, encoding="utf-8")
    assert "no such store" in fails(capsys, "list", pipeline)
    run(capsys, "import", pipeline, tmp_path / "one.tar", "--activate")
    assert "* one 9 dense" in run(capsys, "list", pipeline)


def test_a_broken_version_is_listed_and_deleted(
    two: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = two.parent / "stores/s/versions/one/manifest.json"
    path.write_text("{}", encoding="utf-8")
    out = run(capsys, "list", two)
    assert "one broken" in out
    assert "is no manifest" in out
    listed = json.loads(run(capsys, "list", two, "--json"))
    assert ["broken" in info for info in listed] == [True, False]
    assert "deleted version one, whose manifest is broken" in run(capsys, "gc", two)
    assert "one" not in [info["name"] for info in json.loads(run(capsys, "list", two, "--json"))]


def test_a_version_is_exported_to_standard_output(two: Path, tmp_path: Path) -> None:
    store = Store(two.parent / "stores/s")
    store.export(tmp_path / "one.tar", "one")
    done = subprocess.run(
        [sys.executable, "-m", "ragcore", "memory", "export", str(store.folder), "-", "one"],
        capture_output=True,
        check=False,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == (tmp_path / "one.tar").read_bytes()
    assert not (tmp_path / "-").exists()


def test_what_cannot_be_searched_is_not_activated(
    two: Path, installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(two.parent / "stores/s")
    store.activate("one")
    (store.folder / "versions/two/retriever/dense.json").write_bytes(
        b" " * (store.folder / "versions/two/retriever/dense.json").stat().st_size
    )
    assert "cannot become the current one" in fails(capsys, "activate", two, "two", "--check")
    assert store.current() == "one"
    run(capsys, "activate", two, "two")
    assert store.current() == "two"


def test_forgetting_says_where_passages_are_left(
    two: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run(capsys, "forget", two, "p3", "p5", "--version", "three")
    assert out.startswith("forgot 2 passages: version three is the current one left in the files ")
    assert "of versions one, three, two: --everywhere rewrites them" in out
    assert "the corpus, from which the next build or update reads them again" in out
    assert "p3" not in run(capsys, "search", two, "word3", "--k", "9")
    out = run(capsys, "forget", two, "p3", "--everywhere")
    assert out.startswith("the current version has none of them rewritten: versions ")
    row = json.loads(run(capsys, "forget", two, "p4", "--everywhere", "--version", "4", "--json"))
    assert (row["version"], row["passages"], row["left"]) == ("4", ["p4"], [])
    assert "no version has a document or a passage with the id 'p3'" in fails(
        capsys, "forget", two, "p3"
    )
