"""Where a generator's weights are: on one device, spread by accelerate, or quantised on a GPU.

Knows options of Hugging Face's loaders; knows no architecture.
"""

from __future__ import annotations

import importlib.util
from typing import Any, Final

import torch
from torch import nn

from ragcore.errors import GeneratorError
from ragcore.registry.installation import install_hint
from ragcore_transformers.configs import PlacementConfig

__all__ = ["is_plain", "placed", "placing_options", "several_devices"]

_META: Final = "meta"


def placing_options(config: PlacementConfig, dtype: torch.dtype) -> dict[str, Any]:
    """Return the options of `from_pretrained` that say where weights go; none for one device.

    Args:
        config: a generator's settings.
        dtype: of what is computed.

    Raises:
        GeneratorError: a package is missing, or there is no GPU for bitsandbytes.
    """
    options: dict[str, Any] = {}
    if config.bitsandbytes is not None:
        _refuse_bitsandbytes(config)
        from transformers import BitsAndBytesConfig

        options["quantization_config"] = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
            load_in_8bit=config.bitsandbytes == "int8",
            load_in_4bit=config.bitsandbytes == "nf4",
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=dtype,
        )
        options["device_map"] = {"": "cuda" if config.device == "auto" else config.device}
    if config.device_map is not None:
        _need("accelerate", "device_map", config.model)
        options["device_map"] = config.device_map
        if config.max_memory:
            options["max_memory"] = {
                int(device) if device.isdigit() else device: limit
                for device, limit in config.max_memory.items()
            }
        if config.offload_folder is not None:
            options["offload_folder"] = str(config.offload_folder)
    return options


def placed(config: PlacementConfig, model: Any, device: torch.device) -> Any:
    """Return a loaded model on the device of the settings, unless its loader has placed it.

    Raises:
        GeneratorError: its first layer is on disk, so that no device begins to compute.
    """
    if config.device_map is None and config.bitsandbytes is None:
        return model.to(device)
    if model.device.type == _META:
        raise GeneratorError(
            f"model {config.model!r}: no layer fits into the memory that max_memory allows: raise "
            "it"
        )
    return model


def is_plain(model: nn.Module) -> bool:
    """Return whether weights are numbers on one device, which can be read and trained."""
    return not (getattr(model, "is_quantized", False) or _hooks(model))


def several_devices(model: nn.Module) -> str | None:
    """Say that layers compute on several devices; None where they do not."""
    devices = sorted({str(hook.execution_device) for hook in _hooks(model)} - {"None"})
    return f"its layers are on {', '.join(devices)}" if len(devices) > 1 else None


def _hooks(model: nn.Module) -> list[Any]:
    """Return accelerate's hooks, which move inputs and weights where layers compute."""
    hooks: list[Any] = []
    for module in model.modules():
        hook = getattr(module, "_hf_hook", None)
        if hook is not None:
            hooks += [part for part in getattr(hook, "hooks", (hook,)) if _has_device(part)]
    return hooks


def _has_device(hook: Any) -> bool:
    return getattr(hook, "execution_device", None) is not None


def _refuse_bitsandbytes(config: PlacementConfig) -> None:
    if not torch.cuda.is_available() or config.device.partition(":")[0] not in ("auto", "cuda"):
        raise GeneratorError(
            f"model {config.model!r}: bitsandbytes is for a GPU with CUDA, and "
            f"{'there is none' if not torch.cuda.is_available() else f'device is {config.device}'}"
            ": leave the setting out; on a CPU, dtype int8 (encoder-decoder models) or the "
            "generator llamacpp (decoder-only models) takes little memory"
        )
    _need("bitsandbytes", "bitsandbytes", config.model)
    _need("accelerate", "bitsandbytes", config.model)


def _need(package: str, setting: str, model: str) -> None:
    if importlib.util.find_spec(package) is None:
        extra = "bitsandbytes" if setting == "bitsandbytes" else "large"
        raise GeneratorError(
            f"model {model!r}: the setting {setting} needs {package}: "
            f"{install_hint('ragcore-transformers', extra)}"
        )
