"""Test several processes with one store: one waits or is refused, and every version is whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ragcore.errors import UnknownVersionError
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.word_encoder import dense_part

ROOT = Path(__file__).parents[2]

BUILDER = """
import sys
from ragcore.errors import VersionExistsError
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.word_encoder import dense_part

folder, mark = sys.argv[1:]
store = Store(folder)
passages = [Passage(f"{mark}{n}", "", f"text {n}") for n in range(40)]
# Neither goes on before both have started.
print("ready", flush=True)
sys.stdin.readline()
for turn in range(6):
    try:
        store.build(f"shared-{turn}", passages, dense_part(), batch=7)
        print("built", flush=True)
    except VersionExistsError:
        print("refused", flush=True)
    store.build(f"own-{mark}-{turn}", passages, dense_part())
    store.gc(4)
"""


def test_two_processes_build_activate_and_collect_together(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    Store(folder).build("first", [Passage("f", "", "text")], dense_part())
    both = [
        subprocess.Popen(
            [sys.executable, "-c", BUILDER, folder, mark],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for mark in "xy"
    ]
    for process in both:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    # Meanwhile a reader finds whole versions only, whichever is the current one.
    store, seen = Store(folder), set()
    while any(process.poll() is None for process in both):
        name = store.current()
        assert name is not None
        try:
            memory = store.open(name, retriever=dense_part())
        except UnknownVersionError:
            continue
        marks = {passage.id[0] for passage in memory.passages}
        assert len(marks) == 1
        seen.add(name)
        memory.close()
    outcomes = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], [error for _, error in outcomes]
    turns = [out.split() for out, _ in outcomes]
    # Each shared version was built once, unless it was collected before the other process tried.
    assert all(turn == ["built", "refused"] or "built" in turn for turn in zip(*turns, strict=True))
    assert len(seen) > 1
    for version in store.versions():
        assert store.verify(version.name).passages == (1 if version.name == "first" else 40)
    assert store.current() in {f"own-{mark}-5" for mark in "xy"}
    working = [path.name for path in (folder / "versions").iterdir() if path.name[0] == "."]
    assert [name for name in working if not name.startswith(".scratch")] == []
