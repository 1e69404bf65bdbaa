"""Which files of a folder are read, in which order, and what is never followed or opened."""

from __future__ import annotations

import os
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ragcore_documents.config import DocumentsConfig
from ragcore_documents.scan import FileEntry, Rules, SkippedPath, scan


def files(root: Path, **settings: Any) -> list[str]:
    return [entry.id for entry in scan(root, Rules(**settings), Counter())]


def write(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def test_files_come_in_the_order_of_names_with_what_they_are(tmp_path: Path) -> None:
    write(tmp_path, "b.md", "a/z.md", "a/b/c.md", "B.md", "a.md", "é.md")
    assert files(tmp_path) == ["B.md", "a/b/c.md", "a/z.md", "a.md", "b.md", "é.md"]
    (entry,) = [each for each in scan(tmp_path, Rules(), Counter()) if each.id == "a/z.md"]
    status = (tmp_path / "a" / "z.md").stat()
    path = os.path.realpath(tmp_path / "a" / "z.md")
    assert entry == FileEntry("a/z.md", path, status.st_mtime_ns, status.st_size)


def test_names_that_differ_in_case_alone_are_two_files(tmp_path: Path) -> None:
    write(tmp_path, "Notes.md", "notes.md")
    if len(list(tmp_path.iterdir())) < 2:
        pytest.skip("the file system does not tell case")
    assert files(tmp_path) == ["Notes.md", "notes.md"]


def test_hidden_files_and_folders_of_tools_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, "a.md", ".hidden.md", ".notes/a.md", "~$a.docx", "x/node_modules/p/README.md")
    write(tmp_path, ".git/description.md", "x/__pycache__/a.md", ".venv/lib/a.md", "CVS")
    left_out: Counter[str] = Counter()
    assert [entry.id for entry in scan(tmp_path, Rules(), left_out)] == ["CVS", "a.md"]
    assert left_out == {"hidden": 3, "folders of version control, packages and caches": 4}
    shown = [".hidden.md", ".notes/a.md", "CVS", "a.md", "~$a.docx"]
    assert files(tmp_path, hidden=True) == shown


def test_environments_of_python_are_left_out_whatever_their_name(tmp_path: Path) -> None:
    write(tmp_path, "a.md", "env/pyvenv.cfg", "env/x/README.md", "lib/site-packages/p/b.md")
    write(tmp_path, "x/venv/c.md")
    left_out: Counter[str] = Counter()
    assert [entry.id for entry in scan(tmp_path, Rules(), left_out)] == ["a.md", "x/venv/c.md"]
    assert left_out == {"folders of version control, packages and caches": 2}
    # One that is named as the folder is read, and what a link names in one is read by its link.
    assert files(tmp_path / "env") == ["pyvenv.cfg", "x/README.md"]
    (tmp_path / "link.md").symlink_to("env/x/README.md")
    assert files(tmp_path, symlinks=True) == ["a.md", "link.md", "x/venv/c.md"]


def test_patterns_are_those_of_a_gitignore(tmp_path: Path) -> None:
    write(tmp_path, "a.md", "b.txt", "drafts/c.md", "x/drafts/d.md", "x/e.txt", "x/keep.txt")
    assert files(tmp_path, include=["*.md"]) == ["a.md", "drafts/c.md", "x/drafts/d.md"]
    assert files(tmp_path, exclude=["drafts/"]) == ["a.md", "b.txt", "x/e.txt", "x/keep.txt"]
    assert files(tmp_path, exclude=["/drafts", "*.txt", "!keep.txt"]) == [
        "a.md",
        "x/drafts/d.md",
        "x/keep.txt",
    ]
    assert files(tmp_path, include=["x/"], exclude=["*.md"]) == ["x/e.txt", "x/keep.txt"]


@pytest.mark.parametrize("pattern", ["", "  ", "# notes", "!"])
def test_a_pattern_that_is_none_is_an_error(pattern: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a \.gitignore"):
        DocumentsConfig(path=tmp_path, exclude=(pattern,))


def test_an_excluded_folder_is_not_listed(tmp_path: Path) -> None:
    write(tmp_path, "a.md", "closed/b.md")
    if os.geteuid() == 0:
        pytest.skip("root may list any folder")
    (tmp_path / "closed").chmod(0)
    try:
        assert files(tmp_path, exclude=["closed/"]) == ["a.md"]
        (_, closed) = scan(tmp_path, Rules(), Counter())
    finally:
        (tmp_path / "closed").chmod(0o700)
    assert isinstance(closed, SkippedPath)
    assert (closed.id, closed.is_folder) == ("closed", True)
    assert "Permission denied" in closed.reason


def test_a_folder_that_vanishes_is_reported(tmp_path: Path) -> None:
    write(tmp_path, "a/b.md", "c.md")
    stream = scan(tmp_path, Rules(), Counter())
    write(tmp_path, "0.md")
    assert next(stream).id == "0.md"
    (tmp_path / "a" / "b.md").unlink()
    (tmp_path / "a").rmdir()
    vanished, last = stream
    assert isinstance(vanished, SkippedPath)
    assert (vanished.id, vanished.is_folder, last.id) == ("a", True, "c.md")


def test_a_name_that_is_not_utf8_is_reported(tmp_path: Path) -> None:
    write(tmp_path, "b.md")
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff.md")).write_text("x")
    except OSError:
        pytest.skip("the file system takes UTF-8 only")
    broken, entry = scan(tmp_path, Rules(), Counter())
    assert broken == SkippedPath("a\\xff.md", "its name is not UTF-8: rename it", False)
    assert entry.id == "b.md"


def test_pipes_and_sockets_are_left_out(tmp_path: Path, monkeypatch: Any) -> None:
    write(tmp_path, "a.md")
    os.mkfifo(tmp_path / "pipe.md")
    monkeypatch.chdir(tmp_path)  # addresses of sockets are short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.md")
        left_out: Counter[str] = Counter()
        assert [entry.id for entry in scan(tmp_path, Rules(), left_out)] == ["a.md"]
    assert left_out == {"pipes, sockets and devices": 2}


class TestSymbolicLinks:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "folder"
        write(folder, "a.md", ".store/b.md", ".store/sub/c.md", "x/d.md")
        write(tmp_path, "outside/e.md")
        return folder

    def test_they_are_left_out_unless_asked_for(self, folder: Path) -> None:
        (folder / "link.md").symlink_to("a.md")
        (folder / "dir").symlink_to(".store")
        left_out: Counter[str] = Counter()
        assert [entry.id for entry in scan(folder, Rules(), left_out)] == ["a.md", "x/d.md"]
        assert left_out == {"symbolic links": 2, "hidden": 1}

    def test_what_is_not_read_under_its_own_name_is_read_by_its_link(self, folder: Path) -> None:
        (folder / "b.md").symlink_to(".store/b.md")
        (folder / "dir").symlink_to(".store/sub")
        assert files(folder, symlinks=True) == ["a.md", "b.md", "dir/c.md", "x/d.md"]
        (entry,) = [
            each for each in scan(folder, Rules(symlinks=True), Counter()) if each.id == "b.md"
        ]
        assert isinstance(entry, FileEntry)
        assert entry.path == os.path.realpath(folder / ".store" / "b.md")

    def test_what_is_read_under_its_own_name_is_read_once(self, folder: Path) -> None:
        (folder / "again.md").symlink_to("x/d.md")
        (folder / "dir").symlink_to("x")
        assert files(folder, symlinks=True) == ["a.md", "x/d.md"]

    def test_none_leads_out_of_the_folder(self, folder: Path) -> None:
        (folder / "file.md").symlink_to("../outside/e.md")
        (folder / "up").symlink_to("../outside")
        (folder / ".store" / "far.md").symlink_to("../../outside/e.md")
        (folder / "dir").symlink_to(".store")
        entries = list(scan(folder, Rules(symlinks=True), Counter()))
        skipped = [entry for entry in entries if isinstance(entry, SkippedPath)]
        assert [entry.id for entry in skipped] == ["dir/far.md", "file.md", "up"]
        assert all("leads out of the folder" in entry.reason for entry in skipped)

    def test_loops_end(self, folder: Path) -> None:
        (folder / "x" / "up").symlink_to("..")
        (folder / ".store" / "self").symlink_to(".")
        (folder / ".store" / "sub" / "back").symlink_to("..")
        (folder / "dir").symlink_to(".store")
        (folder / "one").symlink_to("two")
        (folder / "two").symlink_to("one")
        entries = list(scan(folder, Rules(symlinks=True), Counter()))
        assert [entry.id for entry in entries if isinstance(entry, FileEntry)] == [
            "a.md",
            "dir/b.md",
            "dir/sub/c.md",
            "x/d.md",
        ]
        skipped = [entry for entry in entries if isinstance(entry, SkippedPath)]
        assert [(entry.id, entry.reason.partition(":")[0]) for entry in skipped] == [
            ("one", "a symbolic link to nothing"),
            ("two", "a symbolic link to nothing"),
        ]

    def test_the_folder_itself_may_be_one(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(folder)
        assert files(tmp_path / "link") == ["a.md", "x/d.md"]


def test_a_single_file_is_read_whatever_its_name(tmp_path: Path) -> None:
    write(tmp_path, ".notes.md", "b.md")
    assert files(tmp_path / ".notes.md", exclude=["*"]) == [".notes.md"]


def test_folders_deeper_than_the_stack_are_walked(tmp_path: Path, monkeypatch: Any) -> None:
    depth = 1200
    monkeypatch.chdir(tmp_path)
    for _ in range(depth):
        os.mkdir("d")
        os.chdir("d")
    Path("a.md").write_text("x")
    try:
        assert [entry.id.count("/") for entry in scan(tmp_path, Rules(), Counter())] == [depth]
    finally:
        # pytest removes its folders by recursion.
        Path("a.md").unlink()
        for _ in range(depth):
            os.chdir("..")
            os.rmdir("d")


@given(st.lists(st.lists(st.sampled_from("ab.é"), min_size=1, max_size=3), max_size=12))
def test_a_second_walk_yields_the_same(tmp_path_factory: Any, paths: list[list[str]]) -> None:
    root = tmp_path_factory.mktemp("walk")
    for parts in paths:
        path = root.joinpath(*[f"{part}x" for part in parts[:-1]], f"{parts[-1]}.md")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    ids = files(root, hidden=True)
    assert ids == files(root, hidden=True)
    expected = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert set(ids) == expected
    assert len(ids) == len(expected)
