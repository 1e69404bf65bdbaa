"""Run an experiment from Python: load it, run its systems, compare them, and write the results.

Knows the order of the steps; knows nothing of how any of them is done, or of pages and terminals.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Unpack

from ragcore.contracts import Runner
from ragcore.errors import ConfigError
from ragcore.experiments.loading import load_experiment
from ragcore.experiments.options import Options
from ragcore.experiments.output import check_results
from ragcore.experiments.results import Results
from ragcore.experiments.running import run_systems
from ragcore.experiments.systems import Experiment
from ragcore.experiments.tabulating import make_results
from ragcore.experiments.writing import write_results

__all__ = ["experiment"]


def experiment(
    source: str | Path | Experiment | None = None,
    *,
    fresh: bool = False,
    progress: Callable[[int, int], object] | None = None,
    runner: Runner | None = None,
    **options: Unpack[Options],
) -> Results:
    """Compare systems on the same questions, with statistics and cost.

    Runs that the output folder has already are reused, and an interrupted one continues. The folder
    gets `results.json`, `results.csv` and `results.tex`; `ragcore experiment` adds `report.html`.

        results = ragcore.experiment("experiment.yaml", metrics=["nDCG@10"])

    Args:
        source: an experiment's file, or an experiment that was loaded; None where the options say
            all: `systems` and `questions` at least.
        fresh: run all systems again, and replace the results of another experiment.
        progress: called with the questions done and all questions, over all systems.
        runner: where questions are searched for and answered, in place of `processes`; see
            `load_runner`. The results are those of one process.
        options: what overrides the file: `systems`, `runs`, `questions`, `format`, `limit`,
            `qrels`, `dev`, `risk`, `sweep`, `metrics`, `baseline`, `retrieval`, `depth`, `build`,
            `output`, `processes`, `cost`; see `ragcore.experiments.options.Options`.

    Raises:
        ConfigError: anything is wrong in the experiment; the message lists all faults by position.
        StoreError: the output folder has results of another experiment, files of another program,
            or something that is in the way of writing.
        RagcoreError: a system fails on the questions.
    """
    if isinstance(source, Experiment):
        if options:
            raise ConfigError(
                "options change a file, and this experiment is loaded already: pass them to "
                "load_experiment, or pass the file"
            )
        loaded = source
    else:
        loaded = load_experiment(source, **options)
    check_results(loaded, fresh=fresh)
    results = make_results(run_systems(loaded, fresh=fresh, progress=progress, runner=runner))
    write_results(results, loaded.output)
    return results
