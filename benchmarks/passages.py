"""Time reading passages from disk: ten random rows of a million, and opening the file.

Usage: python benchmarks/passages.py [--rows 1000000] [--repeats 200]

Prints medians from one run: the time to open the file, to take ten random rows, to find an id, and,
for comparison, what Arrow's own `take` on the whole table needs for ten rows. The passages are
synthetic, 100 words each, in a temporary folder.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from ragcore.memory.passages import Passages, PassageWriter
from ragcore.types import Passage

WORDS = [f"word{n}" for n in range(5000)]


def write(path: Path, rows: int) -> None:
    rng = random.Random(0)
    texts = [" ".join(rng.choices(WORDS, k=100)) for _ in range(1000)]
    with PassageWriter(path) as writer:
        for n in range(rows):
            writer.write([Passage(str(n), f"Title {n}", f"{n} {texts[n % 1000]}")])


def median(action: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "passages.arrow"
        began = time.perf_counter()
        write(path, options.rows)
        written = time.perf_counter() - began
        size = path.stat().st_size / 1e6
        print(f"{options.rows:,} passages, {size:,.0f} MB, written in {written:.1f} s", flush=True)

        rng = random.Random(1)
        passages = Passages(path)

        def ten_rows() -> list[int]:
            return [rng.randrange(options.rows) for _ in range(10)]

        opening = median(lambda: Passages(path), 5)
        print(f"open the file               {opening * 1e3:9.3f} ms", flush=True)
        ours = median(lambda: passages.take(ten_rows()), options.repeats)
        print(f"ten random passages         {ours * 1e3:9.3f} ms", flush=True)
        last_id = str(options.rows - 1)
        finding = median(lambda: passages.row_of(last_id), 5)
        print(f"the row of the last id      {finding * 1e3:9.3f} ms", flush=True)
        # It joins all batches before it takes, so a few times are enough.
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        arrows = median(lambda: table.take(ten_rows()).to_pylist(), 3)
        print(f"ten by Arrow's Table.take   {arrows * 1e3:9.3f} ms  ({arrows / ours:,.0f}x)")


if __name__ == "__main__":
    main()
