"""Generators of texts in an experiment: figures as of an evaluation, the whole page, and costs."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import pytest

from ragcore.errors import RagcoreError
from ragcore.evaluation.choosing import make_metrics
from ragcore.evaluation.running import evaluate
from ragcore.experiments.running import run_systems
from ragcore.rag import Rag
from ragcore.registry.discovery import registry

TIERS = ("score", "top", "text")


@pytest.fixture
def chooser(tmp_path, monkeypatch) -> Iterator[None]:
    """Install the plugin of `helpers/word_chooser.py` besides the others."""
    info = tmp_path / "site" / "ragcore_words-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ragcore-words\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ragcore]\nwords = tests.helpers.word_chooser\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    importlib.invalidate_caches()
    registry.cache_clear()
    yield
    registry.cache_clear()


@pytest.fixture
def texts(project, chooser):
    pipeline = project.pipeline.read_text().replace(
        "{use: bart, model: ./model}", "{use: word-chooser}"
    )
    (project.folder / "texts.yaml").write_text(pipeline.replace("beams: 2, ", ""))
    return project


def test_figures_are_those_of_an_evaluation(texts):
    systems = [
        texts.system(tier, f"generator.tier={tier}", pipeline="texts.yaml") for tier in TIERS
    ]
    run = run_systems(texts.experiment(*systems))
    for each in run.runs:
        with Rag.from_config(each.system.config) as rag:
            expected = evaluate(
                rag, run.experiment.questions.read(), make_metrics(run.experiment.metrics)
            )
        for one, other in zip(each.report.predictions, expected.predictions, strict=True):
            assert (one.answer, one.log_prob) == (other.answer, other.log_prob)
            assert one.passages == other.passages
        figures = {figure.metric: figure.value for figure in each.report.figures}
        assert (figures["log_prob"] is None) == (each.system.name == "text")


def test_a_setting_that_a_tier_cannot_follow_is_found_before_the_run(texts):
    systems = [
        texts.system("texts", pipeline="texts.yaml"),
        texts.system("beams", "rag.beams=2", pipeline="texts.yaml"),
    ]
    with pytest.raises(RagcoreError, match=r"rag\.beams: 2"):
        run_systems(texts.experiment(*systems))
