"""Measure the encoder `static` against the model that it was distilled from: speed and ranking.

Usage: python benchmarks/static_encoder.py [--model all-MiniLM-L6-v2] [--static FOLDER]
       python benchmarks/static_encoder.py --data DATA

The static model is distilled first, with all components, unless --static names one that was. Then
both encoders, and model2vec's own `encode`, read the same passages, in turn, round by round; a
passage is about 100 words of the teacher's vocabulary, drawn with a fixed seed. Times are those of
the processor, with one thread. The script prints medians.

With --data it ranks instead: Cranfield (nDCG at 10, questions with at least one relevant passage)
and Natural Questions (the annotated passage in the first 1, 5 and 20). DATA is a folder of gzipped
JSON lines: `ir/cranfield/{passages,questions,qrels}` and `openqa/{passages,nq_gold}`. The teacher,
the static model, BM25, and hybrids of BM25 with either are compared, or those that --systems names.
Each line has the difference to the first, with the 95% interval of 10,000 samples of the questions.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np

from ragcore.registry.components import spec_from_dict
from ragcore.types import Passage

DEPTH: Final = 20
CUTS: Final = (1, 5, 20)
SYSTEMS: Final = ("teacher", "static", "bm25", "hybrid", "hybrid-teacher")


def corpus(words: Sequence[str], count: int) -> Iterator[Passage]:
    rng = np.random.default_rng(0)
    for row in range(count):
        chosen = [words[number] for number in rng.integers(0, len(words), rng.integers(60, 141))]
        yield Passage(str(row), " ".join(chosen[:2]), " ".join(chosen))


def seconds(action: Callable[[], object]) -> float:
    began = time.process_time()
    action()
    return time.process_time() - began


def compare_speed(teacher: Any, encoders: Mapping[str, Any], options: argparse.Namespace) -> None:
    from model2vec import StaticModel

    vocabulary = teacher.model.tokenizer.get_vocab()
    words = sorted(word for word in vocabulary if word.isalpha() and len(word) > 2)
    passages = list(corpus(words, options.passages))
    few = passages[: options.few]
    texts = [f"{passage.title}. {passage.text}" for passage in passages]
    library = StaticModel.from_pretrained(options.static)

    def encode_by_library() -> None:
        library.encode(texts, use_multiprocessing=False)

    def encode_by_peer() -> None:
        teacher.model.encode(texts[: options.few], batch_size=32, show_progress_bar=False)

    actions: dict[str, tuple[int, Callable[[], object]]] = {
        "sentence-transformers' encode": (len(few), encode_by_peer),
        "{use: sentence-transformers}": (len(few), lambda: teacher.encode_passages(few)),
        "model2vec's encode": (len(texts), encode_by_library),
        **{
            name: (len(texts), lambda encoder=encoder: encoder.encode_passages(passages))
            for name, encoder in encoders.items()
        },
    }
    rates: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(options.rounds + 1):
        for name, (count, action) in actions.items():
            rate = count / seconds(action)
            # The first round warms up.
            if turn:
                rates[name].append(rate)
    base = statistics.median(rates["sentence-transformers' encode"])
    print(
        f"{len(texts):,} passages ({len(few)} for transformers), {options.rounds} rounds, medians"
    )
    print(f"{'':32} {'passages/CPU-s':>14} {'ratio':>7}")
    for name, values in rates.items():
        rate = statistics.median(values)
        print(f"{name:32} {rate:14,.1f} {rate / base:7.1f}", flush=True)


def rows(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def passages_of(path: Path) -> list[Passage]:
    return [Passage(row["id"], row["title"], row["text"]) for row in rows(path)]


def systems(options: argparse.Namespace, dims: Sequence[int]) -> dict[str, Mapping[str, Any]]:
    """Return the section of each retriever that is compared; the first is what others are held to.

    The hybrids join the hits of BM25 and of an encoder by ranks.
    """

    def dense(encoder: Mapping[str, Any]) -> dict[str, Any]:
        return {"use": "dense", "encoder": dict(encoder), "index": {"use": "exact"}}

    def hybrid(encoder: Mapping[str, Any]) -> dict[str, Any]:
        return {"use": "hybrid", "retrievers": [{"use": "bm25"}, dense(encoder)]}

    teacher = {"use": "sentence-transformers", "model": options.model}
    static = [{"use": "static", "model": str(options.static), "truncate_dim": dim} for dim in dims]
    names = [f"static, {dim} components" for dim in dims]
    everything = {
        "teacher": {"teacher": dense(teacher)},
        "static": dict(zip(names, map(dense, static), strict=True)),
        "bm25": {"BM25": {"use": "bm25"}},
        "hybrid": {
            f"BM25 and {name}": hybrid(one) for name, one in zip(names, static, strict=True)
        },
        "hybrid-teacher": {"BM25 and teacher": hybrid(teacher)},
    }
    return {name: part for key in options.systems for name, part in everything[key].items()}


def ranked(
    section: Mapping[str, Any], passages: Sequence[Passage], questions: Sequence[str]
) -> np.ndarray:
    """Return the rows of the best passages of each question, [B, DEPTH]."""
    retriever: Any = spec_from_dict("retriever", section).build()
    retriever.add(np.arange(len(passages)), passages)
    rows: np.ndarray = retriever.search(questions, DEPTH).rows
    return rows


def cranfield(folder: Path, sections: Mapping[str, Any]) -> None:
    passages = passages_of(folder / "passages.jsonl.gz")
    # Grade 0 is none of the collection's own.
    grades: dict[str, dict[str, float]] = {}
    for row in rows(folder / "qrels.jsonl.gz"):
        if row["rel"] > 0:
            grades.setdefault(row["qid"], {})[row["docid"]] = float(row["rel"])
    questions = [row for row in rows(folder / "questions.jsonl.gz") if row["id"] in grades]
    discounts = 1 / np.log2(np.arange(2, 12))  # [10]

    def figures(section: Any) -> dict[str, np.ndarray]:
        best = ranked(section, passages, [row["question"] for row in questions])
        gains = []
        for row, hits in zip(questions, best[:, :10], strict=True):
            known = grades[row["id"]]
            gain = np.array([known.get(passages[hit].id, 0.0) if hit >= 0 else 0.0 for hit in hits])
            ideal = np.sort(list(known.values()))[::-1][:10]
            gains.append((gain @ discounts) / (ideal @ discounts[: len(ideal)]))
        return {"nDCG@10": np.array(gains)}

    report(f"Cranfield, {len(questions)} questions, {len(passages):,} passages", sections, figures)


def natural_questions(folder: Path, sections: Mapping[str, Any]) -> None:
    passages = passages_of(folder / "passages.jsonl.gz")
    questions = rows(folder / "nq_gold.jsonl.gz")
    row_of = {passage.id: row for row, passage in enumerate(passages)}
    gold = np.array([row_of[row["gold_id"]] for row in questions])  # [B]

    def figures(section: Any) -> dict[str, np.ndarray]:
        hits = ranked(section, passages, [row["question"] for row in questions])  # [B, DEPTH]
        matches = hits == gold[:, None]
        return {f"first {cut}": matches[:, :cut].any(axis=1).astype(float) for cut in CUTS}

    name = f"Natural Questions, {len(questions):,} questions, {len(passages):,} passages"
    report(name, sections, figures)


def report(
    name: str,
    sections: Mapping[str, Any],
    figures: Callable[[Any], Mapping[str, np.ndarray]],
) -> None:
    print(f"{name}; in brackets the difference to the first line", flush=True)
    base: Mapping[str, np.ndarray] = {}
    for label, section in sections.items():
        values = figures(section)
        base = base or values
        cells = [
            f"{figure} {100 * value.mean():5.1f} {difference(value, base[figure])}"
            for figure, value in values.items()
        ]
        print(f"  {label:32} {'  '.join(cells)}", flush=True)


def difference(values: np.ndarray, base: np.ndarray) -> str:
    if values is base:
        return ""
    rng = np.random.default_rng(0)
    gaps = values - base  # [B]
    means = [gaps[rng.integers(0, len(gaps), len(gaps))].mean() for _ in range(10_000)]
    low, high = np.quantile(means, (0.025, 0.975))
    return f"({100 * gaps.mean():+.1f}: {100 * low:+.1f} to {100 * high:+.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    parser.add_argument("--static", type=Path, help="a folder that this script has distilled into")
    parser.add_argument("--data", type=Path, help="ranks its collections, instead of timing")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS)
    parser.add_argument("--dims", type=int, nargs="+", default=[64, 128, 256, 384])
    parser.add_argument("--passages", type=int, default=20_000)
    parser.add_argument("--few", type=int, default=64, help="passages for the transformers")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    try:
        import torch
        from model2vec import StaticModel  # noqa: F401
        from ragcore_static.encoder import Static
        from ragcore_transformers.distilling import distill
    except ModuleNotFoundError as error:
        print(f"skipped: {error.name} is not installed")
        return
    torch.set_num_threads(1)
    spec = spec_from_dict("encoder", {"use": "sentence-transformers", "model": options.model})
    teacher: Any = spec.build()
    with tempfile.TemporaryDirectory() as folder:
        if options.static is None or not options.static.exists():
            options.static = options.static or Path(folder) / "static"
            distill_seconds = seconds(
                lambda: distill(options.model, options.static, dim=teacher.dim)
            )
            print(f"distilled in {distill_seconds:.0f} CPU-s", flush=True)
        dims = [dim for dim in options.dims if dim <= teacher.dim]
        if options.data is not None:
            sections = systems(options, dims)
            cranfield(options.data / "ir" / "cranfield", sections)
            natural_questions(options.data / "openqa", sections)
            return
        encoders = {
            f"{{use: static, truncate_dim: {dim}}}": Static(
                Static.Config(model=str(options.static), truncate_dim=dim)
            )
            for dim in dims
        }
        compare_speed(teacher, encoders, options)


if __name__ == "__main__":
    main()
