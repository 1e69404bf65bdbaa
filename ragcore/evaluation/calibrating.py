"""Calibrate a pipeline on questions with answers: temperature, confidence, and its threshold.

    1. The memory is searched once, and the temperature is fitted (calibration.py).
    2. The questions are answered by the pipeline as it is, and again by the fitted temperature,
       which changes the prior, p(y|x), and now and then the answer.
    3. Confidence and threshold are fitted on the second answers (confidence_fits.py).

Knows pipelines and questions; knows nothing of files, or of how a number is fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from ragcore.answering.choose import answerer_for
from ragcore.answering.evidence import Retrieved
from ragcore.answering.refusals import refuse_unscored
from ragcore.answering.retrieve import retrieve, with_temperature
from ragcore.config import ConfidenceConfig
from ragcore.errors import MetricError, QuestionError
from ragcore.evaluation.calibration import Calibration, check_right_answers, fit_temperature
from ragcore.evaluation.confidence_fits import (
    ConfidenceFit,
    ThresholdFit,
    fit_confidence,
    fit_threshold,
    obstacle,
)
from ragcore.evaluation.prediction import Prediction, make_predictions
from ragcore.evaluation.searching import BATCH
from ragcore.questions import LabelledQuestion
from ragcore.rag import Rag
from ragcore.types import Answer

__all__ = ["PipelineCalibration", "Served", "calibrate_pipeline", "passages_of_mass"]

Progress = Callable[[int, int], object]

_MASSES: Final = (0.99, 0.999)


@dataclass(frozen=True, slots=True)
class Served:
    """What a pipeline does at one temperature.

    Attributes:
        temperature: of the memory.
        exact_match: share of the questions that are answered rightly; none is withheld.
        passages_99: mean of how many passages have 99 % of the prior's mass, over the questions
            for which some were found; 0 where there are none.
        passages_999: the same for 99.9 %.
    """

    temperature: float
    exact_match: float
    passages_99: float
    passages_999: float


@dataclass(frozen=True, slots=True)
class PipelineCalibration:
    """All that was fitted, and what it changes.

    Attributes:
        temperature: the fitted temperature.
        before: the pipeline at its own temperature.
        after: the pipeline at the fitted temperature.
        confidence: the fitted confidence; None where there is a reason against it.
        reason: why no confidence could be fitted; None where one was.
        threshold: None where none was asked for, or no confidence could be fitted.
        questions: how many questions were answered.
        memory: the version that was read.
    """

    temperature: Calibration
    before: Served
    after: Served
    confidence: ConfidenceFit | None
    reason: str | None
    threshold: ThresholdFit | None
    questions: int
    memory: str

    @property
    def config(self) -> ConfidenceConfig | None:
        """The setting `rag.confidence` with what was fitted; None where nothing was."""
        if self.confidence is None:
            return None
        threshold = None if self.threshold is None else self.threshold.threshold
        return self.confidence.config.model_copy(update={"threshold": threshold or 0.0})

    @property
    def settings(self) -> dict[str, Any]:
        """What was fitted, as a pipeline's file has it: values by the keys of their settings."""
        settings: dict[str, Any] = {"memory.temperature": self.temperature.fitted.temperature}
        if self.config is not None:
            # A pipeline that never abstains has no `answering`.
            settings["rag.confidence"] = self.config.model_dump(exclude_none=True)
        return settings

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain JSON-ready values."""
        return asdict(self)


def calibrate_pipeline(
    rag: Rag,
    asked: Sequence[LabelledQuestion],
    *,
    risk: float | None = None,
    progress: Progress | None = None,
) -> PipelineCalibration:
    """Fit temperature and confidence of a pipeline, and the threshold for a risk.

    The temperature is fitted on the questions with right answers that are texts. The confidence is
    fitted on all answers that are known to be right or wrong, so that questions without an answer
    count too. A confidence that the pipeline has already counts as what was before the fit, and its
    threshold is ignored.

    Args:
        rag: the pipeline; it is left as it is.
        asked: the questions, with what is right.
        risk: the share of given answers that may be wrong, from 0 to 1; None for no threshold.
        progress: called after each batch with the answers done and all answers.

    Raises:
        QuestionError: no question has a right answer that is a text, or one is empty or longer
            than the generator's input.
        MetricError: the risk is no share, or scipy is not installed.
        UnsupportedOperation: the generator gives no log p of given answers.
    """
    if risk is not None and not 0 <= risk <= 1:
        raise MetricError(f"a risk of {risk}: expected the share of answers that may be wrong")
    refuse_unscored(rag.generator, "calibrating")
    # What the pipeline cannot do is found before its memory is searched.
    answerer_for(rag.generator, rag.config)
    with rag.memory.reading() as memory:
        version, current = memory.version, memory.temperature
        _check(asked, version)
        retrieved = retrieve(memory, [question.question for question in asked], rag.config)
    temperature = _fit_temperature(rag, asked, retrieved, version, current)
    fitted = temperature.fitted.temperature
    temperatures = [current] if fitted == current else [current, fitted]
    total = len(temperatures) * len(asked)
    answers: list[list[Answer]] = []
    for number, each in enumerate(temperatures):
        done = number * len(asked)
        answers.append(_answers(rag, retrieved, each, version, progress, done, total))
    before, after = (make_predictions(asked, each) for each in (answers[0], answers[-1]))
    reason = obstacle(after)
    confidence = None if reason is not None else fit_confidence(before, after)
    return PipelineCalibration(
        temperature=temperature,
        before=_served(retrieved, before, current),
        after=_served(retrieved, after, fitted),
        confidence=confidence,
        reason=reason,
        threshold=None
        if risk is None or confidence is None
        else fit_threshold(after, confidence.config, risk),
        questions=len(asked),
        memory=version,
    )


def passages_of_mass(priors: Sequence[float], mass: float) -> int:
    """Count the passages, most probable first, until their prior is together at least a mass.

    Args:
        priors: p(z|x) of each passage; they sum to 1.
        mass: above 0, at most 1.
    """
    total = 0.0
    for count, prior in enumerate(sorted(priors, reverse=True), 1):
        total += prior
        if total >= mass:
            return count
    # Rounded, they may sum to less.
    return len(priors)


def _check(asked: Sequence[LabelledQuestion], version: str) -> None:
    """Refuse questions of which none has an answer that a temperature can be fitted on."""
    fitting = _fitting(asked, version)
    if not fitting:
        raise QuestionError(
            f"none of {len(asked)} questions has a right answer that is a text: a temperature is "
            "fitted on log p of right answers, which a pattern has not; give questions with answers"
        )
    check_right_answers(
        [asked[index].question for index in fitting],
        [asked[index].answers_by(version) for index in fitting],
    )


def _fitting(asked: Sequence[LabelledQuestion], version: str) -> list[int]:
    """Return the numbers of the questions that the temperature is fitted on."""
    return [
        index
        for index, question in enumerate(asked)
        if question.answers_by(version) and not question.regex
    ]


def _fit_temperature(
    rag: Rag,
    asked: Sequence[LabelledQuestion],
    retrieved: Sequence[Retrieved],
    version: str,
    current: float,
) -> Calibration:
    fitting = _fitting(asked, version)
    return fit_temperature(
        rag,
        [retrieved[index] for index in fitting],
        [asked[index].answers_by(version) for index in fitting],
        version,
        current,
    )


def _answers(
    rag: Rag,
    retrieved: Sequence[Retrieved],
    temperature: float,
    version: str,
    progress: Progress | None,
    done: int,
    total: int,
) -> list[Answer]:
    """Answer all questions by one temperature, and withhold none."""
    confidence = rag.config.confidence
    if confidence is not None:
        confidence = confidence.model_copy(update={"threshold": 0.0})
    answerer = answerer_for(rag.generator, rag.config.model_copy(update={"confidence": confidence}))
    answers: list[Answer] = []
    for begin in range(0, len(retrieved), BATCH):
        batch = [with_temperature(each, temperature) for each in retrieved[begin : begin + BATCH]]
        answers += answerer.answers(batch, version)
        if progress is not None:
            progress(done + len(answers), total)
    return answers


def _served(
    retrieved: Sequence[Retrieved], predictions: Sequence[Prediction], temperature: float
) -> Served:
    """Summarise what the pipeline does at a temperature."""
    correct = [each.correct for each in predictions if each.correct is not None]
    priors = [
        np.exp(with_temperature(each, temperature).log_prior).tolist()
        for each in retrieved
        if each.passages
    ]
    passages_99, passages_999 = (
        sum(passages_of_mass(prior, mass) for prior in priors) / max(len(priors), 1)
        for mass in _MASSES
    )
    return Served(temperature, sum(correct) / len(correct), passages_99, passages_999)
