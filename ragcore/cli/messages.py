"""Say what is wrong: the message of an error that the user, or the author of a plugin, can fix.

Knows errors; knows nothing of commands. A fault of ragcore itself has no message: it needs its
traceback.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from ragcore.errors import RagcoreError
from ragcore.registry.installation import foreign_ragcore

__all__ = ["message_of"]

_TRACEBACK: Final = "RAGCORE_TRACEBACK"
"""The environment variable that asks for tracebacks of plugins' errors."""


def message_of(error: Exception) -> str | None:
    """Return what to print about an error; None for a fault of the program itself.

    An error of a plugin's component is a message, too; its author asks for the traceback by the
    environment variable `RAGCORE_TRACEBACK`.
    """
    from ragcore.registry.faults import component_fault

    message = component_fault(error)
    causes = [error] if message else _causes(error)
    by_component = any(map(component_fault, causes))
    if message is None:
        match error:
            case RagcoreError():
                message = str(error)
            case OSError():
                message = _described(error)
            case ImportError() if foreign := foreign_ragcore():
                message = f"{error}: {foreign}"
            case _:
                return None
    if by_component and os.environ.get(_TRACEBACK):
        from traceback import format_exception

        return "".join(format_exception(error)) + message
    hint = f"; set {_TRACEBACK}=1 to see the whole traceback" if by_component else ""
    return message + hint


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors that led to an error."""
    while error.__cause__ is not None:
        error = error.__cause__
        yield error


def _described(error: OSError) -> str:
    """Say what the system refused, and of which file."""
    reason = error.strerror or str(error)
    files = [os.fsdecode(name) for name in (error.filename, error.filename2) if name is not None]
    return f"{' and '.join(map(str, files))}: {reason}" if files else reason
