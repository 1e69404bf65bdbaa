"""One attempt at the model hub: where it cannot be reached, load what is on this machine, or fail.

huggingface_hub tries each request six times, half a minute for each file of a model. Knows the
hub; knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from huggingface_hub import constants, get_session, hf_hub_url

from ragcore.process.fork import new_rlock

__all__ = ["asking_once"]

_SECONDS: Final = 5
_OFFLINE: Final = new_rlock()


@contextmanager
def asking_once(model: str) -> Iterator[Exception | None]:
    """Load a model in the block, without the network if the hub does not answer one request.

    Args:
        model: its name on the hub.

    Yields:
        Why the hub cannot be reached; None if it can, or if it is not to be asked.
    """
    if constants.HF_HUB_OFFLINE:
        yield None
        return
    try:
        get_session().head(hf_hub_url(model, "config.json"), timeout=_SECONDS)
    # Releases of huggingface_hub use different libraries, each with errors of its own.
    except Exception as fault:
        with _OFFLINE:
            constants.HF_HUB_OFFLINE = True
            try:
                yield fault
            finally:
                constants.HF_HUB_OFFLINE = False
    else:
        yield None
