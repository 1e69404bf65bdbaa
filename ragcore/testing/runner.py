"""Run a suite's laws on a component without pytest, and report the outcome of each.

`ragcore plugin test` prints these outcomes. Knows no component and no law by name.
"""

from __future__ import annotations

import inspect
import tempfile
import unittest
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from ragcore.contracts import tier_of
from ragcore.tiers import Tier

if TYPE_CHECKING:
    from ragcore.testing.suite import Suite

__all__ = ["Verdict", "examine", "suite_of"]

_BY_TIER: Final[dict[Tier, str]] = {
    "steps": "Generator",
    "score": "ScoringGenerator",
    "top": "TopGenerator",
    "text": "TextGenerator",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one law.

    Attributes:
        law: its name.
        outcome: whether the component passes, fails, or the law does not apply.
        reason: what went wrong where it failed, or why it was skipped; else empty.
        fix: the law's docstring: what the law demands, and how to fix what breaks it.
    """

    law: str
    outcome: Literal["passed", "failed", "skipped"]
    reason: str
    fix: str


def examine(
    suite: type[Suite], component: Any, laws: Collection[str] | None = None
) -> Iterator[Verdict]:
    """Run the laws of `suite` on `component` in order, each in a new temporary folder.

    Args:
        suite: such as `IndexSuite`, or a subclass with other settings.
        component: a `ComponentSpec`, or a class whose `Config` needs no setting.
        laws: the names of the laws to run; all of them where None.
    """
    for name, law in suite.laws().items():
        if laws is not None and name not in laws:
            continue
        with tempfile.TemporaryDirectory(prefix="ragcore-law-") as folder:
            outcome, reason = _run(suite, name, {"component": component, "tmp_path": Path(folder)})
        yield Verdict(name, outcome, reason, inspect.cleandoc(law.__doc__ or ""))


def suite_of(kind: str, component: Any = None) -> type[Suite] | None:
    """Return the suite for a kind of component, or None where there is none.

    Args:
        kind: such as "index".
        component: a `ComponentSpec`. A generator is built, to see of which tier it is; it is used
            again by the laws.
    """
    import ragcore.testing

    name = kind.capitalize()
    if kind == "generator" and component is not None:
        from ragcore.testing.writing import TextGeneratorSuite

        name = _BY_TIER[tier_of(TextGeneratorSuite.build(component))]
    suite: type[Suite] | None = getattr(ragcore.testing, f"{name}Suite", None)
    return suite


def _run(
    suite: type[Suite], name: str, fixtures: dict[str, Any]
) -> tuple[Literal["passed", "failed", "skipped"], str]:
    law = getattr(suite(), name)
    parameters = inspect.signature(law).parameters
    try:
        law(**{key: value for key, value in fixtures.items() if key in parameters})
    except unittest.SkipTest as skipped:
        return "skipped", str(skipped)
    # Any exception that a component raises in a law means that the law failed.
    except Exception as error:
        message = str(error).strip().split("\n")[0]
        explained = type(error) is AssertionError and message
        return "failed", message if explained else f"{type(error).__name__}: {message}"
    return "passed", ""
