"""Test evaluations and experiments on a cluster, and what is said where it cannot be used."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import ragcore
from ragcore.contracts import PartReport
from ragcore.errors import ComponentError, StoreError
from ragcore.evaluation.running import evaluate
from ragcore.evaluation.spread import evaluate_on
from ragcore.questions import read_questions
from ragcore.runners.parts import Part, run_parts

pytestmark = pytest.mark.engines


@dataclass(frozen=True)
class Deaths:
    """Parts of which each does what its word says."""

    words: tuple[str, ...]

    @property
    def names(self) -> Sequence[str]:
        return self.words

    @contextmanager
    def opened(self) -> Iterator[Callable[[int, PartReport], str]]:
        yield self._work

    def _work(self, part: int, report: PartReport) -> str:
        word = self.words[part]
        report("words", 1, 1)
        if word == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if word == "fill":
            raise StoreError("the disk of this node is full")
        return f"{word} in {os.getpid()}"


def runner(address: str, **settings: Any) -> Any:
    from ragcore_ray.config import RayConfig
    from ragcore_ray.runner import Ray

    return Ray(RayConfig(address=address, **settings))


def finished(words: Sequence[str], runner: Any) -> dict[int, Part[str]]:
    return {part.number: part for part in run_parts(Deaths(tuple(words)), runner)}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    rows = [{"id": f"p{n}", "text": f"lake {n % 7} of chad, river {n % 11}"} for n in range(60)]
    (tmp_path / "passages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    questions = [
        {"id": f"q{n}", "question": f"river {n % 11} lake {n % 5}", "relevance": {f"p{n % 60}": 1}}
        for n in range(70)
    ]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
    path = tmp_path / "pipeline.yaml"
    path.write_text(
        "ragcore: 1\nmemory:\n  store: store\n  corpus: {use: jsonl, path: passages.jsonl}\n"
        "  retriever: {use: bm25}\n"
    )
    ragcore.build_memory(path, version="v1")
    return path


def test_figures_are_those_of_one_process(project: Path, address: str) -> None:
    questions = read_questions(project.parent / "questions.jsonl")
    with ragcore.open_memory(project) as memory:
        expected = evaluate(memory, questions)
    report = evaluate_on(runner(address, workers=2), project, questions)
    assert json.dumps(report.to_dict()) == json.dumps(expected.to_dict())


def test_an_experiment_has_the_results_of_one_process(project: Path, address: str) -> None:
    options: dict[str, Any] = {
        "systems": {"a": project},
        "sweep": ["memory.retriever.b=0.2,0.9"],
        "questions": project.parent / "questions.jsonl",
        "metrics": ["nDCG@10"],
        "retrieval": True,
        "cost": 0,
    }
    one = ragcore.experiment(output=project.parent / "one", **options)
    two = ragcore.experiment(output=project.parent / "two", runner=runner(address), **options)
    for left, right in zip(one.systems, two.systems, strict=True):
        assert left.run.report == right.run.report


def test_workers_that_die_are_replaced_until_their_part_is_lost(address: str) -> None:
    words = ["one", "die", "two", "fill", "three"]
    parts = finished(words, runner(address, retries=1))
    assert sorted(parts) == [0, 1, 2, 3, 4]
    for number in (0, 2, 4):
        assert parts[number].result().startswith(words[number])
    with pytest.raises(ComponentError, match=r"its worker ended \(try 2 of 2\): .*died"):
        parts[1].result()
    with pytest.raises(StoreError, match=r"^the disk of this node is full$") as raised:
        parts[3].result()
    assert "in _work" in str(raised.value.__cause__)


def test_one_worker_does_all_parts(address: str) -> None:
    parts = finished(["part"] * 5, runner(address, workers=1))
    assert len({part.result() for part in parts.values()}) == 1


def test_a_cluster_that_is_not_there_is_named() -> None:
    with pytest.raises(ComponentError, match=r"no Ray cluster at '127\.0\.0\.1:1' \(.*refused"):
        finished(["part"], runner("127.0.0.1:1"))
