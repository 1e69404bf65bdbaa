"""Runs a suite's laws on a component without pytest, and says of each how it went.

What `ragcore plugin test` prints is made of this; it knows no component and no law by name.
"""

from __future__ import annotations

import inspect
import tempfile
import unittest
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from ragcore.testing.suite import Suite

__all__ = ["Verdict", "examine", "suite_of"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one law went.

    Attributes:
        law: its name.
        outcome: whether it holds, does not, or does not apply.
        reason: what was found where it failed, or why it was skipped; else empty.
        mend: what its docstring says: what the law is, and how to mend what breaks it.
    """

    law: str
    outcome: Literal["passed", "failed", "skipped"]
    reason: str
    mend: str


def examine(suite: type[Suite], component: Any) -> Iterator[Verdict]:
    """Run the laws of `suite` on `component` one by one, in order, each in a folder of its own.

    Args:
        suite: such as `IndexSuite`, or a subclass with other settings.
        component: a `ComponentSpec`, or a class whose `Config` needs no setting.
    """
    for name, law in suite.laws().items():
        with tempfile.TemporaryDirectory(prefix="ragcore-law-") as folder:
            outcome, reason = _run(suite, name, {"component": component, "tmp_path": Path(folder)})
        yield Verdict(name, outcome, reason, inspect.cleandoc(law.__doc__ or ""))


def suite_of(kind: str) -> type[Suite] | None:
    """The suite for a kind of component, or None where there is none."""
    import ragcore.testing

    found: type[Suite] | None = getattr(ragcore.testing, f"{kind.capitalize()}Suite", None)
    return found


def _run(
    suite: type[Suite], name: str, given: dict[str, Any]
) -> tuple[Literal["passed", "failed", "skipped"], str]:
    law = getattr(suite(), name)
    wanted = inspect.signature(law).parameters
    try:
        law(**{key: value for key, value in given.items() if key in wanted})
    except unittest.SkipTest as skipped:
        return "skipped", str(skipped)
    # Whatever a component raises within a law is that law's verdict.
    except Exception as error:
        said = str(error).strip().split("\n")[0]
        known = type(error) is AssertionError
        return "failed", said if known and said else f"{type(error).__name__}: {said}"
    return "passed", ""
