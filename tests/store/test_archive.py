"""Test that export and import preserve a version, and that no other file is imported."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from ragcore.errors import StoreCorruptError, StoreError, VersionExistsError
from ragcore.registry.components import (
    ComponentConfig,
    ComponentSpec,
    ConfigPath,
    spec_from_dict,
)
from ragcore.registry.simple import SimpleRetriever
from ragcore.store.diff import Changes
from ragcore.store.layout import file_records
from ragcore.store.manifest import Manifest
from ragcore.store.progress import silent
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.word_encoder import dense_part
from tests.store.test_store import contents, flip

PASSAGES = [Passage(f"p{n}", f"title {n}", f"text {n}", {"n": n}) for n in range(30)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Version one, and two, which was derived from it."""
    store = Store(tmp_path / "store")
    store.build("one", PASSAGES, dense_part())
    changes = Changes({"new": Passage("new", "", "new text")}, {"p3": "here"})
    store.update("two", changes, retriever=dense_part(), activate=False)
    return store


@pytest.mark.parametrize("name", ["one", "two"])
def test_an_imported_version_equals_the_exported_one(
    store: Store, tmp_path: Path, name: str
) -> None:
    file = tmp_path / "out.tar"
    seen: list[tuple[int, int | None]] = []
    info = store.export(file, name, progress=lambda _, *counts: seen.append(counts))
    assert (info.name, seen[-1]) == (name, (info.bytes, info.bytes))
    other = Store(tmp_path / "deep" / "other")
    imported = other.import_version(file, activate=True, retriever=dense_part())
    assert (imported.name, imported.bytes, other.current()) == (name, info.bytes, name)
    one, two = (each.folder / "versions" / name for each in (store, other))
    assert contents(one) == contents(two)
    with pytest.raises(VersionExistsError, match=f"already has a version '{name}'"):
        other.import_version(file)
    assert sorted(path.name for path in (other.folder / "versions").iterdir()) == [name]


def test_the_current_version_is_exported_and_an_import_is_not_activated(
    store: Store, tmp_path: Path
) -> None:
    assert store.export(tmp_path / "out.tar").name == "one"
    assert store.import_version(tmp_path / "out.tar", "three").name == "three"
    assert store.current() == "one"
    memory = store.open("three", retriever=dense_part(), verify=True)
    assert (memory.version, list(memory.passages)) == ("three", PASSAGES)


def test_the_same_version_gives_the_same_bytes(store: Store, tmp_path: Path) -> None:
    files = [tmp_path / "a.tar", tmp_path / "b.tar"]
    for file in files:
        store.export(file, "two")
        store.folder.joinpath("versions", "two", "passages.arrow").touch()
    assert files[0].read_bytes() == files[1].read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"a.tar", "b.tar", "store"}


def test_any_program_that_reads_tar_can_look_into_it(store: Store, tmp_path: Path) -> None:
    store.export(tmp_path / "out.tar", "one")
    with tarfile.open(tmp_path / "out.tar") as archive:
        files = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    assert next(iter(files)) == "manifest.json"
    assert files == contents(store.folder / "versions" / "one")


def test_no_byte_of_an_archive_changes_unnoticed(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "out.tar"
    store.export(file, "two")
    other = Store(tmp_path / "other")
    with tarfile.open(file) as archive:
        members = [
            (member.name, member.offset, member.offset_data, member.size) for member in archive
        ]
    for name, head, data, size in members:
        for offset in (head, data, data + size // 2, data + size - 1):
            flip(file, offset)
            with pytest.raises(
                StoreCorruptError, match=r"out\.tar is no exported version"
            ) as caught:
                other.import_version(file)
            if offset > head:
                assert name in str(caught.value)
            flip(file, offset)
    whole = file.read_bytes()
    for end in (0, 100, 512, members[1][2] + 10, members[-1][2] + 1):
        file.write_bytes(whole[:end])
        with pytest.raises(StoreCorruptError, match=r"out\.tar is no exported version"):
            other.import_version(file)
    assert list((other.folder / "versions").iterdir()) == []
    file.write_bytes(whole)
    assert other.import_version(file).name == "two"


def repacked(source: Path, target: Path, change: Callable[[dict[str, bytes]], object]) -> Path:
    """Write an archive with its members changed."""
    with tarfile.open(source) as archive:
        files = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    change(files)
    with tarfile.open(target, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return target


@pytest.mark.parametrize("name", ["../evil", "/evil", "retriever/../../evil", "more"])
def test_nothing_is_written_that_the_manifest_does_not_name(
    store: Store, tmp_path: Path, name: str
) -> None:
    store.export(tmp_path / "out.tar", "one")
    path = repacked(
        tmp_path / "out.tar", tmp_path / "in.tar", lambda files: files.update({name: b""})
    )
    with pytest.raises(StoreCorruptError, match="is not in its manifest"):
        Store(tmp_path / "other").import_version(path)
    assert not list(tmp_path.rglob("*evil*"))


def test_paths_in_a_manifest_are_not_trusted(store: Store, tmp_path: Path) -> None:
    folder = store.folder / "versions" / "one"
    manifest = Manifest.read(folder)
    files = dict(manifest.files)
    files["../../../evil"] = files.pop("passages.arrow")
    manifest.model_copy(update={"files": files}).write(folder)

    def change(files: dict[str, bytes]) -> None:
        files["manifest.json"] = (folder / "manifest.json").read_bytes()
        files["../../../evil"] = files.pop("passages.arrow")

    with tarfile.open(tmp_path / "out.tar", "w") as archive:
        for path in [folder / "manifest.json", *sorted(folder.rglob("*"))]:
            if path.is_file():
                name = path.relative_to(folder).as_posix()
                if name != "manifest.json" or not archive.getnames():
                    archive.add(path, name)
    path = repacked(tmp_path / "out.tar", tmp_path / "in.tar", change)
    with pytest.raises(StoreCorruptError, match="evil"):
        Store(tmp_path / "a" / "b" / "other").import_version(path)
    assert not list(tmp_path.rglob("*evil*"))


def test_a_link_in_an_archive_is_refused(store: Store, tmp_path: Path) -> None:
    store.export(tmp_path / "out.tar", "one")
    with (
        tarfile.open(tmp_path / "out.tar") as old,
        tarfile.open(tmp_path / "in.tar", "w") as new,
    ):
        for member in old:
            content = old.extractfile(member)
            if member.name == "passages.arrow":
                member.type, member.linkname, member.size = tarfile.SYMTYPE, "/etc/passwd", 0
                content = None
            new.addfile(member, content)
    with pytest.raises(StoreCorruptError, match=r"passages\.arrow has 0 bytes"):
        Store(tmp_path / "other").import_version(tmp_path / "in.tar")


def test_a_missing_file_is_named(store: Store, tmp_path: Path) -> None:
    store.export(tmp_path / "out.tar", "one")
    drop = lambda files: files.pop("passages.arrow")  # noqa: E731
    path = repacked(tmp_path / "out.tar", tmp_path / "in.tar", drop)
    with pytest.raises(StoreCorruptError, match=r"passages\.arrow is missing"):
        Store(tmp_path / "other").import_version(path)


def test_a_damaged_version_is_not_exported(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "out.tar"
    file.write_bytes(b"what was there")
    flip(store.folder / "versions" / "one" / "passages.arrow", 300)
    with pytest.raises(StoreCorruptError, match=r"passages\.arrow has sha256"):
        store.export(file, "one")
    assert file.read_bytes() == b"what was there"
    assert {path.name for path in tmp_path.iterdir()} == {"out.tar", "store"}


def test_a_path_that_does_not_exist_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such folder"):
        store.export(tmp_path / "nowhere" / "out.tar")
    with pytest.raises(StoreError, match="no such file"):
        store.import_version(tmp_path / "out.tar")
    (tmp_path / "note.txt").write_text("no archive")
    with pytest.raises(StoreCorruptError, match=r"note\.txt is no exported version"):
        store.import_version(tmp_path / "note.txt")
    store.export(tmp_path / "out.tar")
    with pytest.raises(StoreError, match="cannot be a version's name"):
        store.import_version(tmp_path / "out.tar", "../x")


@pytest.mark.parametrize("kind", ["folder", "link", "dangling", "pipe", "socket"])
def test_what_is_no_regular_file_is_not_replaced(store: Store, tmp_path: Path, kind: str) -> None:
    path, other = tmp_path / "out.tar", tmp_path / "other"
    other.write_bytes(b"what was there")
    make: dict[str, Callable[[], object]] = {
        "folder": path.mkdir,
        "link": lambda: path.symlink_to(other),
        "dangling": lambda: path.symlink_to(tmp_path / "nowhere"),
        "pipe": lambda: os.mkfifo(path),
        "socket": lambda: os.mknod(path, 0o600 | 0o140000),
    }
    make[kind]()
    before = path.lstat()
    with pytest.raises(StoreError, match=r"out\.tar is a .* not replaced"):
        store.export(path)
    assert path.lstat().st_ino == before.st_ino
    assert other.read_bytes() == b"what was there"
    assert {each.name for each in tmp_path.iterdir()} == {"out.tar", "other", "store"}


def test_a_link_in_place_of_the_half_written_file_is_not_followed(
    store: Store, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"what was there")
    (tmp_path / ".out.tar.new").symlink_to(other)
    with pytest.raises(StoreError, match="a symbolic link"):
        store.export(tmp_path / "out.tar")
    assert other.read_bytes() == b"what was there"


@pytest.mark.parametrize("name", ["CURRENT", ".lock", "versions/one/passages.arrow"])
def test_the_stores_own_files_are_not_replaced(store: Store, name: str) -> None:
    before = (store.folder / name).read_bytes()
    with pytest.raises(StoreError, match="the store's own"):
        store.export(store.folder / name)
    assert (store.folder / name).read_bytes() == before


def test_exports_to_one_path_wait_for_each_other(store: Store, tmp_path: Path) -> None:
    path, errors = tmp_path / "out.tar", []
    alone = {name: tmp_path / f"{name}.tar" for name in ("one", "two")}
    for name, file in alone.items():
        store.export(file, name)

    def export(name: str) -> None:
        try:
            for _ in range(10):
                store.export(path, name)
                assert path.read_bytes() in whole
        except Exception as error:
            errors.append(error)

    whole = [file.read_bytes() for file in alone.values()]
    threads = [threading.Thread(target=export, args=(name,)) for name in ("one", "two") * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert not (tmp_path / ".out.tar.new").exists()


def test_an_export_to_a_pipe_has_the_same_bytes(store: Store, tmp_path: Path) -> None:
    store.export(tmp_path / "out.tar", "two")
    reader, writer = os.pipe()
    received: list[bytes] = []

    def read() -> None:
        with open(reader, "rb") as file:
            received.append(file.read())

    thread = threading.Thread(target=read)
    thread.start()
    with open(writer, "wb") as file:
        store.export(file, "two")
    thread.join()
    assert received == [(tmp_path / "out.tar").read_bytes()]


def sparse(path: Path, name: str, size: int, extra: list[tuple[str, bytes]]) -> Path:
    """Write an archive with one member in GNU's sparse form, whose zeros are not in it."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for each, data in extra:
            plain = tarfile.TarInfo(each)
            plain.size = len(data)
            archive.addfile(plain, io.BytesIO(data))
        member = tarfile.TarInfo(name)
        member.type = tarfile.GNUTYPE_SPARSE
        header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
        fields = b"".join(b"%011o\0" % number for number in (0, 0, size, 0))
        header[386 : 386 + len(fields)] = fields
        header[483:495] = b"%011o\0" % size
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        archive.fileobj.write(bytes(header))  # type: ignore[union-attr]
        archive.offset += len(header)
    return path


def test_a_sparse_archive_writes_nothing(store: Store, tmp_path: Path) -> None:
    """Neither where the manifest has the true size, nor where it repeats the declared one."""
    size = 1 << 33
    manifest = store.manifest("one")
    for declared in (None, size):
        files = dict(manifest.files)
        if declared:
            record = files["passages.arrow"]
            files["passages.arrow"] = record.model_copy(update={"bytes": declared})
        spelled = manifest.model_copy(update={"files": files}).spelled()
        path = sparse(tmp_path / "in.tar", "passages.arrow", size, [("manifest.json", spelled)])
        assert path.stat().st_size < 20_000
        with tarfile.open(path) as archive:
            assert archive.getmember("passages.arrow").size == size
        other = Store(tmp_path / "other")
        with pytest.raises(StoreCorruptError, match=r"passages\.arrow (has|is no plain file)"):
            other.import_version(path)
        assert not other.folder.exists()


def test_sizes_are_compared_before_anything_is_written(store: Store, tmp_path: Path) -> None:
    store.export(tmp_path / "out.tar", "one")
    path = repacked(
        tmp_path / "out.tar",
        tmp_path / "in.tar",
        lambda files: files.update({list(files)[-1]: b"longer than it was" * 999}),
    )
    other = Store(tmp_path / "other")
    with pytest.raises(StoreCorruptError, match="has 17982 bytes, expected"):
        other.import_version(path)
    assert not other.folder.exists()


def test_a_header_that_declares_a_huge_size_is_not_read_whole(store: Store, tmp_path: Path) -> None:
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, 1 << 32
    path = tmp_path / "in.tar"
    with path.open("wb") as file:
        file.write(header.tobuf(tarfile.USTAR_FORMAT))
        file.truncate((1 << 32) + 1024)
    with pytest.raises(StoreCorruptError, match="a header declares 4294967296 bytes"):
        Store(tmp_path / "other").import_version(path)


def test_what_cannot_be_opened_is_not_imported_as_the_current_one(
    store: Store, tmp_path: Path
) -> None:
    """All digests are right, and the index holds no vectors."""
    folder = store.folder / "versions" / "one"
    path = folder / "retriever" / "index" / "vectors.npy"
    path.write_bytes(b"no array at all")
    manifest = Manifest.read(folder)
    (folder / "manifest.json").unlink()
    manifest.model_copy(update={"files": file_records(folder, silent)}).write(folder)
    store.export(tmp_path / "out.tar", "one")
    other = Store(tmp_path / "other")
    with pytest.raises(StoreError, match="'one' cannot become the current one"):
        other.import_version(tmp_path / "out.tar", activate=True, retriever=dense_part())
    assert (other.versions(), other.current()) == ([], None)
    # Nor where the retriever's encoder is not installed.
    with pytest.raises(StoreError, match="unknown encoder 'words'"):
        other.import_version(tmp_path / "out.tar", activate=True)
    assert other.import_version(tmp_path / "out.tar").current is False


def test_no_path_of_this_machine_is_exported(tmp_path: Path) -> None:
    home = tmp_path / "home" / "alice"
    corpus = spec_from_dict("corpus", {"use": "jsonl", "path": str(home / "secret" / "p.jsonl")})
    store = Store(tmp_path / "store")
    store.build("one", PASSAGES, dense_part(), corpus_config=corpus)
    assert store.manifest("one").corpus == corpus.to_record()
    store.export(tmp_path / "out.tar", "one")
    assert b"alice" not in (tmp_path / "out.tar").read_bytes()
    other = Store(tmp_path / "other")
    other.import_version(tmp_path / "out.tar")
    assert other.manifest("one").corpus == corpus.to_record() | {"path": "p.jsonl"}
    assert other.verify("one").name == "one"


class Lexicon(SimpleRetriever):
    """Has settings of which nothing says whether they are paths."""

    class Config(ComponentConfig):
        words: str = ""
        options: dict[str, Any] = Field(default_factory=dict)
        folder: ConfigPath = Path("/home/alice/typed/folder")

    def scores(self, question: str) -> list[float]:
        return [float(question in passage.text) for passage in self.passages]


@pytest.mark.parametrize(
    ("text", "warns"),
    [
        ("/home/alice/words.txt", True),
        ("~/words.txt", True),
        ("~alice/words.txt", True),
        ("C:\\Users\\alice", True),
        ("c:/words", True),
        ("\\\\server\\share\\words", True),
        ("file:///home/alice/words.txt", True),
        ("words.txt", False),
        ("data/words.txt", False),
        ("/", False),
        ("/s/", False),
        ("and/or", False),
        ("/title/{title}/text/{text}", False),
        ("https://example.org/words", False),
    ],
)
def test_a_text_that_looks_like_a_path_is_named_when_it_is_exported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str, warns: bool
) -> None:
    store = Store(tmp_path / "store")
    config = Lexicon.Config(words=text, options={"a/b": [{"file": text}]})
    store.build("one", PASSAGES, ComponentSpec("retriever", "lexicon", Lexicon, config))
    with caplog.at_level("WARNING", "ragcore.store"):
        store.export(tmp_path / "one.tar", "one")
    keys = {record.args[1] for record in caplog.records if isinstance(record.args, tuple)}
    assert keys == ({"/retriever/words", "/retriever/options/a~1b/0/file"} if warns else set())
    archived = (tmp_path / "one.tar").read_bytes()
    # The path that is annotated as one is cut; nothing is said of it.
    assert b"typed" not in archived
    assert json.dumps(text).encode() in archived


def test_the_command_prints_what_looks_like_a_path(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    config = Lexicon.Config(words="/home/alice/\x1b[31mwords.txt", options={"\x1b[31m": "/home/a"})
    store.build("one", PASSAGES, ComponentSpec("retriever", "lexicon", Lexicon, config))
    command = [sys.executable, "-m", "ragcore", "memory", "export", str(store.folder), "one.tar"]
    done = subprocess.run(
        [*command, "one"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "wrote version one" in done.stdout
    assert "'/retriever/words' in its manifest looks like a path" in done.stderr
    assert "alice" not in done.stderr
    assert "\x1b" not in done.stderr
