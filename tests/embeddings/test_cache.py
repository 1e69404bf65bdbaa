"""The embedding cache: no text is encoded twice, and no vector is another than the encoder's."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragcore.embeddings.cache import EmbeddingCache, Encodings
from ragcore.embeddings.database import VectorFile, vector_files
from ragcore.embeddings.upkeep import clear, encoders, evict, forget, size_of
from ragcore.errors import ComponentError
from ragcore.registry.components import ComponentSpec
from ragcore.retrievers.dense import Dense
from ragcore.retrievers.hybrid import Hybrid
from ragcore.store.diff import Changes
from ragcore.store.manifest import Manifest
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.word_encoder import Vectors, WordEncoder, dense_part

LARGE = 1e12
PASSAGES = [Passage(f"p{n}", f"t{n}", "word " * (n * 7 % 11) + f"w{n}") for n in range(40)]
NOBODY = 65534


class Counting(WordEncoder):
    """A word encoder that records which texts it encodes."""

    encoded: ClassVar[list[str]] = []

    def encode_passages(self, passages: Sequence[Passage]) -> Vectors:
        Counting.encoded.extend(passage.text for passage in passages)
        return super().encode_passages(passages)


@pytest.fixture(autouse=True)
def count_from_zero() -> None:
    Counting.encoded = []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def part(**settings: Any) -> ComponentSpec:
    encoder = ComponentSpec("encoder", "counting", Counting, WordEncoder.Config(**settings))
    config = dense_part().config.model_copy(update={"encoder": encoder, "batch_size": 4})
    return ComponentSpec("retriever", "dense", Dense, config)


def look_up(
    folder: Path | None,
    passages: Sequence[Passage] = PASSAGES,
    max_bytes: float = LARGE,
    **settings: Any,
) -> tuple[Vectors, Encodings]:
    """Return the vectors of passages through a cache, and how they came about."""
    encoder = Counting(WordEncoder.Config(**settings))
    with EmbeddingCache(folder, max_bytes) as cache:
        vectors = cache.vectors(encoder.fingerprint, encoder.dim, passages, encoder.encode_passages)
    assert cache.encodings is not None
    return vectors, cache.encodings


def direct(passages: Sequence[Passage] = PASSAGES, **settings: Any) -> Vectors:
    return WordEncoder(WordEncoder.Config(**settings)).encode_passages(passages)


def same(vectors: Vectors, expected: Vectors) -> None:
    assert vectors.dtype == np.float32
    assert vectors.flags.writeable
    assert vectors.tobytes() == expected.tobytes()


def files(store: Store, version: str) -> dict[str, str]:
    manifest = Manifest.read(store.folder / "versions" / version)
    return {name: record.sha256 for name, record in manifest.files.items()}


def build(store: Store, folder: Path | None, spec: ComponentSpec, version: str = "v") -> Encodings:
    with EmbeddingCache(folder, LARGE) as cache:
        store.build(version, PASSAGES, spec, batch=10, cache=cache)
    assert cache.encodings is not None
    return cache.encodings


def test_another_store_and_a_members_twin_encode_nothing(tmp_path: Path, folder: Path) -> None:
    plain = Store(tmp_path / "plain")
    assert build(plain, None, part()) == Encodings(40, 0)
    first, second = Store(tmp_path / "first"), Store(tmp_path / "second")
    assert build(first, folder, part()) == Encodings(40, 0)
    Counting.encoded = []
    assert build(second, folder, part()) == Encodings(0, 40)
    assert build(second, folder, part(), "again") == Encodings(0, 40)
    assert Counting.encoded == []
    assert files(first, "v") == files(second, "v") == files(second, "again") == files(plain, "v")

    config = Hybrid.Config(retrievers=[part(), part(seed=1), part(seed=1)])
    hybrid = ComponentSpec("retriever", "hybrid", Hybrid, config)
    assert build(Store(tmp_path / "hybrid"), folder, hybrid) == Encodings(40, 80)


def test_twins_in_a_hybrid_share_what_is_not_written_yet(tmp_path: Path, folder: Path) -> None:
    config = Hybrid.Config(retrievers=[part(), part()])
    hybrid = ComponentSpec("retriever", "hybrid", Hybrid, config)
    assert build(Store(tmp_path / "hybrid"), folder, hybrid) == Encodings(40, 40)


def test_an_update_of_ids_and_metadata_encodes_nothing(tmp_path: Path, folder: Path) -> None:
    store = Store(tmp_path / "store")
    build(store, folder, part())
    Counting.encoded = []
    moved = Passage("p3", PASSAGES[3].title, PASSAGES[3].text, {"revision": 7})
    renamed = Passage("other", PASSAGES[4].title, PASSAGES[4].text)
    retitled = Passage("p5", "another", PASSAGES[5].text)
    changes = Changes({each.id: each for each in (moved, renamed, retitled)}, {"p4": "here"})
    with EmbeddingCache(folder, LARGE) as cache:
        updated = store.update("next", changes, parent="v", retriever=part(), cache=cache)
    assert (updated.added, updated.changed, updated.removed) == (1, 2, 1)
    assert cache.encodings == Encodings(1, 2)
    assert Counting.encoded == [PASSAGES[5].text]


def test_equal_texts_of_one_batch_are_encoded_once(folder: Path) -> None:
    twice = [*PASSAGES[:5], *PASSAGES[:5], PASSAGES[0]]
    vectors, encodings = look_up(folder, twice)
    same(vectors, direct(twice))
    assert encodings == Encodings(5, 6)


def test_title_and_text_are_kept_apart(folder: Path) -> None:
    pairs = [Passage("1", "a", "bc"), Passage("2", "ab", "c"), Passage("3", "", "abc")]
    assert look_up(folder, pairs)[1] == Encodings(3, 0)


def test_encoders_and_lengths_are_kept_apart(folder: Path) -> None:
    for settings in ({"seed": 0}, {"seed": 1}, {"dim": 8}):
        vectors, encodings = look_up(folder, **settings)
        same(vectors, direct(**settings))
        assert encodings == Encodings(40, 0)
    assert sorted(each.dim for each in encoders(folder)) == [8, 32, 32]


def test_without_a_folder_encodings_are_counted_and_nothing_is_kept(tmp_path: Path) -> None:
    for _ in range(2):
        assert look_up(None)[1] == Encodings(40, 0)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_counted_where_nothing_was_asked_for(folder: Path) -> None:
    with EmbeddingCache(folder, LARGE) as cache:
        pass
    assert cache.encodings is None
    assert not folder.exists()


def test_all_can_be_encoded_again(folder: Path) -> None:
    look_up(folder)
    encoder = Counting(WordEncoder.Config(seed=5))
    with EmbeddingCache(folder, LARGE, read=False) as cache:
        # Of the same fingerprint, as if the first encoder had been at fault.
        cache.vectors("words(seed=0,d=32)", 32, PASSAGES, encoder.encode_passages)
    assert cache.encodings == Encodings(40, 0)
    same(look_up(folder)[0], direct(seed=5))


def test_an_interrupted_build_ends_as_if_it_had_not_been(tmp_path: Path, folder: Path) -> None:
    def failing() -> Iterator[Passage]:
        yield from PASSAGES[:25]
        raise KeyboardInterrupt

    whole, store = Store(tmp_path / "whole"), Store(tmp_path / "store")
    build(whole, None, part())
    Counting.encoded = []
    with pytest.raises(KeyboardInterrupt), EmbeddingCache(folder, LARGE) as cache:
        store.build("v", failing(), part(), batch=10, cache=cache)
    clear(folder)
    assert build(store, folder, part()) == Encodings(20, 0, resumed=20)
    assert sorted(Counting.encoded) == sorted(passage.text for passage in PASSAGES)
    assert files(store, "v") == files(whole, "v")
    assert look_up(folder)[1] == Encodings(0, 40)


def test_vectors_of_another_shape_are_refused(folder: Path) -> None:
    with EmbeddingCache(folder, LARGE) as cache:
        for shape in ((2, 32), (3, 31), (96,)):
            wrong = np.zeros(shape, np.float32)
            with pytest.raises(ComponentError, match=r"expected \(3, 32\)"):
                cache.vectors("words", 32, PASSAGES[:3], lambda _, wrong=wrong: wrong)
    assert look_up(folder)[1] == Encodings(40, 0)


def test_a_cache_that_is_emptied_meanwhile_stops_no_build(folder: Path) -> None:
    encoder = WordEncoder(WordEncoder.Config())
    with EmbeddingCache(folder, LARGE) as cache:
        for start in (0, 20):
            some = PASSAGES[start : start + 20]
            vectors = cache.vectors(encoder.fingerprint, 32, some, encoder.encode_passages)
            same(vectors, direct(some))
            clear(folder)
    same(look_up(folder)[0], direct())
    assert look_up(folder)[1] == Encodings(0, 40)


operations = st.one_of(
    st.tuples(st.just("look up"), st.lists(st.integers(0, 39), max_size=60)),
    st.tuples(st.just("evict"), st.integers(0, 200_000)),
    st.tuples(st.just("forget"), st.lists(st.integers(0, 39), max_size=9)),
    st.tuples(st.just("damage"), st.integers(0, 1 << 24)),
    st.tuples(st.just("cut"), st.integers(0, 1 << 24)),
)


@given(
    steps=st.lists(operations, max_size=8),
    last=st.lists(st.integers(0, 39), min_size=1, max_size=60),
    max_bytes=st.sampled_from([0, 60_000, LARGE]),
)
def test_a_warm_evicted_or_damaged_cache_changes_no_vector(
    steps: list[tuple[str, Any]], last: list[int], max_bytes: float
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "cache")
        for act, detail in [*steps, ("look up", last)]:
            match act:
                case "look up":
                    chosen = [PASSAGES[number] for number in detail]
                    if chosen:
                        vectors, encodings = look_up(folder, chosen, max_bytes)
                        same(vectors, direct(chosen))
                        assert encodings.encoded + encodings.from_cache == len(chosen)
                case "evict":
                    evict(folder, detail)
                case "forget":
                    forget(folder, [PASSAGES[number] for number in detail])
                case "damage":
                    flip(folder, detail)
                case "cut":
                    for path in vector_files(folder):
                        os.truncate(path, detail % (path.stat().st_size + 1))


def flip(folder: Path, position: int) -> None:
    """Change one bit of each file."""
    for path in vector_files(folder):
        data = bytearray(path.read_bytes())
        if data:
            data[position % len(data)] ^= 1 << position % 8
            path.write_bytes(data)


def test_a_vector_that_the_disk_has_changed_is_encoded_again(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    look_up(folder)
    (path,) = vector_files(folder)
    data = path.read_bytes()
    position = data.index(direct()[7].tobytes())
    path.write_bytes(data[: position + 9] + bytes([data[position + 9] ^ 1]) + data[position + 10 :])
    vectors, encodings = look_up(folder)
    same(vectors, direct())
    assert encodings == Encodings(1, 39)
    assert "the disk has changed 1 of its vectors" in caplog.text
    assert look_up(folder)[1] == Encodings(0, 40)


@pytest.mark.parametrize("content", [b"", b"not a database" * 999])
def test_a_file_that_is_no_database_is_begun_anew(
    folder: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    look_up(folder)
    (path,) = vector_files(folder)
    path.write_bytes(content)
    same(look_up(folder)[0], direct())
    assert f"{path} is damaged" in caplog.text
    assert look_up(folder)[1] == Encodings(0, 40)
    assert not path.exists()


def test_a_file_of_another_encoder_is_not_used(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    look_up(folder, seed=1)
    (other,) = vector_files(folder)
    look_up(folder)
    (own,) = set(vector_files(folder)) - {other}
    own.write_bytes(other.read_bytes())
    same(look_up(folder)[0], direct())
    assert "another encoder" in caplog.text


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """Let no file become larger, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_stops_no_build(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    look_up(folder, PASSAGES[:20])
    many = [*PASSAGES, *(Passage(str(n), "", f"more {n}") for n in range(3000))]
    with file_limit(vector_files(folder)[0].stat().st_size + 40_000):
        vectors, encodings = look_up(folder, many)
    same(vectors, direct(many))
    assert encodings == Encodings(3020, 20)
    assert "the build goes on without it" in caplog.text
    # What was there still is.
    assert look_up(folder, PASSAGES[:20])[1] == Encodings(0, 20)


@contextmanager
def as_nobody(*folders: Path) -> Iterator[None]:
    """Run as a user who may write nothing, where the tests run as root."""
    for folder in folders:
        folder.chmod(0o555)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        for folder in folders:
            folder.chmod(0o755)


def test_a_folder_that_cannot_be_written_is_read(caplog: pytest.LogCaptureFixture) -> None:
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        base.chmod(0o755)
        folder = base / "cache"
        folder.mkdir()
        look_up(folder, PASSAGES[:20])
        for path in folder.iterdir():
            path.chmod(0o444)
        with as_nobody(base, folder):
            vectors, encodings = look_up(folder)
            same(vectors, direct())
            assert encodings == Encodings(20, 20)
            assert "cannot be written" in caplog.text
            same(look_up(folder, seed=1)[0], direct(seed=1))
            same(look_up(base / "none")[0], direct())
        assert "the build goes on without it" in caplog.text


def test_a_path_that_is_no_folder_stops_no_build(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    same(look_up(file)[0], direct())
    same(look_up(file / "below")[0], direct())
    assert caplog.text.count("the build goes on without it") == 2


def test_the_folder_is_the_users_alone(tmp_path: Path) -> None:
    look_up(tmp_path / "a" / "cache")
    assert (tmp_path / "a" / "cache").stat().st_mode & 0o077 == 0


def texts(word: str, count: int) -> list[Passage]:
    return [Passage(str(n), "", f"{word}{n}") for n in range(count)]


def use_at(folder: Path, when: int, **settings: Any) -> None:
    """Let the blocks of an encoder have been used at a time, in seconds since 1970."""
    encoder = WordEncoder(WordEncoder.Config(**settings))
    path = VectorFile.path_of(folder, encoder.fingerprint, encoder.dim)
    assert path is not None
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE blocks SET used = ?", (when,))
    connection.close()


def test_the_least_recently_used_make_room(folder: Path) -> None:
    names = ("oldest", "old", "used")
    for seed, name in enumerate(names):
        look_up(folder, texts(name, 3000), seed=seed)
        use_at(folder, 100 + seed, seed=seed)
    # The last one that was added has not been used for the longest time, and then is.
    use_at(folder, 99, seed=2)
    look_up(folder, texts("used", 3000), seed=2)
    limit = size_of(folder) * 0.9
    look_up(folder, texts("new", 2000), max_bytes=limit, seed=4)
    assert size_of(folder) <= limit
    counts = [
        look_up(folder, texts(name, 3000), seed=seed)[1].from_cache
        for seed, name in enumerate(names)
    ]
    assert counts == [0, counts[1], 3000]
    assert counts[1] > 900
    assert look_up(folder, texts("new", 2000), seed=4)[1] == Encodings(0, 2000)


def test_a_build_larger_than_the_cache_keeps_what_it_added_first(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that little is much.
    monkeypatch.setattr("ragcore.embeddings.cache._WRITE_AT", 200_000)
    many, limit = texts("many", 8000), 1_000_000
    for _ in range(2):
        encoder = WordEncoder(WordEncoder.Config())
        with EmbeddingCache(folder, limit) as cache:
            for start in range(0, len(many), 500):
                some = many[start : start + 500]
                vectors = cache.vectors("words", 32, some, encoder.encode_passages)
                same(vectors, direct(some))
        assert size_of(folder) <= limit
    assert cache.encodings is not None
    assert cache.encodings.from_cache > 3000
    assert "is full" in caplog.text
    assert look_up(folder, many[:500])[1] != Encodings(0, 500), "of another encoder"


def test_forgotten_texts_are_not_in_the_files(folder: Path) -> None:
    for seed in (0, 1):
        look_up(folder, seed=seed)
    secrets = [direct(PASSAGES[7:8], seed=seed).tobytes() for seed in (0, 1)]
    assert sum(has(folder, secret) for secret in secrets) == 2
    forgotten = forget(folder, [Passage("any id", PASSAGES[7].title, PASSAGES[7].text)])
    assert (forgotten.vectors, forgotten.left) == (2, {})
    assert not any(has(folder, secret) for secret in secrets)
    assert look_up(folder)[1] == Encodings(1, 39)
    assert forget(folder / "none", PASSAGES).vectors == 0


def has(folder: Path, data: bytes) -> bool:
    return any(data in path.read_bytes() for path in folder.iterdir())


def test_what_cannot_be_forgotten_is_named(folder: Path) -> None:
    look_up(folder)
    look_up(folder, seed=1)
    damaged = vector_files(folder)[0]
    damaged.write_bytes(b"nothing" * 999)
    forgotten = forget(folder, PASSAGES[:3])
    assert forgotten.vectors == 3
    assert list(forgotten.left) == [str(damaged)]


def test_eviction_and_a_listing_survive_a_damaged_file(folder: Path) -> None:
    look_up(folder)
    look_up(folder, seed=1)
    vector_files(folder)[0].write_bytes(b"nothing" * 999)
    assert [each.broken is None for each in encoders(folder)] == [False, True]
    evict(folder, 0)
    (left,) = encoders(folder)
    assert left.vectors == 0


PROGRAM = """
import sys
from pathlib import Path
from tests.embeddings.test_cache import LARGE, direct, same, texts
from tests.helpers.word_encoder import WordEncoder
from ragcore.embeddings import cache as room
from ragcore.embeddings.cache import EmbeddingCache
room._WRITE_AT = 20_000
folder, first, last, rounds = Path(sys.argv[1]), *map(int, sys.argv[2:])
passages = texts("shared", last)[first:]
print("ready", flush=True)
for turn in range(rounds):
    encoder = WordEncoder(WordEncoder.Config())
    with EmbeddingCache(folder, LARGE, read=turn % 2 == 0) as cache:
        for start in range(0, len(passages), 50):
            some = passages[start : start + 50]
            same(cache.vectors("words(seed=0,d=32)", 32, some, encoder.encode_passages),
                 direct(some))
"""


def start(folder: Path, first: int, last: int, rounds: int) -> subprocess.Popen[bytes]:
    arguments = [str(folder), str(first), str(last), str(rounds)]
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM, *arguments],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_processes_write_at_the_same_time(folder: Path) -> None:
    programs = [start(folder, first, first + 600, 2) for first in (0, 300, 0)]
    for program in programs:
        _, errors = program.communicate(timeout=300)
        assert program.returncode == 0, errors.decode()
        assert errors == b""
    assert look_up(folder, texts("shared", 900))[1] == Encodings(0, 900)
    assert len(vector_files(folder)) == 1


def test_a_killed_process_leaves_whole_vectors(folder: Path) -> None:
    for turn in range(3):
        program = start(folder, 0, 2000, 1000)
        assert program.stdout is not None
        assert program.stdout.readline() == b"ready\n"
        # Until it has written something.
        while program.poll() is None and size_of(folder) < 200_000:
            pass
        program.send_signal(signal.SIGKILL)
        program.communicate()
        assert program.returncode == -signal.SIGKILL
        vectors, encodings = look_up(folder, texts("shared", 2000))
        same(vectors, direct(texts("shared", 2000)))
        if turn == 0:
            assert encodings.from_cache > 0
        with VectorFile(vector_files(folder)[0]) as file:
            check = file._connection.execute("PRAGMA integrity_check").fetchone()
        assert check == (b"ok",)
        clear(folder)
