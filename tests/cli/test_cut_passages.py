"""A build and an update tell how many passages the encoder cuts."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

import ragcore
from ragcore.cli import main
from ragcore.types import CutPassages
from tests.conftest import Installed

PIPELINE = """\
ragcore: 1
memory:
  store: store
  corpus: {use: jsonl, path: passages.jsonl}
  retriever: {use: dense, encoder: {use: tokenized, limit: 5}, index: {use: exact}}
"""


@pytest.fixture
def pipeline(installed: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAGCORE_CACHE", str(tmp_path / "cache"))
    installed.add("tokenized", "from tests.helpers.tokenized_parts import ragcore_encoders\n")
    write_corpus(tmp_path, 8)
    path = tmp_path / "pipeline.yaml"
    path.write_text(PIPELINE, encoding="utf-8")
    return path


def write_corpus(folder: Path, count: int) -> None:
    lines = [{"id": f"p{n}", "title": "Chad", "text": "word " * n + "end"} for n in range(count)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "passages.jsonl").write_text(text, encoding="utf-8")


def test_a_build_and_an_update_tell_what_the_encoder_cuts(
    pipeline: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = CutPassages("tokenized", 4, 8, 5)
    assert ragcore.build_memory(pipeline, version="one").cut_passages == (cut,)
    assert caplog.record_tuples == [("ragcore.retrievers.dense", logging.WARNING, str(cut))]
    # Their vectors are in the embedding cache; they are cut all the same.
    again = ragcore.build_memory(pipeline, version="two")
    assert again.encodings is not None
    assert (again.encodings.encoded, again.cut_passages) == (0, (cut,))

    write_corpus(pipeline.parent, 10)
    caplog.clear()
    assert main(["memory", "update", str(pipeline), "--version", "three", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["added"] == 2
    assert row["cut_passages"] == [{"encoder": "tokenized", "count": 2, "of": 2, "tokens": 5}]
    assert "2 of 2 passages are longer than it reads (5 tokens" in caplog.text
    # Nothing changed: nothing was cut.
    assert ragcore.update_memory(pipeline).cut_passages == ()


def test_nothing_is_told_where_all_passages_fit(
    pipeline: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    write_corpus(pipeline.parent, 4)
    assert main(["memory", "build", str(pipeline), "--json"]) == 0
    assert "cut_passages" not in json.loads(capsys.readouterr().out)
    assert not caplog.records
