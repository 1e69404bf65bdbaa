"""Measure exact match of the reader alone, each question with its right passage.

    python evaluate_reader.py --data DATA --model FOLDER [--limit 500] [--wrong 20]

Leaders and facts are those of held-out countries; SQuAD is its development set.
benchmarks/exact_match.py measures with retrieved passages.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from data import Example, is_held_out, read_rows
from ragcore_transformers.seq2seq import Seq2Seq
from train import as_input

from ragcore.answering.spelling import surface_form

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from exact_match import every, matches

BATCH = 32
LONGEST_ANSWER = 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--limit", type=int, default=500, help="the most questions of each set")
    parser.add_argument("--editions", nargs="+", default=["2026-02"])
    parser.add_argument(
        "--wrong", type=int, default=0, help="the number of wrong answers to print for each set"
    )
    parser.add_argument("--sets", nargs="+", help="only these")
    arguments = parser.parse_args()
    reader = Seq2Seq(Seq2Seq.Config(model=arguments.model))
    for name, rows in question_sets(arguments.data, arguments.editions):
        if arguments.sets and not any(name.startswith(s) for s in arguments.sets):
            continue
        questions = every(rows, arguments.limit)
        answers = read_all(reader, [example for example, _, _ in questions])
        right = [matches(a, golds) for a, (_, golds, _) in zip(answers, questions, strict=True)]
        share = 100 * sum(right) / len(questions)
        print(f"{name:28} {share:5.1f} % of {len(questions)}", flush=True)
        missed: Counter[str] = Counter()
        shown = 0
        for answer, hit, (example, golds, kind) in zip(answers, right, questions, strict=True):
            missed[kind] += not hit
            if not hit and shown < arguments.wrong:
                shown += 1
                print(f"    {example.question!r}: {answer!r}, not {golds[:2]}")
        if len(missed) > 1:
            total = Counter(kind for _, _, kind in questions)
            worst = [f"{k} {missed[k]}/{total[k]}" for k, _ in missed.most_common(12)]
            print("    missed:", ", ".join(worst))


def question_sets(
    data: Path, editions: list[str]
) -> Iterator[tuple[str, list[tuple[Example, list[str], str]]]]:
    """Yield named lists of (example, gold answers, kind)."""
    for edition in editions:
        folder = data / "factbook" / edition
        passages = {row["id"]: row for row in read_rows(folder / "passages.jsonl.gz")}
        leaders = [r for r in read_rows(folder / "leaders.jsonl.gz") if is_held_out(r["code"])]
        facts = [r for r in read_rows(folder / "facts.jsonl.gz") if is_held_out(r["code"])]
        for name, rows, wording in (
            ("leaders", leaders, "question"),
            ("leaders by role", leaders, "question_generic"),
            ("facts", facts, "question"),
        ):
            yield (
                f"{name} {edition}",
                [
                    (
                        example(row[wording], passages[row["passage_ids"][0]]),
                        row["answers"],
                        row.get("kind", row.get("role", "")),
                    )
                    for row in rows
                ],
            )
    squad = {row["id"]: row for row in read_rows(data / "squad/passages.jsonl.gz")}
    dev = [r for r in read_rows(data / "squad/questions.jsonl.gz") if r["split"] == "dev"]
    yield (
        "squad dev",
        [(example(r["question"], squad[r["passage_ids"][0]]), r["answers"], "") for r in dev],
    )
    wiki = {row["id"]: row for row in read_rows(data / "openqa/passages.jsonl.gz")}
    gold = list(read_rows(data / "openqa/nq_gold.jsonl.gz"))
    yield (
        "nq_gold",
        [(example(r["question"], wiki[r["gold_id"]]), r["answers"], "") for r in gold],
    )


def example(question: str, passage: dict) -> Example:
    return Example(question, passage["title"], passage["text"], "")


@torch.inference_mode()
def read_all(reader: Seq2Seq, examples: list[Example]) -> list[str]:
    """Answer greedily, with the passage's spelling."""
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].text))
    answers = [""] * len(examples)
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        inputs = reader.tokenizer(
            [as_input(examples[i]) for i in batch],
            return_tensors="pt",
            padding=True,
            truncation=True,
            max_length=reader.max_input_tokens,
            return_token_type_ids=False,
        )
        sequences = reader.model.generate(
            **inputs, max_new_tokens=LONGEST_ANSWER, num_beams=1, do_sample=False
        )
        for i, ids in zip(batch, sequences.tolist(), strict=True):
            text = reader.decode_tokens(ids)
            answers[i] = surface_form(text, [examples[i].text]) or text
    return answers


if __name__ == "__main__":
    main()
