"""Kill operations on a store at every call that changes a folder; inspect what is left.

Run as a program by test_crash.py, with tests/helpers/killer.c loaded before the C library. For each
n a child process does the operation on a fresh copy of the same store and dies at its n-th such
call; a write is cut in half. Prints for each operation how many calls it has, and how many
different states were left.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from ragcore.disk.atomic import files_below
from ragcore.retrievers import combining
from ragcore.store.catalog import Catalog
from ragcore.store.diff import Changes
from ragcore.store.merging import merge_version
from ragcore.store.progress import silent
from ragcore.store.sharding import build_shard_version
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.word_encoder import dense_part

OLD = [Passage(f"old{n}", "title", f"text{n}", {"n": n}) for n in range(20)]
NEW = [Passage(f"new{n}", "", f"text{n}") for n in range(30)]
CHANGED = Passage("old3", "title", "another text")
PASSAGES = {
    "old": OLD,
    "mid": OLD[:7],
    "new": NEW,
    "child": [*OLD[:3], *OLD[4:19], CHANGED, NEW[0]],
    "less": [*OLD[:5], *OLD[6:]],
    "again": [*OLD[:5], *OLD[6:]],
}
"""The passages of each version that an operation may make."""

FORGOTTEN = OLD[5]
"""A passage that versions have no longer when they were rewritten."""


def build(store: Store) -> None:
    store.build("new", NEW, dense_part(), batch=10)


def merge(store: Store) -> None:
    merge_version(
        Catalog(store.folder),
        "new",
        [store.folder.parent / "shards"],
        dense_part(),
        corpus_config=None,
        activate=True,
        verify=True,
        report=silent,
    )


def link(store: Store) -> None:
    """Merge without joining indexes: their files get a second name."""
    usual, combining.LARGEST = combining.LARGEST, 1  # type: ignore[misc]
    try:
        merge(store)
    finally:
        combining.LARGEST = usual  # type: ignore[misc]


def update(store: Store) -> None:
    changes = Changes({"old3": CHANGED, "new0": NEW[0]}, {"old19": "here"})
    store.update("child", changes, parent="old", retriever=dense_part())


def forget(store: Store) -> None:
    store.forget([FORGOTTEN.id], everywhere=True, version="less", retriever=dense_part())


def compact(store: Store) -> None:
    store.compact("again", retriever=dense_part())


def activate(store: Store) -> None:
    store.activate("mid")


def rollback(store: Store) -> None:
    store.rollback()


def gc(store: Store) -> None:
    store.gc(1)


def import_(store: Store) -> None:
    file = store.folder.parent / "new.tar"
    store.import_version(file, activate=True, retriever=dense_part())


def export(store: Store) -> None:
    store.export(store.folder / "out.tar", "old")


OPERATIONS: dict[str, tuple[Callable[[Store], None], list[set[str]], set[str | None]]] = {
    "build": (build, [{"mid", "old"}, {"mid", "old", "new"}], {"old", "new"}),
    "merge": (merge, [{"mid", "old"}, {"mid", "old", "new"}], {"old", "new"}),
    "link": (link, [{"mid", "old"}, {"mid", "old", "new"}], {"old", "new"}),
    "update": (update, [{"mid", "old"}, {"mid", "old", "child"}], {"old", "child"}),
    "forget": (forget, [{"mid", "old"}, {"mid", "old", "less"}], {"old", "less"}),
    "compact": (
        compact,
        [{"mid", "old", "less"}, {"mid", "old", "less", "again"}],
        {"less", "again"},
    ),
    "activate": (activate, [{"mid", "old"}], {"old", "mid"}),
    "rollback": (rollback, [{"mid", "old"}], {"old", "mid"}),
    "gc": (gc, [{"mid", "old"}, {"old"}], {"old"}),
    "import": (import_, [{"mid", "old"}, {"mid", "old", "new"}], {"old", "new"}),
    "export": (export, [{"mid", "old"}], {"old"}),
}
"""The operations, which versions there may be afterwards, and which may be the current one."""

STRIDES = {"forget": 6, "link": 3}
"""Of the calls of an operation that has many, each n-th is where it is killed."""


def main(folder: Path, operations: Sequence[str]) -> None:
    whole = prepared(folder)
    if "compact" in operations:
        # What it leaves out: a removed row.
        Store(whole).update("less", Changes({}, {FORGOTTEN.id: "here"}), retriever=dense_part())
    for name in operations:
        print(name, *killed_everywhere(name, whole, folder / "store"))


def killed_everywhere(operation: str, whole: Path, folder: Path) -> tuple[int, int]:
    """Kill an operation at each call; return the number of calls and of states that were left."""
    do, possible, currents = OPERATIONS[operation]
    shards = whole.parent / "shards"
    of_shards = contents(shards)
    killer = ctypes.CDLL(None)
    seen: set[tuple[tuple[str, ...], str | None]] = set()
    stride = STRIDES.get(operation, 1)
    call, killed = 1 - stride, True
    while killed:
        call += stride
        store = copy_of(whole, folder)
        child = os.fork()
        if not child:
            killer.killer_arm(os.fsencode(store.folder), ctypes.c_long(call))
            do(store)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        assert killed or os.waitstatus_to_exitcode(status) == 0, (operation, call, status)
        names, current = inspected(store)
        assert set(names) in possible, (operation, call, names)
        assert current in currents, (operation, call, current)
        seen.add((names, current))
        # What a killed process has left is removed by gc, and hinders no other operation before.
        if call % 2:
            check_tidy(store)
        check_repeated(store, names, current, do)
        check_tidy(store)
        # Merged versions share files with shards, which are as they were, and with no other folder.
        assert contents(shards) == of_shards, (operation, call)
        check_links(shards, store)
    return call - 1, len(seen)


def prepared(folder: Path) -> Path:
    """Make a store with an earlier and a current version, and next to it a file with a third."""
    store = Store(folder / "whole")
    store.build("mid", PASSAGES["mid"], dense_part())
    store.build("old", OLD, dense_part())
    (store.folder / "out.tar").write_bytes(b"an older file")
    other = Store(folder / "other")
    other.build("new", NEW, dense_part())
    other.export(folder / "new.tar")
    for number in range(2):
        build_shard_version(
            Catalog(folder / "shards"),
            number,
            2,
            NEW,
            dense_part(),
            corpus_config=None,
            training=None,
            fresh=False,
            batch=10,
            cache=None,
            report=silent,
        )
    return store.folder


def copy_of(whole: Path, folder: Path) -> Store:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    return Store(folder)


def inspected(store: Store) -> tuple[tuple[str, ...], str | None]:
    """Check that each listed version is whole; return their names and the current one."""
    names = tuple(version.name for version in store.versions())
    for name in names:
        memory = store.open(name, retriever=dense_part(), verify=True)
        whole = PASSAGES[name]
        passages = list(memory.passages)
        assert passages in (whole, [each for each in whole if each != FORGOTTEN]), name
        assert len(memory.hits(["text3"], 2).rows[0]) == 2
        memory.close()
    assert store.current() in names
    return names, store.current()


def held(store: Store) -> list[Passage]:
    """Return the passages of all versions."""
    listed: list[Passage] = []
    for version in store.versions():
        with store.passages(version.name) as passages:
            listed += passages
    return listed


def check_tidy(store: Store) -> None:
    """Check that gc removes all leftovers."""
    store.gc(9)
    names = sorted(version.name for version in store.versions())
    names_left = sorted(path.name for path in (store.folder / "versions").iterdir())
    assert names_left == names, names_left
    known = {".lock", ".out.tar.new", "CURRENT", "HISTORY", "out.tar", "versions"}
    assert {path.name for path in store.folder.iterdir()} <= known


def check_links(shards: Path, store: Store) -> None:
    """Check that each file of the shards has a name there, and one in each version that has it."""
    inodes = Counter(path.stat().st_ino for path in files_below(store.folder))
    for path in files_below(shards):
        status = path.stat()
        assert status.st_nlink == 1 + inodes[status.st_ino], path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in files_below(folder)}


def check_repeated(
    store: Store, names: tuple[str, ...], current: str | None, do: Callable[[Store], None]
) -> None:
    """Check that the interrupted operation can be repeated."""
    if do is export:
        out = store.folder / "out.tar"
        assert out.read_bytes() == b"an older file" or store.import_version(out, "again")
        do(store)
        store.import_version(out, "repeated")
        with store.passages("repeated") as passages:
            assert list(passages) == OLD
        # The half of an earlier one was written again from its beginning.
        assert not (store.folder / ".out.tar.new").exists()
    elif do is forget:
        # From the new version on, or once more from the beginning.
        if FORGOTTEN in held(store):
            options = {"everywhere": True, "version": "again", "retriever": dense_part()}
            store.forget([FORGOTTEN.id], **options)
        assert FORGOTTEN not in held(store)
        inspected(store)
    elif not {"new", "child", "again"} & set(names) and current in ("old", "less"):
        do(store)
        inspected(store)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
