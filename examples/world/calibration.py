"""Write the questions on which the demo's confidence and its threshold are fitted.

    python calibration.py --data DATA --out questions.jsonl
    ragcore calibrate world.yaml questions.jsonl --risk 0.05 --write

Two thirds are about countries that are trained on, in all wordings; the others have no answer in
the Factbook: questions from elsewhere, years that it does not cover, offices that a country does
not have. None is about a held-out country.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from pathlib import Path

from countries import titled_items
from items import Item, find_near
from mix import in_year
from ragcore_world.editions import edition_passages
from readings import open_questions

EDITION = "2026-01"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=600)
    parser.add_argument("--seed", type=int, default=11)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    items = titled_items(EDITION, arguments.data / "factbook" / "2026-02", set())
    leaders = [item for item in items if item.is_name]
    facts = [item for item in items if item.answers and not item.is_name]
    absent = [item for item in items if not item.answers]
    foreign = _without_answer(open_questions(arguments.data))
    n = arguments.questions
    rows = [(item.ask(rng), item.answers) for item in rng.sample(leaders, n // 5)]
    rows += [(item.ask(rng), item.answers) for item in rng.sample(facts, n * 7 // 15)]
    rows += [(item.ask(rng), []) for item in rng.sample(foreign, n // 5)]
    rows += [(item.ask(rng), []) for item in rng.sample(absent, min(len(absent), n // 20))]
    past = [item for item in leaders if item.since is not None and item.since > 1960]
    for item in rng.sample(past, n // 12):
        rows.append((in_year(item.ask(rng), rng.randint(1900, (item.since or 0) - 1), rng), []))
    rng.shuffle(rows)
    with arguments.out.open("w", encoding="utf-8") as lines:
        for question, answers in rows:
            print(json.dumps({"question": question, "answers": answers}), file=lines)
    print(f"{len(rows)} questions, {sum(not answers for _, answers in rows)} without an answer")


def _without_answer(items: list[Item]) -> list[Item]:
    """Keep questions that the Factbook does not answer.

    They name no country, and their answers stand in none of the passages that BM25 finds.
    """
    passages = list(edition_passages(EDITION))
    names = {passage.metadata["country"].casefold() for passage in passages}
    names |= {alias.casefold() for passage in passages for alias in passage.metadata["aliases"]}
    asked = [Item(item.ask, item.answers, []) for item in items]
    find_near(asked, [(passage.title, passage.text) for passage in passages], 8)
    rng = random.Random(6)
    unanswered = []
    for item in asked:
        words = f" {' '.join(re.findall(r'[a-z]+', item.ask(rng).casefold()))} "
        if len(item.near) == 8 and not any(f" {name} " in words for name in names):
            unanswered.append(item)
    return unanswered


if __name__ == "__main__":
    main()
