"""Systems that abstain by a scorer, in an experiment: as in an evaluation, and their runs."""

from __future__ import annotations

import math
import os

from ragcore.evaluation.choosing import make_metrics
from ragcore.evaluation.report import QuestionSource
from ragcore.evaluation.running import evaluate
from ragcore.experiments.running import run_systems
from ragcore.rag import Rag
from tests.experiments.project import WORDS
from tests.integration.tiny_reader import save_reader

SCORER = (
    "rag.abstain.answer=not there",
    "rag.abstain.scorer.use=answerability",
    "rag.abstain.scorer.model=./reader",
)


def test_systems_abstain_by_their_scorer_and_run_again_where_it_was_trained_again(project):
    save_reader(project.folder / "reader", [*WORDS, "who", "rules"])
    source = QuestionSource(project.folder / "questions.jsonl", limit=12)
    # The middle of what the reader's random weights say of these questions.
    with Rag.from_config(project.system("x", *SCORER, "rag.abstain.above=1").config) as rag:
        answers = rag.answer([question.question for question in source.read()])
    p_unknown = sorted(answer.abstention.log_prob for answer in answers)
    above = f"rag.abstain.above={math.exp(p_unknown[6]):.6f}"
    systems = [project.system("plain"), project.system("abstaining", *SCORER, above)]
    experiment = project.experiment(*systems, questions=source)
    run = run_systems(experiment)
    for each in run.runs:
        with Rag.from_config(each.system.config) as rag:
            expected = evaluate(rag, source.read(), make_metrics(experiment.metrics))
        for one, other in zip(each.report.predictions, expected.predictions, strict=True):
            assert (one.answer, one.abstained) == (other.answer, other.abstained)
            assert one.log_p_unknown == other.log_p_unknown
    plain, abstaining = (
        [each.abstained for each in system.report.predictions] for system in run.runs
    )
    assert not any(plain)
    assert 0 < sum(abstaining) < 12
    os.utime(project.folder / "reader" / "model.safetensors", (1, 1))
    again = run_systems(experiment)
    assert [each.reused for each in again.runs] == [True, False]
