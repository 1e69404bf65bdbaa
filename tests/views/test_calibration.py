"""Test what the view of a calibration says of terms that do not count."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from ragcore.evaluation.calibrating import PipelineCalibration, Served
from ragcore.evaluation.calibration import Calibration, Fit
from ragcore.evaluation.confidence_fits import ConfidenceFit
from ragcore.views.calibration import pipeline_calibration_view, settings_text


def calibration(slope: float, answering: float | None) -> PipelineCalibration:
    fit = Fit(temperature=0.5, log_prob=-1.0, top_prior=0.5)
    served = Served(temperature=0.5, exact_match=0.75, passages_99=2.0, passages_999=3.0)
    return PipelineCalibration(
        temperature=Calibration(fit, fit, fit, 0.5, 40, 40, 40, "v"),
        before=served,
        after=served,
        confidence=ConfidenceFit(slope, 1.5, 40, 30, 0.3, 0.1, 0.2, 0.1, answering),
        reason=None,
        threshold=None,
        questions=40,
        memory="v",
    )


def shown(slope: float, answering: float | None) -> str:
    file = io.StringIO()
    view = pipeline_calibration_view(calibration(slope, answering))
    Console(file=file, width=200).print(view)
    return file.getvalue()


@pytest.mark.parametrize(
    ("slope", "answering", "words"),
    [
        (0.0, None, "is the same for all: log p does not tell right answers from wrong"),
        (0.0, 0.0, "is the same for all: log p and p(unknown) do not tell right answers from"),
        (0.0, 2.0, "log p tells no more than p(unknown)"),
        (2.0, 0.0, "p(unknown) tells no more than log p"),
    ],
)
def test_a_term_that_tells_nothing_is_named(slope, answering, words):
    assert words in shown(slope, answering)


@pytest.mark.parametrize("answering", [None, 2.0])
def test_terms_that_count_need_no_words(answering):
    assert "tell" not in shown(2.0, answering)


@pytest.mark.parametrize(("answering", "line"), [(None, ""), (2.0, "    answering: 2.0\n")])
def test_the_settings_are_those_of_a_file(answering, line):
    assert settings_text(calibration(1.0, answering)) == (
        "memory:\n  temperature: 0.5\nrag:\n  confidence:\n"
        f"    slope: 1.0\n{line}    intercept: 1.5\n    threshold: 0.0"
    )
