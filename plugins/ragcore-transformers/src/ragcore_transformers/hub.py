"""One request to the model hub before a model is loaded by its name.

huggingface_hub tries each request six times, half a minute for each file of a model. So it is asked
once whether it answers at all. Where it does not, a model that was downloaded before is loaded from
its folder in the cache. The libraries' switches for that would not do: `HF_HUB_OFFLINE` holds for
all threads, and not all loaders pass `local_files_only` on. Knows the hub; knows nothing of models.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, cast

from huggingface_hub import get_session, hf_hub_url, is_offline_mode, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError

__all__ = ["cached_folder", "hub_fault"]

_SECONDS: Final = 5

_NO_ANSWER: Final = cast("tuple[type[Exception], ...]", HfHubHTTPError.__bases__)
"""OSError, and the base of the errors of the HTTP library, which differs between releases."""

_FIRST: Final = ("config.json", "modules.json")
"""Files by which a model is recognised; modules.json is sentence-transformers'."""


def hub_fault(model: str) -> Exception | None:
    """Return why the hub cannot be reached; None if it can, or if the user set it to offline.

    Args:
        model: its name on the hub.

    Raises:
        ValueError: no model can have this name.
    """
    if is_offline_mode():
        return None
    session: Any = get_session()
    try:
        session.head(hf_hub_url(model, _FIRST[0]), timeout=_SECONDS)
    except _NO_ANSWER as fault:
        return fault
    return None


def cached_folder(model: str, revision: str | None = None) -> str | None:
    """Return the folder of a model that was downloaded before; None if there is none.

    Args:
        model: its name on the hub.
        revision: a branch, a tag or a commit; None for the latest.
    """
    for name in _FIRST:
        file = try_to_load_from_cache(model, name, revision=revision)
        if isinstance(file, str):
            return str(Path(file).parent)
    return None
