"""Test builds in shards, wherever they run: they make what one build makes, also after faults."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ragcore
from ragcore.cli import main
from ragcore.errors import (
    ComponentError,
    ConfigError,
    MemoryMismatchError,
    StoreError,
    UnsupportedOperation,
    VersionExistsError,
)
from ragcore.store.catalog import Catalog
from ragcore.store.store import Store
from tests.conftest import Installed
from tests.helpers.here import here
from tests.helpers.shard_project import (
    BM25,
    DENSE,
    FAISS,
    answers,
    change_seed,
    files,
    pipeline,
    write_corpus,
)

__all__ = ["pipeline"]

RUNNER = """\
from ragcore.hookspecs import hookimpl

@hookimpl
def ragcore_runners():
    return {"here": "tests.helpers.here:Here"}
"""
LONGEST = """\
import ragcore

class Longest(ragcore.SimpleRetriever):
    def scores(self, question):
        return [len(passage.text) for passage in self.passages]

@ragcore.hookimpl
def ragcore_retrievers():
    return {"longest": "longest_plugin:Longest"}
"""


def test_processes_build_the_files_of_one_build(pipeline: Callable[..., Path]) -> None:
    path = pipeline(BM25)
    ragcore.build_memory(path, version="whole")
    progress = []
    built = ragcore.build_in_shards(
        path,
        runner=ragcore.load_runner("processes", "workers=2"),
        shards=4,
        version="sharded",
        progress=lambda *each: progress.append(each),
    )
    assert (built.name, built.passages, built.current) == ("sharded", 60, True)
    store = path.parent / "store"
    merged, whole = files(store, "sharded"), files(store, "whole")
    own = [name for name in merged if name.startswith("passages")]
    assert len(own) == 4
    assert {name: merged[name] for name in merged if name not in own} == {
        name: whole[name] for name in whole if name != "passages.arrow"
    }
    with ragcore.open_memory(path, verify=True) as memory:
        assert [passage.id for passage in memory.passages] == [f"p{n}" for n in range(60)]
    assert [each for each in progress if each[0] == "built"] == [
        ("built", done, 4) for done in (1, 2, 3, 4)
    ]
    passages = [(done, total) for stage, done, total in progress if stage == "passages"]
    assert passages[-1][0] == 60
    # The default folder of the shards is not needed any more.
    assert not (path.parent / "store-shards").exists()


def test_an_index_that_needs_training_is_trained_once(pipeline: Callable[..., Path]) -> None:
    path = pipeline(FAISS.format("SQ8"))
    out = path.parent / "shards"
    built = ragcore.build_in_shards(path, runner=here(), shards=3, out=out, version="sharded")
    assert built.encodings is not None
    assert built.encodings.encoded == 60
    trainings = {Catalog(out).manifest(f"shard-{n}-of-3").shard.training for n in range(3)}
    assert len(trainings) == 1
    assert None not in trainings
    ragcore.train_index(path, out=path.parent / "training")
    record = (path.parent / "training" / "training.json").read_bytes()
    assert (out / "training" / "training.json").read_bytes() == record
    # Another version goes on with training and shards.
    made = (out / "training" / "training.json").stat().st_mtime_ns
    ragcore.build_in_shards(path, runner=here(), shards=3, out=out, version="again")
    assert (out / "training" / "training.json").stat().st_mtime_ns == made
    with (
        ragcore.open_memory(path, version="sharded") as one,
        ragcore.open_memory(path, version="again") as two,
    ):
        assert answers(one) == answers(two)


@pytest.mark.parametrize(
    ("factory", "needed"),
    [
        ("Flat", False),
        ("HNSW32", False),
        ("HNSW32,Flat", False),
        ("IDMap,Flat", False),
        ("SQfp16", False),
        ("SQ8", True),
        ("IVF16,Flat", True),
        ("OPQ8,IVF16,PQ8", True),
        ("HNSW32,SQ8", True),
        ("PCA16,Flat", True),
        ("LSHr", True),
    ],
)
def test_the_factory_tells_whether_an_index_needs_training(factory: str, needed: bool) -> None:
    from ragcore_faiss.config import FaissConfig

    assert FaissConfig(factory=factory).needs_training is needed


def test_a_shard_of_another_corpus_is_named_and_the_others_stay(
    pipeline: Callable[..., Path],
) -> None:
    path = pipeline(DENSE)
    out = path.parent / "shards"
    ragcore.build_shard(path, number=1, of=3, out=out)
    write_corpus(path.parent, 61)
    with pytest.raises(ComponentError) as raised:
        ragcore.build_in_shards(path, runner=here(), shards=3, out=out)
    message = str(raised.value)
    assert message.startswith(f"1 of 3 shards failed, and the others are in {out}: ")
    assert "\n  shard 1/3: " in message
    assert "has 'shard-1-of-3' already, built from another corpus" in message
    assert isinstance(raised.value.__cause__, VersionExistsError)
    assert sorted(info.name for info in Store(out).versions()) == [
        f"shard-{number}-of-3" for number in range(3)
    ]
    built = ragcore.build_in_shards(path, runner=here(), shards=3, out=out, fresh=True)
    assert built.passages == 61


def test_lost_shards_are_named_and_built_by_the_next_run(pipeline: Callable[..., Path]) -> None:
    path = pipeline(DENSE)
    progress = []
    with pytest.raises(ComponentError) as raised:
        ragcore.build_in_shards(
            path,
            runner=here(0, 2, 3, 4, 5, 6),
            shards=8,
            progress=lambda *each: progress.append(each),
        )
    message = str(raised.value)
    # Lost shards are not built.
    assert [each for each in progress if each[0] == "built"] == [("built", 1, 8), ("built", 2, 8)]
    assert message.startswith("6 of 8 shards failed")
    assert "\n  shard 2/8: the power failed\n" in message
    assert message.endswith("\n  and 1 more")
    out = path.parent / "store-shards"
    made = {path: path.stat().st_mtime_ns for path in out.glob("versions/*/manifest.json")}
    assert len(made) == 2
    with pytest.raises(ComponentError, match=r"1 of 8 shards failed.*\n  shard 2/8: the power"):
        ragcore.build_in_shards(path, runner=here(2), shards=8)
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert ragcore.build_in_shards(path, runner=here(), shards=8).passages == 60
    assert not out.exists()


def test_a_build_that_was_killed_while_it_removed_its_shards_is_repeated(
    pipeline: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ragcore_faiss", reason="ragcore-faiss is not installed")
    path, remove = pipeline(FAISS.format("SQ8")), os.unlink
    shards, store = path.parent / "store-shards", path.parent / "store"
    left, removed = 0, 0

    class Killed(BaseException):
        """No error, so that nothing handles it."""

    def unlink(*arguments: Any, **options: Any) -> None:
        nonlocal left, removed
        # What is removed before the merged version is in place does not count.
        if (store / "CURRENT").exists():
            left -= 1
            removed += 1
            if left < 0:
                raise Killed
        remove(*arguments, **options)

    def build() -> None:
        ragcore.build_in_shards(path, runner=here(), shards=2)

    # Shards and training have more than a dozen files.
    for files_before in (0, 1, 5, 9, 12):
        left = files_before
        with monkeypatch.context() as patched:
            patched.setattr(os, "unlink", unlink)
            with pytest.raises(Killed):
                build()
        assert shards.exists()
        build()
        assert not shards.exists()
        with ragcore.open_memory(path, verify=True) as memory:
            assert len(memory.passages) == 60
        shutil.rmtree(store)
    assert removed == 1 + 2 + 6 + 10 + 13


def test_shards_of_another_number_are_refused_before_any_is_built(
    pipeline: Callable[..., Path],
) -> None:
    path = pipeline(DENSE)
    with pytest.raises(ComponentError, match="1 of 4 shards failed"):
        ragcore.build_in_shards(path, runner=here(2), shards=4)
    runner = here()
    with pytest.raises(StoreError, match=r"of a build in 4 shards, and this one is in 3: .*--out"):
        ragcore.build_in_shards(path, runner=runner, shards=3)
    assert runner.opened == 0
    out = path.parent / "elsewhere"
    assert ragcore.build_in_shards(path, runner=runner, shards=3, out=out).passages == 60


def test_a_training_of_something_else_is_refused_before_any_shard_is_built(
    pipeline: Callable[..., Path],
) -> None:
    path = pipeline(FAISS.format("SQ8"))
    with pytest.raises(ComponentError, match="3 of 3 shards failed"):
        ragcore.build_in_shards(path, runner=here(0, 1, 2), shards=3)
    change_seed(path)
    runner = here()
    with pytest.raises(MemoryMismatchError, match=r"trained with words\(seed=0.*--fresh"):
        ragcore.build_in_shards(path, runner=runner, shards=3)
    path.write_text(path.read_text().replace("SQ8", '"IVF4,Flat", train_size: 60'))
    with pytest.raises(MemoryMismatchError, match=r"--fresh"):
        ragcore.build_in_shards(path, "memory.retriever.encoder.seed=0", runner=runner, shards=3)
    assert runner.opened == 0
    assert ragcore.build_in_shards(path, runner=runner, shards=3, fresh=True).passages == 60


def test_faults_are_found_before_anything_is_built(
    pipeline: Callable[..., Path], installed: Installed
) -> None:
    path = pipeline(DENSE)
    installed.add("longest", LONGEST)
    runner = here()
    with pytest.raises(ConfigError, match="0 shards"):
        ragcore.build_in_shards(path, runner=runner, shards=0)
    ragcore.build_memory(path, version="v1")
    with pytest.raises(VersionExistsError, match="'v1'"):
        ragcore.build_in_shards(path, runner=runner, shards=2, version="v1")
    with pytest.raises(UnsupportedOperation, match="'merge'"):
        ragcore.build_in_shards(
            path,
            "memory.retriever={use: longest}",
            runner=runner,
            shards=2,
        )
    assert runner.opened == 0


def test_the_command_names_runners_settings_and_missing_options(
    pipeline: Callable[..., Path],
    installed: Installed,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = str(pipeline(DENSE))
    installed.add("here", RUNNER)
    build = ["memory", "build", path]
    for arguments, message in (
        (["--on", "here"], "--on here without --shards"),
        (["--shards", "3"], "--shards without --on"),
        (["--on-option", "lose=[1]"], "--on-option lose=[1] without --on"),
        (["--on", "here", "--shards", "3", "--shard", "0/3"], "leave one of the two out"),
        (["--on", "ray", "--shards", "3"], "runner 'ray' is not installed: pip install"),
        (["--on", "hera", "--shards", "3"], "did you mean 'here'? installed: here, processes"),
        (
            ["--on", "here", "--shards", "3", "--on-option", "loose=1"],
            "setting 'loose=1': unknown key 'loose' in runner 'here'",
        ),
        (
            ["--on", "here", "--shards", "3", "--on-option", "lose=[1]"],
            "shard 1/3: the power failed",
        ),
    ):
        assert main([*build, *arguments]) == 2
        assert message in capsys.readouterr().err
    assert main([*build, "--on", "here", "--shards", "3", "--version", "v", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["name"], row["passages"], row["encodings"]["encoded"]) == ("v", 60, 20)
    assert os.listdir(Path(path).parent / "store" / "versions") == ["v"]
