"""Load a generator's weights: a checkpoint in safetensors, or an adapter and its base.

Knows loaders of Hugging Face's; knows nothing of tokenizers and GGUF files.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForQuestionAnswering

from ragcore.errors import GeneratorError
from ragcore_transformers.adapters import find_adapter
from ragcore_transformers.configs import PlacementConfig
from ragcore_transformers.dtypes import dtype_name, weights_dtype
from ragcore_transformers.loading import explained, refuse_incomplete
from ragcore_transformers.placement import placing_options

__all__ = ["load_weights", "refuse_overflow"]

Special = Callable[[Path, Any, str], Any]
"""Loads a folder of a format of ragcore's own: its path, its config, and the format's name."""


def load_weights(config: PlacementConfig, loader: Any, task: str, special: Special) -> Any:
    """Load a model with weights of the dtype that the settings name.

    Args:
        config: a generator's settings.
        loader: the auto class of Hugging Face's.
        task: what peft calls such models.
        special: for folders whose config.json has `ragcore_weights`.

    Raises:
        GeneratorError: it cannot be loaded, or lacks weights.
    """
    dtype = weights_dtype(config.dtype)
    options = {"dtype": dtype, **placing_options(config, dtype)}
    adapter = find_adapter(config.model)
    if adapter is None:
        return _loaded(config.model, loader, special, options)
    adapter.check(task)
    with adapter.naming_base():
        base = _loaded(adapter.base, loader, special, options, adapter.revision)
    return adapter.applied(base, merge=config.bitsandbytes is None)


def _loaded(
    name: str, loader: Any, special: Special, options: dict[str, Any], revision: str | None = None
) -> Any:
    where = {} if revision is None else {"revision": revision}
    with explained(name, GeneratorError, revision) as source:
        checkpoint = AutoConfig.from_pretrained(source, trust_remote_code=False, **where)
        _refuse_spans(name, checkpoint, loader)
        weights_format = getattr(checkpoint, "ragcore_weights", None)
        if weights_format is not None:
            return special(Path(source), checkpoint, weights_format)
        model, report = loader.from_pretrained(
            source,
            config=checkpoint,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **where,
            **options,
        )
    refuse_incomplete(name, model, report, GeneratorError)
    return model


def _refuse_spans(name: str, checkpoint: Any, loader: Any) -> None:
    """Refuse a model that rates spans where one is needed that writes.

    Bart has both forms, and the weights of one load into the other without a complaint.
    """
    trained = [str(each) for each in getattr(checkpoint, "architectures", None) or []]
    if loader is not AutoModelForQuestionAnswering and any(
        each.endswith("ForQuestionAnswering") for each in trained
    ):
        raise GeneratorError(
            f"model {name!r} is a {', '.join(trained)}: it rates spans of a passage, and this "
            "generator needs a model that writes: write use: extractive, which reads with it"
        )


def refuse_overflow(name: str, model: Any, log_probs: Callable[[], Tensor]) -> None:
    """Check that a model in float16 has finite weights, and computes numbers.

    float16 ends at 65,504: models trained in bfloat16, as many T5 and Gemma are, exceed it within
    their layers, and then everything after is NaN.

    Args:
        name: the model's, for the error.
        model: a checkpoint of Hugging Face's.
        log_probs: runs it on a short input; returns log-probs [n, V].

    Raises:
        GeneratorError: a weight or a log-prob is not a number.
    """
    if model.dtype != torch.float16:
        return
    infinite = [
        key
        for key, value in model.named_parameters()
        if not value.is_meta and value.is_floating_point() and not bool(value.isfinite().all())
    ]
    with torch.inference_mode(False), torch.no_grad():
        computed = not bool(log_probs().isnan().any())
    if infinite or not computed:
        reason = (
            f"{len(infinite)} of its weights ({infinite[0]}, …) are infinite"
            if infinite
            else "its log-probabilities are not numbers (NaN)"
        )
        raise GeneratorError(
            f"model {name!r} cannot be computed in {dtype_name(model.dtype)}: {reason}, since "
            "float16 ends at 65,504: set dtype to bfloat16, which has the range of float32"
        )
