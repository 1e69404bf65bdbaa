"""What measuring retrieval adds to the searches themselves, in processor time.

    python benchmarks/retrieval_eval.py

BM25 over random passages of Zipfian words, ten measures of a thousand questions with graded
judgments. Searching alone and evaluating are timed in turns in one process; the fastest of each
counts. With AP the depth is 1,000, without it 100.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

import ragcore
from ragcore.evaluation.choosing import make_metrics, search_depth
from ragcore.evaluation.searching import BATCH
from ragcore.memory.memory import Memory
from ragcore.questions import LabelledQuestion
from ragcore.registry.components import spec_from_dict
from ragcore.store.store import Store

SHALLOW: Final = (
    *("nDCG@10", "nDCG@20", "RR@10", "P@5", "P@10", "R@100", "hit@1", "hit@5", "hit@20"),
    "Judged@10",
)
DEEP: Final = (*SHALLOW[:-1], "AP")
VOCABULARY: Final = 50_000
WORDS: Final = 60


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3, help="the fastest one counts")
    parser.add_argument("--small", action="store_true", help="few passages, to try the script")
    options = parser.parse_args()
    count, asked = (300, 40) if options.small else (options.passages, options.questions)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        retriever = spec_from_dict("retriever", {"use": "bm25"})
        store.build("v", list(passages(count, rng)), retriever, corpus_config=None)
        with store.open("v", retriever=retriever) as memory:
            questions = list(judged(asked, count, rng))
            print(f"{count} passages, {asked} questions, {len(DEEP)} measures")
            for names in (SHALLOW, DEEP):
                report(memory, questions, names, options.repeats)
    return 0


def passages(count: int, rng: np.random.Generator) -> Iterator[ragcore.Passage]:
    """Yield passages of words whose frequency falls as that of a language's."""
    for number in range(count):
        yield ragcore.Passage(f"p{number}", "", words(WORDS, rng))


def words(count: int, rng: np.random.Generator) -> str:
    return " ".join(f"w{rank}" for rank in rng.zipf(1.2, count) % VOCABULARY)


def judged(count: int, among: int, rng: np.random.Generator) -> Iterator[LabelledQuestion]:
    """Yield questions of eight words, each with twenty judged passages."""
    for number in range(count):
        ids = rng.integers(among, size=20)
        grades = {f"p{row}": int(rng.integers(3)) for row in ids}
        yield LabelledQuestion(words(8, rng), id=f"q{number}", relevance={**grades, "p0": 1})


def report(
    memory: Memory, questions: list[LabelledQuestion], names: tuple[str, ...], repeats: int
) -> None:
    """Print how long searching takes, and evaluating, which searches too."""
    metrics = make_metrics(names)
    depth = search_depth(metrics)
    assert depth is not None
    texts = [question.question for question in questions]

    def search() -> None:
        for begin in range(0, len(texts), BATCH):
            memory.hits(texts[begin : begin + BATCH], depth)

    def evaluate() -> None:
        figures = ragcore.evaluate(memory, questions, metrics).figures
        assert all(figure.error is None for figure in figures)

    seconds = {search: float("inf"), evaluate: float("inf")}
    for _ in range(repeats):
        for work in seconds:
            began = time.process_time()
            work()
            seconds[work] = min(seconds[work], time.process_time() - began)
    searching, evaluating = seconds.values()
    print(
        f"depth {depth:4}: searches {searching:6.2f} s, evaluation {evaluating:6.2f} s, "
        f"ratio {evaluating / searching:.2f}",
        flush=True,
    )


if __name__ == "__main__":
    raise SystemExit(main())
