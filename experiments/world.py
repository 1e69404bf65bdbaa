"""Measure the demo of the World Factbook: one figure for each thing that it claims.

    python world.py --data DATA [--rows leaders facts] [--pipeline FILE] [--limit 200] [--json F]
    python world.py --data DATA --reader-only --pipeline FILE

Prints for each figure its value with a 95 % interval, the number of questions, the percentage of
them that had a right answer in what was read, and what it should reach. Without `--pipeline` it is
the demo's own file. Overrides come last: `generator.dtype=float32`. Memories are built once, in
`work/world`; world_rows/memories.py says which.
"""

from __future__ import annotations

import argparse
import json
import time
from importlib.resources import as_file, files
from pathlib import Path

from data import DATA
from lab import WORK
from world_rows.asking import Asking
from world_rows.figures import Figure
from world_rows.memories import EDITIONS
from world_rows.rows import READER_ROWS, ROWS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, help="a folder of development data")
    parser.add_argument("--work", type=Path, default=WORK / "world", help="where memories are")
    parser.add_argument("--pipeline", type=Path, help="the demo's where it is left out")
    parser.add_argument("--rows", nargs="+", choices=[*ROWS, *READER_ROWS], help="only these")
    parser.add_argument(
        "--reader-only", action="store_true", help="read the right passages, without a search"
    )
    parser.add_argument(
        "--factbooks",
        nargs="+",
        choices=list(EDITIONS),
        default=list(EDITIONS),
        help="which memories of the Factbook several rows ask: their vectors take a while",
    )
    parser.add_argument("--limit", type=int, default=400, help="the most questions of a figure")
    parser.add_argument("--json", type=Path, help="write figures and answers here")
    parser.add_argument("overrides", nargs="*", help="such as generator.dtype=float32")
    arguments = parser.parse_args()
    if not (arguments.data / "factbook").is_dir():
        print(f"skipped: no development data in {arguments.data}")
        return 0
    rows = {**ROWS, **READER_ROWS}
    chosen = arguments.rows or list(READER_ROWS if arguments.reader_only else ROWS)
    print(f"{'row':14} {'figure':58} {'value':>7}  {'95 %':16} {'n':>5}   hits  to reach")
    figures: list[Figure] = []
    with (
        as_file(files("ragcore_world") / "world.yaml") as demo,
        Asking(
            arguments.pipeline or demo,
            arguments.overrides,
            arguments.data,
            arguments.work,
            arguments.limit,
            arguments.factbooks,
        ) as asking,
    ):
        for name in chosen:
            began, before = time.perf_counter(), asking.answers
            for figure in rows[name](asking):
                figures.append(figure)
                print(figure.line(), flush=True)
            seconds, count = time.perf_counter() - began, asking.answers - before
            print(f"{'':14} {count} answers in {seconds:.0f} s", flush=True)
            if arguments.json:
                write(arguments.json, figures)
    return 0


def write(path: Path, figures: list[Figure]) -> None:
    """Write all figures so far, each with its answers."""
    records = [
        {**figure.to_dict(), "answers": [answer.to_dict() for answer in figure.answers]}
        for figure in figures
    ]
    path.write_text(json.dumps(records, ensure_ascii=False, indent=1), encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
