"""Make a stand-alone question of one that continues a conversation, with the generator.

"And of Mali?" finds nothing: the passages that answer it are found by "What is the capital of
Mali?". The generator reads the turns and the question in a template, without a passage, and writes
greedily; what it writes up to the first line break is searched for and read in place of the
question.

Knows generators; knows nothing of memories.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ragcore.answering.conversation import Turn, written
from ragcore.answering.prompting import write_prompts
from ragcore.config import RewriteConfig
from ragcore.contracts import (
    AnyGenerator,
    Generator,
    Prompted,
    TextGenerator,
    Writing,
    gives_texts,
    steps_of,
)
from ragcore.decoding.rules import DecodingOptions
from ragcore.errors import QuestionError
from ragcore.questions.texts import fault_of
from ragcore.tiers import Meter

__all__ = ["rewritten"]


def rewritten(
    generator: AnyGenerator,
    config: RewriteConfig,
    questions: Sequence[str],
    history: Sequence[Turn],
    check: Callable[[], None] = lambda: None,
    meters: Sequence[Meter] = (),
) -> list[str]:
    """Make each question one that can be understood without the turns before it.

    Turns that are too long for the generator are left out, oldest first. A question stays as it is
    where no turn fits, or where the generator writes nothing that could be asked.

    Args:
        generator: reads and writes.
        config: the template, and how much is read and written.
        questions: B questions that follow the same turns.
        history: the turns, oldest first.
        check: called before each token, or each call of a generator of texts; what it raises ends
            the request.
        meters: of the B questions, for what a generator of texts counts; none where that does not
            matter.

    Returns:
        B questions, in order.

    Raises:
        GeneratorError: the generator's log-probs form no distribution, or its server fails.
    """
    meters = meters or [Meter() for _ in questions]
    for turns in _fewer_and_fewer(history[-config.turns :]):
        prompts = [
            config.template.format(history=written(turns), question=question)
            for question in questions
        ]
        try:
            if gives_texts(generator):
                lines = _completed(generator, config, prompts, meters, check)
            else:
                steps = steps_of(generator, "rag.rewrite")
                lines = _decoded(steps, config, prompts, check)
        except QuestionError:
            # Longer than the model's input.
            if len(questions) > 1:
                # What one question leaves no room for, another may have room for.
                return [
                    rewritten(generator, config, [question], history, check, [meter])[0]
                    for question, meter in zip(questions, meters, strict=True)
                ]
            continue
        label = _label(config.template)
        return [
            _question(line, label) or question
            for line, question in zip(lines, questions, strict=True)
        ]
    return list(questions)


def _fewer_and_fewer(history: Sequence[Turn]) -> Iterator[Sequence[Turn]]:
    """Yield the turns, then without the oldest eighth, and so on, until the last one is alone.

    Of up to 15 turns the oldest one is left out each time; of a thousand, most attempts are short.
    """
    while history:
        yield history
        history = history[max(1, len(history) // 8) :]


def _decoded(
    generator: Generator,
    config: RewriteConfig,
    prompts: Sequence[str],
    check: Callable[[], None],
) -> list[str]:
    """Write what follows each prompt greedily, by the log-probs of each token.

    Raises:
        QuestionError: a prompt is longer than the model's input.
    """
    # Needs the libraries of models.
    import torch

    from ragcore.decoding.beam import BeamSearch
    from ragcore.decoding.question_prior import QuestionPrior
    from ragcore.decoding.token import RagToken

    label = _label(config.template)
    certain = torch.zeros(1, device=generator.device)  # p(z|x) = 1
    pairs = torch.arange(len(prompts), device=generator.device)
    priors = [QuestionPrior(pairs[i : i + 1], certain) for i in range(len(prompts))]
    options = DecodingOptions(
        eos_token_id=generator.eos_token_id,
        beams=1,
        max_new_tokens=config.max_new_tokens,
        forced_bos_token_id=generator.forced_bos_token_id,
        stops=lambda tokens: "\n" in _without_label(_verbatim(generator, tokens), label),
    )
    with torch.inference_mode():
        if hasattr(generator, "read_prompts"):
            read = generator.read_prompts(prompts)
        else:
            read = generator.read(prompts, [None] * len(prompts))
        hypotheses = BeamSearch(RagToken(generator, read, priors), options, check=check).run()
    return [_verbatim(generator, best.tokens) for best, *_ in hypotheses]


def _completed(
    generator: TextGenerator,
    config: RewriteConfig,
    prompts: Sequence[str],
    meters: Sequence[Meter],
    check: Callable[[], None],
) -> list[str]:
    """Let a generator of texts write what follows each prompt.

    Raises:
        QuestionError: a prompt is longer than the model's input.
    """
    completions = write_prompts(
        generator,
        [Prompted(prompt) for prompt in prompts],
        meters,
        Writing(config.max_new_tokens),
        check,
    )
    return [best.text for best, *_ in completions]


def _verbatim(generator: Generator, tokens: Sequence[int]) -> str:
    """Return the text of tokens as written, from its first character that is no white space."""
    decode = getattr(generator, "decode_verbatim", generator.decode_tokens)
    text: str = decode(tokens)
    return text.lstrip()


def _label(template: str) -> str:
    """Return what the template's last line has before the answer, such as "Rewritten question:"."""
    *_, last = template.rstrip().splitlines() or [""]
    return last.strip() if last.rstrip().endswith(":") and "{" not in last else ""


def _without_label(text: str, label: str) -> str:
    """Return what was written without the label that chat models often repeat."""
    text = text.lstrip()
    if label and text.casefold().startswith(label.casefold()):
        text = text[len(label) :].lstrip()
    return text


def _question(text: str, label: str) -> str | None:
    """Return the first line of what was written, single-spaced; None where it cannot be asked."""
    line, *_ = _without_label(text, label).splitlines() or [""]
    question = " ".join(line.split())
    return question if question and fault_of(question) is None else None
