"""Conversion between saved RAG models of transformers and ragcore's pipelines.

    transformers' folder                        ragcore's folder
    config.json: n_docs, separators, …          pipeline.yaml
    model.safetensors: rag.question_encoder.…   question_encoder/
                       rag.generator.…          generator/
    question_encoder_tokenizer/                 (in question_encoder/)
    generator_tokenizer/                        (in generator/)

Passages stay where they are: transformers keeps them as a data set with an index of its own, and
ragcore builds a memory from a corpus with the passage encoder that the model was trained with.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
import yaml
from transformers import (
    AutoConfig,
    AutoTokenizer,
    RagConfig,
    RagSequenceForGeneration,
    RagTokenForGeneration,
)

from ragcore.disk.replacing import write_file
from ragcore.errors import ConfigError, GeneratorError, UnsupportedOperation
from ragcore_transformers.dpr import Dpr
from ragcore_transformers.loading import explained, save_model, without_bars
from ragcore_transformers.seq2seq import Seq2Seq

__all__ = ["PASSAGE_MODEL", "export_hf", "import_hf"]

PASSAGE_MODEL: Final = "facebook/dpr-ctx_encoder-single-nq-base"
"""The passage encoder of transformers' own RAG checkpoints."""

_MODELS: Final = {
    "token": RagTokenForGeneration,
    "sequence": RagSequenceForGeneration,
}
_TEMPLATE: Final = re.compile(
    r"(?P<prefix>[^{}]*)\{title\}(?P<title_sep>[^{}]*)\{text\}(?P<doc_sep>[^{}]*)\{question\}"
)


def import_hf(
    model: str,
    folder: Path,
    *,
    passage_model: str = PASSAGE_MODEL,
    corpus: Mapping[str, Any] | None = None,
    store: str = "memory",
) -> Path:
    """Make a pipeline of a RAG model that transformers saved.

    Args:
        model: a folder or a hub's name; RAG-Token or RAG-Sequence, in safetensors.
        folder: new or empty.
        passage_model: the DPR passage encoder that it was trained over: a folder or a name.
        corpus: the section `memory.corpus`, for building a memory; left out where None.
        store: the value of `memory.store`.

    Returns:
        The pipeline file.

    Raises:
        ConfigError: the folder is not empty, or it is no RAG model with DPR's question encoder.
        GeneratorError: it cannot be loaded.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty: name a folder to make")
    with explained(model, GeneratorError) as source:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        if not isinstance(config, RagConfig):
            raise ConfigError(
                f"{model} is a {config.model_type!r} model, not a saved RAG model: it can be named "
                "as generator.model or as an encoder's model as it is"
            )
        kind = _kind(config, model)
        rag_model = _MODELS[kind].from_pretrained(source, use_safetensors=True)
        tokenizers = {
            part: AutoTokenizer.from_pretrained(
                source, subfolder=f"{part}_tokenizer", trust_remote_code=False
            )
            for part in ("question_encoder", "generator")
        }
    encoder = getattr(config.question_encoder, "model_type", None)
    if encoder != "dpr":
        raise ConfigError(
            f"{model} has a question encoder {encoder!r}: only DPR's can be imported, as "
            "encoder {use: dpr}"
        )
    for part in ("question_encoder", "generator"):
        (folder / part).mkdir(parents=True)
        save_model(getattr(rag_model.rag, part), tokenizers[part], folder / part)
    pipeline = _pipeline(config, kind, passage_model, store, corpus)
    path = folder / "pipeline.yaml"
    write_file(path, yaml.safe_dump(pipeline, sort_keys=False))
    return path


def _kind(config: RagConfig, model: str) -> str:
    names = config.architectures or []
    for kind, model_class in _MODELS.items():
        if model_class.__name__ in names:
            return kind
    raise ConfigError(
        f"{model} says architectures {names}: expected RagTokenForGeneration or "
        "RagSequenceForGeneration"
    )


def _pipeline(
    config: RagConfig,
    kind: str,
    passage_model: str,
    store: str,
    corpus: Mapping[str, Any] | None,
) -> dict[str, Any]:
    prefix = getattr(config.generator, "prefix", None) or ""
    if any(sign in f"{prefix}{config.title_sep}{config.doc_sep}" for sign in "{}"):
        raise ConfigError(
            f"the prefix or a separator of {config.title_sep!r}, {config.doc_sep!r} holds a brace, "
            "which ragcore's templates cannot hold: save the model with other separators"
        )
    template = f"{prefix}{{title}}{config.title_sep}{{text}}{config.doc_sep}{{question}}"
    memory: dict[str, Any] = {"store": store}
    if corpus is not None:
        memory["corpus"] = dict(corpus)
    memory["retriever"] = {
        "use": "dense",
        "encoder": {
            "use": "dpr",
            "question_model": "question_encoder",
            "passage_model": passage_model,
        },
        "index": {"use": "exact"},
    }
    generator: dict[str, Any] = {"use": "seq2seq", "model": "generator", "template": template}
    limit = getattr(config.generator, "max_position_embeddings", None)
    if limit is None or config.max_combined_length <= limit:
        generator["max_input_tokens"] = config.max_combined_length
    return {
        "ragcore": 1,
        "memory": memory,
        "generator": generator,
        "rag": {"marginalize": kind, "k": config.n_docs},
    }


def export_hf(encoder: Dpr, generator: Seq2Seq, folder: Path, *, marginalize: str, k: int) -> None:
    """Save a question encoder and a generator as one RAG model of transformers.

    Args:
        encoder: DPR's; the question encoder is saved, the passage encoder stays with the memory.
        generator: an encoder-decoder model, whose template is a title, a text and the question.
        folder: new or empty.
        marginalize: "token" or "sequence".
        k: passages for a question, `n_docs`.

    Raises:
        ConfigError: the folder is not empty, or separators cannot express the template.
        UnsupportedOperation: the weights of a model are int8.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty: name a folder to make")
    dtypes = {"encoder": encoder.config.dtype, "generator": generator.config.dtype}
    for what, dtype in dtypes.items():
        if dtype == "int8":
            raise UnsupportedOperation(
                f"the {what}'s weights are int8, which transformers' RAG has no place for: set its "
                "dtype to float32"
            )
    template = _TEMPLATE.fullmatch(generator.config.template)
    if template is None:
        raise ConfigError(
            f"generator.template {generator.config.template!r}: transformers reads a title, a text "
            "and a question in this order, with separators between them and nothing after: use "
            "such a template"
        )
    config = RagConfig.from_question_encoder_generator_configs(
        encoder.question_model.config,
        generator.model.config,
        n_docs=k,
        title_sep=template["title_sep"],
        doc_sep=template["doc_sep"],
        max_combined_length=generator.max_input_tokens,
        retrieval_vector_size=encoder.dim,
    )
    config.generator.prefix = template["prefix"] or None
    # As checkpoints are: not packed, and float32 where `dtype: auto` chose bfloat16.
    parts: dict[str, Any] = {
        "question_encoder": encoder.trained_module(),
        "generator": generator.trained_module(),
    }
    with torch.no_grad():
        model = _MODELS[marginalize](config=config, **parts)
    folder.mkdir(parents=True, exist_ok=True)
    with without_bars():
        model.save_pretrained(folder)
    for part, tokenizer in (
        ("question_encoder", encoder.question_tokenizer),
        ("generator", generator.tokenizer),
    ):
        tokenizer.save_pretrained(os.fspath(folder / f"{part}_tokenizer"))
