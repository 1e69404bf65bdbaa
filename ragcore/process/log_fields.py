"""Name the values of a log message, for programs that read logs.

Knows the attribute of a `logging.LogRecord` in which they are; knows nothing of formats. ragcore
installs no handler: what is logged goes where the program's own logging sends it, and Python
prints warnings on standard error where it sends them nowhere.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["fields", "fields_of"]

_ATTRIBUTE: Final = "ragcore_fields"


def fields(**values: object) -> dict[str, Mapping[str, object]]:
    """Return what to pass as `extra` to a logger; the values must be JSON-ready."""
    return {_ATTRIBUTE: values}


def fields_of(record: logging.LogRecord) -> Mapping[str, Any]:
    """Return the named values of a record; none where its logger has named none."""
    values: Mapping[str, Any] = getattr(record, _ATTRIBUTE, {})
    return values
