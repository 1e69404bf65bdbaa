"""Mark a class as a wrong component, and collect the marked classes of a module."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

C = TypeVar("C", bound=type[Any])


def fault(shown_by: str, *, races: bool = False) -> Callable[[C], C]:
    """Mark a component as wrong.

    Args:
        shown_by: the smallest call that shows it: an expression on the class `C` and the names of
            the module of the correct component. It is true of that component; of the wrong one it
            is false or raises.
        races: whether threads must meet for the fault to show, so that it may show or not.
    """

    def mark(component: C) -> C:
        component.shown_by, component.races = " ".join(shown_by.split()), races
        return component

    return mark


def faults_of(kind: ModuleType) -> list[type[Any]]:
    """Return the wrong components of a module, in the order of the file."""
    return [value for value in vars(kind).values() if "shown_by" in getattr(value, "__dict__", {})]


def shows(kind: ModuleType, component: type[Any], shown_by: str) -> bool:
    """Return whether a component is wrong by what a call returns, or because it raises."""
    helpers = vars(sys.modules[kind.Correct.__module__])
    try:
        return not eval(shown_by, {**helpers, "C": component})
    except Exception:
        return True
