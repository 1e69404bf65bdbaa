"""Write the data of the experiments as plain files, from a folder of development data.

    factbook    the World Factbook of 2016-11 and 2018-12; a fifth of the countries is held out
    openqa      passages of Wikipedia and SQuAD's paragraphs; trained on SQuAD, WebQuestions and
                CuratedTREC, tested on Natural Questions, TriviaQA and those articles of SQuAD's
                development set that the reader was not trained on
    writing     the same passages; the task is to write a question for a given answer
    fever       claims and sentences of Wikipedia, one half of the claims for training
    retrieval   Cranfield, Vaswani and Natural Questions as collections in BEIR's form

`python data.py --data DATA --work WORK` writes a folder in WORK for each of these settings, with
passages and questions as JSON lines. The data is not part of the project.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import random
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = HERE.parent.parent / "shared" / "data"


def rows(path: Path) -> Iterator[dict]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def write(path: Path, records: Iterable[dict]) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for row in records:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    print(f"{count:6} {path}")
    return count


def question(row: dict, **more: object) -> dict:
    """Return a question as ragcore reads it, without the ids of the passages that answer it.

    Recall then uses the answer's text, as in the paper, and training cannot see these passages.
    """
    return {"id": str(row["id"]), "question": row["question"], "answers": row["answers"], **more}


def passage(row: dict) -> dict:
    return {"id": row["id"], "title": row["title"], "text": row["text"]}


def is_held_out(code: str) -> bool:
    """Return whether a country is held out, by the rule of examples/world/items.py."""
    return int(hashlib.sha256(code.encode()).hexdigest(), 16) % 5 == 0


def is_test_article(title: str) -> bool:
    """Return whether an article of SQuAD's development set is for evaluation only, by that rule."""
    return int(hashlib.sha256(title.encode()).hexdigest(), 16) % 2 == 1


def write_factbook(data: Path, work: Path) -> None:
    source = data / "factbook"
    for edition in ("2016-11", "2018-12"):
        write(
            work / f"passages-{edition}.jsonl",
            map(passage, rows(source / edition / "passages.jsonl.gz")),
        )
    questions: dict[str, list[dict]] = {"train": [], "dev": [], "test": []}
    for kind in ("leaders", "facts"):
        for row in rows(source / "2016-11" / f"{kind}.jsonl.gz"):
            split = "test" if is_held_out(row["code"]) else "train"
            if (
                split == "train"
                and int(hashlib.md5(row["code"].encode()).hexdigest(), 16) % 12 == 0
            ):
                split = "dev"
            questions[split].append(question(row, kind=kind))
            if kind == "leaders":
                generic = {**row, "question": row["question_generic"], "id": f"{row['id']}:role"}
                questions[split].append(question(generic, kind="roles"))
    for name, records in questions.items():
        random.Random(0).shuffle(records)
        write(work / f"{name}.jsonl", records)
    changed = list(rows(source / "hotswap" / "2016-11_2018-12.changed.jsonl.gz"))
    for edition in ("2016-11", "2018-12"):
        records = [
            question({**row, **row[edition]}, held_out=is_held_out(row["code"])) for row in changed
        ]
        write(work / f"offices-{edition}.jsonl", records)


def write_openqa(data: Path, work: Path) -> None:
    paragraphs = list(rows(data / "squad" / "passages.jsonl.gz"))
    wikipedia = list(rows(data / "openqa" / "passages.jsonl.gz"))
    vital = list(rows(data / "wiki_vital" / "passages.jsonl.gz"))
    write(work / "passages.jsonl", map(passage, [*wikipedia, *paragraphs, *vital]))
    squad = list(rows(data / "squad" / "questions.jsonl.gz"))
    train = [question(row, source="squad") for row in squad if row["split"] == "train"]
    covered = ("webquestions_train", "curatedtrec_large2470_train")
    for name in covered:
        answered = [
            row for row in rows(data / "openqa" / f"{name}.jsonl.gz") if row["positive_ids"]
        ]
        train += [question(row, source=name.split("_")[0], regex=row["regex"]) for row in answered]
    random.Random(0).shuffle(train)
    write(work / "dev.jsonl", train[:300])
    write(work / "train.jsonl", train[300:])
    write(work / "nq.jsonl", map(question, rows(data / "openqa" / "nq_gold.jsonl.gz")))
    write(work / "triviaqa.jsonl", map(question, rows(data / "openqa" / "triviaqa.jsonl.gz")))
    test = [
        question(row) for row in squad if row["split"] == "dev" and is_test_article(row["title"])
    ]
    random.Random(0).shuffle(test)
    write(work / "squad.jsonl", test[:1000])


def write_writing(data: Path, work: Path) -> None:
    """Exchange SQuAD's questions and answers, in place of Jeopardy: names in, questions out."""
    questions: dict[str, list[dict]] = {"train": [], "dev": []}
    for row in rows(data / "squad" / "questions.jsonl.gz"):
        name = row["answers"][0]
        # Jeopardy's answers are names: they begin with a capital letter.
        if name[0].isupper() and len(name.split()) <= 4:
            record = {"id": row["id"], "question": name, "answers": [row["question"]]}
            questions[row["split"]].append(record)
    for name, records in (("train", questions["train"]), ("test", questions["dev"])):
        random.Random(0).shuffle(records)
        write(work / f"{name}.jsonl", records)


def write_fever(data: Path, work: Path) -> None:
    write(work / "passages.jsonl", map(passage, rows(data / "fever" / "passages.jsonl.gz")))
    for name in ("2way", "3way"):
        splits: dict[str, list[dict]] = {"train": [], "test": []}
        for row in rows(data / "fever" / f"claims_{name}.jsonl.gz"):
            half = (
                "train" if int(hashlib.md5(str(row["id"]).encode()).hexdigest(), 16) % 2 else "test"
            )
            label = {"SUPPORTS": "yes", "REFUTES": "no", "NOT ENOUGH INFO": "unknown"}[row["label"]]
            evidence = {"passage_ids": row["passage_ids"]} if row.get("passage_ids") else {}
            record = {"id": str(row["id"]), "question": row["claim"], "answer": label, **evidence}
            splits[half].append(record)
        for half, records in splits.items():
            random.Random(0).shuffle(records)
            write(work / f"{name}-{half}.jsonl", records)


def write_retrieval(data: Path, work: Path) -> None:
    for name in ("cranfield", "vaswani"):
        source = data / "ir" / name
        grades: dict[str, dict[str, int]] = {}
        for row in rows(source / "qrels.jsonl.gz"):
            # Cranfield's grade 0 is "of no interest", and each question has one such passage.
            if row["rel"] > 0:
                grades.setdefault(row["qid"], {})[row["docid"]] = row["rel"]
        write_collection(
            work / name,
            rows(source / "passages.jsonl.gz"),
            rows(source / "questions.jsonl.gz"),
            grades,
        )
    # The passage that people marked. Others may have the answer's words by chance.
    asked = list(rows(data / "openqa" / "nq_gold.jsonl.gz"))
    gold = {row["id"]: {row["gold_id"]: 1} for row in asked}
    write_collection(work / "nq", rows(data / "openqa" / "passages.jsonl.gz"), asked, gold)


def write_collection(
    folder: Path,
    passages: Iterable[dict],
    questions: Iterable[dict],
    grades: Mapping[str, Mapping[str, int]],
) -> None:
    """Write a collection in BEIR's form; grades are by question and passage."""
    # Two of Cranfield's passages have neither title nor text.
    corpus = (row for row in passages if row["title"].strip() or row["text"].strip())
    write(
        folder / "corpus.jsonl",
        ({"_id": row["id"], "title": row["title"], "text": row["text"]} for row in corpus),
    )
    write(
        folder / "queries.jsonl", ({"_id": row["id"], "text": row["question"]} for row in questions)
    )
    judgments = [
        f"{question_id}\t{passage_id}\t{grade}\n"
        for question_id, judged in grades.items()
        for passage_id, grade in judged.items()
    ]
    qrels = folder / "qrels" / "test.tsv"
    qrels.parent.mkdir(exist_ok=True)
    qrels.write_text("query-id\tcorpus-id\tscore\n" + "".join(judgments), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--work", type=Path, default=HERE / "work")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        print(f"skipped: no development data in {arguments.data}")
        return 0
    write_factbook(arguments.data, arguments.work / "factbook")
    write_openqa(arguments.data, arguments.work / "openqa")
    write_writing(arguments.data, arguments.work / "writing")
    write_fever(arguments.data, arguments.work / "fever")
    write_retrieval(arguments.data, arguments.work / "retrieval")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
