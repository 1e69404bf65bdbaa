"""Run every wrong component through its suite, and count those that a law catches."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from types import ModuleType
from typing import Any, Final

from ragcore.testing import examine
from tests.testing.faults import corpus, encoder, generator, index, retriever, scorer
from tests.testing.faults.marking import faults_of

KINDS: Final[dict[str, ModuleType]] = {
    "retriever": retriever,
    "index": index,
    "encoder": encoder,
    "scorer": scorer,
    "generator": generator,
    "corpus": corpus,
}

SURVIVORS: Final[dict[str, frozenset[str]]] = {
    "retriever": frozenset(),
    "index": frozenset(),
    "encoder": frozenset(),
    # The suite cannot know which passage is the better one.
    "scorer": frozenset({"LowerIsBetter"}),
    "generator": frozenset(),
    "corpus": frozenset(),
}
"""The wrong components of each kind that no law catches, or not at each run."""


def broken_law(
    kind: ModuleType, component: type[Any], laws: Iterable[str] | None = None
) -> str | None:
    """Return the first law of a kind's suite that a component breaks, with why, or None.

    Args:
        kind: a module of this folder.
        component: a class of that kind.
        laws: the names of the laws in the order in which they run; the suite's where None.
    """
    for law in kind.Suite.laws() if laws is None else laws:
        for verdict in examine(kind.Suite, component, {law}):
            if verdict.outcome == "failed":
                return f"{verdict.law}: {verdict.reason}"
    return None


def quickest_first(kind: ModuleType) -> list[str]:
    """Return the laws of a kind's suite by the time that the correct component takes.

    Raises:
        AssertionError: the correct component breaks a law.
    """
    seconds = {}
    for law in kind.Suite.laws():
        begin = time.perf_counter()
        broken = broken_law(kind, kind.Correct, {law})
        seconds[law] = time.perf_counter() - begin
        assert broken is None, f"the correct component breaks {broken}"
    return sorted(seconds, key=seconds.__getitem__)


def survivors(name: str) -> list[str]:
    """Return the names of the wrong components of a kind that no law catches.

    Raises:
        AssertionError: the correct component breaks a law.
    """
    kind = KINDS[name]
    laws = quickest_first(kind)
    return [fault.__name__ for fault in faults_of(kind) if broken_law(kind, fault, laws) is None]


def score(uncaught: Mapping[str, Collection[str]]) -> str:
    """Return the score of kinds as text, from the survivors of each."""
    totals = {name: len(faults_of(KINDS[name])) for name in uncaught}
    caught = {name: total - len(uncaught[name]) for name, total in totals.items()}
    parts = ", ".join(f"{name} {caught[name]}/{totals[name]}" for name in uncaught)
    return f"{sum(caught.values())} of {sum(totals.values())}: {parts}"
