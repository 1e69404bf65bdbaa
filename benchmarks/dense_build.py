"""Time building a dense memory, against sentence-transformers' `encode` on the same texts.

Usage: python benchmarks/dense_build.py [--passages 1500] [--rounds 3] [--model all-MiniLM-L6-v2]
       python benchmarks/dense_build.py --memory

A passage is about 100 words of the model's own vocabulary, drawn with a fixed seed. First `encode`
is timed with several batch sizes. Then a whole build (passages, vectors, index `exact`, digests,
sync) and `encode` with its best batch size are timed in turn, round by round. The script prints the
median of the ratios within a round.

With --memory no model is used: an encoder that draws random vectors builds two memories, each in a
process of its own. One has ten times as many passages, and their peak memory is compared.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from ragcore.registry.components import ComponentConfig, ComponentSpec
from ragcore.retrievers.dense import Dense
from ragcore.retrievers.flat import Exact
from ragcore.store.store import Store
from ragcore.types import Passage

SIZES: Final = (16, 32, 64, 128)


def corpus(words: Sequence[str], count: int) -> Iterator[Passage]:
    rng = np.random.default_rng(0)
    for row in range(count):
        chosen = rng.integers(0, len(words), rng.integers(60, 141))
        yield Passage(
            str(row), " ".join(words[number] for number in chosen[:2]), join(words, chosen)
        )


def join(words: Sequence[str], chosen: np.ndarray) -> str:
    return " ".join(words[number] for number in chosen)


def seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def build(passages: Any, encoder: ComponentSpec) -> None:
    index = ComponentSpec("index", "exact", Exact, Exact.Config())
    spec = ComponentSpec("retriever", "dense", Dense, Dense.Config(encoder=encoder, index=index))
    with tempfile.TemporaryDirectory() as folder:
        Store(folder).build("v", passages, spec)


def compare(options: argparse.Namespace) -> None:
    try:
        from ragcore_transformers.configs import SentenceConfig
        from ragcore_transformers.sentence import SentenceTransformers
    except ModuleNotFoundError as error:
        print(f"skipped: {error.name} is not installed")
        return
    config = SentenceConfig.model_validate({"model": options.model})
    encoder = ComponentSpec("encoder", "sentence-transformers", SentenceTransformers, config)
    model = encoder.shared().model
    words = [word for word in model.tokenizer.get_vocab() if word.isalpha() and len(word) > 2]
    passages = list(corpus(sorted(words), options.passages))
    texts = [f"{passage.title}. {passage.text}" for passage in passages]

    def encode(size: int, batch: list[str] = texts) -> None:
        model.encode(batch, batch_size=size, show_progress_bar=False)

    encode(32, texts[:64])
    times = {
        size: seconds(lambda size=size: encode(size, texts[: len(texts) // 3])) for size in SIZES
    }
    best = min(times, key=lambda size: times[size])
    rates = ", ".join(f"{size}: {len(texts) // 3 / took:.1f}" for size, took in times.items())
    print(f"encode, passages a second by batch size: {rates}", flush=True)

    ratios, ours, theirs = [], [], []
    for _ in range(options.rounds):
        theirs.append(seconds(lambda: encode(best)))
        ours.append(seconds(lambda: build(passages, encoder)))
        ratios.append(ours[-1] / theirs[-1])
    print(f"{len(texts):,} passages, {options.rounds} rounds, medians")
    print(f"encode, batches of {best:3}: {len(texts) / statistics.median(theirs):8.1f} passages/s")
    print(f"build               : {len(texts) / statistics.median(ours):8.1f} passages/s")
    rounds = ", ".join(f"{ratio:.3f}" for ratio in ratios)
    print(f"build over encode   : {statistics.median(ratios):8.3f}   ({rounds}; to reach: 1.1)")


class Drawing:
    """An encoder that draws random vectors, so that only the build's own memory is measured."""

    class Config(ComponentConfig):
        dim: int = 384

    capabilities: ClassVar[frozenset[str]] = frozenset()
    fingerprint = "drawn"

    def __init__(self, config: Config) -> None:
        self.dim = config.dim
        self._drawn = np.random.default_rng(0)

    def encode_passages(self, passages: Sequence[Passage]) -> np.ndarray:
        return self._drawn.standard_normal((len(passages), self.dim), np.float32)

    def encode_questions(self, questions: Sequence[str]) -> Any:
        import torch

        return torch.from_numpy(self._drawn.standard_normal((len(questions), self.dim), np.float32))


def peak(count: int) -> None:
    words = [f"word{number}" for number in range(5000)]
    encoder = ComponentSpec("encoder", "drawing", Drawing, Drawing.Config())
    build(list(corpus(words, 10)), encoder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    build(corpus(words, count), encoder)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print((after - before) / 1024)


def memory(count: int) -> None:
    peaks = []
    for passages in (count, 10 * count):
        command = [sys.executable, str(Path(__file__)), "--peak", str(passages)]
        process = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(float(process.stdout))
        vectors = passages * Drawing.Config().dim * 4 / 2**20
        print(
            f"{passages:9,} passages: {peaks[-1]:6.0f} MiB above a build of ten, "
            f"for {vectors:,.0f} MiB of vectors",
            flush=True,
        )
    per_passage = (peaks[1] - peaks[0]) * 2**20 / (9 * count)
    print(f"each further passage: {per_passage:.0f} bytes, of which an id's digest takes about 100")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passages", type=int, default=1_500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    parser.add_argument("--memory", action="store_true", help="peaks instead of times")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak is not None:
        peak(options.peak)
    elif options.memory:
        memory(20_000)
    else:
        compare(options)


if __name__ == "__main__":
    main()
