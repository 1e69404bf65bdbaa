"""Check a plugin's hooks, and what they return: names, each with the place of a class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ragcore import hookspecs
from ragcore.errors import PluginError, nearest
from ragcore.hookspecs import Target

__all__ = ["check_hooks", "names_of"]

_WITHOUT_TARGET: Final = frozenset({"metric", "model", "command", "router"})
"""The kinds that a pipeline file does not name, and whose `Config` no hook names."""


_HOOKS: Final = [hook for hook in dir(hookspecs) if hook.startswith("ragcore_")]


def check_hooks(plugin: object) -> None:
    """Check that a plugin, a module or an object, has hooks, and none with a wrong name.

    Raises:
        PluginError: it has no hook, or a function is marked as a hook that does not exist.
    """
    names = dir(plugin)
    for name in names:
        marked = getattr(getattr(plugin, name), "ragcore_impl", None) is not None
        if marked and name not in _HOOKS:
            raise PluginError(f"there is no hook {name!r}: {_meant(name)}{_listed()}")
    if not set(names) & set(_HOOKS):
        similar = next((name for name in names if name.startswith("ragcore_")), "")
        meant = f"{similar!r} is none: {_meant(similar)}" if similar else ""
        where = getattr(plugin, "__name__", type(plugin).__name__)
        raise PluginError(f"it provides nothing: no hook in module {where!r}: {meant}{_listed()}")


def _meant(name: str) -> str:
    close = nearest(name, _HOOKS)
    return f"did you mean {close!r}? " if close else ""


def _listed() -> str:
    return f"hooks: {', '.join(_HOOKS)}"


def names_of(kind: str, hook: str, function: Any) -> dict[str, str | Target]:
    """Call a plugin's hook and return the names that it gives, each with where its class is.

    Args:
        kind: that the hook lists, such as "encoder".
        hook: its name.
        function: the hook, as the plugin has it.

    Raises:
        PluginError: it is no function, or returns something else; the message says what.
    """
    either = "" if kind in _WITHOUT_TARGET else " or a ragcore.Target"
    expected = f'{hook}() must return {{name: "package.module:Class"{either}}}'
    if kind == "model":
        expected = f'{hook}() must return {{name: "package:folder/inside/it"}}'
    if not callable(function):
        raise PluginError(
            f"{hook} is {_described(function)}, not a function: {expected}, as a function marked "
            "@ragcore.hookimpl"
        )
    names = function()
    if not isinstance(names, Mapping):
        raise PluginError(f"{expected}; it returned {_described(names)}")
    for name, target in names.items():
        fault = (
            f"the name {name!r} is {_described(name)}"
            if not isinstance(name, str)
            else _fault(kind, target)
        )
        if fault is not None:
            raise PluginError(f"{expected}; for {name!r}, {fault}")
    return dict(names)


def _fault(kind: str, target: object) -> str | None:
    """Say what is wrong with the place that a hook returned for a name, or return None."""
    if isinstance(target, Target):
        if kind in _WITHOUT_TARGET:
            return f"it returned a Target, which a {kind} cannot have: return its first part"
        for part, value in target._asdict().items():
            fault = _text_fault(kind, value)
            if fault is not None:
                return f"the part {part!r} of its Target is wrong: {fault}"
        return None
    return _text_fault(kind, target)


def _text_fault(kind: str, text: object) -> str | None:
    if not isinstance(text, str):
        if isinstance(text, type):
            hint = f': write "{text.__module__}:{text.__qualname__}"'
            return f"found the class itself, expected where it is{hint}"
        return f"found {_described(text)}, expected a text"
    module, colon, attribute = text.partition(":")
    if not colon:
        return f"found {text!r}, expected a colon between the module and the name in it"
    names = [*module.split("."), *([] if kind == "model" else attribute.split("."))]
    if not all(name.isidentifier() for name in names) or not attribute:
        return f"found {text!r}, expected the name of a module, a colon, and a name in it"
    return None


def _described(value: object) -> str:
    return "None" if value is None else f"{value!r}, of type {type(value).__name__}"
