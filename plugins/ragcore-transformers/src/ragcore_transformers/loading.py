"""What all models here share when they are loaded: where they run, and how a failure reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers.utils import logging

from ragcore.errors import RagcoreError

__all__ = ["explained", "pick_device"]


def pick_device(name: str, error: type[RagcoreError]) -> torch.device:
    """The device of this name; `auto` is the GPU where there is one.

    Raises:
        RagcoreError: of the class `error`: torch knows no such device, or it is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    # torch raises an AssertionError where it was built without the device.
    except (RuntimeError, AssertionError, NotImplementedError) as fault:
        raise error(
            f"device {name!r} cannot be used ({_first_line(fault)}): set device to auto, cpu or "
            "cuda"
        ) from fault
    return device


@contextmanager
def explained(model: str, error: type[RagcoreError]) -> Iterator[None]:
    """Turns what Hugging Face raises while a model loads into one `error` that says what to do.

    Its progress bar stays away where the model is in a folder, which takes a moment only.
    """
    local = Path(model).is_dir()
    bars = logging.is_progress_bar_enabled()
    if local:
        logging.disable_progress_bar()  # type: ignore[no-untyped-call, unused-ignore]
    try:
        yield
    except RagcoreError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, ImportError) as fault:
        if local:
            advice = (
                "the folder must hold config.json, the tokenizer and model.safetensors (other "
                "formats of weights, and models that bring their own code, are not loaded)"
            )
        else:
            advice = (
                "it is neither a folder here nor shipped by an installed plugin, and it could not "
                "be had from the model hub; check the name, or download it and name the folder"
            )
        raise error(f"model {model!r} cannot be loaded: {_first_line(fault)}; {advice}") from fault
    finally:
        if local and bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call, unused-ignore]


def _first_line(fault: BaseException) -> str:
    return str(fault).strip().partition("\n")[0] or type(fault).__name__
