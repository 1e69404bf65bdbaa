"""`ragcore check`, `fill` and `schema`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ragcore.cli import main
from ragcore.config import config_schema
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.word_encoder import dense_part

TEXT = """\
ragcore: 1
memory:
  store: store
  version: 2018-12
  retriever:
    use: mix
    retrievers:
    - {use: pair, encoder: {use: tiny, model: mini}, index: {use: flat}}
    - {use: words}
"""

pytestmark = pytest.mark.usefixtures("sample")


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.yaml").write_text(TEXT)
    return "p.yaml"


def test_check_lists_each_component(
    pipeline: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", pipeline]) == 0
    ok, *rows = capsys.readouterr().out.splitlines()
    assert ok == "p.yaml: ok"
    assert [tuple(row.split(maxsplit=1)) for row in rows] == [
        ("memory.store", str(tmp_path / "store")),
        ("memory.version", "not built yet: ragcore memory build p.yaml"),
        ("memory.retriever", "mix (ragcore-sample 1.0)"),
        ("memory.retriever.retrievers.0", "pair (ragcore-sample 1.0)"),
        ("memory.retriever.retrievers.0.encoder", "tiny (ragcore-sample 1.0)"),
        ("memory.retriever.retrievers.0.index", "flat (ragcore-sample 1.0)"),
        ("memory.retriever.retrievers.1", "words (ragcore-sample 1.0)"),
        (
            "rag",
            "marginalize token, decode thorough, k 5, beams 4, max_new_tokens 32, "
            "min_new_tokens 0, length_penalty 0.0, no_repeat_ngram 0, repetition_penalty 1.0, "
            "grounded false, batch_size 16, drop_below 0.0, cite false",
        ),
        ("generator", "none: this pipeline can build and search, but not answer"),
    ]


def test_check_prints_every_error_and_exits_with_2(
    pipeline: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", pipeline, "rag.k=-1", "rag.beam=1"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(":")[0] for line in err.splitlines()] == [
        "override 'rag.k=-1'",
        "override 'rag.beam=1'",
    ]


def test_check_compares_the_version_with_the_store(
    pipeline: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path / "store")
    store.build("2018-12", [Passage("1", "Chad", "N'Djamena is its capital.")], dense_part())
    assert main(["check", pipeline]) == 0
    assert "memory.version" in (out := capsys.readouterr().out)
    assert "  2018-12\n" in out
    assert main(["check", pipeline, "memory.version="]) == 0
    assert "2018-12, the store's current one" in capsys.readouterr().out
    assert main(["check", pipeline, "memory.version=2018-11"]) == 2
    assert capsys.readouterr().err == (
        f"p.yaml: memory.version is '2018-11', which the store {tmp_path / 'store'} does not have: "
        "did you mean '2018-12'? versions: 2018-12; choose one of them, or build it\n"
    )


def test_fill_prints_yaml_that_fills_to_itself(
    pipeline: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fill", pipeline, "rag.k=7"]) == 0
    filled = capsys.readouterr().out
    assert "  k: 7\n" in filled
    Path("filled.yaml").write_text(filled)
    assert main(["fill", "filled.yaml"]) == 0
    assert capsys.readouterr().out == filled


def test_schema_prints_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == config_schema()


def test_check_shows_a_nested_section(pipeline: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", pipeline, "rag.abstain.above=0.75"]) == 0
    assert "abstain (answer unknown, above 0.75, mean arithmetic)" in capsys.readouterr().out
