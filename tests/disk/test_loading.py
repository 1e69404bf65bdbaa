"""Reading a version's files: a missing or broken one is a StoreCorruptError that names it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ragcore.disk.loading import reading
from ragcore.errors import MemoryMismatchError, StoreCorruptError


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (None, "FileNotFoundError"),
        ("{", "JSONDecodeError"),
        ("[]", "TypeError"),
        ("{}", "KeyError: 'index'"),
        ('{"index": "many"}', "ValueError"),
    ],
)
def test_a_broken_file_is_named_with_its_fault(
    tmp_path: Path, content: str | None, error: str
) -> None:
    if content is not None:
        (tmp_path / "dense.json").write_text(content, encoding="utf-8")
    with (
        pytest.raises(StoreCorruptError, match=rf"dense\.json cannot be read \({error}.*rebuild"),
        reading(tmp_path / "dense.json") as path,
    ):
        int(json.loads(path.read_bytes())["index"])


def test_an_array_that_was_cut_off_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.npy").write_bytes(b"")
    with (
        pytest.raises(StoreCorruptError, match=r"rows\.npy cannot be read \(EOFError"),
        reading(tmp_path / "rows.npy") as path,
    ):
        np.load(path, allow_pickle=False)


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(MemoryMismatchError, match="another"), reading(tmp_path / "dense.json"):
        raise MemoryMismatchError("another")
    with pytest.raises(NotImplementedError), reading(tmp_path / "dense.json"):
        raise NotImplementedError
