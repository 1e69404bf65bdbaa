"""The name of a Hugging Face model's cache, which differs by release and by model."""

from __future__ import annotations

import functools
import inspect
from typing import Any, Final

from ragcore.errors import GeneratorError

__all__ = ["cache_name"]

# The first since transformers 5.24, which warns about the second; the third was Mamba's.
_NAMES: Final = ("cache", "past_key_values", "cache_params")


def cache_name(model: Any) -> str:
    """Return the keyword by which a model takes its cache, and by which it returns it.

    Raises:
        GeneratorError: it has none.
    """
    model_class: Any = type(model)
    return _name_of(model_class)


@functools.cache
def _name_of(model_class: Any) -> str:
    accepted = inspect.signature(model_class.forward).parameters
    for name in _NAMES:
        if name in accepted:
            return name
    raise GeneratorError(
        f"the forward pass of {model_class.__name__} takes no cache ({', '.join(_NAMES)}), without "
        "which it cannot be decoded here"
    )
