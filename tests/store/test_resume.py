"""Test that a killed build of a dense memory is resumed and ends as if it had not been killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ragcore.registry.components import ComponentSpec
from ragcore.retrievers.dense import Dense
from ragcore.retrievers.hybrid import Hybrid
from ragcore.store.manifest import Manifest
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.word_encoder import Vectors, WordEncoder, dense_part

PASSAGES = [Passage(f"p{n}", f"t{n}", "word " * (n * 7 % 11) + f"w{n}") for n in range(40)]


class Counting(WordEncoder):
    """A word encoder that records which passages it encodes."""

    encoded: ClassVar[list[str]] = []

    def encode_passages(self, passages: Sequence[Passage]) -> Vectors:
        Counting.encoded.extend(passage.id for passage in passages)
        return super().encode_passages(passages)


@pytest.fixture(autouse=True)
def forget() -> None:
    Counting.encoded = []


def part(**settings: Any) -> ComponentSpec:
    encoder = ComponentSpec("encoder", "counting", Counting, WordEncoder.Config(**settings))
    config = dense_part().config.model_copy(update={"encoder": encoder, "batch_size": 4})
    return ComponentSpec("retriever", "dense", Dense, config)


def hybrid() -> ComponentSpec:
    config = Hybrid.Config(retrievers=[part(), part(seed=1)])
    return ComponentSpec("retriever", "hybrid", Hybrid, config)


def failing(after: int) -> Iterator[Passage]:
    yield from PASSAGES[:after]
    raise KeyboardInterrupt


def files(store: Store, version: str) -> dict[str, str]:
    manifest = Manifest.read(store.folder / "versions" / version)
    return {name: record.sha256 for name, record in manifest.files.items()}


def left(store: Store) -> list[str]:
    return sorted(path.name for path in (store.folder / "versions").iterdir())


@pytest.mark.parametrize("retriever", [part, hybrid])
def test_what_was_encoded_is_not_encoded_again(tmp_path: Path, retriever: Any) -> None:
    whole = Store(tmp_path / "whole")
    whole.build("v", PASSAGES, retriever(), batch=10)
    times = len(Counting.encoded) // len(PASSAGES)
    Counting.encoded = []

    store, steps = Store(tmp_path / "store"), []
    with pytest.raises(KeyboardInterrupt):
        store.build("v", failing(25), retriever(), batch=10)
    assert [name[:9] for name in left(store)] == [".scratch-"]
    # Under another name, as the next day gives it.
    store.build("w", PASSAGES, retriever(), batch=10, progress=lambda *step: steps.append(step))
    assert steps[0] == ("kept", 20, None)
    assert sorted(Counting.encoded) == sorted([passage.id for passage in PASSAGES] * times)
    assert files(store, "w") == files(whole, "v")
    assert left(store) == ["w"]


def test_a_passage_that_changed_meanwhile_is_encoded_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        store.build("v", failing(25), part(), batch=10)
    changed = [*PASSAGES[:3], Passage("p3", "t3", "other"), *PASSAGES[4:]]
    store.build("v", changed, part(), batch=10)
    memory = store.open(retriever=part())
    assert memory.hits(["other"], 1).rows.tolist() == [[3]]
    # Of the second ten, which are as they were, none.
    again = [name for name in Counting.encoded if Counting.encoded.count(name) > 1]
    assert set(again) <= {f"p{n}" for n in range(10)}


def test_fresh_begins_with_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        store.build("v", failing(25), part(), batch=10)
    Counting.encoded = []
    store.build("v", PASSAGES, part(), batch=10, fresh=True)
    assert sorted(Counting.encoded) == sorted(passage.id for passage in PASSAGES)


def test_another_encoder_does_not_take_these_vectors(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        store.build("v", failing(25), part(), batch=10)
    Counting.encoded = []
    store.build("other", PASSAGES, part(seed=1), batch=10)
    assert len(Counting.encoded) == len(PASSAGES)
    # And leaves it there.
    Counting.encoded = []
    store.build("v", PASSAGES, part(), batch=10)
    assert len(Counting.encoded) == len(PASSAGES) - 20


def test_two_builds_at_the_same_time_do_not_share(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def inner() -> Iterator[Passage]:
        yield from PASSAGES[:20]
        store.build("second", PASSAGES, part(), batch=10)
        yield from PASSAGES[20:]

    store.build("first", inner(), part(), batch=10)
    assert files(store, "first") == files(store, "second")
    assert left(store) == ["first", "second"]


DRIVER = """
import os, signal, sys
from pathlib import Path
from ragcore.store.store import Store
from tests.store import test_resume

whole, work = Path(sys.argv[1]), Path(sys.argv[2])
log = work / "log"


class Logging(test_resume.Counting):
    def encode_passages(self, passages):
        vectors = super().encode_passages(passages)
        with log.open("a") as file:
            file.write("".join(f"{passage.id}\\n" for passage in passages))
        return vectors


def build_until(step, folder):
    done = 0

    def count(event, arguments):
        # Every file that is opened, made or removed is announced before it happens. To open one for
        # reading changes nothing: the next event finds what this one would.
        nonlocal done
        reads = event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir") and not reads:
            if str(folder) in str(arguments[0]):
                done += 1
                if done == step:
                    os.kill(os.getpid(), signal.SIGKILL)

    test_resume.Counting = Logging
    sys.addaudithook(count)
    store = Store(folder)
    if not store.versions():
        store.build("v", test_resume.PASSAGES, test_resume.part(), batch=10)


def killed(step, folder):
    child = os.fork()
    if not child:
        build_until(step, folder)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


# Here rather than in a process of its own: the children inherit the modules that a build imports.
Store(whole).build("v", test_resume.PASSAGES, test_resume.part(), batch=10)
kills = []
for step in range(1, 1000):
    folder = work / str(step)
    log.write_text("")
    if not killed(step, folder):
        break
    before = len(log.read_text().split())
    # Kill it a second time, somewhere else, then let it finish.
    again = killed(15, folder)
    assert not killed(0, folder)
    assert test_resume.files(Store(folder), "v") == test_resume.files(Store(whole), "v"), step
    # What was being encoded when it was killed is encoded again: a batch of four each time.
    assert len(log.read_text().split()) <= len(test_resume.PASSAGES) + 4 * (1 + again), step
    kills.append(before)
print(len(kills), len({before for before in kills}))
"""


def test_a_build_killed_anywhere_ends_in_the_same_version(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(tmp_path / "whole"), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    kills, progresses = map(int, done.stdout.split())
    assert kills > 20
    # Before the first batch, after the last, and between any two.
    assert progresses >= 8
