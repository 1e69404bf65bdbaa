"""Test what tuning chose in a terminal: the chosen trial first, test figures, no name is markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from ragcore.experiments.tabulating import make_results
from ragcore.experiments.tuned import Trial, Tuned
from ragcore.views.tuning import settings_lines, tuned_view
from tests.helpers.experiment_runs import made_experiment, made_report, made_run


def trial(settings: Mapping[str, Any], value: float | None) -> Trial:
    return Trial(settings, settings, value, value, value, False)


def tuned(*trials: Trial, chosen: int, scores: Sequence[float] = (1.0,) * 8) -> Tuned:
    runs = [made_run("as it is", made_report({"f1": [0.5] * 8}))]
    if chosen:
        runs.append(made_run("chosen", made_report({"f1": scores})))
    return Tuned(
        pipeline=Path("/p.yaml"),
        overrides=(),
        metric="f1",
        better="higher",
        dev="/dev.jsonl",
        dev_questions=8,
        test="/test.jsonl",
        trials=trials,
        chosen=trials[chosen],
        results=make_results(made_experiment(*runs)),
        output=Path("/out"),
        warnings=("seen before",),
    )


def shown(value: Tuned) -> list[str]:
    console = Console(file=StringIO(), width=120)
    console.print(tuned_view(value))
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines()]


def test_the_chosen_trial_comes_first_then_the_others_from_the_best():
    values = (None, 0.75, 0.75)
    others = [trial({"k": number}, value) for number, value in enumerate(values, 1)]
    lines = shown(tuned(trial({}, 0.25), *others, chosen=3))
    assert lines[:6] == [
        "chosen on the dev questions 4 trials, 8 questions, higher is better",
        "settings f1 95 % interval",
        "k=3 0.7500 0.7500–0.7500",
        "k=2 0.7500 0.7500–0.7500",
        "as it is 0.2500 0.2500–0.2500",
        "k=1 – –",
    ]
    assert lines[-2] == "difference +0.5000 [+0.5000, +0.5000], p = 0.0078"
    assert lines[-1] == "warning: seen before"


def test_of_many_trials_the_first_ten_are_shown():
    trials = [trial({"k": number}, 1 / (1 + number)) for number in range(13)]
    lines = shown(tuned(trial({}, 0.0), *trials, chosen=1))
    assert "4 more in /out/tuned.json" in lines
    assert sum(line.startswith("k=") for line in lines) == 10 + 1


def test_a_difference_that_may_be_chance_is_not_called_significant():
    value = tuned(trial({}, 0.1), trial({"k": 1}, 0.2), chosen=1, scores=[0.5] * 7 + [1.0])
    assert shown(value)[-2].endswith("p = 1.0000, not significant")


def test_the_pipeline_as_it_is_may_be_the_best():
    value = tuned(trial({}, 0.5), trial({"k": 1}, 0.25), chosen=0)
    assert "the pipeline as it is was the best on the dev questions: nothing changes" in shown(
        value
    )
    assert settings_lines(value) == ""


def test_no_setting_is_markup_and_no_control_character_is_shown():
    value = tuned(trial({}, 0.5), trial({"k": "[red]\x1b[2J"}, 1.0), chosen=1)
    text = "\n".join(shown(value))
    assert "[red]" in text
    assert "\x1b" not in text
