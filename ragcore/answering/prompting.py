"""Prompts for generators of texts: one for each passage, or the question alone.

Knows which prompt belongs to which passage of which question, and what is counted of a question;
knows nothing of what becomes of the texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ragcore.answering.evidence import Retrieved
from ragcore.config import RagConfig, WriteConfig
from ragcore.contracts import Completion, Prompted, TextGenerator, Writing
from ragcore.errors import GeneratorError
from ragcore.tiers import Meter, Usage

__all__ = ["PromptedQuestion", "prompted", "write_texts", "writing_of"]


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


def prompted(retrieved: Sequence[Retrieved], seed: int | None = None) -> list[PromptedQuestion]:
    """Make the prompts of questions, each with one passage.

    Args:
        retrieved: B questions with their passages.
        seed: of the draws, for the meter.
    """
    return [
        PromptedQuestion(
            question,
            tuple(Prompted(question.question, (passage,)) for passage in question.passages)
            or (Prompted(question.question),),
            Meter(seed),
        )
        for question in retrieved
    ]


def writing_of(config: RagConfig) -> Writing:
    """Return how texts are written by the section `rag`."""
    write = config.write or WriteConfig()
    return Writing(
        # With its end token an answer is one longer than its text.
        max_new_tokens=max(config.max_new_tokens - 1, 1),
        count=write.candidates,
        temperature=write.temperature,
        top_p=write.top_p,
        seed=write.seed,
        stop=config.stop,
    )


def write_texts(
    generator: TextGenerator, questions: Sequence[PromptedQuestion], writing: Writing
) -> list[list[list[Completion]]]:
    """Let the generator write for all prompts of all questions in one call.

    Returns:
        For each question and each of its prompts the texts; at least one.

    Raises:
        GeneratorError: it wrote for another number of prompts, or no text for one.
    """
    prompts = [prompt for question in questions for prompt in question.prompts]
    meters = [question.meter for question in questions for _ in question.prompts]
    written = generator.write(prompts, writing, meters) if prompts else []
    name = type(generator).__name__
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
    by_prompt = iter(written)
    return [[next(by_prompt) for _ in question.prompts] for question in questions]
