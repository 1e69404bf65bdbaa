"""A memory of files and one in a passage store, which nothing may tell from each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ragcore.disk.remote import RemotePointer, pointers_below
from ragcore.memory.memory import Memory
from ragcore.store.diff import Changes
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.word_encoder import dense_part

PASSAGES = [Passage(f"p{n}", f"title {n % 5}", f"text {n} \0", {"n": n}) for n in range(30)]
CHANGES = Changes(
    {
        "new": Passage("new", "", "new text"),
        "p7": Passage("p7", "title 2", "other text", {"n": 7}),
        "p9": Passage("p9", "title 4", "text 9 \0", {"n": 9, "line": 3}),
    },
    {"p3": "here"},
)


def segments(*stores: Store) -> set[str]:
    """Return the names of the segments that any folder of stores leads to."""
    return {
        RemotePointer.read(folder).name for each in stores for folder in pointers_below(each.folder)
    }


def content(memory: Memory) -> list[Any]:
    """Return everything that can be read of a memory's passages, by each way to read it."""
    passages = memory.passages
    hits = memory.hits(["text 9", "other text"], 5)
    results = memory.search(["text 9", "text 11"], 4, where={"n": {"gte": 5}})
    return [
        len(memory),
        list(passages),
        passages.take([len(memory) - 1, 0, 3, 0]),
        passages.ids(hits.rows.ravel()),
        passages.rows_of(["p9", "p3", "none", "new"]),
        passages.by_id(["p1"]),
        passages.stored_numbers(["p7", "p3"]).tolist(),
        [metadata for batch in passages.metadata() for metadata in batch],
        passages.column("title").to_pylist(),
        hits.rows.tolist(),
        [(each.passages, each.scores) for each in results],
        memory.search("text", 3, where={"$id": {"in": ["p1", "p2"]}}),
    ]


def both(store: Store, files: Store, operation: Callable[[Store], object]) -> None:
    """Do something with both stores, and compare their current versions."""
    for each in (store, files):
        operation(each)
    with (
        store.open(retriever=dense_part(), verify="full") as remote,
        files.open(retriever=dense_part()) as local,
    ):
        assert content(remote) == content(local)
