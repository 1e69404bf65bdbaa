"""Tiny static models of random vectors, saved into folders as model2vec and others save them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from model2vec import StaticModel
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

TEXT = [
    "N'Djamena is the capital of Chad, a country of Africa.",
    "Who is the prime minister of Ethiopia? Abiy Ahmed Ali, since April 2018.",
    "What is the capital of Kenya? Nairobi, the largest city of the country.",
    "Antananarivo lies in the highlands of Madagascar.",
]


def byte_pairs() -> Tokenizer:
    """Byte-level pairs: every text has a token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


def word_pieces() -> Tokenizer:
    """Lower-cased word pieces, with a token for unknown words."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=200, special_tokens=["[PAD]", "[UNK]"], show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    # As many saved tokenizers do: neither may change a vector.
    tokenizer.enable_truncation(6)
    tokenizer.enable_padding(length=8)
    return tokenizer


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def make(
    tokenizer: Tokenizer | None = None,
    *,
    dim: int = 16,
    dtype: str = "float32",
    shared: bool = False,
    normalize: bool = True,
) -> StaticModel:
    """Return a model; with `shared`, tokens share 40 vectors and have weights of their own."""
    tokenizer = tokenizer or byte_pairs()
    size = tokenizer.get_vocab_size()
    rng = np.random.default_rng(1)
    vectors = draw(40 if shared else size, dim)
    if dtype == "int8":
        vectors = (vectors * 30).round().clip(-127, 127)
    return StaticModel(
        vectors.astype(dtype),
        tokenizer,
        normalize=normalize,
        token_mapping=rng.integers(0, 40, size) if shared else None,
        weights=rng.uniform(0.2, 1, size).astype(np.float32) if shared else None,
    )


def save(folder: Path, model: StaticModel | None = None) -> Path:
    (model or make()).save_pretrained(folder)
    return folder


def save_layers(folder: Path, layers: list[str], *, inside: str, **config: Any) -> Path:
    """Save a model as sentence-transformers does, with its first layer in the folder `inside`."""
    home = folder / inside
    home.mkdir(parents=True)
    tokenizer = byte_pairs()
    save_file(
        {"embedding.weight": draw(tokenizer.get_vocab_size(), 16)}, home / "model.safetensors"
    )
    tokenizer.save(str(home / "tokenizer.json"))
    kinds = [
        {"idx": n, "type": f"sentence_transformers.models.{kind}"} for n, kind in enumerate(layers)
    ]
    (folder / "modules.json").write_text(json.dumps(kinds))
    (folder / "config_sentence_transformers.json").write_text(json.dumps(config))
    return folder
