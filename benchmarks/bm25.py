"""Questions per second of the retriever `bm25`, beside rank-bm25 and raw bm25s.

Usage: python benchmarks/bm25.py [--passages 100000] [--small | --million]

Passages are some 100 invented words, drawn by Zipf's law with a fixed seed; a question is six words
of one passage, of any rank. No stemming and no stop words, so that all see the same words. Each
package has the whole question to answer: to its terms, scores, best ten. They are timed in turn,
round by round, on the same questions; medians of the rounds and of the ratios within a round are
printed, and whether the ten are the same. Where the packages' scores tie, any of those that tie do.

bm25s computes with numpy unless told otherwise; where numba is installed, it is timed on that, too.

With --million there is no comparison: a million passages, and milliseconds a question; then what it
costs to remove and add a thousand, to save all and to open it.
"""

from __future__ import annotations

import argparse
import copy
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from ragcore_bm25.retriever import Bm25

from ragcore.types import Passage

WORDS: Final = 300_000
K: Final = 10
CHUNK: Final = 10_000
K1, B, DELTA = 1.2, 0.75, 1.0

Texts = list[list[str]]


def words(count: int) -> Iterator[Texts]:
    """Passages as lists of words, a chunk at a time."""
    drawn = np.random.default_rng(0)
    # Mandelbrot's shift keeps the first words from being in nearly every passage.
    chances = 1 / (np.arange(WORDS) + 10)
    reached = np.cumsum(chances / chances.sum())
    names = np.array([f"w{number}" for number in range(WORDS)], dtype=object)
    for begun in range(0, count, CHUNK):
        lengths = drawn.integers(80, 121, min(CHUNK, count - begun))
        found = names[np.searchsorted(reached, drawn.random(lengths.sum())).clip(max=WORDS - 1)]
        yield [part.tolist() for part in np.split(found, np.cumsum(lengths)[:-1])]


def asked(passages: Texts, count: int) -> Texts:
    """Questions of six words each."""
    drawn = np.random.default_rng(1)
    chosen = drawn.integers(0, len(passages), count)
    return [drawn.choice(passages[at], 6, replace=False).tolist() for at in chosen]


def ours(chunks: Iterator[Texts], variant: str) -> Bm25:
    config = Bm25.Config(variant=variant, k1=K1, b=B, delta=DELTA, stemmer=None, stopwords=None)
    made = Bm25(config)
    for chunk in chunks:
        rows = np.arange(len(made), len(made) + len(chunk))
        made.add(rows, [Passage(str(row), "", " ".join(text)) for row, text in enumerate(chunk)])
    made.search(["w0"], 1)
    return made


def seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def race(actions: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each action, round by round, after one round that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(rounds + 1):
        for name, action in actions.items():
            took = seconds(action)
            if turn:
                times[name].append(took)
    return times


def same_ten(scores: np.ndarray, rows: np.ndarray, expected: np.ndarray) -> bool:
    """Whether rows, with these scores, are a best ten by the expected scores of all passages.

    Passages that share no word with the question are no hits, so that there may be fewer.
    """
    rows, scores = rows[rows >= 0], scores[rows >= 0]
    best = np.sort(expected)[::-1][: len(rows)]
    return bool(
        np.allclose(scores, best, rtol=1e-5, atol=1e-5)
        and np.allclose(expected[rows], best, rtol=1e-5, atol=1e-5)
    )


def compare(passages: Texts, rounds: int, questions: int, slow: int) -> None:
    import bm25s
    from rank_bm25 import BM25Plus

    made = ours((passages[at : at + CHUNK] for at in range(0, len(passages), CHUNK)), "plus")
    raw = bm25s.BM25(method="bm25+", k1=K1, b=B, delta=DELTA, backend="numpy")
    raw.index(passages, show_progress=False)
    yardstick = BM25Plus(passages, k1=K1, b=B, delta=DELTA)
    terms = asked(passages, questions)
    texts = [" ".join(question) for question in terms]
    few = terms[:slow]

    def by_raw(tokens: Texts, scorer: Any = raw) -> Any:
        return scorer.retrieve(tokens, k=K, show_progress=False, n_threads=0)

    def by_yardstick() -> None:
        for question in few:
            np.argsort(yardstick.get_scores(question))[::-1][:K]

    hits = made.search(texts, K)
    expected = [yardstick.get_scores(question) for question in few]
    same = [same_ten(hits.scores[at], hits.rows[at], expected[at]) for at in range(slow)]
    found = by_raw(terms)
    compiled = copy.copy(raw)
    compiled.backend = "numba"
    alike = [
        same_ten(hits.scores[at], hits.rows[at], raw.get_scores(question))
        and same_ten(found.scores[at], found.documents[at], raw.get_scores(question))
        for at, question in enumerate(terms)
    ]
    print(f"best {K} as rank-bm25's: {sum(same)} of {len(same)} questions", flush=True)
    print(f"best {K} as bm25s':      {sum(alike)} of {len(alike)} questions", flush=True)

    actions: dict[str, Callable[[], object]] = {
        "ragcore": lambda: made.search(texts, K),
        "ragcore, one by one": lambda: [made.search([text], K) for text in texts],
        "bm25s": lambda: by_raw(terms),
        "bm25s, one by one": lambda: [by_raw([question]) for question in terms],
        "rank-bm25": by_yardstick,
    }
    if bm25s.NUMBA_AVAILABLE:
        actions["bm25s on numba"] = lambda: by_raw(terms, compiled)
    else:
        print("without bm25s on numba: numba is not installed", flush=True)
    times = race(actions, rounds)
    counts = dict.fromkeys(actions, questions) | {"rank-bm25": slow}
    each = {name: [took / counts[name] for took in taken] for name, taken in times.items()}
    print(f"{'':21} questions/s   times as many as rank-bm25   as bm25s")
    for name, taken in each.items():
        many = statistics.median(1 / one for one in taken)
        over = [
            statistics.median(a / b for a, b in zip(each[other], taken, strict=True))
            for other in ("rank-bm25", "bm25s, one by one" if "one" in name else "bm25s")
        ]
        print(f"{name:21} {many:11,.1f} {over[0]:28,.1f} {over[1]:10.2f}")


def million(count: int, questions: int) -> None:
    first: Texts = []

    def chunks() -> Iterator[Texts]:
        for chunk in words(count):
            first.extend([] if first else chunk)
            yield chunk

    began = time.perf_counter()
    made = ours(chunks(), "lucene")
    print(f"{count:,} passages, built in {time.perf_counter() - began:.0f} s", flush=True)
    texts = [" ".join(question) for question in asked(first, questions)]
    made.search(texts[:10], K)
    taken = sorted(seconds(lambda text=text: made.search([text], K)) * 1e3 for text in texts)
    print(
        f"a question: median {statistics.median(taken):.2f} ms, "
        f"95th percentile {taken[int(0.95 * len(taken))]:.2f} ms"
    )
    gone = np.arange(0, 1000)
    took = seconds(lambda: (made.remove(gone), made.search(texts[:1], K)))
    print(f"1,000 passages removed, and the next question: {took:.1f} s")
    chunk = [Passage(str(row), "", " ".join(first[row])) for row in gone]
    took = seconds(lambda: (made.add(gone, chunk), made.search(texts[:1], K)))
    print(f"1,000 passages added, and the next question: {took:.1f} s")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        took = seconds(lambda: made.save(folder))
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(f"saved in {took:.1f} s, {size / count:,.0f} bytes a passage")
        opened = seconds(lambda: Bm25.load(folder, made._config).search(texts[:1], K))
        print(f"opened, and the first question: {opened:.1f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory {peak:.1f} GiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--small", action="store_true", help="2,000 passages: to try the script")
    parser.add_argument("--million", action="store_true", help="ragcore alone, at 1,000,000")
    options = parser.parse_args()
    count = 2_000 if options.small else options.passages
    if options.million:
        million(count if options.small else 1_000_000, 200)
        return
    passages = [text for chunk in words(count) for text in chunk]
    print(f"{count:,} passages", flush=True)
    compare(passages, options.rounds, questions=100, slow=5)


if __name__ == "__main__":
    main()
