"""Folders of adapters, as peft saves them: a few trained weights of a base model.

An adapter is added to the weights of its base, so that the model computes as fast as the base.
Knows peft's files; knows nothing of generators.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError, safe_open

from ragcore.errors import GeneratorError
from ragcore.registry.discovery import registry
from ragcore.registry.installation import install_hint

__all__ = ["Adapter", "find_adapter", "tokenizer_folder"]

_CONFIG: Final = "adapter_config.json"
_WEIGHTS: Final = "adapter_model.safetensors"
_MODEL: Final = ("model.safetensors", "model.safetensors.index.json")
_TOKENIZER: Final = ("tokenizer.json", "tokenizer_config.json")

_SHOWN: Final = 3
"""Names of weights in an error."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A folder with an adapter.

    Attributes:
        name: the folder, as configured.
        base: the model that it was trained on: a folder, or a hub's name.
        revision: of the base on a hub; None for the latest.
        task: what peft calls the kind of model, such as `CAUSAL_LM`; None where it is not known.
    """

    name: str
    base: str
    revision: str | None
    task: str | None

    def check(self, task: str) -> None:
        """Check what can be checked before the base is loaded.

        Args:
            task: the kind of model that is wanted.

        Raises:
            GeneratorError: it is for another kind of model, its weights are not safetensors, or
                peft is not installed.
        """
        if self.task not in (None, task):
            raise GeneratorError(
                f"model {self.name!r} is an adapter for {self.task}, and this generator reads "
                f"those for {task}: choose the generator for its base model {self.base!r}"
            )
        if not (Path(self.name) / _WEIGHTS).is_file():
            raise GeneratorError(
                f"model {self.name!r} is a folder of an adapter without {_WEIGHTS}: save it again "
                "with peft's save_pretrained, which writes safetensors"
            )
        try:
            import peft  # noqa: F401
        except ImportError as error:
            raise GeneratorError(
                f"model {self.name!r} is an adapter, and reading one needs peft: "
                f"{install_hint('ragcore-transformers', 'adapters')}"
            ) from error

    @contextmanager
    def naming_base(self) -> Iterator[None]:
        """Say in errors of loading the base that it is the adapter's."""
        try:
            yield
        except GeneratorError as error:
            raise GeneratorError(
                f"{error}. It is the base of the adapter {self.name!r}: if the base is elsewhere, "
                f"name its folder in {_CONFIG} as base_model_name_or_path"
            ) from error

    def applied(self, base: Any, *, merge: bool) -> Any:
        """Return the base with the adapter; the base is changed.

        Args:
            base: the model of Hugging Face's.
            merge: whether the adapter is added to the base's weights; else it is computed apart,
                as for weights that are quantised.

        Raises:
            GeneratorError: the adapter has other weights than the base wants, or cannot be merged.
        """
        import peft

        dtypes = {name: weight.dtype for name, weight in base.named_parameters()}
        if any(weight.is_meta for weight in base.parameters()):
            raise GeneratorError(
                f"model {self.name!r} is an adapter, and cannot be added to weights that are on "
                "disk: raise max_memory, or merge it with peft's merge_and_unload and save the "
                "model"
            )
        try:
            with warnings.catch_warnings():
                # peft asks for an attribute that newer releases of transformers call another name.
                warnings.simplefilter("ignore", FutureWarning)
                model = peft.PeftModel.from_pretrained(base, self.name)
            self._refuse_incomplete(_weights_of(model))
            merged = model.merge_and_unload(safe_merge=True) if merge else model
        except (ValueError, RuntimeError, TypeError, LookupError, AttributeError) as fault:
            reason = str(fault).strip().partition("\n")[0]
            raise GeneratorError(
                f"adapter {self.name!r} cannot be added to {self.base!r}: {reason}"
            ) from fault
        for name, weight in merged.named_parameters():
            # Layers that were trained whole have the dtype of the training.
            weight.data = weight.data.to(dtypes.get(name, weight.dtype))
            weight.requires_grad_(weight.is_floating_point())
        return merged

    def _refuse_incomplete(self, wanted: dict[str, Any]) -> None:
        path = Path(self.name) / _WEIGHTS
        try:
            with safe_open(path, framework="pt") as file:
                stored = set(file.keys())
        except (OSError, SafetensorError) as fault:
            raise GeneratorError(f"{path} cannot be read: {fault}") from fault
        differing = sorted(stored ^ wanted.keys())
        if differing:
            shown = ", ".join(differing[:_SHOWN]) + (", …" if len(differing) > _SHOWN else "")
            raise GeneratorError(
                f"adapter {self.name!r} does not fit its base {self.base!r}: {len(differing)} "
                f"weights are in one of the two alone ({shown})"
            )


def _weights_of(model: Any) -> dict[str, Any]:
    """Return the adapter's weights by their names in its file.

    peft would look for the base's config by the name in the adapter's, and ask the model hub for it
    where that is no folder from here. It wants to know whether embeddings were resized; a base as
    it was loaded has its own.
    """
    import peft

    config = model.active_peft_config
    named, config.base_model_name_or_path = config.base_model_name_or_path, None
    try:
        return dict(peft.get_peft_model_state_dict(model))
    finally:
        config.base_model_name_or_path = named


def find_adapter(name: str) -> Adapter | None:
    """Return the adapter in a folder; None where the name stands for a whole model.

    Args:
        name: a folder, or a hub's name.

    Raises:
        GeneratorError: the adapter's config cannot be read, or does not name its base.
    """
    path = Path(name) / _CONFIG
    if not path.is_file() or any((Path(name) / weights).exists() for weights in _MODEL):
        return None
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise GeneratorError(f"{path} cannot be read: {fault}") from fault
    base = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    if not isinstance(base, str) or not base:
        raise GeneratorError(
            f"{path} does not name the model that the adapter was trained on: add "
            "base_model_name_or_path, a folder or a hub's name"
        )
    return Adapter(
        name, _located(Path(name), base), config.get("revision"), config.get("task_type")
    )


def tokenizer_folder(name: str) -> str:
    """Return where a model's tokenizer is: an adapter without one has its base's."""
    adapter = find_adapter(name)
    if adapter is None or any((Path(name) / file).is_file() for file in _TOKENIZER):
        return name
    return adapter.base


def _located(folder: Path, base: str) -> str:
    """Return the base's folder: from the adapter's, from here, or shipped by a plugin."""
    for place in (folder / base, Path(base)):
        if place.is_dir():
            return str(place)
    shipped = registry().model_folder(base)
    return base if shipped is None else str(shipped)
