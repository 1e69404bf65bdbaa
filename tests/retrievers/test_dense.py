"""The retriever `dense`: an encoder and an index behave as one retriever."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ragcore.errors import (
    ComponentError,
    MemoryMismatchError,
    StoreCorruptError,
    UnsupportedOperation,
)
from ragcore.registry.components import ComponentSpec
from ragcore.retrievers.dense import Dense
from ragcore.retrievers.flat import Exact
from ragcore.types import MISSING_ROW, Passage
from tests.helpers.word_encoder import Vectors, WordEncoder, dense_part

PASSAGES = [Passage(str(n), f"t{n}", "word " * (n % 7) + f"w{n}") for n in range(30)]
QUESTIONS = ["t3 w3", "w29", "word word w5"]


def filled(spec: ComponentSpec) -> Dense:
    dense: Dense = spec.build()
    dense.add(np.arange(20), PASSAGES[:20])
    dense.add(np.arange(20, 30), PASSAGES[20:])
    return dense


def spec_with(encoder: type | None = None, index: type | None = None) -> ComponentSpec:
    config = dense_part().config
    assert isinstance(config, Dense.Config)
    components: dict[str, Any] = {"encoder": config.encoder, "index": config.index}
    if encoder is not None:
        components["encoder"] = ComponentSpec("encoder", "own", encoder, WordEncoder.Config())
    if index is not None:
        components["index"] = ComponentSpec("index", "own", index, Exact.Config())
    return ComponentSpec("retriever", "dense", Dense, Dense.Config(**components))


def test_scores_are_inner_products_of_the_encoders_vectors() -> None:
    encoder = WordEncoder(WordEncoder.Config())
    expected = encoder.encode_questions(QUESTIONS).numpy() @ encoder.encode_passages(PASSAGES).T
    hits = filled(dense_part()).search(QUESTIONS, 5)
    for rows, scores, all_scores in zip(hits.rows, hits.scores, expected, strict=True):
        np.testing.assert_allclose(scores, np.sort(all_scores)[::-1][:5], rtol=1e-5)
        np.testing.assert_allclose(scores, all_scores[rows], rtol=1e-5)


def test_the_batch_size_changes_no_bit() -> None:
    single, batched = (
        filled(dense_part(batch_size=size)).search(QUESTIONS, 30) for size in (1, 64)
    )
    np.testing.assert_array_equal(single.rows, batched.rows)
    np.testing.assert_array_equal(single.scores, batched.scores)


def test_passages_are_encoded_in_batches_of_similar_length() -> None:
    class Noting(WordEncoder):
        def encode_passages(self, passages: Sequence[Passage]) -> Vectors:
            seen.append([len(passage.text) for passage in passages])
            return super().encode_passages(passages)

    seen: list[list[int]] = []
    config = spec_with(encoder=Noting).config.model_copy(update={"batch_size": 8})
    Dense(config).add(np.arange(30), PASSAGES)
    assert [len(batch) for batch in seen] == [8, 8, 8, 6]
    lengths = [length for batch in seen for length in batch]
    assert lengths == sorted(lengths)


def test_search_encodes_without_gradient() -> None:
    class Learning(WordEncoder):
        def encode_questions(self, questions: Sequence[str]) -> torch.Tensor:
            weight = torch.ones(self.dim, requires_grad=True)
            encoded = super().encode_questions(questions) * weight
            flags.append(encoded.requires_grad)
            return encoded

    flags: list[bool] = []
    filled(spec_with(encoder=Learning)).search(QUESTIONS, 2)
    assert flags == [False]


def test_the_encoder_is_built_on_first_use(tmp_path: Path) -> None:
    class Costly(WordEncoder):
        def __init__(self, config: WordEncoder.Config) -> None:
            super().__init__(config)
            instances.append(self)

    instances: list[Costly] = []
    spec = spec_with(encoder=Costly)
    filled(spec).save(tmp_path)
    instances.clear()
    loaded = Dense.load(tmp_path, spec.config)
    assert len(loaded) == 30
    assert instances == []
    assert loaded.fingerprint == "words(seed=0,d=32)"
    assert len(instances) == 1


def test_two_open_retrievers_share_the_encoder() -> None:
    first, second = filled(dense_part(seed=5)), filled(dense_part(seed=5))
    assert first._encoder is second._encoder


def test_a_loaded_retriever_finds_the_same(tmp_path: Path) -> None:
    spec = dense_part()
    dense = filled(spec)
    dense.save(tmp_path)
    loaded = Dense.load(tmp_path, spec.config)
    expected, hits = dense.search(QUESTIONS, 4), loaded.search(QUESTIONS, 4)
    np.testing.assert_array_equal(hits.rows, expected.rows)
    np.testing.assert_array_equal(hits.scores, expected.scores)


def test_an_empty_retriever_finds_nothing() -> None:
    hits = dense_part().build().search(QUESTIONS, 2)
    assert (hits.rows == MISSING_ROW).all()
    assert hits.rows.shape == (3, 2)


def test_it_can_add_and_remove_with_any_index() -> None:
    class Minimal(Exact):
        capabilities = frozenset({"exact"})

        def remove(self, rows: Any) -> None:
            raise AssertionError("asked for what it does not declare")

    every = {"add", "cache", "compact", "exact", "filter", "merge", "mmap", "remove", "scratch"}
    assert dense_part().build().capabilities == every
    dense = filled(spec_with(index=Minimal))
    assert dense.capabilities == {"add", "cache", "compact", "exact", "merge", "remove", "scratch"}
    dense.remove(np.array([3]))
    assert 3 not in dense.search(["t3 w3"], 29).rows
    with pytest.raises(UnsupportedOperation, match="index 'own' does not support 'filter'"):
        dense.search(QUESTIONS, 1, allowed=np.array([1]))


def test_a_memory_of_the_first_release_is_opened(tmp_path: Path) -> None:
    dense = filled(dense_part())
    dense.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dense.json", "index"]
    (tmp_path / "dense.json").write_text('{"index": "exact"}')
    loaded = Dense.load(tmp_path, dense_part().config)
    loaded.remove(np.array([3]))
    loaded.add(np.array([40]), [PASSAGES[3]])
    assert loaded.search(["t3 w3"], 1).rows.tolist() == [[40]]


def test_rows_are_removed_and_allowed_by_the_index() -> None:
    dense = filled(dense_part())
    assert dense.search(["t3 w3"], 1).rows.tolist() == [[3]]
    dense.remove(np.array([3]))
    assert len(dense) == 29
    assert 3 not in dense.search(["t3 w3"], 29).rows
    assert dense.search(["t3 w3"], 1, allowed=np.array([9])).rows.tolist() == [[9]]


def test_files_of_another_index_are_refused(tmp_path: Path) -> None:
    filled(dense_part()).save(tmp_path)
    with pytest.raises(MemoryMismatchError, match=r"index 'exact', but .* 'own'.* to exact"):
        Dense.load(tmp_path, spec_with(index=Exact).config)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreCorruptError, match=r"dense\.json"):
        Dense.load(tmp_path, dense_part().config)


def test_an_encoder_of_wrong_shape_or_nan_is_named() -> None:
    class Narrow(WordEncoder):
        def encode_passages(self, passages: Sequence[Passage]) -> Vectors:
            return super().encode_passages(passages)[:, :-1]

    class Broken(WordEncoder):
        def encode_questions(self, questions: Sequence[str]) -> torch.Tensor:
            return super().encode_questions(questions) * float("nan")

    with pytest.raises(ComponentError, match=r"encoder 'own' .* \(20, 31\).*\(20, 32\)"):
        filled(spec_with(encoder=Narrow))
    with pytest.raises(ComponentError, match="encoder 'own' gave a vector with NaN"):
        filled(spec_with(encoder=Broken)).search(QUESTIONS, 1)


class Choosing(WordEncoder):
    """An encoder that chooses its seed by the machine, where the config leaves it open."""

    here = 5

    class Config(WordEncoder.Config):
        seed: int = 0

    def __init__(self, config: Config) -> None:
        super().__init__(config.model_copy(update={"seed": config.seed or self.here}))

    def chosen(self) -> dict[str, str]:
        return {"seed": str(self.config.seed)}

    @classmethod
    def with_chosen(cls, config: Config, chosen: dict[str, str]) -> Config:
        return config if config.seed else config.model_copy(update={"seed": int(chosen["seed"])})


def test_what_an_encoder_chose_is_kept_with_its_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = spec_with().config
    encoder = ComponentSpec("encoder", "own", Choosing, Choosing.Config())
    spec = ComponentSpec(
        "retriever", "dense", Dense, config.model_copy(update={"encoder": encoder})
    )
    built = filled(spec)
    monkeypatch.setattr(Choosing, "here", 6)
    assert Choosing(Choosing.Config()).fingerprint != built.fingerprint
    for number in range(2):
        # Saved by a retriever that has encoded, then by one that has not.
        (tmp_path / str(number)).mkdir()
        built.save(tmp_path / str(number))
        built = Dense.load(tmp_path / str(number), spec.config)
    assert built.fingerprint == "words(seed=5,d=32)"
    own = WordEncoder(WordEncoder.Config(seed=5))
    expected = own.encode_questions(QUESTIONS).numpy() @ own.encode_passages(PASSAGES).T
    found = built.search(QUESTIONS, 1).scores[:, 0]
    np.testing.assert_allclose(found, expected.max(axis=1), rtol=1e-5)
