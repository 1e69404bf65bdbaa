"""Prompts for generators of texts: one for each passage, or the question alone.

Knows which prompt belongs to which passage of which question, and what is counted of a question;
knows nothing of what becomes of the texts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ragcore.answering.evidence import Retrieved
from ragcore.answering.together import JoinedPassages, parts_of
from ragcore.config import RagConfig, WriteConfig
from ragcore.contracts import Completion, Prompted, TextGenerator, Writing, name_of
from ragcore.decoding.chances import SamplingOptions
from ragcore.errors import GeneratorError
from ragcore.process.cancellation import interruptible
from ragcore.tiers import Meter, Usage
from ragcore.types import Passage

__all__ = [
    "PromptedQuestion",
    "prompt_of",
    "prompted",
    "write_prompts",
    "write_texts",
    "writing_of",
]


@dataclass(frozen=True, slots=True)
class PromptedQuestion:
    """A question with the prompts that its passages are read by.

    Attributes:
        retrieved: the question and its passages.
        prompts: [max(k, 1)], one for each passage; the question alone where there is none.
        meter: counts what the question costs.
    """

    retrieved: Retrieved
    prompts: tuple[Prompted, ...]
    meter: Meter = field(default_factory=Meter)

    @property
    def usage(self) -> Usage | None:
        """What a server counted; None for a generator that sends no request."""
        usage = self.meter.usage()
        return usage if usage.requests else None

    def prior(self) -> list[float]:
        """Return p(z|x) of its passages, [max(k, 1)]."""
        prior: list[float] = np.exp(self.retrieved.log_prior.astype(np.float64)).tolist()
        return prior

    def passage_ids(self) -> list[str]:
        """Return the ids of its passages, [k]."""
        return [passage.id for passage in self.retrieved.passages]


def prompted(
    retrieved: Sequence[Retrieved], seed: int | None = None, meters: Sequence[Meter] = ()
) -> list[PromptedQuestion]:
    """Make the prompts of questions, one for each passage; joined passages have one together.

    Args:
        retrieved: B questions with their passages.
        seed: of the draws, for the meters.
        meters: of the questions; new ones where there is none.
    """
    meters = meters or [Meter(seed) for _ in retrieved]
    return [
        PromptedQuestion(
            question,
            tuple(prompt_of(question.question, passage) for passage in question.passages)
            or (prompt_of(question.question, None),),
            meter,
        )
        for question, meter in zip(retrieved, meters, strict=True)
    ]


def prompt_of(question: str, passage: Passage | None) -> Prompted:
    """Make the prompt of a question with a passage, with joined passages, or alone."""
    if passage is None:
        return Prompted(question)
    cite = isinstance(passage, JoinedPassages) and passage.cite
    return Prompted(question, parts_of(passage), cite)


def writing_of(
    config: RagConfig, sampling: SamplingOptions | None = None, seeds: Sequence[int] = ()
) -> Writing:
    """Return how texts are written by the section `rag`.

    Args:
        config: the section `rag`.
        sampling: how answers are drawn by `rag.sample`; None where `rag.write` holds.
        seeds: with `sampling`, of the texts.
    """
    # With its end token an answer is one longer than its text.
    longest = max(config.max_new_tokens - 1, 1)
    if sampling is not None:
        return Writing(
            max_new_tokens=longest,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            seeds=tuple(seeds),
            stop=config.stop,
        )
    write = config.write or WriteConfig()
    return Writing(
        max_new_tokens=longest,
        count=write.candidates,
        temperature=write.temperature,
        top_p=write.top_p,
        seed=write.seed,
        stop=config.stop,
    )


def write_texts(
    generator: TextGenerator,
    questions: Sequence[PromptedQuestion],
    writing: Writing,
    check: Callable[[], None],
) -> list[list[list[Completion]]]:
    """Let the generator write for all prompts of all questions in one call.

    Args:
        generator: writes texts.
        questions: with their prompts.
        writing: how texts are written.
        check: raises where the request should not go on.

    Returns:
        For each question and each of its prompts the texts; at least one.

    Raises:
        GeneratorError: as `write_prompts`.
    """
    prompts = [prompt for question in questions for prompt in question.prompts]
    meters = [question.meter for question in questions for _ in question.prompts]
    by_prompt = iter(write_prompts(generator, prompts, meters, writing, check))
    return [[next(by_prompt) for _ in question.prompts] for question in questions]


def write_prompts(
    generator: TextGenerator,
    prompts: Sequence[Prompted],
    meters: Sequence[Meter],
    writing: Writing,
    check: Callable[[], None],
) -> list[list[Completion]]:
    """Let the generator write for prompts in one call, which ends early where `check` raises.

    Returns:
        For each prompt the texts; at least one.

    Raises:
        GeneratorError: it wrote for another number of prompts, or no text for one.
    """
    check()
    with interruptible(check):
        written = generator.write(prompts, writing, meters) if prompts else []
    name = name_of(generator)
    if len(written) != len(prompts):
        raise GeneratorError(
            f"generator {name}: `write` returned texts for {len(written)} of {len(prompts)} "
            "prompts: expected a list for each"
        )
    if not all(written):
        raise GeneratorError(
            f"generator {name}: `write` returned no text for a prompt: expected one or more; an "
            "answer may be empty"
        )
    return written
