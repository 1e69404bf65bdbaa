"""Run every wrong component through its suite, and count those that a law catches."""

from __future__ import annotations

from collections.abc import Collection, Mapping
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


def broken_law(kind: ModuleType, component: type[Any]) -> str | None:
    """Return the first law of a kind's suite that a component breaks, with why, or None."""
    for verdict in examine(kind.Suite, component):
        if verdict.outcome == "failed":
            return f"{verdict.law}: {verdict.reason}"
    return None


def survivors(name: str) -> list[str]:
    """Return the names of the wrong components of a kind that no law catches."""
    kind = KINDS[name]
    return [fault.__name__ for fault in faults_of(kind) if broken_law(kind, fault) is None]


def score(uncaught: Mapping[str, Collection[str]]) -> str:
    """Return the score of kinds as text, from the survivors of each."""
    totals = {name: len(faults_of(KINDS[name])) for name in uncaught}
    caught = {name: total - len(uncaught[name]) for name, total in totals.items()}
    parts = ", ".join(f"{name} {caught[name]}/{totals[name]}" for name in uncaught)
    return f"{sum(caught.values())} of {sum(totals.values())}: {parts}"
