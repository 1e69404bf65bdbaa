"""Output files are whole or not there, and nothing but a regular file is replaced."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ragcore.disk.replacing import write_file
from ragcore.errors import StoreError
from ragcore.store.diff import Differences, read_changes, write_changes
from ragcore.training.output import write_record
from ragcore.types import Passage


def differences() -> Differences:
    one, two = Passage("1", "é", "text"), Passage("2", "", "\u2028 two")
    return Differences(added=(one,), removed=(two,), changed=())


WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: write_file(path, "new"),
    "changes": lambda path: write_changes(path, differences()),
    "record": lambda path: write_record(path.parent, {"a": 1}),
}
NAMES = {"text": "out", "changes": "out", "record": "training.json"}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_only_a_regular_file_is_replaced(tmp_path: Path, writer: str, kind: str) -> None:
    path, target = tmp_path / NAMES[writer], tmp_path / "target"
    target.write_text("old")
    match kind:
        case "folder":
            path.mkdir()
        case "link":
            path.symlink_to(target)
        case "pipe":
            os.mkfifo(path)
    before = path.lstat()
    with pytest.raises(StoreError, match="is not replaced"):
        WRITERS[writer](path)
    assert path.lstat().st_ino == before.st_ino
    assert target.read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == sorted([path.name, "target"])


@pytest.mark.parametrize("writer", WRITERS)
def test_a_file_is_replaced_by_another(tmp_path: Path, writer: str) -> None:
    path = tmp_path / NAMES[writer]
    path.write_text("old")
    with path.open() as open_before:
        WRITERS[writer](path)
        assert open_before.read() == "old"
    assert path.read_text(encoding="utf-8") != "old"
    assert os.listdir(tmp_path) == [path.name]


def test_changes_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_changes(tmp_path / "changes.jsonl", differences())
    changes = read_changes(tmp_path / "changes.jsonl")
    assert changes.upserts == {"1": Passage("1", "é", "text")}
    assert list(changes.deletions) == ["2"]
