"""What the experiments share: memories, trained systems and answers, each made once and kept.

A system answers the questions of a setting in one way:

    closed book   the generator alone, trained on questions and answers
    BM25          its scores as the prior, without a gradient
    frozen        MiniLM's vectors, questions and passages by the same weights
    learned       the question encoder trained through the marginal, the passages' side as it was
    both          the reader trained along with it

The reader is the same in BM25, frozen and learned, so that only retrieval differs between them.
What lies in `work` already is not made again: remove it to begin anew.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import ragcore
from ragcore.config.training import QuestionsConfig
from ragcore.errors import VersionExistsError
from ragcore.evaluation.running import evaluate, make_metrics
from ragcore.questions import read_questions, spread_over
from ragcore.training import DevScores, TrainingStep, train

__all__ = [
    "FAST",
    "MODELS",
    "SYSTEMS",
    "VERSIONS",
    "WORK",
    "Kept",
    "Model",
    "System",
    "answered",
    "built",
    "options",
    "overrides",
    "percent",
    "pipeline",
    "run",
    "table",
    "trained",
]

HERE: Final = Path(__file__).resolve().parent
WORK: Final = HERE / "work"

Model = Literal["token", "sequence"]
MODELS: Final[tuple[Model, ...]] = ("token", "sequence")

BM25: Final = {
    "factbook": "{use: bm25, title_weight: 4}",
    "openqa": "{use: bm25}",
    "writing": "{use: bm25}",
    "fever": "{use: bm25}",
}
FAST: Final = "generator.dtype=bfloat16"
"""Answers are read in this arithmetic; log-probabilities are summed in float32 all the same."""

VERSIONS: Final = {
    "factbook": ("2016-11", "2018-12"),
    "openqa": ("2018",),
    "writing": ("2018",),
    "fever": ("2018",),
}


@dataclass(frozen=True, slots=True)
class System:
    """One way to answer.

    Attributes:
        name: as tables say it.
        sparse: whether BM25 finds the passages, or vectors.
        trained: what was trained: see `TRAININGS`; None for nothing.
    """

    name: str
    sparse: bool
    trained: str | None


SYSTEMS: Final = (
    System("closed book", True, "closed"),
    System("BM25", True, None),
    System("dense, frozen", False, None),
    System("dense, learned", False, "learned"),
    System("dense, learned, and the reader", False, "both"),
)

TRAININGS: Final = {
    # Reads no passage, so that more steps cost less than the others' fewer.
    "closed": (
        "rag.k=0",
        "train.question_encoder=frozen",
        "train.generator=trained",
        "train.learning_rate=1.0e-4",
        "train.steps=400",
    ),
    "learned": (),
    # Fewer steps: one takes three times as long.
    "both": ("train.generator=trained", "train.learning_rate=5.0e-5", "train.steps=60"),
    "reader": ("train.generator=trained", "train.question_encoder=frozen"),
}


@dataclass(frozen=True, slots=True)
class Kept:
    """What came of answering a file of questions.

    Attributes:
        figures: by metric, as (value, low, high); of 95 % intervals.
        folder: of the run, for `ragcore replay`.
    """

    figures: dict[str, tuple[float, float, float]]
    folder: Path

    def __getitem__(self, metric: str) -> float:
        return self.figures[metric][0]


def pipeline(setting: str) -> Path:
    return HERE / f"{setting}.yaml"


def overrides(setting: str, *, sparse: bool) -> list[str]:
    """What BM25's pipeline says otherwise than the file, which is over vectors."""
    if not sparse:
        return []
    place = "openqa" if setting == "writing" else setting
    return [
        f"memory.retriever={BM25[setting]}",
        f"memory.store={WORK / place / 'bm25'}",
        "memory.temperature=1.0",
    ]


def built(setting: str, *, sparse: bool, version: str | None = None) -> None:
    """Build a memory that is not there yet; of the setting's first date where none is named."""
    version = version or VERSIONS[setting][0]
    said = overrides(setting, sparse=sparse)
    if setting == "factbook":
        path = WORK / "factbook" / f"passages-{version}.jsonl"
        said.append(f"memory.corpus={{use: jsonl, path: {path}}}")
    with suppress(VersionExistsError):
        ragcore.build_memory(pipeline(setting), *said, version=version)


def trained(
    setting: str, name: str, model: Model, *more: str, sparse: bool = False, at: str = ""
) -> Path:
    """The folder that a training leaves; it goes on where it was stopped.

    Args:
        setting: whose pipeline is trained.
        name: one of `TRAININGS`.
        model: RAG-Token's loss, or RAG-Sequence's.
        more: changes to the file.
        sparse: over BM25 instead of vectors.
        at: of the folder's name, where `more` makes it another.
    """
    said = [*overrides(setting, sparse=sparse), *TRAININGS[name], f"rag.marginalize={model}", *more]
    place = f"{setting}-{at or name}" + ("" if name == "closed" else f"-{model}")
    folder = WORK / "trained" / place
    if not (folder / "training.json").exists():
        built(setting, sparse=sparse)
        config = ragcore.load_config(pipeline(setting), [*said, f"train.output={folder}"])
        resume = any((folder / "checkpoints").glob("step-*"))
        train(config, resume=resume, report=_told(place))
    return folder


def _told(place: str) -> Any:
    def report(event: TrainingStep | DevScores) -> None:
        if isinstance(event, DevScores):
            print(f"{place} {event.step}: dev EM {event.exact_match:.3f}", flush=True)
        elif event.step % 25 == 0:
            print(
                f"{place} {event.step}/{event.steps}: nll {event.nll:.3f} recall "
                f"{event.recall:.2f} {event.seconds:.1f} s",
                flush=True,
            )

    return report


def answered(
    setting: str,
    system: System,
    model: Model,
    questions: str,
    limit: int,
    *more: str,
    metrics: Sequence[str] = ("exact_match", "recall@1", "recall@5", "log_prob"),
    at: str = "",
) -> Kept:
    """Answer a file of a setting's questions, or take what was answered before.

    Args:
        setting: whose file it is.
        system: what answers.
        model: RAG-Token or RAG-Sequence.
        questions: the file's name without its ending.
        limit: so many, at even distances.
        more: changes to the pipeline.
        metrics: what is reckoned.
        at: of the run's name, where `more` makes it another.
    """
    place = pipeline(setting)
    said = [*overrides(setting, sparse=system.sparse), f"rag.marginalize={model}", *more]
    if system.trained is not None:
        place, said = trained(setting, system.trained, model), [f"rag.marginalize={model}", *more]
    else:
        built(setting, sparse=system.sparse)
    name = "-".join(
        part for part in (questions, str(limit), system.name.replace(", ", "-"), model, at) if part
    )
    return run(place, said, WORK / setting / f"{questions}.jsonl", limit, setting, name, metrics)


def run(
    place: Path,
    said: Sequence[str],
    questions: Path,
    limit: int,
    setting: str,
    name: str,
    metrics: Sequence[str],
) -> Kept:
    """Evaluate a pipeline, unless a folder of this name has it."""
    folder = WORK / "runs" / setting / name.replace(" ", "-")
    if not (folder / "run.json").exists():
        asked = spread_over(read_questions(questions), limit)
        with ragcore.load(place, *said, FAST) as rag:
            began = time.perf_counter()
            report = evaluate(rag, asked, make_metrics(metrics))
            took = time.perf_counter() - began
        report.write(folder, place, [*said, FAST], QuestionsConfig(path=questions, limit=limit))
        print(f"{setting}/{name}: {len(asked)} questions in {took:.0f} s", flush=True)
    found = json.loads((folder / "run.json").read_text(encoding="utf-8"))["metrics"]
    failed = [one for one in found if one["error"] is not None]
    if failed:
        raise SystemExit(f"{folder}: {failed}")
    figures = {one["metric"]: (one["value"], one["low"], one["high"]) for one in found}
    return Kept(figures, folder)


def options(about: str, **defaults: Any) -> argparse.Namespace:
    """What a script may be told; skips the script where the data was not cut."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    for name, value in defaults.items():
        many = isinstance(value, list)
        kind = type(value[0]) if many else type(value)
        parser.add_argument(f"--{name}", type=kind, default=value, nargs="+" if many else None)
    said = parser.parse_args()
    if not WORK.is_dir():
        print("skipped: no data; `python data.py --data DATA` cuts it")
        raise SystemExit(0)
    return said


def percent(kept: Kept, metric: str = "exact_match") -> str:
    """A share in per cent, with its 95 % interval."""
    value, low, high = kept.figures[metric]
    return f"{100 * value:.1f} ({100 * low:.0f} to {100 * high:.0f})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
