"""Share memories, trained systems and answers between the experiments; make each once.

A system answers the questions of a setting in one way:

    closed book   a generator alone, trained on questions and answers
    BM25          BM25's scores are the prior, without a gradient
    frozen        MiniLM's vectors, with the same weights for questions and passages
    learned       the question encoder is trained through the marginal, the passage encoder is not
    both          the question encoder and the reader are trained together

The reader is the same in BM25, frozen and learned, so that only retrieval differs between them. It
answers with words of a passage; closed book needs a generator that writes without one.
What is in `work` already is not made again: delete it to start again.
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

import numpy as np

import ragcore
from ragcore.config.training import QuestionsConfig
from ragcore.errors import VersionExistsError
from ragcore.evaluation.choosing import make_metrics
from ragcore.evaluation.running import evaluate
from ragcore.evaluation.runs import read_run
from ragcore.questions import read_questions, spread_over
from ragcore.training import DevScores, TrainingStep, train

__all__ = [
    "FAST",
    "MODELS",
    "SYSTEMS",
    "VERSIONS",
    "WORK",
    "Result",
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
"""The arithmetic for reading; log-probabilities are summed in float32 nevertheless."""

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
        name: its name in tables.
        sparse: whether BM25 finds the passages, instead of vectors.
        trained: what is trained: see `TRAININGS`; None for nothing.
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
    # It reads no passages, so that its steps are much faster than the others'.
    "closed": (
        "generator={use: bart, model: facebook/bart-base}",
        "rag.k=0",
        "train.question_encoder=frozen",
        "train.generator=trained",
        "train.learning_rate=1.0e-4",
        "train.steps=400",
    ),
    "learned": (),
    # Fewer steps: one takes three times as long.
    "both": (
        "train.generator=trained",
        "train.learning_rate=5.0e-5",
        "train.steps=30",
        "train.micro_batch=4",
    ),
    "reader": ("train.generator=trained", "train.question_encoder=frozen"),
}


@dataclass(frozen=True, slots=True)
class Result:
    """The results for a file of questions.

    Attributes:
        figures: by metric, (value, low, high) with the 95 % interval.
        folder: the run's folder, for `ragcore replay`.
    """

    figures: dict[str, tuple[float, float, float]]
    folder: Path

    def __getitem__(self, metric: str) -> float:
        return self.figures[metric][0]

    def scores(self, metric: str) -> np.ndarray:
        """Return the numbers of each question, as `ragcore.evaluation.resampling` adds them up."""
        predictions = read_run(self.folder).predictions
        return np.array([prediction.scores[metric] for prediction in predictions])


def pipeline(setting: str) -> Path:
    return HERE / f"{setting}.yaml"


def overrides(setting: str, *, sparse: bool) -> list[str]:
    """Return the overrides that make a setting's pipeline, which uses vectors, use BM25."""
    if not sparse:
        return []
    folder = "openqa" if setting == "writing" else setting
    return [
        f"memory.retriever={BM25[setting]}",
        f"memory.store={WORK / folder / 'bm25'}",
        "memory.temperature=1.0",
    ]


def built(setting: str, *, sparse: bool, version: str | None = None) -> None:
    """Build a memory if it does not exist; without a version, that of the setting's first date."""
    version = version or VERSIONS[setting][0]
    changes = overrides(setting, sparse=sparse)
    if setting == "factbook":
        path = WORK / "factbook" / f"passages-{version}.jsonl"
        changes.append(f"memory.corpus={{use: jsonl, path: {path}}}")
    with suppress(VersionExistsError):
        ragcore.build_memory(pipeline(setting), *changes, version=version)


def trained(
    setting: str,
    name: str,
    model: Model,
    *more: str,
    sparse: bool = False,
    suffix: str = "",
    seed: int = 0,
) -> Path:
    """Train a system, or continue a training that was stopped; return the training's folder.

    Args:
        setting: names the pipeline.
        name: one of `TRAININGS`.
        model: RAG-Token's loss, or RAG-Sequence's.
        more: further overrides.
        sparse: use BM25 instead of vectors.
        suffix: replaces `name` in the folder's name, to distinguish trainings with other `more`.
        seed: of the order of questions, and of dropout.
    """
    changes = [
        *overrides(setting, sparse=sparse),
        *TRAININGS[name],
        f"rag.marginalize={model}",
        f"train.seed={seed}",
        *more,
    ]
    folder_name = f"{setting}-{suffix or name}" + ("" if name == "closed" else f"-{model}")
    folder_name += f"-seed{seed}" if seed else ""
    folder = WORK / "trained" / folder_name
    if not (folder / "training.json").exists():
        built(setting, sparse=sparse)
        config = ragcore.load_config(pipeline(setting), [*changes, f"train.output={folder}"])
        resume = any((folder / "checkpoints").glob("step-*"))
        train(config, resume=resume, report=_printer(folder_name))
    return folder


def _printer(name: str) -> Any:
    def report(event: TrainingStep | DevScores) -> None:
        if isinstance(event, DevScores):
            print(f"{name} {event.step}: dev EM {event.exact_match:.3f}", flush=True)
        elif event.step % 25 == 0:
            print(
                f"{name} {event.step}/{event.steps}: nll {event.nll:.3f} recall "
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
    metrics: Sequence[str] = ("exact_match", "hit@1", "hit@5", "log_prob"),
    suffix: str = "",
    seed: int = 0,
) -> Result:
    """Answer a file of a setting's questions, unless it was answered before.

    Args:
        setting: the setting of the file.
        system: the system that answers.
        model: RAG-Token or RAG-Sequence.
        questions: the file's name without its suffix.
        limit: the number of questions, at even distances.
        more: further overrides.
        metrics: what to compute.
        suffix: a part of the run's name, to distinguish runs with other `more`.
        seed: of the training, where the system is trained.
    """
    path = pipeline(setting)
    changes = [*overrides(setting, sparse=system.sparse), f"rag.marginalize={model}", *more]
    if system.trained is not None:
        path = trained(setting, system.trained, model, seed=seed)
        changes = [f"rag.marginalize={model}", *more]
    else:
        built(setting, sparse=system.sparse)
    name = "-".join(
        word
        for word in (
            questions,
            str(limit),
            system.name.replace(", ", "-"),
            model,
            suffix,
            f"seed{seed}" if seed else "",
        )
        if word
    )
    return run(path, changes, WORK / setting / f"{questions}.jsonl", limit, setting, name, metrics)


def run(
    path: Path,
    changes: Sequence[str],
    questions: Path,
    limit: int,
    setting: str,
    name: str,
    metrics: Sequence[str],
) -> Result:
    """Evaluate a pipeline, unless the folder of this name has its results."""
    folder = WORK / "runs" / setting / name.replace(" ", "-")
    if not (folder / "run.json").exists():
        labelled = spread_over(read_questions(questions), limit)
        with ragcore.load(path, *changes, FAST) as rag:
            began = time.perf_counter()
            report = evaluate(rag, labelled, make_metrics(metrics))
            took = time.perf_counter() - began
        report.write(folder, path, [*changes, FAST], QuestionsConfig(path=questions, limit=limit))
        print(f"{setting}/{name}: {len(labelled)} questions in {took:.0f} s", flush=True)
    rows = json.loads((folder / "run.json").read_text(encoding="utf-8"))["metrics"]
    failed = [row for row in rows if row["error"] is not None]
    if failed:
        raise SystemExit(f"{folder}: {failed}")
    figures = {row["metric"]: (row["value"], row["low"], row["high"]) for row in rows}
    return Result(figures, folder)


def options(description: str, **defaults: Any) -> argparse.Namespace:
    """Read a script's options; stop the script if the data is missing."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    for name, value in defaults.items():
        is_list = isinstance(value, list)
        kind = type(value[0]) if is_list else type(value)
        parser.add_argument(f"--{name}", type=kind, default=value, nargs="+" if is_list else None)
    settings = parser.parse_args()
    if not WORK.is_dir():
        print("skipped: no data; `python data.py --data DATA` writes it")
        raise SystemExit(0)
    return settings


def percent(result: Result, metric: str = "exact_match") -> str:
    """Format a share in per cent, with its 95 % interval."""
    value, low, high = result.figures[metric]
    return f"{100 * value:.1f} ({100 * low:.0f} to {100 * high:.0f})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
