"""Measure the reader alone: exact match with the right passage, and the sense for missing answers.

    python evaluate_reader.py --model runs/reader --data DATA [--limit 500] [--wrong 20]

Leaders and facts are those of held-out countries; SQuAD is its development set's articles for
evaluation. experiments/world.py measures with retrieved passages.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from items import is_held_out, is_test_article, read_rows
from model import Reader

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from exact_match import every, matches

Row = tuple[tuple[str, str, str], list[str], str]
"""(question, title, text), the right answers (none where there is none), and the kind."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--limit", type=int, default=500, help="the most questions of each set")
    parser.add_argument("--editions", nargs="+", default=["2018-12", "2026-02"])
    parser.add_argument("--wrong", type=int, default=0, help="wrong answers to print for each set")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    reader = Reader(arguments.model)
    for name, rows in question_sets(arguments.data, arguments.editions):
        chosen = every(rows, arguments.limit)
        readings = reader.read([inputs for inputs, _, _ in chosen])
        pairs = list(zip(readings, chosen, strict=True))
        right = [matches(each.answer, golds) for each, (_, golds, _) in pairs if golds]
        answered = [each.none < 0.5 for each, (_, golds, _) in pairs if golds]
        shown = [
            f"{name:28} {100 * sum(right) / len(right):5.1f} % of {len(right)}",
            f"answered {100 * sum(answered) / len(answered):5.1f} %",
        ]
        if len(right) < len(pairs):
            false = [each.none for each, (_, golds, _) in pairs if not golds]
            true = [each.none for each, (_, golds, _) in pairs if golds]
            shown.append(f"AUROC {area_under_curve(false, true):.3f}")
            shown.append(
                f"answered all the same {100 * sum(p < 0.5 for p in false) / len(false):.1f} %"
            )
        print(*shown, sep=", ", flush=True)
        wrong = [pair for pair in pairs if pair[1][1] and not matches(pair[0].answer, pair[1][1])]
        for each, ((question, _, _), golds, _) in wrong[: arguments.wrong]:
            print(f"    {question!r}: {each.answer!r} ({each.p:.2f}), not {golds[:2]}")
        missed = Counter(kind for _, (_, _, kind) in wrong)
        if len(missed) > 1:
            total = Counter(kind for _, (_, _, kind) in pairs)
            worst = [f"{k} {missed[k]}/{total[k]}" for k, _ in missed.most_common(12)]
            print("    missed:", ", ".join(worst))


def area_under_curve(lacking: list[float], answerable: list[float]) -> float:
    """Return how often a question without an answer has the larger p of none (Mann-Whitney)."""
    pooled = torch.tensor([*lacking, *answerable], dtype=torch.float64)
    ranks = pooled.argsort().argsort().double() + 1
    n, m = len(lacking), len(answerable)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def question_sets(data: Path, editions: list[str]) -> Iterator[tuple[str, list[Row]]]:
    """Yield named lists of rows."""
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
                    _row(
                        row,
                        passages[row["passage_ids"][0]],
                        row.get("kind", row.get("role", "")),
                        wording,
                    )
                    for row in rows
                ],
            )
    squad = {row["id"]: row for row in read_rows(data / "squad/passages.jsonl.gz")}
    dev = [
        row
        for row in read_rows(data / "squad/questions.jsonl.gz")
        if row["split"] == "dev" and is_test_article(row["title"])
    ]
    lacking = [
        row
        for row in read_rows(data / "squad/unanswerable_v2_dev.jsonl.gz")
        if is_test_article(row["title"])
    ]
    titles = {row["title"] for row in lacking}
    asked = every([row for row in dev if row["title"] in titles], len(lacking))
    mixed = [*asked, *lacking]
    yield "squad dev", [_row(row, squad[row["passage_ids"][0]]) for row in dev]
    yield "squad 2, half answerable", [_row(row, squad[row["passage_ids"][0]]) for row in mixed]
    wiki = {row["id"]: row for row in read_rows(data / "openqa/passages.jsonl.gz")}
    gold = list(read_rows(data / "openqa/nq_gold.jsonl.gz"))
    yield "nq_gold", [_row(row, wiki[row["gold_id"]]) for row in gold]


def _row(row: dict, passage: dict, kind: str = "", wording: str = "question") -> Row:
    return (row[wording], passage["title"], passage["text"]), row["answers"], kind


if __name__ == "__main__":
    main()
