"""Draw whole answers from a generator of texts: a passage by chance, then a text from it.

RAG-Sequence (paper, section 2.1) defines p(y|x) = Σ_z p(z|x) p(y|x,z). So where z is drawn from the
prior, and y by the generator from p(y|x,z), y is drawn from p(y|x) itself: ancestral sampling. A
draw costs a single text, however many passages there are. `temperature` and `top_p` are the
generator's own, and change the distribution of the passage that was drawn. RAG-Token draws each
token from all passages together, which no whole text does (refusals.py).

The passage is drawn from the prior that is not conditioned on the passages' answering: an
abstaining text is drawn as any other.

Knows prompts and texts; imports no torch, and knows nothing of log-probs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from ragcore.answering.prompting import PromptedQuestion, write_prompts, writing_of
from ragcore.config import RagConfig
from ragcore.contracts import TextGenerator
from ragcore.decoding.chances import Chance, SamplingOptions, chances, drawn_position

__all__ = ["DrawnText", "draw_texts", "drawn_passages", "sampling_of"]

_SEEDS: Final = 1 << 31
"""Servers read a seed as a number of 32 bits, some with a sign."""


@dataclass(frozen=True, slots=True)
class DrawnText:
    """One of the different texts that were drawn for a question.

    Attributes:
        text: the answer.
        draws: the numbers of the draws that came out as it, from 0, ascending.
        passages: the positions of the passages that were drawn for these, one for each.
        cut: whether it was cut at the longest, each time.
    """

    text: str
    draws: tuple[int, ...]
    passages: tuple[int, ...]
    cut: bool


def sampling_of(config: RagConfig) -> SamplingOptions | None:
    """Return how answers are drawn; None where they are searched for, or voted on."""
    sample = config.sample
    if sample is None or not sample.temperature:
        return None
    return SamplingOptions(sample.temperature, sample.top_p, sample.top_k, sample.n, sample.seed)


def draw_texts(
    generator: TextGenerator,
    questions: Sequence[PromptedQuestion],
    config: RagConfig,
    sampling: SamplingOptions,
    check: Callable[[], None],
) -> list[list[DrawnText]]:
    """Draw the texts of all questions in one call of the generator.

    Args:
        generator: writes texts.
        questions: B questions with the prompts of their passages.
        config: the section `rag`.
        sampling: how many answers are drawn, and how.
        check: raises where the request should not go on.

    Returns:
        For each question the different texts, in the order in which they were first drawn.

    Raises:
        GeneratorError: as `write_prompts`.
    """
    drawn = [drawn_passages(question, sampling) for question in questions]
    by_draw = [
        (question, passage, seed)
        for question, passages in zip(questions, drawn, strict=True)
        for passage, seed in passages
    ]
    written = write_prompts(
        generator,
        [question.prompts[passage] for question, passage, _ in by_draw],
        [question.meter for question, _, _ in by_draw],
        writing_of(config, sampling, [seed for _, _, seed in by_draw]),
        check,
    )
    texts = iter(
        [
            (passage, completion.text, not completion.finished)
            for (_, passage, _), (completion, *_) in zip(by_draw, written, strict=True)
        ]
    )
    return [_different([next(texts) for _ in passages]) for passages in drawn]


def drawn_passages(question: PromptedQuestion, sampling: SamplingOptions) -> list[tuple[int, int]]:
    """Return for each draw of a question the position of its passage, and the generator's seed."""
    prior = question.prior()
    return [
        (drawn_position(prior, chance()), _seed(chance))
        for chance in chances(sampling, question.retrieved.question)
    ]


def _seed(chance: Chance) -> int:
    """Return the generator's seed of a draw, which is no other draw's."""
    return int(chance() * _SEEDS)


def _different(texts: Sequence[tuple[int, str, bool]]) -> list[DrawnText]:
    """Merge equal texts, each with its passage and whether it was cut, by their draws in order."""
    merged: dict[str, DrawnText] = {}
    for number, (passage, text, cut) in enumerate(texts):
        known = merged.get(text, DrawnText(text, (), (), cut=True))
        merged[text] = DrawnText(
            text, (*known.draws, number), (*known.passages, passage), known.cut and cut
        )
    return list(merged.values())
