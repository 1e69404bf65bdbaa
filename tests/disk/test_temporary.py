"""Folders for a while are removed, by the next process where their own was killed."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from pathlib import Path

import pytest

from ragcore.disk.temporary import temporary_folder


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_a_folder_is_there_until_the_block_ends(tmp_path: Path) -> None:
    with temporary_folder(tmp_path, ".work-") as folder:
        assert (folder.parent, folder.name[:6]) == (tmp_path, ".work-")
        (folder / "file").write_text("text")
    with pytest.raises(KeyError), temporary_folder(tmp_path, ".work-") as folder:
        raise KeyError
    assert names(tmp_path) == []
    with temporary_folder(None, ".ragcore-test-") as folder:
        assert folder.parent == Path(tempfile.gettempdir())


def test_only_what_nobody_works_in_any_more_is_removed(tmp_path: Path) -> None:
    leftover = Path(tempfile.mkdtemp(prefix=".work-", dir=tmp_path))
    (leftover / "file").write_text("text")
    # Of other purposes, or no folders.
    others = [
        ".work-mine",
        ".work-0123456789",
        ".other-01234567",
        ".work-link1234",
        ".work-file1234",
    ]
    for name in others[:3]:
        (tmp_path / name).mkdir()
    (tmp_path / others[3]).symlink_to(tmp_path / others[0])
    (tmp_path / others[4]).touch()
    with temporary_folder(tmp_path, ".work-") as first:
        assert not leftover.exists()
        with temporary_folder(tmp_path, ".work-") as second:
            assert names(tmp_path) == sorted([*others, first.name, second.name])
    assert names(tmp_path) == sorted(others)


def test_a_folder_that_was_taken_for_a_leftover_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may look between the making of a folder and its lock."""
    make, made = tempfile.mkdtemp, []

    def overtaken(prefix: str, dir: Path) -> str:  # noqa: A002
        made.append(make(prefix=prefix, dir=dir))
        if len(made) == 1:
            os.rmdir(made[0])
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", overtaken)
    with temporary_folder(tmp_path, ".work-") as folder:
        assert names(tmp_path) == [folder.name]
    assert len(made) == 2


def test_a_file_system_without_locks_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    # It may be in use.
    other = tempfile.mkdtemp(prefix=".work-", dir=tmp_path)
    with temporary_folder(tmp_path, ".work-") as folder:
        assert folder.is_dir()
    assert names(tmp_path) == [Path(other).name]
