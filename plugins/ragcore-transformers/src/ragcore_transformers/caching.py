"""What a Hugging Face model calls its cache: it differs by release and by model."""

from __future__ import annotations

import functools
import inspect
from typing import Any, Final

from ragcore.errors import GeneratorError

__all__ = ["cache_name"]

# The first since transformers 5.24, which warns of the second; the third was Mamba's before.
_NAMES: Final = ("cache", "past_key_values", "cache_params")


def cache_name(model: Any) -> str:
    """The keyword by which a model takes its cache, and by which it gives it back.

    Raises:
        GeneratorError: it has none.
    """
    return _name_of(type(model))


@functools.cache
def _name_of(kind: type[Any]) -> str:
    accepted = inspect.signature(kind.forward).parameters
    for name in _NAMES:
        if name in accepted:
            return name
    raise GeneratorError(
        f"the forward pass of {kind.__name__} takes no cache ({', '.join(_NAMES)}), without which "
        "it cannot be decoded here"
    )
