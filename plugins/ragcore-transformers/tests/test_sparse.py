"""`sparse` scores as the library does, and as a product of dense matrices would."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_models as tiny
import torch
from ragcore_transformers import sparse as module
from ragcore_transformers.sparse import Sparse
from sentence_transformers import SparseEncoder

from ragcore.errors import (
    ComponentError,
    MemoryMismatchError,
    PluginError,
    StoreCorruptError,
    UnsupportedOperation,
)
from ragcore.types import MISSING_ROW, Passage

PASSAGES = [
    Passage("0", "Chad", "N'Djamena is the capital of Chad, a country of Africa."),
    Passage("1", "", "Who is the prime minister of Ethiopia? Abiy Ahmed Ali."),
    Passage("2", "Kenya", "What is the capital of Kenya? Nairobi, the largest city."),
    Passage("3", "", "Antananarivo lies in the highlands of Madagascar"),
    Passage("4", "Chad", "Chad"),
    Passage("5", "", "question: context"),
]
TEXTS = [f"{each.title}. {each.text}" if each.title else each.text for each in PASSAGES]
QUESTIONS = ["capital of Chad", "Nairobi?", "the highlands of Madagascar", ""]
KINDS: dict[str, Callable[[Path], Path]] = {
    "splade": tiny.save_sparse,
    "questions without a forward pass": lambda folder: tiny.save_sparse(
        folder, static_questions=True
    ),
    "static": tiny.save_sparse_static,
    "negative weights": lambda folder: tiny.save_sparse_static(folder, signed=True),
    "cosine": lambda folder: tiny.save_sparse_static(folder, similarity="cosine"),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: save(tmp_path_factory.mktemp("model")) for kind, save in KINDS.items()}


def built(folder: Path, numbers: list[int], **settings: object) -> Sparse:
    retriever = Sparse(Sparse.Config(model=str(folder), **settings))
    retriever.add(np.array(numbers), [PASSAGES[number] for number in numbers])
    return retriever


def scores_of(retriever: Sparse, questions: list[str]) -> np.ndarray:
    """The score of each passage [B, n]; NaN where it is no hit."""
    hits = retriever.search(questions, len(PASSAGES))
    scores = np.full(hits.rows.shape, np.nan, np.float32)
    for line, (rows, values) in enumerate(zip(hits.rows, hits.scores, strict=True)):
        scores[line, rows[rows != MISSING_ROW]] = values[rows != MISSING_ROW]
    return scores


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("most", [None, 4])
def test_scores_are_the_similarity_of_the_library(
    folders: dict[str, Path], kind: str, most: int | None
) -> None:
    model = SparseEncoder(str(folders[kind]), device="cpu")
    questions = model.encode_query(QUESTIONS, max_active_dims=most)
    passages = model.encode_document(TEXTS, max_active_dims=most)
    expected = model.similarity(questions, passages).numpy()
    shared = (questions.to_dense() != 0).float() @ (passages.to_dense() != 0).float().T
    retriever = built(
        folders[kind],
        list(range(len(PASSAGES))),
        max_active_dims=most,
        question_max_active_dims=most,
    )
    scores = scores_of(retriever, QUESTIONS)
    assert np.array_equal(np.isnan(scores), shared.numpy() == 0)
    assert np.allclose(scores[~np.isnan(scores)], expected[~np.isnan(scores)], rtol=1e-5, atol=1e-6)
    assert not expected[np.isnan(scores)].any()


def test_prompts_are_put_before_texts(folders: dict[str, Path]) -> None:
    everything = list(range(len(PASSAGES)))
    folder = folders["splade"]
    retriever = built(folder, everything, question_prompt="who: ", passage_prompt="is: ")
    model = SparseEncoder(str(folder), device="cpu")
    questions = model.encode([f"who: {question}" for question in QUESTIONS[:3]])
    passages = model.encode([f"is: {text}" for text in TEXTS])
    expected = model.similarity(questions, passages).numpy()
    assert np.allclose(scores_of(retriever, QUESTIONS[:3]), expected, rtol=1e-5)


def test_prompts_of_the_model_are_used(tmp_path: Path) -> None:
    folder = tiny.save_sparse(tmp_path / "model")
    path = folder / "config_sentence_transformers.json"
    config = json.loads(path.read_text())
    config["prompts"] = {"query": "who: ", "document": "is: "}
    path.write_text(json.dumps(config))
    everything = list(range(len(PASSAGES)))
    own = built(folder, everything)
    written = built(folder, everything, question_prompt="who: ", passage_prompt="is: ")
    none = built(folder, everything, question_prompt="", passage_prompt="")
    assert np.array_equal(scores_of(own, QUESTIONS), scores_of(written, QUESTIONS))
    assert not np.allclose(scores_of(own, QUESTIONS), scores_of(none, QUESTIONS))
    assert own.fingerprint == written.fingerprint != none.fingerprint


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mmap", [True, False])
def test_changes_end_as_a_build_from_scratch(
    folders: dict[str, Path], kind: str, mmap: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One text in a run of the model, so that weights do not depend on its neighbours.
    settings = {"batch_size": 1}
    monkeypatch.setattr(module, "_WAITING", 5)
    first = built(folders[kind], [3, 0, 1], **settings)
    first.add(np.array([5]), [PASSAGES[5]])
    first.remove(np.array([1]))
    first.save(tmp_path)
    changed = Sparse.load(tmp_path, Sparse.Config(model=str(folders[kind]), **settings), mmap=mmap)
    changed.add(np.array([2, 4]), [PASSAGES[2], PASSAGES[4]])
    changed.remove(np.array([3]))
    scratch = built(folders[kind], [0, 2, 4, 5], **settings)
    for k in (1, 2, 6):
        for allowed in (None, np.array([2, 5])):
            hits = changed.search(QUESTIONS, k, allowed=allowed)
            expected = scratch.search(QUESTIONS, k, allowed=allowed)
            assert np.array_equal(hits.rows, expected.rows)
            assert np.array_equal(hits.scores, expected.scores)


def test_questions_need_no_forward_pass_of_a_transformer(folders: dict[str, Path]) -> None:
    retriever = built(folders["questions without a forward pass"], [0, 1, 2])
    transformer = retriever._model.model.transformers_model
    assert transformer is not None
    passes = []
    # The library calls `forward` itself, so that the model's own hooks are not called.
    hook = transformer.get_input_embeddings().register_forward_hook(lambda *_: passes.append(1))
    retriever.search(QUESTIONS, 2)
    assert not passes
    retriever.add(np.array([3]), [PASSAGES[3]])
    hook.remove()
    assert passes


def test_versions_share_one_model(folders: dict[str, Path]) -> None:
    config = Sparse.Config(model=str(folders["splade"]))
    assert Sparse(config)._model is Sparse(config)._model


def test_opening_loads_no_model(folders: dict[str, Path], tmp_path: Path) -> None:
    built(folders["static"], [0, 1]).save(tmp_path)
    loaded = Sparse.load(tmp_path, Sparse.Config(model=str(folders["static"])))
    assert len(loaded) == 2
    assert "_model" not in loaded.__dict__


def test_passages_that_are_cut_are_counted(
    folders: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    retriever = Sparse(Sparse.Config(model=str(folders["splade"]), max_tokens=10))
    texts = ["chad", "chad " * 8, "chad " * 9]
    retriever.add(np.arange(3), [Passage(str(n), "", text) for n, text in enumerate(texts)])
    (cut,) = retriever.cut_passages
    assert (cut.count, cut.of, cut.tokens) == (1, 3, 8)
    with caplog.at_level(logging.WARNING):
        retriever.save(tmp_path)
    assert "1 of 3 passages are longer than it reads (8 tokens" in caplog.text


def test_static_weights_read_no_tokens_around_a_text(folders: dict[str, Path]) -> None:
    retriever = Sparse(Sparse.Config(model=str(folders["static"]), max_tokens=10))
    texts = ["chad " * 10, "chad " * 10 + "kenya"]
    retriever.add(np.arange(2), [Passage(str(n), "", text) for n, text in enumerate(texts)])
    (cut,) = retriever.cut_passages
    assert (cut.count, cut.tokens) == (1, 10)
    assert retriever.search(["kenya"], 1).rows[0, 0] == MISSING_ROW


def test_a_tokenizer_without_fast_form_is_told(folders: dict[str, Path]) -> None:
    retriever = Sparse(Sparse.Config(model=str(folders["splade"])))
    retriever._model.__dict__["_counter"] = None
    with pytest.raises(UnsupportedOperation, match="tokenizer"):
        _ = retriever.tokenizer


def test_a_dense_model_is_refused(tmp_path: Path) -> None:
    folder = tiny.save_sentence(tmp_path / "dense")
    with pytest.raises(PluginError, match="is no SparseEncoder: its last layer would be random"):
        _ = Sparse(Sparse.Config(model=str(folder))).fingerprint


def test_a_saved_autoencoder_is_accepted(tmp_path: Path) -> None:
    folder = tiny.save_sentence(tmp_path / "dense")
    SparseEncoder(str(folder), device="cpu").save_pretrained(str(tmp_path / "sparse"))
    retriever = built(tmp_path / "sparse", [0, 1, 2])
    assert (retriever.search(QUESTIONS[:1], 1).rows != MISSING_ROW).all()


def test_another_measure_is_refused(tmp_path: Path) -> None:
    folder = tiny.save_sparse_static(tmp_path, similarity="euclidean")
    with pytest.raises(PluginError, match="compares texts by euclidean"):
        _ = Sparse(Sparse.Config(model=str(folder))).fingerprint


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tiny.save_sparse_static(tmp_path)
    (path,) = folder.rglob("model.safetensors")
    save_file(
        {name: torch.full_like(each, torch.nan) for name, each in load_file(path).items()}, path
    )
    with pytest.raises(PluginError, match="NaN or infinite"):
        built(folder, [0])


def test_rows_are_checked(folders: dict[str, Path]) -> None:
    retriever = built(folders["static"], [0, 1])
    for rows in ([1], [-1], [7, 7], [3, 4, 5]):
        with pytest.raises(ComponentError):
            retriever.add(np.array(rows), [PASSAGES[0]] * min(len(rows), 2))
    with pytest.raises(ComponentError, match="row 5 cannot be removed"):
        retriever.remove(np.array([0, 5]))
    assert len(retriever) == 2
    with pytest.raises(ComponentError, match="ask for 1"):
        retriever.search(QUESTIONS, 0)


def test_another_vocabulary_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    retriever = built(folders["static"], [0, 1])
    retriever.save(tmp_path)
    folder = tiny.save_sentence(tmp_path / "dense")
    SparseEncoder(str(folder), device="cpu").save_pretrained(str(tmp_path / "sparse"))
    loaded = Sparse.load(tmp_path, Sparse.Config(model=str(tmp_path / "sparse")))
    with pytest.raises(MemoryMismatchError, match="the memory was built with 110"):
        loaded.search(QUESTIONS, 1)


@pytest.mark.parametrize("name", ["positions", "bounds", "weights", "rows"])
def test_broken_files_are_refused(folders: dict[str, Path], name: str, tmp_path: Path) -> None:
    retriever = built(folders["static"], [0, 1])
    retriever.save(tmp_path)
    path = tmp_path / f"{name}.npy"
    array = np.load(path)
    array[-1] = np.nan if name == "weights" else -7
    np.save(path, array)
    with pytest.raises(StoreCorruptError, match=name if name != "positions" else "bounds"):
        Sparse.load(tmp_path, Sparse.Config(model=str(folders["static"])))


@pytest.mark.parametrize("change", [{"format": 9}, {"passages": 3}, {"signed": 1}, {"terms": 5}])
def test_a_broken_record_is_refused(
    folders: dict[str, Path], change: dict[str, object], tmp_path: Path
) -> None:
    built(folders["static"], [0, 1]).save(tmp_path)
    path = tmp_path / "sparse.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises((StoreCorruptError, MemoryMismatchError)):
        Sparse.load(tmp_path, Sparse.Config(model=str(folders["static"])))


def test_a_build_that_was_interrupted_goes_on(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BATCH", 2)
    config = Sparse.Config(model=str(folders["splade"]))
    (tmp_path / "scratch").mkdir()
    killed = Sparse(config)
    assert killed.use_scratch(tmp_path / "scratch") == 0
    killed.add(np.arange(4), PASSAGES[:4])
    # The machine failed while it wrote the second file.
    second = sorted((tmp_path / "scratch").rglob("*.npz"), key=lambda path: path.stat().st_mtime_ns)
    second[1].write_bytes(second[1].read_bytes()[:-30])
    resumed = Sparse(config)
    assert resumed.use_scratch(tmp_path / "scratch") == 4
    encoded: list[str] = []
    encode = resumed._model.model.encode_document

    def counting(texts: list[str], **settings: object) -> object:
        encoded.extend(texts)
        return encode(texts, **settings)

    monkeypatch.setattr(resumed._model.model, "encode_document", counting)
    resumed.add(np.arange(6), PASSAGES)
    assert sorted(encoded) == sorted(TEXTS[2:])
    expected = built(folders["splade"], list(range(6))).search(QUESTIONS, 6)
    hits = resumed.search(QUESTIONS, 6)
    assert np.array_equal(hits.rows, expected.rows)
    assert np.allclose(hits.scores, expected.scores, rtol=1e-6)
    other = Sparse(Sparse.Config(model=str(folders["splade"]), max_active_dims=3))
    assert other.use_scratch(tmp_path / "scratch") == 0
