"""Rows of a search as llama.cpp's cache has them: a prompt, and the tokens fed after it.

Knows tokens; knows nothing of llama.cpp.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Branch", "Prefix", "nodes_of", "room_for"]

Prefix = tuple["Branch", tuple[int, ...]]
"""A prompt, and tokens after it."""


class Branch:
    """A row: a prompt and the tokens fed after it; in the cache or not.

    Attributes:
        tokens: of the prompt.
        prompt: the row that holds the prompt alone; None if it is this one.
        fed: the tokens fed after the prompt.
        sequence: its number in the cache, if it is there.
    """

    __slots__ = ("__weakref__", "fed", "prompt", "sequence", "tokens")

    def __init__(self, tokens: Sequence[int], prompt: Branch | None = None) -> None:
        self.tokens = tokens
        self.prompt = prompt
        self.fed: list[int] = []
        self.sequence: int | None = None

    def __len__(self) -> int:
        """Return how many tokens it stands for."""
        return len(self.tokens) + len(self.fed)


def room_for(rows: Sequence[Branch], feeds: bool) -> tuple[int, int]:
    """Return how many cells and sequences rows need that are fed a token each, or none."""
    absent = [row for row in rows if row.sequence is None]
    prompts = {row.prompt for row in absent if row.prompt and row.prompt.sequence is None}
    cells = len(rows) if feeds else 0
    cells += sum(len(row.fed) if row.prompt else len(row.tokens) for row in absent)
    cells += sum(len(prompt.tokens) for prompt in prompts)
    return cells, len(absent) + len(prompts)


def nodes_of(leaves: Sequence[Prefix]) -> dict[Prefix, list[int]]:
    """Return all beginnings of prefixes, the shortest first, and the leaves that begin so."""
    nodes: dict[Prefix, list[int]] = {}
    longest = max((len(tokens) for _, tokens in leaves), default=0)
    for depth in range(1, longest + 1):
        for number, (prompt, tokens) in enumerate(leaves):
            if len(tokens) >= depth:
                nodes.setdefault((prompt, tokens[:depth]), []).append(number)
    return nodes
