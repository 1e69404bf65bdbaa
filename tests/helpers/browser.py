"""A browser for tests of pages: what it reports fails them, and rules that all readers rely on.

Needs playwright and axe-playwright-python, and Debian's chromium.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

__all__ = ["ENGINES", "broken_rules", "focus_without_mark", "launched", "overflow", "watched"]

CHROMIUM: Final = Path("/usr/bin/chromium")
ARGUMENTS: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ENGINES: Final = [
    pytest.mark.engines,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no browser at {CHROMIUM}"),
]
"""The marks of tests that start a browser."""

_DECIDED: Final = ("color-contrast", "heading-order")

expect.set_options(timeout=20_000)


@contextmanager
def launched() -> Iterator[Browser]:
    """Start a browser."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()


def watched(browser: Browser, url: str, expected: str | None = None, **options) -> Iterator[Page]:
    """Open a page; fail where it says something in the console, or asks another origin.

    A message is a fault of the script, a file that is not there, or what a policy refused.

    Args:
        url: that each request must begin with.
        expected: a pattern of the messages that are none of the page's faults.
        options: of the browser's context, such as its color_scheme.
    """
    context = browser.new_context(base_url=url, **options)
    page = context.new_page()
    page.set_default_timeout(20_000)
    faults: list[str] = []
    page.on("console", lambda message: faults.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: faults.append(f"exception: {error}"))
    page.on("dialog", lambda dialog: faults.append(f"dialog: {dialog.message}"))
    page.on(
        "request",
        lambda request: None if request.url.startswith(url) else faults.append(request.url),
    )
    yield page
    context.close()
    surprising = [fault for fault in faults if not (expected and re.search(expected, fault))]
    assert not surprising, "\n".join(surprising)


def overflow(page: Page) -> int:
    """Return how many pixels the page is wider than its window."""
    return page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )


def broken_rules(page: Page, decided: Sequence[str] = _DECIDED) -> list[str]:
    """Check what is shown against axe-core's rules, and return the rules that it breaks.

    Among them: each control has a name, headings are in order, text has a contrast of 4.5 (WCAG
    2.2, success criteria 4.1.2, 1.3.1 and 1.4.3).

    Args:
        page: as it is shown.
        decided: rules that must apply to something, since a rule that does not finds nothing out.
    """
    response = Axe().run(page).response
    assert set(decided) <= {rule["id"] for rule in response["passes"] + response["violations"]}
    return [
        f"{rule['id']}: {node['html']}: {node['failureSummary']}"
        for rule in response["violations"]
        for node in rule["nodes"]
    ]


def focus_without_mark(page: Page) -> list[str]:
    """Go through the page by Tab; return the elements whose focus cannot be seen."""
    page.evaluate(
        """() => {
          const reached = document.querySelectorAll("[data-reached]");
          for (const node of reached) delete node.dataset.reached;
        }"""
    )
    unmarked, reached = [], []
    for _ in range(200):
        page.keyboard.press("Tab")
        name, outline, is_back = page.evaluate(
            """() => {
              const node = document.activeElement;
              const { outlineStyle, outlineWidth } = getComputedStyle(node);
              const width = outlineStyle === "none" ? 0 : parseFloat(outlineWidth);
              const isBack = node.dataset.reached === "yes";
              // Between the last and the first element the focus is nowhere.
              if (node === document.body) return [null, 0, false];
              node.dataset.reached = "yes";
              return [node.outerHTML.slice(0, 200), width, isBack];
            }"""
        )
        if is_back:
            break
        if name is None:
            continue
        reached.append(name)
        if outline < 2:
            unmarked.append(name)
    else:
        raise AssertionError("the focus does not come back: a control keeps it")
    assert reached, "nothing can be reached by Tab"
    return unmarked
