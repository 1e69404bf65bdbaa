"""Which weights are trained, and how: frozen ones, adapters, dropout, activations kept or not.

Changes modules in place, before an optimiser is made of them.
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
"""Where Hugging Face's layers keep a rate that is no layer of its own."""


@contextmanager
def without_denormals() -> Iterator[None]:
    """Takes numbers next to zero for zero, in this thread: on a CPU they are many times slower.

    Probabilities near zero leave such gradients. Afterwards the thread reckons as before.
    """
    # A sum that is zero where they are flushed already.
    flushed = 1e-310 + 1e-310 == 0.0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed)


def freeze(module: torch.nn.Module) -> None:
    """Train nothing of it, dropout included."""
    module.requires_grad_(False)
    module.eval()


def set_dropout(module: torch.nn.Module, rate: float) -> None:
    """Give every dropout layer this rate, and every layer that keeps one as a number."""
    for layer in module.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = rate
        for name in _RATES:
            if isinstance(getattr(layer, name, None), float):
                setattr(layer, name, rate)


def checkpoint_activations(module: torch.nn.Module) -> None:
    """Compute activations again in the backward pass, where the model knows how.

    Raises:
        TrainingError: no part of it does.
    """
    able: list[Any] = [
        layer for layer in module.modules() if getattr(layer, "supports_gradient_checkpointing", 0)
    ]
    if not able:
        raise TrainingError(
            f"gradient_checkpointing: {type(module).__name__} cannot: leave it out, or lower "
            "train.micro_batch to save memory"
        )
    for layer in able:
        # The first since transformers 5.24, which warns of the second.
        new = getattr(layer, "activation_checkpointing_enable", None)
        (new or layer.gradient_checkpointing_enable)({"use_reentrant": False})


def add_lora(module: torch.nn.Module, config: LoraConfig) -> Any:
    """Put adapters beside a Hugging Face model's linear layers, and train nothing else.

    Returns:
        What `merge_lora` takes.

    Raises:
        TrainingError: peft is not installed, or no layer has such a name.
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
        task_type="SEQ_2_SEQ_LM" if _encodes(module) else "CAUSAL_LM",
    )
    try:
        return get_peft_model(module, adapters)
    except ValueError as error:
        raise TrainingError(f"train.lora: {error}") from None


def merge_lora(adapted: Any) -> None:
    """Add the adapters to the weights that they stand beside, in the model that was adapted."""
    adapted.merge_and_unload()


def _encodes(module: Any) -> bool:
    return bool(getattr(getattr(module, "config", None), "is_encoder_decoder", False))
