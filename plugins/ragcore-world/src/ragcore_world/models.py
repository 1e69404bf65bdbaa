"""Which generator a model of the user's is for: a folder, a GGUF file, a name on a hub, a server.

Decides by what the model is, without loading it: the ending of a file, the beginning of an address,
the architecture in a config.json. Knows names of generators and their settings; knows nothing of
the demo.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ragcore.errors import ConfigError, PluginError
from ragcore.registry.discovery import registry
from ragcore.registry.installation import install_hint

__all__ = ["ModelSettings", "settings_of"]

_OPENAI: Final = "api.openai.com"
_FREE: Final = ("rag.grounded=false", "rag.abstain=null")
"""A model that was not trained to say that a passage does not answer writes what it likes."""
_SEARCHED: Final = (*_FREE, "rag.beams=2")
_TIERS_OF_STEPS: Final = ("causal", "llamacpp")
_ENCODER_DECODERS: Final = ("bart", "t5", "seq2seq")
_KINDS: Final = "a folder with config.json, a .gguf file, a name on a hub, or http://…/v1"


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """What a pipeline says of a model.

    Attributes:
        generator: the section `generator`, with `use`.
        rag: changes to the section `rag`, as on the command line.
    """

    generator: dict[str, str]
    rag: tuple[str, ...]

    def overrides(self) -> list[str]:
        """Return them as changes to a pipeline file."""
        return [f"generator={json.dumps(self.generator, ensure_ascii=False)}", *self.rag]


def settings_of(
    model: str, *, generator: str | None = None, name: str | None = None
) -> ModelSettings:
    """Decide what reads with a model.

    A model behind a server needs the name that the server knows it by; a key for OpenAI's own is
    taken from the environment's OPENAI_API_KEY, and no other server is sent it.

    Args:
        model: the folder, the file, the name on a hub, or the address.
        generator: the name of the generator, where another than the decided one is meant.
        name: of a model behind a server.

    Raises:
        ConfigError: nothing is there, or it is no model that answers questions; says what it is.
        PluginError: a model on a hub needs ragcore-transformers.
    """
    if model.startswith(("http://", "https://")):
        return _behind_server(model, generator or "openai", name)
    if name is not None:
        raise ConfigError(
            f"a model's name on a server ({name!r}) belongs to the address of one, and {model!r} "
            "is none: expected http://… or https://…"
        )
    shipped = registry().model_folder(model)
    path = Path(shipped or model).expanduser()
    if _is_there(path):
        use, path = _local(path, generator)
        # A relative path in a change of a pipeline file starts from that file's folder.
        return _of_weights(use, str(path.absolute()))
    if path.suffix == ".gguf" or model.startswith(("/", ".", "~")) or model.count("/") > 1:
        raise ConfigError(f"no model {model!r}: there is no such file or folder: expected {_KINDS}")
    return _of_weights(generator or _by_config(_hub_config(model), model), model)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        # Too long for a path, or with NUL in it.
        return False


def _behind_server(address: str, use: str, name: str | None) -> ModelSettings:
    if not name:
        raise ConfigError(
            f"{address}: which of the server's models? Name it: --model-name NAME, or with make "
            "demo NAME=…"
        )
    section = {"use": use, "base_url": address, "model": name}
    if urlsplit(address).hostname == _OPENAI:
        section["key"] = "${env:OPENAI_API_KEY}"
    return ModelSettings(section, _FREE)


def _of_weights(use: str, model: str) -> ModelSettings:
    return ModelSettings({"use": use, "model": model}, _SEARCHED if use in _TIERS_OF_STEPS else ())


def _local(path: Path, generator: str | None) -> tuple[str, Path]:
    """Return the generator of a file or a folder, and the file in the folder that it loads."""
    if path.is_file():
        if path.suffix != ".gguf":
            raise ConfigError(f"{path}: not a .gguf file: name the folder that it is in")
        return generator or _of_gguf(), path
    config = path / "config.json"
    if config.is_file():
        return generator or _by_config(_read(config), str(path)), path
    files = sorted(path.glob("*.gguf"))
    if len(files) == 1:
        return generator or _of_gguf(), files[0]
    found = (
        f"{len(files)} .gguf files: name one of them" if files else "neither has it a .gguf file"
    )
    raise ConfigError(f"{path}: no config.json, by which a model is recognised, and {found}")


def _of_gguf() -> str:
    """Return what reads GGUF files here: llama.cpp, or else transformers, which expands them."""
    by_llamacpp = "llamacpp" in registry().names("generator")
    return "llamacpp" if by_llamacpp and importlib.util.find_spec("llama_cpp") else "causal"


def _read(config: Path) -> Any:
    try:
        return json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{config}: not readable as JSON ({error})") from None


def _hub_config(model: str) -> Any:
    """Return the config of a model on a hub, from the cache where it was downloaded before."""
    try:
        from huggingface_hub import hf_hub_download
    except ModuleNotFoundError:
        raise PluginError(
            f"{model!r} is neither a file nor a folder, and a model on a hub needs "
            f"ragcore-transformers: {install_hint('ragcore-transformers')}"
        ) from None
    try:
        config = hf_hub_download(model, "config.json")
    except (OSError, ValueError) as error:
        first, *_ = str(error).splitlines() or [type(error).__name__]
        raise ConfigError(
            f"no model {model!r}: no file or folder has this name, and the hub gives no "
            f"config.json of it ({first}): expected {_KINDS}"
        ) from None
    return _read(Path(config))


def _by_config(config: Any, model: str) -> str:
    """Return the generator of a transformers model by its config.json.

    Raises:
        ConfigError: the model answers no questions.
    """
    section = config if isinstance(config, dict) else {}
    kind = section.get("model_type")
    if section.get("is_encoder_decoder") is True:
        return kind if kind in _ENCODER_DECODERS else "seq2seq"
    named = section.get("architectures")
    architectures = [str(each) for each in named] if isinstance(named, list) else []
    if any(each.endswith(("ForCausalLM", "LMHeadModel")) for each in architectures):
        return "causal"
    if any(each.endswith("ForQuestionAnswering") for each in architectures):
        return "extractive"
    found = ", ".join(architectures) or f"model_type {kind!r} without architectures"
    raise ConfigError(
        f"{model}: its config.json names no model that answers questions ({found}): expected an "
        "encoder-decoder, or an architecture …ForCausalLM or …ForQuestionAnswering; --generator "
        "names what reads it"
    )
