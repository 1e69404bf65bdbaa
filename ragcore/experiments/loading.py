"""Load an experiment from a file, from options, or from both, with every fault by position.

Knows how file and options become one checked `Experiment`; knows nothing of how it is run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Unpack

from ragcore.config.load import read_text
from ragcore.config.reader import ConfigReader
from ragcore.config.source import Entry, Mapping, Node, Scalar, Source, SourcePosition
from ragcore.disk.paths import usable_path
from ragcore.errors import ConfigError
from ragcore.evaluation.report import QuestionSource
from ragcore.experiments.checks import ExperimentChecker
from ragcore.experiments.config import (
    ExperimentConfig,
    QuestionsPart,
    QuestionsSection,
    SystemsPart,
)
from ragcore.experiments.grid import Expansion, expand
from ragcore.experiments.options import Options, apply_options
from ragcore.experiments.systems import Experiment
from ragcore.questions import LabelledQuestion
from ragcore.questions.sources import is_dataset

__all__ = ["load_experiment"]

_TITLE: Final = "the experiment"
_EMPTY: Final = (
    "the file is empty: an experiment begins with 'experiment: 1' and has 'systems' and 'questions'"
)


def load_experiment(path: str | Path | None = None, **options: Unpack[Options]) -> Experiment:
    """Load an experiment, and check all of it before anything is computed.

    Args:
        path: of the experiment's YAML file; paths in it start from its folder. None where the
            options say all.
        options: what overrides the file; see `Options`. Paths start from the working folder.

    Raises:
        ConfigError: the file cannot be read, or anything is wrong in it, in the options or in the
            pipelines: keys and values, questions, metrics, memories. The message lists all faults
            by position.
    """
    file = None if path is None else usable_path(path, ConfigError)
    text = "" if file is None else read_text(file, "experiment")
    source = Source(text, "the options" if file is None else str(file), noun="option")
    tree = _tree(source, file is None)
    if not isinstance(tree, Mapping):
        raise ConfigError(source.show())
    apply_options(tree, source, options)
    base = Path.cwd() if file is None else file.parent.absolute()
    return _Loader(source, tree, base).load("experiment" if file is None else file.stem)


def _tree(source: Source, from_options: bool) -> Node | None:
    if from_options:
        nowhere = SourcePosition(0, 0, 0)
        return Mapping(nowhere, {"experiment": Entry(nowhere, Scalar(nowhere, 1, "1"))})
    tree = source.tree()
    if isinstance(tree, Scalar) and tree.value is None:
        source.fault(tree.position, _EMPTY)
        return None
    if tree is not None and not isinstance(tree, Mapping):
        ConfigReader(source, Path()).read(tree, ExperimentConfig, _TITLE)
    return tree


class _Loader:
    """Reads one tree; parts that are sound are checked even where others are not."""

    def __init__(self, source: Source, tree: Mapping, base: Path) -> None:
        self._source = source
        self._tree = tree
        self._reader = ConfigReader(source, base)
        self._checker = ExperimentChecker(tree, source)

    def load(self, name: str) -> Experiment:
        """Return the experiment.

        Raises:
            ConfigError: lists all faults.
        """
        config = self._reader.read(self._tree, ExperimentConfig, _TITLE)
        systems_part = self._systems(config)
        questions_part = self._questions(config)
        metrics = self._checker.metrics()
        expansion = Expansion((), ())
        if systems_part is not None:
            expansion = expand(systems_part, self._tree, self._source)
        questions = dev = None
        asked: list[LabelledQuestion] | None = None
        if questions_part is not None:
            questions = _question_source(questions_part.questions)
            asked = self._asked("questions", questions)
            if questions_part.dev is not None:
                dev = _question_source(questions_part.dev)
                asked_dev = self._asked("dev", dev)
                if asked and asked_dev:
                    self._checker.check_apart(asked, asked_dev)
        self._refuse(expansion)
        assert config is not None
        assert questions is not None
        systems = expansion.systems
        retrieval = self._checker.check_answers(config, systems, metrics)
        versions = self._checker.check_memories(systems, build=config.build, retrieval=retrieval)
        baseline = self._checker.baseline(config.baseline, systems)
        self._checker.check_output(config.output)
        self._refuse(expansion)
        assert asked is not None
        self._checker.check_labels(
            asked, metrics, versions, retrieval=retrieval, depth=config.depth
        )
        self._refuse(expansion)
        return Experiment(
            name=name,
            systems=tuple(placed.system for placed in systems),
            questions=questions,
            metrics=None if config.metrics is None else tuple(dict.fromkeys(config.metrics)),
            baseline=baseline,
            output=config.output.absolute(),
            dev=dev,
            risk=config.risk,
            retrieval=retrieval,
            depth=config.depth,
            build=config.build,
            processes=config.processes,
            cost_questions=config.cost,
        )

    def _systems(self, config: ExperimentConfig | None) -> SystemsPart | None:
        """Return the systems; where the file is faulty, those that are sound."""
        if config is not None:
            return config
        section = self._tree.entries.get("systems")
        sound: dict[str, Entry] = {}
        if section is not None and isinstance(section.value, Mapping):
            for name, entry in section.value.entries.items():
                if self._systems_of({name: entry}, None) is not None:
                    sound[name] = entry
        return self._systems_of(sound, self._tree.entries.get("grid")) if sound else None

    def _systems_of(self, entries: dict[str, Entry], grid: Entry | None) -> SystemsPart | None:
        position = self._tree.position
        keys = {"systems": Entry(position, Mapping(position, entries))}
        tree = Mapping(position, keys if grid is None else {**keys, "grid": grid})
        return self._reader.read(tree, SystemsPart, _TITLE)

    def _questions(self, config: ExperimentConfig | None) -> QuestionsPart | None:
        """Return the questions; where other keys are faulty, they are read alone."""
        if config is not None:
            return config
        fields = QuestionsPart.model_fields
        keys = {key: entry for key, entry in self._tree.entries.items() if key in fields}
        return self._reader.read(Mapping(self._tree.position, keys), QuestionsPart, _TITLE)

    def _asked(self, key: str, questions: QuestionSource) -> list[LabelledQuestion] | None:
        # A data set may be fetched from afar: not for an experiment that is faulty.
        if is_dataset(questions.path) and self._source.faults:
            return None
        return self._checker.read_questions(key, questions)

    def _refuse(self, expansion: Expansion) -> None:
        if self._source.faults or expansion.pipeline_faults:
            texts = [self._source.show()] if self._source.faults else []
            raise ConfigError("\n".join([*texts, *expansion.pipeline_faults]))


def _question_source(written: str | QuestionsSection) -> QuestionSource:
    if isinstance(written, str):
        return QuestionSource(written)
    return QuestionSource(written.path, written.format, written.limit, written.qrels)
