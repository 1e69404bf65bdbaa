"""What an experiment is of: the systems that are compared, and the questions that they are asked.

Knows pipelines and their settings; knows nothing of how a system is run or measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ragcore.config import PipelineConfig
from ragcore.evaluation.report import QuestionSource

__all__ = ["Experiment", "System"]


@dataclass(frozen=True, slots=True)
class System:
    """One pipeline with settings, or a TREC run file of another program.

    Attributes:
        name: unique in the experiment, such as "bm25, k1=0.9".
        pipeline: the pipeline's file, absolute; None for a run file.
        overrides: changes to it, such as "memory.retriever.k1=0.9".
        config: the checked config, overrides applied; None for a run file.
        run: the run file, absolute; None for a pipeline.
        factors: the levels that tell it from the other systems, by factor: "system", and each key
            of the grid.
    """

    name: str
    pipeline: Path | None = None
    overrides: tuple[str, ...] = ()
    config: PipelineConfig | None = None
    run: Path | None = None
    factors: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Experiment:
    """Systems, questions and measures, checked.

    Attributes:
        name: for titles; the file's name without its ending.
        systems: at least one, in the order of the file and its grid.
        questions: what the figures are of.
        metrics: by name; None for those that suit the questions.
        baseline: the name of the system that the others are compared with.
        output: folder of the results, absolute.
        dev: other questions, on which the threshold for `risk` is chosen; None without `risk`.
        risk: the share of answers given that may be wrong, from 0 to 1; None chooses no threshold.
        retrieval: whether retrieval alone is measured, without answers.
        depth: how many passages to search for; None for what the metrics need.
        build: whether memories that are missing are built into the output folder.
        processes: how many of them share the work.
        cost_questions: how many questions each system answers by itself to measure its cost; 0
            measures none.
    """

    name: str
    systems: tuple[System, ...]
    questions: QuestionSource
    metrics: tuple[str, ...] | None
    baseline: str
    output: Path
    dev: QuestionSource | None = None
    risk: float | None = None
    retrieval: bool = False
    depth: int | None = None
    build: bool = False
    processes: int = 1
    cost_questions: int = 20
