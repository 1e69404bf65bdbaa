"""`ragcore encoder distill` makes static models that keep what the teacher says of single words."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models as tiny
import torch
from ragcore_transformers.distilling import distill
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Dense,
    Normalize,
    Pooling,
    Transformer,
)
from transformers import (
    BertConfig,
    BertModel,
    MPNetConfig,
    MPNetModel,
    T5Config,
    T5EncoderModel,
)

from ragcore.cli import main
from ragcore.errors import PluginError, UnsupportedOperation

pytest.importorskip("model2vec", reason="the extra distill is not installed")

SIF = 1e-4
"""model2vec's default: how strongly frequent tokens are scaled down."""


def save(folder: Path, model: Any, tokenizer: Any, *layers: Any) -> Path:
    bare = folder / "bare"
    model.save_pretrained(bare)
    tokenizer.save_pretrained(bare)
    modules = [Transformer(str(bare), max_seq_length=48), *layers]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(folder))
    return folder


def mean_pooled(folder: Path) -> Path:
    return tiny.save_sentence(folder, normalize=True)


def first_token_and_dense(folder: Path) -> Path:
    tokenizer = tiny.word_pieces()
    model = BertModel(BertConfig(vocab_size=len(tokenizer), **tiny.BERT))
    tiny.spread(model)
    dense = Dense(16, 12)
    tiny.spread(dense, seed=8)
    return save(folder, model, tokenizer, Pooling(16, pooling_mode="cls"), dense, Normalize())


def without_token_types(folder: Path) -> Path:
    tokenizer = tiny.byte_pairs(start="<s>")
    model = MPNetModel(MPNetConfig(vocab_size=len(tokenizer), pad_token_id=1, **tiny.BERT))
    tiny.spread(model)
    return save(folder, model, tokenizer, Pooling(16, pooling_mode="max"))


def t5(folder: Path) -> Path:
    tokenizer = tiny.byte_pairs(start=None)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}
    model = T5EncoderModel(T5Config(vocab_size=len(tokenizer), pad_token_id=1, **sizes))
    tiny.spread(model)
    return save(folder, model, tokenizer, Pooling(16, pooling_mode="mean"))


def bare(vectors: np.ndarray, ids: list[int]) -> np.ndarray:
    """Undo the scaling by the expected frequency of tokens, Zipf's law over their ids."""
    ranks = 1 / np.arange(2, len(vectors) + 2)
    weights = SIF / (SIF + ranks / ranks.sum())
    return vectors[ids] / weights[ids, None]


def distances(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors[:, None] - vectors[None], axis=2)


@pytest.mark.parametrize("teacher", [mean_pooled, first_token_and_dense, without_token_types, t5])
def test_words_are_as_far_apart_as_the_teacher_has_them(
    tmp_path: Path, teacher: Callable[[Path], Path]
) -> None:
    folder = teacher(tmp_path / "teacher")
    model = SentenceTransformer(str(folder), device="cpu")
    dim = model.get_embedding_dimension()
    # Vectors of unit length would not tell how much a word says.
    if isinstance(model[-1], Normalize):
        model = SentenceTransformer(modules=list(model)[:-1], device="cpu")
    assert distill(str(folder), tmp_path / "static", dim=dim, dtype="float32")[1] == dim

    from model2vec import StaticModel

    static = StaticModel.from_pretrained(tmp_path / "static")
    # With spaces, which byte-level tokens have as a part.
    words = [" capital", " of", " is", " the", " country"]
    tokens = static.tokenize(words)
    assert all(len(ids) == 1 for ids in tokens), "each word must be one token here"
    expected = model.encode(words)
    actual = bare(static.embedding, [ids[0] for ids in tokens])
    # Principal components of all dimensions are a rotation about the mean.
    assert distances(actual) == pytest.approx(distances(expected), rel=1e-3)


def test_fewer_components_are_the_first_and_nothing_is_drawn(tmp_path: Path) -> None:
    folder = str(tiny.save_sentence(tmp_path / "teacher"))
    before = torch.get_rng_state()
    for name, dim in (("whole", 16), ("short", 6), ("again", 6)):
        distill(folder, tmp_path / name, dim=dim, dtype="float32")
        torch.manual_seed(dim)
    torch.set_rng_state(before)

    from safetensors.numpy import load_file

    whole, short, again = (
        load_file(tmp_path / name / "model.safetensors")["embeddings"]
        for name in ("whole", "short", "again")
    )
    assert short == pytest.approx(whole[:, :6], abs=1e-6)
    assert np.array_equal(short, again)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_command_writes_a_model_that_other_libraries_read(
    tmp_path: Path, dtype: str, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = tiny.save_sentence(tmp_path / "teacher")
    folder = tmp_path / "models" / "static"
    assert (
        main(["encoder", "distill", str(teacher), str(folder), "--dim=8", f"--dtype={dtype}"]) == 0
    )
    assert f"{{use: static, model: {folder}}}" in capsys.readouterr().out
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "modules.json",
        "tokenizer.json",
    ]
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["embedding_dtype"] == dtype
    assert config["max_length"] is None

    from model2vec import StaticModel

    texts = ["the capital of Chad", "Nairobi"]
    peer = SentenceTransformer(str(folder), device="cpu").encode(texts)
    vectors = StaticModel.from_pretrained(folder).encode(texts)
    assert vectors.shape == (2, 8)
    assert np.asarray(vectors, np.float32) == pytest.approx(peer, abs=5e-3)


@pytest.mark.parametrize("content", ["file", "link"])
def test_nothing_is_overwritten(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = tiny.save_sentence(tmp_path / "teacher")
    folder = tmp_path / "static"
    if content == "file":
        folder.mkdir()
        (folder / "notes").write_text("mine")
    else:
        folder.symlink_to(teacher)
    before = sorted(path.name for path in folder.iterdir())
    assert main(["encoder", "distill", str(teacher), str(folder), "--dim=8"]) == 2
    assert f"{folder} is not a new or empty folder" in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == before


def test_too_many_components_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOperation, match=r"--dim 17: model .* of 16 components"):
        distill(str(tiny.save_sentence(tmp_path / "teacher")), tmp_path / "static", dim=17)


def test_a_model_without_a_transformer_is_refused(tmp_path: Path) -> None:
    teacher = str(tiny.save_sentence(tmp_path / "teacher"))
    distill(teacher, tmp_path / "static", dim=8)
    with pytest.raises(UnsupportedOperation, match="does not begin with a transformer"):
        distill(str(tmp_path / "static"), tmp_path / "again", dim=8)


@pytest.mark.parametrize("missing", ["model2vec", "skeletoken"])
def test_a_missing_library_is_named_with_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    for name in [name for name in sys.modules if name.startswith("model2vec")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    hint = r"pip install '\./plugins/ragcore-transformers\[distill\]' in a clone of ragcore"
    with pytest.raises(PluginError, match=hint):
        distill("a/teacher", tmp_path / "static")
    assert not (tmp_path / "static").exists()
