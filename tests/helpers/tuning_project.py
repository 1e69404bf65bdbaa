"""A pipeline whose k1 is much too high, with dev and test questions that show it.

Each country has a passage about its capital, which is asked for, and another that repeats its
name: with k1 of 8 the name's frequency wins, with a small k1 the word "capital" does.
"""

from __future__ import annotations

import json
from pathlib import Path

from ragcore.build import build_memory

COUNTRIES = (
    *("Chad", "Mali", "Niger", "Togo", "Benin", "Ghana", "Kenya", "Egypt"),
    *("Libya", "Sudan", "Gabon", "Congo", "Angola", "Malawi", "Zambia", "Uganda"),
)
PIPELINE = """\
# mine
ragcore: 1
memory:
  store: store
  corpus: {use: jsonl, path: passages.jsonl}
  retriever: {use: bm25, k1: 8.0}  # too high
rag: {k: 2}
"""


def write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def question(country: str) -> dict[str, object]:
    return {"question": f"capital of {country}", "passage_ids": [f"{country}-capital"]}


def make_tuning_project(folder: Path) -> None:
    passages: list[dict[str, object]] = []
    for country in COUNTRIES:
        text = f"The capital of {country} lies on a river."
        repeated = f"{country}, {country}: a song of many rivers."
        passages += [
            {"id": f"{country}-capital", "text": text},
            {"id": f"{country}-song", "text": repeated},
        ]
    write_rows(folder / "passages.jsonl", passages)
    write_rows(folder / "dev.jsonl", [question(each) for each in COUNTRIES[:8]])
    write_rows(folder / "test.jsonl", [question(each) for each in COUNTRIES[8:]])
    (folder / "pipeline.yaml").write_text(PIPELINE, encoding="utf-8")
    build_memory(folder / "pipeline.yaml", version="v1")
