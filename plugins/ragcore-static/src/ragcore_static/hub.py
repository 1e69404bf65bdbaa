"""The folder of a model: here, or downloaded from the model hub after one request to it.

huggingface_hub repeats requests and can wait without a limit. So the hub is asked once whether it
answers. Where it does not, only the cache of earlier downloads is read. Knows no model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, cast

from huggingface_hub import get_session, hf_hub_url, is_offline_mode, snapshot_download
from huggingface_hub.errors import HfHubHTTPError

from ragcore.errors import PluginError

__all__ = ["model_folder"]

_SECONDS: Final = 5

_NETWORK_FAULTS: Final = cast("tuple[type[Exception], ...]", (OSError, *HfHubHTTPError.__bases__))
"""With the base of the errors of the HTTP library, which differs between releases."""

_FAULTS: Final[tuple[type[Exception], ...]] = (*_NETWORK_FAULTS, ValueError)
"""With what is raised for a name that no model can have."""

_FILES: Final = ["*.safetensors", "tokenizer.json", "*/tokenizer.json", "*config*.json"]
_LAYERS: Final = "modules.json"


def model_folder(model: str) -> Path:
    """Return the folder of a model: itself, or a download.

    Args:
        model: a folder, or a name on the hub.

    Raises:
        PluginError: there is no such folder, and the hub does not have the model or cannot be
            reached.
    """
    folder = Path(model)
    if folder.is_dir():
        return folder
    if folder.is_absolute() or folder.exists():
        raise PluginError(
            f"model {model!r} cannot be loaded: there is no such folder; check the path"
        )
    unreachable: Exception | None = None
    try:
        unreachable = _hub_fault(model)
        return Path(
            snapshot_download(
                model,
                allow_patterns=[*_FILES, _LAYERS],
                local_files_only=unreachable is not None,
            )
        )
    except _FAULTS as fault:
        reason = str(fault)
        if unreachable is not None:
            reason = f"the model hub did not answer ({unreachable})"
        raise PluginError(
            f"model {model!r} cannot be loaded: {' '.join(reason.split())}; it is neither a folder "
            "here nor shipped by an installed plugin; check the name, or download it and name the "
            "folder"
        ) from fault


def _hub_fault(model: str) -> Exception | None:
    if is_offline_mode():
        return None
    session: Any = get_session()
    try:
        session.head(hf_hub_url(model, _LAYERS), timeout=_SECONDS)
    except _NETWORK_FAULTS as fault:
        return fault
    return None
