"""The pytest plugin: where a law fails, the report says how to mend it.

pytest imports this at its start, for every project in the environment, so that it imports nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Generator
from typing import Any

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Add the law's docstring to the report of its failure."""
    report = yield
    law = getattr(item, "function", None)
    if report.failed and law is not None and law.__module__.startswith("ragcore.testing."):
        report.sections.append(("How to mend it", inspect.cleandoc(law.__doc__ or "")))
    return report
