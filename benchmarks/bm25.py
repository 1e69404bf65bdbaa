"""Measure questions per second of the retriever `bm25`, against rank-bm25 and bm25s itself.

Usage: python benchmarks/bm25.py [--passages 100000] [--small | --million | --fuzzy]

A passage is about 100 invented words, drawn by Zipf's law with a fixed seed; a question is six
words of one passage, of any frequency. There is no stemming and there are no stop words, so that
all packages see the same words. Each package does the whole work: terms, scores, best ten. They are
timed in turn, round by round, on the same questions. The script prints medians of the rounds, of
the ratios within a round, and whether the best ten are the same. If scores are equal, any of the
tied passages counts as the same.

bm25s computes with numpy by default; if numba is installed, it is timed with that, too.

With --million nothing is compared. The script measures milliseconds per question over a million
passages, and the time to remove and add a thousand, to save everything and to open it.

With --fuzzy nothing is compared, either. Words are of letters, and stemmed; a question is two words
of one passage, and in the longer one a letter is replaced, or two. The script measures, with
`fuzzy` from 0 to 2, milliseconds of processor time per question and how often the passage that the
question is from is among the best ten.
"""

from __future__ import annotations

import argparse
import copy
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
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


def words(count: int, names: Sequence[str] | None = None) -> Iterator[Texts]:
    """Yield passages as lists of words, a chunk at a time; the words are numbers or these."""
    rng = np.random.default_rng(0)
    # Mandelbrot's shift keeps the first words from being in nearly every passage.
    weights = 1 / (np.arange(WORDS) + 10)
    cumulative = np.cumsum(weights / weights.sum())
    if names is None:
        names = [f"w{number}" for number in range(WORDS)]
    array = np.array(names, dtype=object)
    for start in range(0, count, CHUNK):
        lengths = rng.integers(80, 121, min(CHUNK, count - start))
        tokens = array[np.searchsorted(cumulative, rng.random(lengths.sum())).clip(max=WORDS - 1)]
        yield [passage.tolist() for passage in np.split(tokens, np.cumsum(lengths)[:-1])]


def draw_questions(passages: Texts, count: int) -> Texts:
    """Draw questions of six words each."""
    rng = np.random.default_rng(1)
    rows = rng.integers(0, len(passages), count)
    return [rng.choice(passages[row], 6, replace=False).tolist() for row in rows]


def build_retriever(chunks: Iterator[Texts], variant: str) -> Bm25:
    config = Bm25.Config(variant=variant, k1=K1, b=B, delta=DELTA, stemmer=None, stopwords=None)
    retriever = Bm25(config)
    for chunk in chunks:
        rows = np.arange(len(retriever), len(retriever) + len(chunk))
        retriever.add(
            rows, [Passage(str(row), "", " ".join(text)) for row, text in enumerate(chunk)]
        )
    retriever.search(["w0"], 1)
    return retriever


def seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def race(actions: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Time each action in seconds, round by round, after one round that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(rounds + 1):
        for name, action in actions.items():
            took = seconds(action)
            if turn:
                times[name].append(took)
    return times


def same_ten(scores: np.ndarray, rows: np.ndarray, expected: np.ndarray) -> bool:
    """Return whether these rows are a best ten by the expected scores of all passages.

    There can be fewer than ten: a passage that shares no word with the question is not a hit.
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

    retriever = build_retriever(
        (passages[start : start + CHUNK] for start in range(0, len(passages), CHUNK)), "plus"
    )
    raw = bm25s.BM25(method="bm25+", k1=K1, b=B, delta=DELTA, backend="numpy")
    raw.index(passages, show_progress=False)
    rank_bm25 = BM25Plus(passages, k1=K1, b=B, delta=DELTA)
    terms = draw_questions(passages, questions)
    texts = [" ".join(question) for question in terms]
    few = terms[:slow]

    def by_raw(tokens: Texts, scorer: Any = raw) -> Any:
        return scorer.retrieve(tokens, k=K, show_progress=False, n_threads=0)

    def by_rank_bm25() -> None:
        for question in few:
            np.argsort(rank_bm25.get_scores(question))[::-1][:K]

    hits = retriever.search(texts, K)
    expected = [rank_bm25.get_scores(question) for question in few]
    same_as_rank_bm25 = [
        same_ten(hits.scores[index], hits.rows[index], expected[index]) for index in range(slow)
    ]
    results = by_raw(terms)
    compiled = copy.copy(raw)
    compiled.backend = "numba"
    same_as_bm25s = [
        same_ten(hits.scores[index], hits.rows[index], raw.get_scores(question))
        and same_ten(results.scores[index], results.documents[index], raw.get_scores(question))
        for index, question in enumerate(terms)
    ]
    print(
        f"best {K} as rank-bm25's: {sum(same_as_rank_bm25)} of {len(same_as_rank_bm25)} questions",
        flush=True,
    )
    print(
        f"best {K} as bm25s':      {sum(same_as_bm25s)} of {len(same_as_bm25s)} questions",
        flush=True,
    )

    actions: dict[str, Callable[[], object]] = {
        "ragcore": lambda: retriever.search(texts, K),
        "ragcore, one by one": lambda: [retriever.search([text], K) for text in texts],
        "bm25s": lambda: by_raw(terms),
        "bm25s, one by one": lambda: [by_raw([question]) for question in terms],
        "rank-bm25": by_rank_bm25,
    }
    if bm25s.NUMBA_AVAILABLE:
        actions["bm25s on numba"] = lambda: by_raw(terms, compiled)
    else:
        print("skipped bm25s on numba: numba is not installed", flush=True)
    times = race(actions, rounds)
    counts = dict.fromkeys(actions, questions) | {"rank-bm25": slow}
    per_question = {name: [took / counts[name] for took in taken] for name, taken in times.items()}
    print(f"{'':21} questions/s   times as many as rank-bm25   as bm25s")
    for name, taken in per_question.items():
        median_rate = statistics.median(1 / seconds_each for seconds_each in taken)
        ratios = [
            statistics.median(a / b for a, b in zip(per_question[other], taken, strict=True))
            for other in ("rank-bm25", "bm25s, one by one" if "one" in name else "bm25s")
        ]
        print(f"{name:21} {median_rate:11,.1f} {ratios[0]:28,.1f} {ratios[1]:10.2f}")


def million(count: int, questions: int) -> None:
    first: Texts = []

    def chunks() -> Iterator[Texts]:
        for chunk in words(count):
            first.extend([] if first else chunk)
            yield chunk

    began = time.perf_counter()
    retriever = build_retriever(chunks(), "lucene")
    print(f"{count:,} passages, built in {time.perf_counter() - began:.0f} s", flush=True)
    texts = [" ".join(question) for question in draw_questions(first, questions)]
    retriever.search(texts[:10], K)
    taken = sorted(seconds(lambda text=text: retriever.search([text], K)) * 1e3 for text in texts)
    print(
        f"a question: median {statistics.median(taken):.2f} ms, "
        f"95th percentile {taken[int(0.95 * len(taken))]:.2f} ms"
    )
    rows = np.arange(0, 1000)
    took = seconds(lambda: (retriever.remove(rows), retriever.search(texts[:1], K)))
    print(f"1,000 passages removed, and the next question: {took:.1f} s")
    chunk = [Passage(str(row), "", " ".join(first[row])) for row in rows]
    took = seconds(lambda: (retriever.add(rows, chunk), retriever.search(texts[:1], K)))
    print(f"1,000 passages added, and the next question: {took:.1f} s")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        took = seconds(lambda: retriever.save(folder))
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(f"saved in {took:.1f} s, {size / count:,.0f} bytes a passage")
        opened = seconds(lambda: Bm25.load(folder, retriever._config).search(texts[:1], K))
        print(f"opened, and the first question: {opened:.1f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory {peak:.1f} GiB")


def letter_words() -> list[str]:
    """Invent words of 4 to 11 letters, as rare or frequent as English has them, some twice."""
    rng = np.random.default_rng(2)
    letters = np.array(list("etaoinshrdlcumwfgypbvk"))
    weights = 1 / (np.arange(len(letters)) + 4)
    lengths = rng.integers(4, 12, WORDS)
    drawn = "".join(rng.choice(letters, lengths.sum(), p=weights / weights.sum()))
    ends = np.cumsum(lengths).tolist()
    return [drawn[end - length : end] for end, length in zip(ends, lengths.tolist(), strict=True)]


def misspelt(question: list[str], edits: int, rng: np.random.Generator) -> str:
    """Replace letters of the longest word by one that no word has."""
    longest = max(range(len(question)), key=lambda number: len(question[number]))
    word = question[longest]
    for position in rng.choice(len(word), edits, replace=False):
        word = f"{word[:position]}q{word[position + 1 :]}"
    return " ".join([*question[:longest], word, *question[longest + 1 :]])


def fuzzy(count: int, questions: int) -> None:
    first: Texts = []
    retrievers = {edits: Bm25(Bm25.Config(fuzzy=edits)) for edits in (0, 1, 2)}
    for chunk in words(count, letter_words()):
        first.extend([] if first else chunk)
        rows = np.arange(len(retrievers[0]), len(retrievers[0]) + len(chunk))
        passages = [Passage(str(row), "", " ".join(text)) for row, text in enumerate(chunk)]
        retrievers[0].add(rows, passages)
    with tempfile.TemporaryDirectory() as name:
        retrievers[0].save(Path(name))
        for edits in retrievers:
            retrievers[edits] = Bm25.load(Path(name), Bm25.Config(fuzzy=edits))
        terms = len(json.loads((Path(name) / "terms.json").read_text()))
        print(f"{count:,} passages, {terms:,} terms", flush=True)
        rng = np.random.default_rng(1)
        sources = rng.choice(len(first), questions, replace=False)
        drawn = [rng.choice(first[row], 2, replace=False).tolist() for row in sources]
        print("letters replaced   fuzzy   median ms   95th percentile   passage among the best 10")
        for wrong in (0, 1, 2):
            texts = [misspelt(question, wrong, rng) for question in drawn]
            for edits, retriever in retrievers.items():
                retriever.search(["a"], K)
                taken, successes = [], 0
                for text, row in zip(texts, sources, strict=True):
                    began = time.process_time()
                    hits = retriever.search([text], K)
                    taken.append((time.process_time() - began) * 1e3)
                    successes += int(row in hits.rows)
                high = sorted(taken)[int(0.95 * len(taken))]
                print(
                    f"{wrong:16} {edits:7} {statistics.median(taken):11.2f} {high:17.2f} "
                    f"{successes / questions:27.2f}",
                    flush=True,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--small", action="store_true", help="2,000 passages: to try the script")
    parser.add_argument("--million", action="store_true", help="ragcore alone, at 1,000,000")
    parser.add_argument("--fuzzy", action="store_true", help="ragcore alone, misspelt questions")
    options = parser.parse_args()
    count = 2_000 if options.small else options.passages
    if options.million:
        million(count if options.small else 1_000_000, 200)
        return
    if options.fuzzy:
        fuzzy(count, 50 if options.small else 100)
        return
    passages = [text for chunk in words(count) for text in chunk]
    print(f"{count:,} passages", flush=True)
    compare(passages, options.rounds, questions=100, slow=5)


if __name__ == "__main__":
    main()
