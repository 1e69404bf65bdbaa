"""Loading of decoder-only checkpoints and their tokenizers: folder, hub's name, or GGUF file.

And what a loaded one's config says of its positions.
"""

from __future__ import annotations

import importlib.util
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from transformers import AutoModelForCausalLM

from ragcore.errors import GeneratorError
from ragcore.registry.installation import install_hint
from ragcore_transformers.adapters import tokenizer_folder
from ragcore_transformers.checkpoints import load_weights
from ragcore_transformers.configs import CausalConfig
from ragcore_transformers.dtypes import weights_dtype
from ragcore_transformers.gguf_reading import parsed_once
from ragcore_transformers.loading import LOADING_FAULTS, refuse_incomplete
from ragcore_transformers.tokenizing import load_tokenizer

__all__ = ["gguf_file", "load_causal", "position_limit"]

_FOR_GGUF: Final = ("gguf", "accelerate")

# Its stubs do not declare what it returns with a report.
_LOADER: Final[Any] = AutoModelForCausalLM


def load_causal(config: CausalConfig) -> tuple[Any, Any]:
    """Load a model and its tokenizer; in float32 where the dtype is yet to be chosen.

    Args:
        config: names a folder, a hub's name, a `.gguf` file, or a folder that holds one and no
            config.json. Weights of a GGUF file are expanded to its dtype.

    Raises:
        GeneratorError: a file, package or weight is missing, or it is another kind of model.
    """
    name, file = config.model, gguf_file(config.model)
    if file is None:
        model = load_weights(config, _LOADER, "CAUSAL_LM", partial(_refuse_format, name))
        return model, load_tokenizer(tokenizer_folder(name))
    if config.device_map is not None or config.bitsandbytes is not None:
        raise GeneratorError(
            f"model {name!r} is a GGUF file, which device_map and bitsandbytes are not for: leave "
            "them out, or use the generator llamacpp"
        )
    missing = [package for package in _FOR_GGUF if importlib.util.find_spec(package) is None]
    if missing:
        raise GeneratorError(
            f"model {name!r} is a GGUF file, and reading one needs {' and '.join(missing)}: "
            f"{install_hint('ragcore-transformers', 'gguf')}"
        )
    folder, options = str(file.parent), {"gguf_file": file.name}
    with parsed_once():
        with _explained_file(name):
            model, report = _LOADER.from_pretrained(
                folder,
                dtype=weights_dtype(config.dtype),
                trust_remote_code=False,
                output_loading_info=True,
                **options,
            )
        tokenizer = load_tokenizer(folder, **options)
    refuse_incomplete(name, model, report, GeneratorError)
    return model, tokenizer


def gguf_file(name: str) -> Path | None:
    """Return the GGUF file that a model's name stands for; None where it stands for none.

    Raises:
        GeneratorError: there is no such file, or the folder has several.
    """
    path = Path(name)
    if path.suffix == ".gguf":
        if not path.is_file():
            raise GeneratorError(f"model {name!r} cannot be loaded: there is no such file")
        return path
    if not path.is_dir() or (path / "config.json").exists():
        return None
    files = sorted(path.glob("*.gguf"))
    if len(files) > 1:
        raise GeneratorError(
            f"model {name!r} is a folder of {len(files)} GGUF files ({files[0].name}, "
            f"{files[1].name}, …): name one of them"
        )
    return files[0] if files else None


def position_limit(config: Any) -> int | None:
    """Return how many positions the model has, or None where it has no limit."""
    text_config = config.get_text_config(decoder=True)
    limit: int | None = getattr(text_config, "max_position_embeddings", None)
    rope = getattr(text_config, "rope_parameters", None) or {}
    # Beyond this length these rotate all positions differently, also those in a cache.
    if limit is not None and rope.get("rope_type") in {"dynamic", "longrope"}:
        original = rope.get("original_max_position_embeddings")
        limit = min(limit, original) if original else limit
    return limit


@contextmanager
def _explained_file(name: str) -> Iterator[None]:
    try:
        yield
    except (*LOADING_FAULTS, struct.error) as fault:
        reason = str(fault).strip().partition("\n")[0]
        raise GeneratorError(
            f"model {name!r} cannot be loaded: {reason}; it must be a complete GGUF file of an "
            "architecture that transformers reads"
        ) from fault


def _refuse_format(name: str, folder: Path, checkpoint: Any, weights_format: str) -> Any:
    raise GeneratorError(
        f"model {name!r}: config.json says ragcore_weights: {weights_format!r}, which is read for "
        "encoder-decoder models only: save the model with save_pretrained"
    )
