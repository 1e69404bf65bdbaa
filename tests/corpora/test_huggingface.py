"""Data sets of Hugging Face's library: saved folders, and names, which a folder may stand for."""

from __future__ import annotations

import sys
from datetime import date
from operator import length_hint
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ragcore.corpora.huggingface import HuggingFace
from ragcore.errors import CorpusError
from ragcore.registry.components import ComponentSpec
from ragcore.testing import CorpusSuite
from ragcore.types import Passage

ROWS = [
    {"_id": f"D{row}", "title": None, "text": f"text {row}", "day": date(2018, 1, 1)}
    for row in range(1100)
]
EXPECTED = [Passage(row["_id"], "", row["text"], {"day": "2018-01-01"}) for row in ROWS]


def corpus(**config: Any) -> HuggingFace:
    return HuggingFace(HuggingFace.Config(**config))


@pytest.fixture
def datasets() -> Any:
    return pytest.importorskip("datasets", reason="the extra huggingface is not installed")


def test_one_place_is_named() -> None:
    for config in ({}, {"path": "x", "name": "y"}, {"path": "x", "revision": "main"}):
        with pytest.raises(ValidationError, match=r"expected one of path|with `name`"):
            corpus(**config)
    with pytest.raises(ValidationError, match="name"):
        corpus(name="https://example.org/data")


def test_without_the_library_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(CorpusError, match=r"needs the package datasets.*'\.\[huggingface\]'"):
        list(corpus(path=tmp_path))


def test_a_saved_data_set_is_read(datasets: Any, tmp_path: Path) -> None:
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved", num_shards=3)
    saved = corpus(path=tmp_path / "saved")
    assert list(saved) == EXPECTED
    assert length_hint(saved) == len(ROWS)
    (first, *_) = corpus(path=tmp_path / "saved", id=False, source=True, metadata=[])
    assert (first.id, first.metadata) == ("1", {"path": "saved[rows]", "row": 1})
    with pytest.raises(CorpusError, match="has no parts, and `part` is 'train'"):
        list(corpus(path=tmp_path / "saved", part="train"))


def test_a_part_of_a_saved_data_set_is_read(datasets: Any, tmp_path: Path) -> None:
    parts = {
        "corpus": datasets.Dataset.from_list(ROWS[:3]),
        "queries": datasets.Dataset.from_list([{"_id": "q", "text": "?"}]),
    }
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    assert list(corpus(path=tmp_path / "saved", part="corpus")) == EXPECTED[:3]
    for part, message in ((None, "name one"), ("test", "there is no part 'test'")):
        with pytest.raises(CorpusError, match=f"{message}: expected .* corpus, queries"):
            list(corpus(path=tmp_path / "saved", part=part))
    datasets.DatasetDict({"train": parts["corpus"]}).save_to_disk(tmp_path / "single")
    assert list(corpus(path=tmp_path / "single")) == EXPECTED[:3]


def test_what_metadata_cannot_hold_is_left_out(datasets: Any, tmp_path: Path) -> None:
    rows = [{"text": "t", "picture": b"\x89PNG", "url": "u"}]
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "saved")
    with pytest.raises(CorpusError, match=r"saved\[rows\]: row 1: picture is bytes"):
        list(corpus(path=tmp_path / "saved"))
    assert list(corpus(path=tmp_path / "saved", metadata=["url"])) == [
        Passage("1", "", "t", {"url": "u"})
    ]


def test_a_folder_that_is_no_data_set_is_named(datasets: Any, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="none: no such folder: expected one that save_to_disk"):
        list(corpus(path=tmp_path / "none"))
    with pytest.raises(CorpusError, match=r"cannot be opened .*save_to_disk"):
        list(corpus(path=tmp_path))
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved")
    (data,) = (tmp_path / "saved").glob("*.arrow")
    data.write_bytes(data.read_bytes()[:20_000])
    with pytest.raises(CorpusError, match="saved"):
        list(corpus(path=tmp_path / "saved"))


def test_a_name_is_streamed(datasets: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder stands for the hub's data set, so that no network is needed."""
    folder = tmp_path / "hub" / "data"
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text('{"id": 1, "contents": "\\"T\\"\\ntext"}\n')
    load = datasets.load_dataset

    def load_folder(name: str, *args: Any, **options: Any) -> Any:
        assert name == "owner/data"
        return load(str(folder), *args, **options)

    monkeypatch.setattr(datasets, "load_dataset", load_folder)
    streamed = corpus(name="owner/data", preset="flashrag")
    assert list(streamed) == [Passage("1", "T", "text")]
    assert length_hint(streamed) == 0
    (folder / "train.jsonl").unlink()
    with pytest.raises(CorpusError, match=r"owner/data: cannot be opened .*give the folder as"):
        list(streamed)


def test_a_folder_is_not_taken_for_a_name(
    datasets: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "owner" / "data"
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text('{"id": 1, "text": "t"}\n')
    with pytest.raises(CorpusError, match=r"owner/data: .* of a file or folder .* as `path`"):
        list(corpus(name="owner/data"))


class TestHuggingFace(CorpusSuite):
    @pytest.fixture
    def component(self, datasets, tmp_path):
        datasets.Dataset.from_list(ROWS[:40]).save_to_disk(tmp_path / "saved")
        config = HuggingFace.Config(path=tmp_path / "saved")
        return ComponentSpec("corpus", "huggingface", HuggingFace, config)
