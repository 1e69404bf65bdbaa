"""What the README says of each factory is what it can do."""

from __future__ import annotations

from pathlib import Path

import pytest
from ragcore_faiss.config import FaissConfig
from ragcore_faiss.index import Faiss

README = Path(__file__).parents[1] / "README.md"


def table() -> list[dict[str, str]]:
    lines = [line for line in README.read_text("utf-8").splitlines() if line.startswith("| ")]
    begin = next(n for n, line in enumerate(lines) if line.startswith("| factory |"))
    head, _, *body = ([cell.strip() for cell in line[1:-1].split("|")] for line in lines[begin:])
    return [dict(zip(head, row, strict=True)) for row in body]


@pytest.mark.parametrize("row", table(), ids=lambda row: row["factory"])
def test_the_table_of_kinds_is_true(row: dict[str, str]) -> None:
    columns = ("add", "remove", "filter", "exact", "mmap", "vectors", "join", "width")
    for factory in row["factory"].replace("`", "").split(" or "):
        index = Faiss(FaissConfig(factory=factory), dim=32)
        able = {name for name in columns if row[name] == "yes"} | {"spawn_empty"}
        assert index.capabilities == able, factory
        assert (row["training"] == "yes") is not index._index.is_trained, factory
