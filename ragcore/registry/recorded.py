"""Rebuild the spec of a component from a version's record, with its secrets filled in.

Knows that a record has `${env:NAME}` in place of a secret; knows nothing of who recorded it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ragcore.errors import ConfigError
from ragcore.registry.components import ComponentSpec, spec_from_dict

__all__ = ["filled", "recorded_spec"]

_SECRET: Final = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")


def recorded_spec(
    kind: str, record: Mapping[str, Any], *, base: str | Path | None = None
) -> ComponentSpec[Any]:
    """Rebuild a spec as `spec_from_dict` does, with secrets from the environment.

    What is written from it has `${env:NAME}` in their place again.

    Raises:
        ConfigError: a variable is not set, or as `spec_from_dict`.
        UnknownComponentError: no plugin provides the component.
    """
    spec = spec_from_dict(kind, filled(record), base=base)
    secrets = dict(_secrets(record, ()))
    return ComponentSpec(spec.kind, spec.use, None, spec.config, secrets)


def filled(value: Any) -> Any:
    """Fill in secrets that are a whole text of a record: `${env:NAME}`.

    Part of a text is not filled in: a record from elsewhere could send the secret to its own host.

    Raises:
        ConfigError: the environment has no such variable.
    """
    match value:
        case Mapping():
            return {key: filled(item) for key, item in value.items()}
        case list():
            return [filled(item) for item in value]
        case str() if match := _SECRET.fullmatch(value):
            if match[1] not in os.environ:
                raise ConfigError(
                    f"the environment variable {match[1]} is not set, by which a version's record "
                    f"connects: export {match[1]}=…, or name the pipeline file in place of the "
                    "store"
                )
            return os.environ[match[1]]
        case _:
            return value


def _secrets(
    value: Any, path: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield where a record has a secret, with the text that stands for it."""
    match value:
        case Mapping():
            for key, item in value.items():
                yield from _secrets(item, (*path, key))
        case list():
            for number, item in enumerate(value):
                yield from _secrets(item, (*path, number))
        case str() if _SECRET.fullmatch(value):
            yield path, value
