"""Loading a decoder-only checkpoint and its tokenizer: a folder, a hub's name, or a GGUF file."""

from __future__ import annotations

import importlib.util
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from ragcore.errors import GeneratorError
from ragcore.registry.installation import install_hint
from ragcore_transformers.loading import explained
from ragcore_transformers.tokenizing import load_tokenizer

__all__ = ["load_causal"]

_FOR_GGUF: Final = ("gguf", "accelerate")

_FAULTS: Final = (OSError, ValueError, RuntimeError, KeyError, TypeError, ImportError)

# Its stubs do not know what it gives when it is asked for a report.
_MAKER: Final[Any] = AutoModelForCausalLM


def load_causal(name: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """A model and its tokenizer.

    Args:
        name: a folder, a hub's name, a `.gguf` file, or a folder that holds one and no config.json.
        dtype: of the weights; those of a GGUF file are expanded to it.

    Raises:
        GeneratorError: something is missing, or it is not such a model.
    """
    file = _gguf_file(name)
    if file is None:
        return _load_folder(name, dtype), load_tokenizer(name)
    missing = [package for package in _FOR_GGUF if importlib.util.find_spec(package) is None]
    if missing:
        raise GeneratorError(
            f"model {name!r} is a GGUF file, and reading one needs {' and '.join(missing)}: "
            f"{install_hint('ragcore-transformers', 'gguf')}"
        )
    folder, where = str(file.parent), {"gguf_file": file.name}
    with _explained_file(name):
        model, report = _MAKER.from_pretrained(
            folder, dtype=dtype, trust_remote_code=False, output_loading_info=True, **where
        )
    _refuse_incomplete(name, model, report)
    return model, load_tokenizer(folder, **where)


def _gguf_file(name: str) -> Path | None:
    path = Path(name)
    if path.suffix == ".gguf":
        if not path.is_file():
            raise GeneratorError(f"model {name!r} cannot be loaded: there is no such file")
        return path
    if not path.is_dir() or (path / "config.json").exists():
        return None
    found = sorted(path.glob("*.gguf"))
    if len(found) > 1:
        raise GeneratorError(
            f"model {name!r} is a folder of {len(found)} GGUF files ({found[0].name}, "
            f"{found[1].name}, …): name one of them"
        )
    return found[0] if found else None


@contextmanager
def _explained_file(name: str) -> Iterator[None]:
    try:
        yield
    except (*_FAULTS, struct.error) as fault:
        reason = str(fault).strip().partition("\n")[0]
        raise GeneratorError(
            f"model {name!r} cannot be loaded: {reason}; it must be a GGUF file, whole, of an "
            "architecture that transformers reads"
        ) from fault


def _load_folder(name: str, dtype: torch.dtype) -> Any:
    with explained(name, GeneratorError):
        about = AutoConfig.from_pretrained(name, trust_remote_code=False)
        form = getattr(about, "ragcore_weights", None)
        if form is not None:
            raise GeneratorError(
                f"model {name!r}: config.json says ragcore_weights: {form!r}, which is read for "
                "encoder-decoder models only: save the model with save_pretrained"
            )
        model, report = _MAKER.from_pretrained(
            name,
            config=about,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    _refuse_incomplete(name, model, report)
    return model


def _refuse_incomplete(name: str, model: Any, report: Any) -> None:
    missing = sorted(report["missing_keys"])
    # Without this, Hugging Face would fill them with random numbers and merely log it.
    if missing:
        raise GeneratorError(
            f"model {name!r} lacks {len(missing)} of its weights ({', '.join(missing[:3])}"
            f"{', …' if len(missing) > 3 else ''}), which would be random: it is not a complete "
            f"{type(model).__name__}"
        )
