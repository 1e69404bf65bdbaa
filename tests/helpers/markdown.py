"""Parse Markdown for the tests of the documentation: fenced blocks, their notes, links.

A note is an HTML comment above a block, unseen by readers: `<!-- test: file NAME -->` writes the
block into a file, `<!-- test: output -->` is what the last Python block printed, and
`<!-- test: skip because … -->` leaves the block alone. Two notes are separated by `; `.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]

_BLOCK: Final = re.compile(
    r"^(?:<!-- test: (?P<note>[^\n]*?) -->\n\s*)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
_HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, its text, the line that it begins on, and its notes.

    Notes are keyed by their first word: {"file": "pipeline.yaml", "skip": "because …"}.
    """

    language: str
    text: str
    line: int
    notes: dict[str, str]


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            match["language"],
            match["text"],
            text.count("\n", 0, match.start("text")) + 1,
            {
                verb: rest
                for verb, _, rest in (
                    note.partition(" ") for note in (match["note"] or "").split("; ") if note
                )
            },
        )
        for match in _BLOCK.finditer(text)
    ]


def files_of(page: Path) -> dict[str, str]:
    """Return the files that a page shows, by name."""
    return {block.notes["file"]: block.text for block in blocks(page) if "file" in block.notes}


def links(page: Path) -> list[str]:
    """Return the targets of a page's links, other sites left out."""
    targets = _LINK.findall(_without_blocks(page))
    return [link for link in targets if not link.startswith(("http:", "https:"))]


def anchors(page: Path) -> set[str]:
    """Return what can follow # in a link to a page: headings in lower case, with hyphens."""
    headings = _HEADING.findall(_without_blocks(page))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def tables(page: Path) -> dict[str, list[list[str]]]:
    """Return the rows of cells under each heading, without table heads and backticks."""
    heading = ""
    rows: dict[str, list[list[str]]] = {heading: []}
    for line in _without_blocks(page).splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ").replace("`", "")
            rows[heading] = []
        elif line.startswith("| `"):
            cells = line.strip().strip("|").split("|")
            rows[heading].append([cell.strip().strip("`") for cell in cells])
    return rows


def _without_blocks(page: Path) -> str:
    return _BLOCK.sub("", page.read_text(encoding="utf-8"))
