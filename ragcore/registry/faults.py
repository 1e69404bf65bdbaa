"""Say which plugin's component raised an error, so that a message can stand for a traceback.

Knows tracebacks and which modules belong to plugins; knows nothing of what was being done. Faults
of ragcore and of the plugins in its repository are not described: they need their tracebacks.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from traceback import walk_tb
from types import FrameType
from typing import Any, Final, NamedTuple

from ragcore.errors import RagcoreError
from ragcore.registry.discovery import KNOWN_PACKAGES, registry

__all__ = ["component_fault"]

_OURS: Final = frozenset(KNOWN_PACKAGES.values())


class _Component(NamedTuple):
    """A component of a plugin that is not ours, and where its class is."""

    kind: str
    name: str
    target: str


def component_fault(error: BaseException) -> str | None:
    """Describe an error that the code of a plugin's component raised.

    It names the component, its class, and the innermost line of the plugin's own code: below it are
    lines of libraries alone. Code of a plugin is what lies in the packages of its components.

    Args:
        error: as it was caught, with its traceback.

    Returns:
        One line, or more where the error's own message has them. None for a `RagcoreError`, which
        says itself what is wrong, and where the error was raised in ragcore, in one of its
        plugins, or outside of a component.
    """
    # Without discovery no component was loaded, and discovery itself may be what failed.
    if isinstance(error, RagcoreError) or not registry.cache_info().currsize:
        return None
    components = list(_components())
    plugins = {_package(component.target) for component in components}
    frames = list(walk_tb(error.__traceback__))
    while frames and _package_of(frames[-1][0]) not in plugins:
        frame, _ = frames.pop()
        if _is_ours(_package_of(frame)):
            return None
    if not frames:
        return None
    inner, line = frames[-1]
    classes = {_loaded_class(component.target): component for component in components}
    for frame, _ in reversed(frames):
        for cls in _classes_of_first_argument(frame):
            if cls in classes:
                kind, name, target = classes[cls]
                code = inner.f_code
                return (
                    f"{kind} {name!r} ({target}) raised {type(error).__name__} at "
                    f"{code.co_filename}:{line}, in {code.co_qualname}: "
                    f"{str(error) or 'it has no message'}"
                )
    return None


def _components() -> Iterator[_Component]:
    """Yield the components of all plugins but ours."""
    for report in registry().reports:
        for kind, targets in report.components.items():
            for name, target in targets.items():
                # A plugin may name a class of ours again; a command or a router is a program of its
                # own.
                if kind not in ("command", "model", "router") and not _is_ours(_package(target)):
                    yield _Component(kind, name, target)


def _is_ours(package: str) -> bool:
    """Return whether a top-level package is ragcore, or a plugin of its repository."""
    return package == "ragcore" or package.replace("_", "-") in _OURS


def _package(module: str) -> str:
    """Return the top-level package of a module, or of a target in it."""
    return module.partition(":")[0].partition(".")[0]


def _package_of(frame: FrameType) -> str:
    return _package(frame.f_globals.get("__name__") or "")


def _loaded_class(target: str) -> Any:
    """Return the class at a target; None where its module is not imported, or has no such."""
    module, _, attributes = target.partition(":")
    value: Any = sys.modules.get(module)
    for name in attributes.split("."):
        value = getattr(value, name, None)
    return value


def _classes_of_first_argument(frame: FrameType) -> tuple[type, ...]:
    """Return the class of a method's first argument with its bases: what `self` or `cls` is."""
    code = frame.f_code
    if not code.co_argcount:
        return ()
    value = frame.f_locals.get(code.co_varnames[0])
    return (value if isinstance(value, type) else type(value)).__mro__
