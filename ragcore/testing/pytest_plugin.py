"""The pytest plugin: mark laws, and report how to fix what fails.

pytest imports this module at its start, in every project of the environment, so that it imports
nothing heavy.
"""

from __future__ import annotations

import inspect
from collections.abc import Generator
from typing import Any

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker `contract`, so that `-m "not contract"` leaves the suites out."""
    config.addinivalue_line("markers", "contract: a law of a contract suite, run on a component")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a test that a suite of `ragcore.testing` defines."""
    if _is_law(getattr(item, "function", None)):
        item.add_marker("contract")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Add the law's docstring to the report of its failure."""
    report = yield
    law = getattr(item, "function", None)
    if report.failed and _is_law(law):
        report.sections.append(("How to fix it", inspect.cleandoc(law.__doc__ or "")))
    return report


def _is_law(function: Any) -> bool:
    return str(getattr(function, "__module__", "")).startswith("ragcore.testing.")
