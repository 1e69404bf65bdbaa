"""The keys of an experiment file.

Knows what a file may say, and which keys contradict each other; knows nothing of what pipelines,
questions and metrics there are (loading.py, grid.py, checks.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, TypeAdapter, ValidationInfo, model_validator

from ragcore.config import config_schema
from ragcore.config.training import Format
from ragcore.questions.sources import is_dataset
from ragcore.registry.components import ComponentConfig, ConfigPath

__all__ = [
    "ExperimentConfig",
    "QuestionsPart",
    "QuestionsSection",
    "SystemSection",
    "SystemsPart",
    "experiment_schema",
]

_PATH: TypeAdapter[Any] = TypeAdapter(ConfigPath)


def _resolve_source(value: str, info: ValidationInfo) -> str:
    """Let a path start from the file's folder; the name of a data set is none."""
    return value if is_dataset(value) else str(_PATH.validate_python(value, context=info.context))


SourcePath = Annotated[str, Field(min_length=1), AfterValidator(_resolve_source)]
"""A file or a folder of questions, relative to the experiment file's folder, or a data set."""

Levels = Annotated[list[Any], Field(min_length=1)]
"""The values of a key that are compared."""


class QuestionsSection(ComponentConfig):
    """Questions with what is right."""

    path: SourcePath = Field(
        description="a file of questions, a folder of BEIR, or ir_datasets:NAME"
    )
    format: Format = Field(
        "auto", description="the data set whose form it has; auto recognises it by its keys"
    )
    limit: int | None = Field(
        None,
        gt=0,
        description="at most so many questions, evenly spaced over the file; null for all",
    )
    qrels: ConfigPath | None = Field(
        None, description="a file of grades, as TREC's or BEIR's; null where the file has its own"
    )


class SystemSection(ComponentConfig):
    """A pipeline with settings, or a run file of another program."""

    pipeline: ConfigPath | None = Field(
        None, description="a pipeline's YAML file, or a folder that training wrote"
    )
    run: ConfigPath | None = Field(
        None, description="a TREC run file of another program, in place of a pipeline"
    )
    set: dict[str, Any] = Field({}, description="overrides of the pipeline, by key")
    grid: dict[str, Levels] = Field(
        {}, description="keys of this pipeline to vary, besides those of the experiment's `grid`"
    )

    @model_validator(mode="after")
    def _is_one_of_two(self) -> Self:
        if self.pipeline is not None and self.run is not None:
            raise ValueError("run: a system is a pipeline or a run file, found both")
        if self.pipeline is None and self.run is None:
            raise ValueError("expected a pipeline (pipeline: FILE) or a run file (run: FILE)")
        for key, value in (("set", self.set), ("grid", self.grid)):
            if self.run is not None and value:
                raise ValueError(f"{key} changes a pipeline, and this system is a run file")
        return self


class SystemsPart(ComponentConfig):
    """The keys that say which systems are compared."""

    systems: Annotated[dict[str, ConfigPath | SystemSection], Field(min_length=1)] = Field(
        description="by name: a pipeline's file, or a mapping"
    )
    grid: dict[str, Levels] = Field(
        {}, description="keys to vary in every pipeline: all combinations are compared"
    )


class QuestionsPart(ComponentConfig):
    """The keys that say what the systems are asked."""

    questions: SourcePath | QuestionsSection = Field(
        description="what the figures are of: a path, or a mapping"
    )
    dev: SourcePath | QuestionsSection | None = Field(
        None, description="other questions, on which the threshold for `risk` is chosen"
    )


class ExperimentConfig(QuestionsPart, SystemsPart):
    """A whole experiment file."""

    experiment: Literal[1] = Field(description="the file format's version, 1")
    metrics: Annotated[list[str], Field(min_length=1)] | None = Field(
        None, description="names of metrics; null takes those that suit the questions"
    )
    baseline: str | None = Field(
        None,
        description="the system that the others are compared with; null is the first",
    )
    risk: float | None = Field(
        None,
        ge=0,
        le=1,
        description="the share of answers given that may be wrong: chooses a threshold on the "
        "confidence, below which a system abstains; null chooses none",
    )
    retrieval: bool = Field(False, description="measure retrieval alone, without answers")
    depth: int | None = Field(
        None, ge=1, description="passages to search for; null takes what the metrics need"
    )
    build: bool = Field(False, description="build memories that are missing, in the output folder")
    output: ConfigPath = Field(Path("results"), description="folder of the results")
    processes: int = Field(1, ge=1, description="processes that share the work")
    cost: int = Field(
        20,
        ge=0,
        description="questions that each system answers alone to measure time and memory; "
        "0 measures none",
    )

    @model_validator(mode="after")
    def _risk_has_its_questions(self) -> Self:
        if self.risk is not None and self.dev is None:
            raise ValueError(
                "risk: the threshold is chosen on other questions than those it is reported on: "
                "name them under 'dev'"
            )
        if self.dev is not None and self.risk is None:
            raise ValueError("dev: these questions choose the threshold for a risk: give 'risk'")
        if self.risk is not None and self.retrieval:
            raise ValueError("risk is of answers, and 'retrieval' measures none: remove one")
        return self


def experiment_schema() -> dict[str, Any]:
    """Return the JSON Schema of experiment files, draft 2020-12."""
    return config_schema(ExperimentConfig, "experiment")
