"""Set up which weights are trained, and how: freezing, adapters, dropout, checkpointing.

Changes modules in place, before the optimiser is constructed. Knows modules; knows nothing of
memories or losses.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch

from ragcore.config.training import LoraConfig
from ragcore.errors import TrainingError
from ragcore.registry.installation import DISTRIBUTION, install_hint

__all__ = [
    "add_lora",
    "checkpoint_activations",
    "freeze",
    "merge_lora",
    "set_dropout",
    "without_denormals",
]

_RATES: Final = ("dropout", "attention_dropout", "activation_dropout")
"""Attributes of Hugging Face's layers with a dropout rate that has no layer of its own."""


@contextmanager
def without_denormals() -> Iterator[None]:
    """Flush denormal numbers to zero in this thread; on a CPU they are many times slower.

    Probabilities near zero cause such gradients. Afterwards the thread computes as before.
    """
    # This sum is zero where they are flushed already.
    flushed = 1e-310 + 1e-310 == 0.0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed)


def freeze(module: torch.nn.Module) -> None:
    """Exclude a module from training, and turn off its dropout."""
    module.requires_grad_(False)
    module.eval()


def set_dropout(module: torch.nn.Module, rate: float) -> None:
    """Set the rate of every dropout layer, and of every layer that has a rate as a number."""
    for layer in module.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = rate
        for name in _RATES:
            if isinstance(getattr(layer, name, None), float):
                setattr(layer, name, rate)


def checkpoint_activations(module: torch.nn.Module) -> None:
    """Compute activations again in the backward pass, where the model supports it.

    Raises:
        TrainingError: no layer supports it.
    """
    layers: list[Any] = [
        layer for layer in module.modules() if getattr(layer, "supports_gradient_checkpointing", 0)
    ]
    if not layers:
        raise TrainingError(
            f"train.gradient_checkpointing: no layer of {type(module).__name__} supports it: "
            "leave it out, or lower train.micro_batch to save memory"
        )
    for layer in layers:
        # transformers 5.24 renamed the method, and warns when the old name is used.
        enable = getattr(layer, "activation_checkpointing_enable", None)
        (enable or layer.gradient_checkpointing_enable)({"use_reentrant": False})


def add_lora(module: torch.nn.Module, config: LoraConfig) -> Any:
    """Add adapters to a Hugging Face model's linear layers, and train nothing else.

    Returns:
        The adapted model, for `merge_lora`.

    Raises:
        TrainingError: peft is not installed, or no layer has a name of `train.lora.targets`.
    """
    try:
        from peft import LoraConfig as Adapters
        from peft import get_peft_model
    except ImportError:
        raise TrainingError(
            f"train.lora needs peft: {install_hint(DISTRIBUTION, 'train')}"
        ) from None
    targets = "all-linear" if config.targets is None else list(config.targets)
    adapters = Adapters(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=targets,
        task_type=_task_of(module),
    )
    try:
        return get_peft_model(module, adapters)
    except ValueError as error:
        raise TrainingError(f"train.lora: {error}") from None


def merge_lora(adapted: Any) -> None:
    """Add the adapters' products to the weights of the adapted model, in place."""
    adapted.merge_and_unload()


def _task_of(module: Any) -> str | None:
    """Return what peft calls a model of this kind; None for one that generates nothing."""
    if getattr(getattr(module, "config", None), "is_encoder_decoder", False):
        return "SEQ_2_SEQ_LM"
    # Those for extractive question answering have none of what peft changes in a language model.
    return "CAUSAL_LM" if hasattr(module, "prepare_inputs_for_generation") else None
