"""`ragcore eval` and `ragcore replay`: measure answers or retrieval, and repeat a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragcore.cli.arguments import (
    JsonOption,
    OnOption,
    OnSettingsOption,
    OverridesArgument,
    runner_on,
)
from ragcore.cli.outputs import check_file, check_folder
from ragcore.cli.progress import question_bar
from ragcore.errors import ConfigError, MetricError
from ragcore.views.output import print_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ragcore.contracts import Runner
    from ragcore.evaluation.metrics.base import Metric
    from ragcore.evaluation.report import QuestionSource, Report

__all__ = ["app", "replay_app"]

app = typer.Typer(add_completion=False)
replay_app = typer.Typer(add_completion=False)


@app.command()
def evaluate(
    pipeline: Annotated[
        str | None,
        typer.Argument(help="The pipeline's YAML file, or a folder that training wrote."),
    ] = None,
    questions: Annotated[
        str | None,
        typer.Argument(
            help="A file of questions with what is right, a folder of BEIR, or ir_datasets:NAME."
        ),
    ] = None,
    overrides: OverridesArgument = None,
    format: Annotated[  # noqa: A002 (the option's name)
        str, typer.Option(help="The format of the file; auto detects it by its keys.")
    ] = "auto",
    qrels: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Grades of passages, as TREC's or BEIR's qrels."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="The most questions to ask, spread over the file.")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A metric, such as hit@10; may be repeated."),
    ] = None,
    retrieval: Annotated[
        bool,
        typer.Option("--retrieval", help="Measure retrieval alone; no generator is loaded."),
    ] = False,
    depth: Annotated[
        int | None,
        typer.Option(min=1, help="Passages to search for; by default what the metrics need."),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Measure a TREC run file in place of searching."),
    ] = None,
    run_out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the rankings as a TREC run file."),
    ] = None,
    on: OnOption = None,
    on_option: OnSettingsOption = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write results and answers there, for `replay`."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Compare with the run in a folder: a paired test."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure answers and retrieval: each metric with its 95 % interval; exit code 1 if one failed.

    Without a generator in the pipeline, or with --retrieval or --run, retrieval alone is measured.
    """
    from ragcore.evaluation.choosing import make_metrics, search_depth
    from ragcore.evaluation.repeating import compare_with_run
    from ragcore.evaluation.runs import read_run
    from ragcore.views.console import print_view
    from ragcore.views.evaluation import differences_view, figures_view

    # Checked before the generator is loaded and all questions are answered.
    if output is not None:
        if run is not None:
            raise ConfigError(
                "--output keeps what a pipeline did, and --run reads a file of rankings: give one "
                "of the two"
            )
        check_folder("--output", output)
    if run_out is not None:
        check_file("--run-out", run_out)
    if against is not None:
        read_run(against)
    metrics = make_metrics(metric) if metric else None
    if run_out is not None and metrics is not None and search_depth(metrics, depth) is None:
        raise MetricError(
            "--run-out writes rankings, and none is needed by the metrics named: name one of "
            "passages too, such as nDCG@10"
        )
    if pipeline is None and run is not None and qrels is not None:
        _check_unused(format, limit, retrieval)
    source = _source(pipeline, questions, format, limit, qrels, run)
    runner = runner_on(on, on_option)
    if run is not None:
        if runner is not None:
            raise ConfigError(
                "--on says where questions are searched for and answered, and --run reads what was "
                "found: give one of the two"
            )
        report = _measured_run(run, pipeline, source, overrides or (), qrels, metrics, depth)
    else:
        assert pipeline is not None
        assert source is not None
        report = _evaluated(pipeline, source, overrides or (), metrics, depth, retrieval, runner)
    differences = compare_with_run(against, report) if against is not None else []
    if output is not None:
        assert pipeline is not None
        assert source is not None
        report.write(output, pipeline, overrides or (), source)
    if as_json:
        row = report.to_dict()
        if against is not None:
            row["against"] = [difference.to_dict() for difference in differences]
        print_json(row)
    else:
        searched = f"memory {report.memory}" if report.memory else f"run {run}"
        print_view(f"{len(report.predictions)} questions, {searched}", figures_view(report.figures))
        if against is not None:
            print_view(f"\ncompared with {against}", differences_view(differences))
        if output is not None:
            print_view(f"\nwritten to {output}", soft_wrap=True)
    # Last, as ids of passages may be none that a run can have: the figures are not lost with it.
    if run_out is not None:
        report.write_trec_run(run_out)
        if not as_json:
            print_view(f"\nwritten to {run_out}", soft_wrap=True)
    if report.failed:
        raise typer.Exit(1)


def _check_unused(format_name: str, limit: int | None, retrieval: bool) -> None:
    """Refuse options without an effect where a run is measured by judgments alone.

    Raises:
        ConfigError: names them.
    """
    options = {"--limit": limit, "--format": format_name != "auto", "--retrieval": retrieval}
    unused = [name for name, value in options.items() if value]
    if unused:
        raise ConfigError(
            f"{', '.join(unused)} with --run and --qrels alone: there is no pipeline and no file "
            "of questions: leave it out, or name both"
        )


def _source(
    pipeline: str | None,
    questions: str | None,
    format_name: str,
    limit: int | None,
    qrels: Path | None,
    run: Path | None,
) -> QuestionSource | None:
    """Return where the questions come from; None where they are those of the qrels alone."""
    from ragcore.evaluation.report import QuestionSource

    if pipeline is None and run is not None and qrels is not None:
        return None
    if pipeline is None or questions is None:
        raise ConfigError(
            "expected a pipeline and a file of questions (ragcore eval PIPELINE QUESTIONS), or a "
            "run file with judgments (ragcore eval --run FILE --qrels FILE)"
        )
    return QuestionSource(questions, format_name, limit, qrels)


def _evaluated(
    pipeline: str,
    source: QuestionSource,
    overrides: Sequence[str],
    metrics: Mapping[str, Metric] | None,
    depth: int | None,
    retrieval: bool,
    runner: Runner | None,
) -> Report:
    """Evaluate a pipeline, or its memory alone where that is asked for or there is no generator."""
    from ragcore.build import open_memory
    from ragcore.config import load_config
    from ragcore.evaluation.running import evaluate as run
    from ragcore.rag import Rag

    asked = source.read()
    if runner is not None:
        from ragcore.evaluation.spread import evaluate_on

        with question_bar() as progress:
            return evaluate_on(
                runner,
                pipeline,
                asked,
                metrics,
                overrides=overrides,
                depth=depth,
                retrieval=retrieval,
                progress=progress,
            )
    config = load_config(pipeline, overrides)
    if retrieval or config.generator is None:
        with open_memory(config) as memory, question_bar("searching") as progress:
            where = config.rag.where
            return run(memory, asked, metrics, depth=depth, where=where, progress=progress)
    with Rag.from_config(config) as rag, question_bar() as progress:
        return run(rag, asked, metrics, depth=depth, progress=progress)


def _measured_run(
    run: Path,
    pipeline: str | None,
    source: QuestionSource | None,
    overrides: Sequence[str],
    qrels: Path | None,
    metrics: Mapping[str, Metric] | None,
    depth: int | None,
) -> Report:
    """Measure a run file; with a pipeline, its memory has the passages' texts."""
    from ragcore.build import open_memory
    from ragcore.evaluation.measuring_runs import evaluate_run, questions_of
    from ragcore.evaluation.trec_runs import read_trec_run
    from ragcore.questions.trec import read_qrels

    rankings = read_trec_run(run)
    if source is None or pipeline is None:
        assert qrels is not None
        asked = questions_of(read_qrels(qrels))
        return evaluate_run(rankings, asked, metrics, depth=depth)
    asked = source.read()
    with open_memory(pipeline, *overrides) as memory:
        return evaluate_run(rankings, asked, metrics, memory=memory, depth=depth)


@replay_app.command()
def replay(
    run: Annotated[Path, typer.Argument(help="A folder that `eval --output` or training wrote.")],
    as_json: JsonOption = False,
) -> None:
    """Answer the questions of a run again; exit code 1 if an answer or a ranking differs."""
    from ragcore.evaluation.repeating import replay as repeat
    from ragcore.evaluation.runs import RUN
    from ragcore.views.console import print_view
    from ragcore.views.evaluation import replayed_view

    folder = run if (run / RUN).exists() else run / "evaluation"
    with question_bar() as progress:
        replayed = repeat(folder, progress=progress)
    if as_json:
        row = {
            "questions": replayed.questions,
            "changed": [
                {"question": question, "kept": before, "now": now}
                for question, before, now in replayed.changed
            ],
            "versions": {name: list(pair) for name, pair in replayed.versions.items()},
        }
        print_json(row)
    else:
        print_view(replayed_view(replayed))
    if replayed.changed:
        raise typer.Exit(1)
