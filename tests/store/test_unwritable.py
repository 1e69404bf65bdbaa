"""Test that the user learns why nothing can be written, and that the store stays as it was."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ragcore.errors import StoreError
from ragcore.store.diff import Changes
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.word_encoder import dense_part
from tests.store.test_store import contents

OLD = [Passage(f"old{n}", "", f"text {n}") for n in range(5)]
NEW = [Passage(f"new{n}", "", f"another text {n}") for n in range(500)]
NOBODY = 65534


def build(store: Store) -> None:
    store.build("new", NEW, dense_part(), batch=50)


def update(store: Store) -> None:
    changes = Changes({passage.id: passage for passage in NEW}, {"old3": "here"})
    store.update("child", changes, parent="old", retriever=dense_part())


def import_(store: Store) -> None:
    store.import_version(store.folder.parent / "new.tar")


def export(store: Store) -> None:
    store.export(store.folder / "out.tar", "old")


WRITES = [build, update, import_, export]
ALL = [*WRITES, lambda store: store.activate("mid"), Store.rollback, lambda store: store.gc(1)]


@pytest.fixture
def store() -> Iterator[Store]:
    """Two versions, and a third in a file, in a folder that everybody may read."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    store = Store(folder / "store")
    store.build("mid", OLD[:3], dense_part())
    store.build("old", OLD, dense_part())
    other = Store(folder / "other")
    build(other)
    other.export(folder / "new.tar")
    yield store
    shutil.rmtree(folder)


@contextmanager
def files_of_at_most(count: int) -> Iterator[None]:
    """Limit the size of a file, as a disk that is full does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("write", WRITES)
def test_a_full_disk_is_reported_and_leaves_the_store_as_it_was(
    store: Store, write: Callable[[Store], None]
) -> None:
    before = contents(store.folder)
    for room in (0, 10, 700, 3_000, 20_000, 60_000, 1_000_000):
        try:
            with files_of_at_most(room):
                write(store)
        except StoreError as error:
            message = str(error)
        else:
            break
        assert f"{store.folder} cannot be written" in message
        assert "allow larger files" in message or "free some room" in message
        # What a build has encoded stays for the next one.
        remaining = {
            name: data for name, data in contents(store.folder).items() if ".scr" not in name
        }
        assert remaining == before
    assert room > 3_000
    assert {version.name for version in store.versions()} >= {"mid", "old"}
    for version in store.versions():
        assert store.verify(version.name) == version


@contextmanager
def without_rights(folder: Path) -> Iterator[None]:
    """Make a folder readable and not writable, for root too."""
    if os.geteuid() == 0:
        os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(0)
        return
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for path in folders:
        path.chmod(0o555)
    try:
        yield
    finally:
        for path in folders:
            path.chmod(0o755)


@pytest.mark.parametrize("do", ALL)
def test_a_folder_without_the_right_to_write(store: Store, do: Callable[[Store], object]) -> None:
    store.folder.joinpath(".lock").chmod(0o444)
    before = contents(store.folder)
    with (
        without_rights(store.folder),
        pytest.raises(StoreError, match=r"cannot be written.*get permission to write.*unchanged"),
    ):
        do(store)
    assert contents(store.folder) == before


def test_a_store_that_cannot_be_made(store: Store) -> None:
    with without_rights(store.folder), pytest.raises(StoreError, match="cannot be written"):
        build(Store(store.folder / "deep" / "new"))


def test_a_folder_without_the_right_to_write_can_be_read(store: Store) -> None:
    with without_rights(store.folder):
        memory = store.open(retriever=dense_part())
        assert list(memory.passages) == OLD
        assert len(store.diff("mid", "old").added) == 2
        assert [version.name for version in store.versions()] == ["mid", "old"]


def test_an_unreadable_file_elsewhere_is_not_blamed_on_the_store(store: Store) -> None:
    def passages() -> Iterator[Passage]:
        yield OLD[0]
        raise PermissionError(errno.EACCES, "Permission denied", "/models/weights")

    with pytest.raises(PermissionError, match="/models/weights"):
        store.build("new", passages(), dense_part())
