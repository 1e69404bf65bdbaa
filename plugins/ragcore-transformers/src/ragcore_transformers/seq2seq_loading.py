"""Loading of encoder-decoder checkpoints: their device, and the format of their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSeq2SeqLM

from ragcore.errors import GeneratorError
from ragcore_transformers import weights
from ragcore_transformers.configs import Seq2SeqConfig
from ragcore_transformers.loading import explained, pick_device, refuse_incomplete

__all__ = ["load_seq2seq", "pick_seq2seq_device"]


def pick_seq2seq_device(config: Seq2SeqConfig) -> torch.device:
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
    """Load a model with weights of the precision that the settings name.

    Raises:
        GeneratorError: it cannot be loaded, lacks weights, or has a format of a later version.
    """
    # Weights that become int8 are read as float32.
    dtype: Any = torch.bfloat16 if config.dtype == "bfloat16" else torch.float32
    with explained(config.model, GeneratorError) as source:
        checkpoint = AutoConfig.from_pretrained(source, trust_remote_code=False)
        weights_format = getattr(checkpoint, "ragcore_weights", None)
        if weights_format == weights.FORMAT:
            return weights.load_int8_rows(Path(source), checkpoint).to(dtype)
        if weights_format is not None:
            raise GeneratorError(
                f"model {config.model!r}: config.json says ragcore_weights: {weights_format!r}, "
                f"and this version reads {weights.FORMAT!r} only: upgrade ragcore-transformers"
            )
        model, report = AutoModelForSeq2SeqLM.from_pretrained(
            source,
            config=checkpoint,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    refuse_incomplete(config.model, model, report, GeneratorError)
    return model
