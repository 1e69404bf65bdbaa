"""Distillation of a sentence-transformers model into a static one, by model2vec.

The teacher encodes each token of its vocabulary alone. The vectors are rotated and shortened by
their principal components, and scaled by how frequent tokens are expected to be (Zipf's law). So it
needs no texts, and draws nothing at random. Reads and writes models; knows nothing of memories.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

import torch

from ragcore.disk.atomic import writing
from ragcore.errors import ConfigError, PluginError, UnsupportedOperation
from ragcore.registry.installation import install_hint
from ragcore_transformers.configs import SentenceConfig
from ragcore_transformers.sentence import SentenceTransformers

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

__all__ = ["StoredType", "distill"]

StoredType = Literal["float32", "float16"]
"""The types in which a static model's vectors are stored."""


def distill(
    model: str,
    folder: Path,
    *,
    dim: int = 256,
    dtype: StoredType = "float16",
    device: str = "auto",
) -> tuple[int, int]:
    """Write a static model, made of a sentence-transformers model, into a new folder.

    Prompts of the teacher have no effect: a token is encoded without them.

    Args:
        model: a folder, a hub's name, or one that a plugin ships.
        folder: new or empty.
        dim: components of each vector, at most those of the teacher's.
        dtype: of the stored vectors.
        device: on which the teacher runs.

    Returns:
        The number of tokens, and of components of each vector.

    Raises:
        ConfigError: the folder is not empty.
        PluginError: model2vec is not installed, or the teacher cannot be loaded.
        UnsupportedOperation: the teacher has no transformer with a fast tokenizer, or too few
            tokens or components.
    """
    if folder.is_symlink() or folder.is_file() or (folder.exists() and any(folder.iterdir())):
        raise ConfigError(f"{folder} is not a new or empty folder: name another one to make")
    library, persistence = _libraries()
    config = SentenceConfig.model_validate({"model": model, "device": device, "normalize": False})
    teacher = SentenceTransformers(config)
    reader, tokenizer = _parts(model, teacher.model)
    if dim > teacher.dim:
        raise UnsupportedOperation(
            f"--dim {dim}: model {model!r} has vectors of {teacher.dim} components, and a static "
            "model made of it can have no more"
        )
    # Now, since a fault should not come after minutes.
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    static: Any = library.distill_from_model(
        model=_Whole(teacher.model, reader),
        tokenizer=tokenizer,
        device=str(teacher.model.device),
        pca_dims=dim,
        quantize_to=dtype,
        pooling="pooler",
    )
    tokens, components = static.embedding.shape
    if components != dim:
        raise UnsupportedOperation(
            f"--dim {dim}: model {model!r} has {tokens} tokens, and principal components need more "
            "tokens than components"
        )
    described = {
        **static.config,
        "tokenizer_name": model,
        "pooling": "teacher",
        "max_length": None,
    }
    with writing(folder):
        persistence.save_pretrained(
            folder,
            embeddings=static.embedding,
            tokenizer=static.tokenizer,
            config=described,
            create_model_card=False,
        )
    return tokens, components


def _libraries() -> tuple[Any, Any]:
    try:
        return (
            importlib.import_module("model2vec.distill"),
            importlib.import_module("model2vec.persistence"),
        )
    # model2vec raises an ImportError of its own for what it lacks.
    except ImportError as error:
        raise PluginError(
            f"ragcore encoder distill needs model2vec and skeletoken ({error.name or error}): "
            f"{install_hint('ragcore-transformers', 'distill')}"
        ) from error


def _parts(name: str, model: SentenceTransformer) -> tuple[Any, Any]:
    """Return the transformer of a model, and its tokenizer."""
    reader = getattr(next(iter(model), None), "auto_model", None)
    tokenizer = getattr(model, "tokenizer", None)
    if reader is None or not getattr(tokenizer, "is_fast", False):
        raise UnsupportedOperation(
            f"model {name!r} does not begin with a transformer that has a fast tokenizer: only "
            "such a model can be distilled"
        )
    return reader, tokenizer


class _Whole(torch.nn.Module):
    """A sentence-transformers model as model2vec expects a transformer: its vector is the pooler's.

    So all its layers take part, whatever its pooling is. model2vec changes the transformer's
    vocabulary in a copy of this module.
    """

    def __init__(self, model: SentenceTransformer, reader: Any) -> None:
        super().__init__()
        self.model = model
        self.config = reader.config
        # A path that exists: model2vec would ask a hub for the language of a name.
        self.name_or_path = os.curdir

    @property
    def reader(self) -> Any:
        """The transformer."""
        first: Any = self.model[0]
        return first.auto_model

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        device: torch.device = self.model.device
        return device

    def get_input_embeddings(self) -> Any:
        """Return the embeddings of tokens."""
        return self.reader.get_input_embeddings()

    def get_output_embeddings(self) -> None:
        """Return None: there is no head over the vocabulary."""

    def resize_token_embeddings(self, size: int) -> None:
        """Cut the embeddings to `size` tokens, or add some."""
        self.reader.resize_token_embeddings(size)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor,
    ) -> SimpleNamespace:
        """Return the vectors of texts, [B, d], for ids [B, T]."""
        # A transformer that has no types of tokens ignores them.
        features = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
        }
        vectors = self.model(features)["sentence_embedding"]  # [B, d]
        return SimpleNamespace(last_hidden_state=vectors, pooler_output=vectors)
