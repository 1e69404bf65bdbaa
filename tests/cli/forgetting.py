"""Kill `ragcore memory forget --everywhere` at calls that change a folder; inspect what is left.

Run as a program by test_forget_killed.py, with tests/helpers/killer.c loaded before the C library.
Prints how many calls the command has, then each set of places that had the passage after a kill.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np

import ragcore
from ragcore.cli import main
from ragcore.embeddings.database import VectorFile, vector_files
from ragcore.embeddings.keys import key_of
from ragcore.store.catalog import Catalog
from ragcore.store.forget_targets import Targets, holding
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.conftest import Installed
from tests.helpers.word_encoder import WordEncoder

PIPELINE = """\
ragcore: 1
memory:
  store: store
  corpus: {use: jsonl, path: passages.jsonl}
  retriever: {use: dense, encoder: {use: words}, index: {use: exact}}
  cache: {folder: cache}
generator: {use: table}
"""
PLUGIN = """\
from pathlib import Path

from ragcore import hookimpl
from tests.helpers.word_encoder import ragcore_encoders


@hookimpl
def ragcore_generators():
    return {"table": "tests.helpers.table_generator:TableGenerator"}


@hookimpl
def ragcore_forget(config, passages):
    files = [Path("states") / each.id for each in passages]
    there = [file for file in files if file.exists()]
    for file in there:
        file.unlink()
    return {"states": len(there)}
"""
PASSAGES = [Passage(f"p{n}", f"t{n}", f"word{n} text") for n in range(9)]
FORGOTTEN = PASSAGES[3]
PASSAGES_OF = {
    "one": [f"p{n}" for n in range(8)],
    "two": [f"p{n}" for n in range(9) if n != 4],
    "three": [f"p{n}" for n in range(9) if n not in (3, 4)],
    "four": [f"p{n}" for n in range(9) if n not in (3, 4)],
}
"""Ids of the passages of each version, before the command in those that it rewrites."""

STRIDE = 6
"""Each n-th call is where the command is killed."""


def run_kills(folder: Path) -> None:
    """Kill the command at each n-th call, in a fresh copy of the same project."""
    whole = prepared(folder)
    project = folder / "project"
    killer = ctypes.CDLL(None)
    seen, call, killed = set(), 1 - STRIDE, True
    while killed:
        call += STRIDE
        os.chdir(folder)
        subprocess.run(["rm", "-rf", project], check=True)
        # Files of two versions are one file, in the copy as well.
        subprocess.run(["cp", "-a", whole, project], check=True)
        os.chdir(project)
        child = os.fork()
        if not child:
            killer.killer_arm(os.fsencode(project), ctypes.c_long(call))
            os._exit(forget("three")[0])
        status = os.waitpid(child, 0)[1]
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        assert killed or os.waitstatus_to_exitcode(status) == 0, (call, status)
        seen.add(inspected(call))
    print(call - 1)
    for places in sorted(seen):
        print(*places)


def prepared(folder: Path) -> Path:
    """Make a project with two versions that share files; both have what is forgotten."""
    whole, site = folder / "whole", folder / "site-packages"
    (whole / "states").mkdir(parents=True)
    site.mkdir()
    sys.path.insert(0, str(site))
    Installed(site).add("forgetting", PLUGIN)
    write_corpus(whole, PASSAGES[:8])
    pipeline = whole / "pipeline.yaml"
    pipeline.write_text(PIPELINE, encoding="utf-8")
    ragcore.build_memory(pipeline, version="one")
    write_corpus(whole, [*PASSAGES[:4], *PASSAGES[5:]])
    ragcore.update_memory(pipeline, version="two")
    for passage in PASSAGES:
        (whole / "states" / passage.id).write_text(passage.text, encoding="utf-8")
    return whole


def write_corpus(folder: Path, passages: list[Passage]) -> None:
    rows = [{"id": each.id, "title": each.title, "text": each.text} for each in passages]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "passages.jsonl").write_text(text, encoding="utf-8")


def forget(version: str) -> tuple[int, str]:
    """Run the command in the working folder; return its exit status and output."""
    output = io.StringIO()
    with redirect_stdout(output), redirect_stderr(output):
        code = main(
            [
                "memory",
                "forget",
                "pipeline.yaml",
                FORGOTTEN.id,
                "--everywhere",
                "--version",
                version,
            ]
        )
    return code, " ".join(output.getvalue().split())


def inspected(call: int) -> tuple[str, ...]:
    """Check what a killed command has left; return which places had the passage."""
    check_versions(call)
    places = places_with_it()
    # As long as a place has it, versions have it, so that the command can be repeated.
    assert "versions" in places or not places, (call, places)
    if call // STRIDE % 2:
        Store("store").gc(9)
        check_tidy(call)
    # The new version may be there already: each name is used once.
    code, output = forget("four")
    assert code == 0 or (not places and "no version has a document or a passage" in output), (
        call,
        output,
    )
    assert places_with_it() == (), call
    check_versions(call)
    check_erased(call)
    Store("store").gc(9)
    check_tidy(call)
    return places


def places_with_it() -> tuple[str, ...]:
    """Return which places have the passage: versions, the cache, a generator's files."""
    targets = Targets(frozenset({FORGOTTEN.id}), frozenset(), frozenset(), (FORGOTTEN,))
    in_cache = 0
    for path in vector_files(Path("cache")):
        with VectorFile(path) as file:
            in_cache += len(file.get([key_of(FORGOTTEN)]))
    having = {
        "versions": bool(holding(Catalog("store"), targets)),
        "cache": in_cache > 0,
        "states": (Path("states") / FORGOTTEN.id).exists(),
    }
    return tuple(place for place, has_it in having.items() if has_it)


def check_versions(call: int) -> None:
    """Check that every version is whole, and has all its other passages."""
    store = Store("store")
    for version in store.versions():
        store.verify(version.name)
        with store.open(version.name, verify=True) as memory:
            ids = [each.id for each in memory.passages]
            whole = PASSAGES_OF[version.name]
            assert ids in (whole, [each for each in whole if each != FORGOTTEN.id]), (call, ids)
            assert memory.search("word7", 1)[0].passages[0].id == "p7"
    others = [each for each in PASSAGES if each != FORGOTTEN]
    for path in vector_files(Path("cache")):
        with VectorFile(path) as file:
            assert len(file.get([key_of(each) for each in others])) == len(others), call
    assert {each.id for each in others} <= set(os.listdir("states")), call


def check_erased(call: int) -> None:
    """Check that no file has the text or the vector."""
    encoder = WordEncoder(WordEncoder.Config())
    vector = np.asarray(encoder.encode_passages([FORGOTTEN])[0], np.float32).tobytes()
    for path in Path().rglob("*"):
        if path.is_file() and path.name != "passages.jsonl":
            content = path.read_bytes()
            assert FORGOTTEN.text.encode() not in content, (call, path)
            assert vector not in content, (call, path)


def check_tidy(call: int) -> None:
    """Check that gc has removed all leftovers."""
    store = Store("store")
    versions = sorted(each.name for each in store.versions())
    assert sorted(os.listdir("store/versions")) == versions, call
    assert set(os.listdir("store")) <= {".lock", "CURRENT", "HISTORY", "versions"}, call


if __name__ == "__main__":
    run_kills(Path(sys.argv[1]))
