"""Score right answers under all passages, by a generator that gives log p of given answers.

Knows generators of the tiers `steps` and `score`; knows nothing of priors or temperatures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from ragcore.answering.evidence import Retrieved
from ragcore.answering.prompting import prompted
from ragcore.answering.text_checks import check_scores
from ragcore.arrays import FloatArray
from ragcore.contracts import (
    AnyGenerator,
    Generator,
    ScoringGenerator,
    gives_scores,
    name_of,
    steps_of,
)

__all__ = ["Target", "padded", "target_scores", "targets_of"]

Target: TypeAlias = str | tuple[int, ...]
"""What a generator scores: a text, or for the tier `steps` its token ids."""

_PURPOSE = "fitting a temperature"


def targets_of(generator: AnyGenerator, texts: Sequence[str]) -> list[Target]:
    """Return each text as the generator scores it."""
    if gives_scores(generator):
        return list(texts)
    return [tuple(ids) for ids in steps_of(generator, _PURPOSE).encode_answers(texts)]


def target_scores(
    generator: AnyGenerator,
    retrieved: Sequence[Retrieved],
    targets: Sequence[Sequence[Target]],
) -> list[FloatArray]:
    """Score each question's targets under each of its passages, in one call of the generator.

    Args:
        generator: of the tier `steps` or `score`.
        retrieved: B questions with their passages.
        targets: of each question; at least one.

    Returns:
        For each question log p(y_i|x,z,y_<i), float64 [targets, k, T]; 0.0 where a target is
        shorter than T.
    """
    if gives_scores(generator):
        texts = [[target for target in each if isinstance(target, str)] for each in targets]
        return _scores_of_texts(generator, retrieved, texts)
    ids = [[target for target in each if not isinstance(target, str)] for each in targets]
    return _scores_of_ids(steps_of(generator, _PURPOSE), retrieved, ids)


def padded(tables: Sequence[FloatArray], value: float) -> FloatArray:
    """Stack tables of one or two dimensions to one, padded with a value."""
    sizes = [max(table.shape[axis] for table in tables) for axis in range(tables[0].ndim)]
    padded = np.full((len(tables), *sizes), value)
    for number, table in enumerate(tables):
        region: tuple[int | slice, ...] = (number, *map(slice, table.shape))
        padded[region] = table
    return padded


def _scores_of_texts(
    generator: ScoringGenerator,
    retrieved: Sequence[Retrieved],
    targets: Sequence[Sequence[str]],
) -> list[FloatArray]:
    questions = prompted(retrieved)
    cells = [
        (question, prompt, text)
        for question, texts in zip(questions, targets, strict=True)
        for text in texts
        for prompt in question.prompts
    ]
    texts = [text for _, _, text in cells]
    scores = generator.score_texts(
        [prompt for _, prompt, _ in cells], texts, [question.meter for question, _, _ in cells]
    )
    check_scores(name_of(generator), texts, scores)
    rows = iter(scores)
    return [
        padded([_table([next(rows).log_probs for _ in question.prompts]) for _ in texts], 0.0)
        for question, texts in zip(questions, targets, strict=True)
    ]


def _table(rows: Sequence[Sequence[float]]) -> FloatArray:
    """Return the log-probs of one text under each passage, [k, T]."""
    return np.array(rows, np.float64)


def _scores_of_ids(
    generator: Generator,
    retrieved: Sequence[Retrieved],
    targets: Sequence[Sequence[tuple[int, ...]]],
) -> list[FloatArray]:
    import torch

    from ragcore.answering.reading import read_passages
    from ragcore.decoding.scoring import score_targets

    with torch.inference_mode():
        read, priors = read_passages(generator, retrieved)
        scored = score_targets(generator, read, priors, targets)
        return [log_p.double().cpu().numpy() for log_p in scored]
