"""Loading of checkpoints with an encoder, for generators: device, and format of the weights.

Knows Hugging Face's auto classes and ragcore's own format; knows nothing of decoding.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForQuestionAnswering, AutoModelForSeq2SeqLM

from ragcore.errors import GeneratorError
from ragcore_transformers import weights
from ragcore_transformers.checkpoints import load_weights
from ragcore_transformers.configs import ExtractiveConfig, PlacementConfig, Seq2SeqConfig
from ragcore_transformers.dtypes import weights_dtype
from ragcore_transformers.loading import pick_device

__all__ = ["load_extractive", "load_seq2seq", "pick_generator_device"]


def pick_generator_device(config: PlacementConfig) -> torch.device:
    """Return the device of the settings; int8 is for a CPU.

    Raises:
        GeneratorError: there is no such device, or int8 is set for another one.
    """
    int8 = config.dtype == "int8"
    name = "cpu" if int8 and config.device == "auto" else config.device
    device = pick_device(name, GeneratorError)
    if int8 and device.type != "cpu":
        raise GeneratorError(
            f"dtype int8 is for a CPU and device is {config.device!r}: set dtype to bfloat16, or "
            "device to cpu"
        )
    return device


def load_seq2seq(config: Seq2SeqConfig) -> Any:
    """Load an encoder-decoder model with weights of the precision that the settings name.

    Raises:
        GeneratorError: it cannot be loaded, lacks weights, or has a format of a later version.
    """
    return _load(config, AutoModelForSeq2SeqLM, "SEQ_2_SEQ_LM")


def load_extractive(config: ExtractiveConfig) -> Any:
    """Load a model for extractive question answering, likewise.

    Raises:
        GeneratorError: it cannot be loaded, lacks weights (as any model that was not trained for
            extractive question answering does), or has a format of a later version.
    """
    return _load(config, AutoModelForQuestionAnswering, "QUESTION_ANS")


def _load(config: PlacementConfig, loader: Any, task: str) -> Any:
    def of_ragcore(folder: Path, checkpoint: Any, weights_format: str) -> Any:
        if weights_format != weights.FORMAT:
            raise GeneratorError(
                f"model {config.model!r}: config.json says ragcore_weights: {weights_format!r}, "
                f"and this version reads {weights.FORMAT!r} only: upgrade ragcore-transformers"
            )
        model: Any = weights.load_int8_rows(folder, checkpoint, loader)
        return model.to(weights_dtype(config.dtype))

    return load_weights(config, loader, task, of_ragcore)
