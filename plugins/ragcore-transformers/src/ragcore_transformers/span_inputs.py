"""What an extractive reader reads: question and passage as ids, and where the passage's text lies.

Knows tokenizers of Hugging Face's; knows nothing of the model's forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from torch import nn

from ragcore.errors import GeneratorError, QuestionError
from ragcore.prompts.fitting import CutWarning, question_fault
from ragcore.types import Passage
from ragcore_transformers.configs import ExtractiveConfig
from ragcore_transformers.plain_tokens import PlainTokenizer

__all__ = ["SpanInput", "SpanInputs", "span_input_limit"]

_MOST: Final = 4096
"""Input tokens where the settings name no limit: memory grows with their square."""

_UNKNOWN: Final = 1_000_000
"""A tokenizer's `model_max_length` from here on means that it knows no limit."""


@dataclass(frozen=True, slots=True)
class SpanInput:
    """One pair of question and passage.

    Attributes:
        ids: the S ids that the model reads.
        types: the token type of each.
        first: where the passage's text begins among them.
        text: the ids of the text, one or more, which follow each other from `first` on.
    """

    ids: list[int]
    types: list[int]
    first: int
    text: list[int]


class SpanInputs:
    """Makes the inputs of one model; safe to use from several threads."""

    def __init__(self, config: ExtractiveConfig, tokenizer: Any, limit: int) -> None:
        """Prepare what is the same for all inputs.

        Args:
            config: names the model, and says whether titles are read.
            tokenizer: a fast one of Hugging Face's; it is not changed.
            limit: the most ids of an input.
        """
        self._model = config.model
        self._title = config.title
        self._limit = limit
        self._tokenizer = PlainTokenizer(tokenizer)
        self._answers = self._tokenizer.around([], [])
        self._warn_of_cut = CutWarning(config.model)
        bare, spaced = self._answers.ids(["a", " a"])
        # Byte-level pairs write a word after a space otherwise than one at the beginning. Texts and
        # answers both begin after a space, so that an answer has the ids of its span.
        self._space = "" if bare == spaced else " "

    def answer_ids(self, answers: Sequence[str]) -> list[list[int]]:
        """Return the ids of answers as they stand in a text after a space, nothing around them."""
        if not answers:
            return []
        return self._answers.ids([self._space + answer.strip() for answer in answers])

    def around(self) -> list[int]:
        """Return the ids that are put around a question and a passage."""
        (encoding,) = self._tokenizer.pairs([("", "")])
        return list(encoding.ids)

    def __call__(
        self, questions: Sequence[str], passages: Sequence[Passage | None]
    ) -> list[SpanInput | None]:
        """Return the input of each pair; None where the text has no token, or there is no passage.

        Raises:
            QuestionError: a question does not fit even without its passage.
        """
        contexts = [("", 0) if passage is None else self._context(passage) for passage in passages]
        pairs = [(question, text) for question, (text, _) in zip(questions, contexts, strict=True)]
        encodings = self._tokenizer.pairs(pairs) if pairs else []
        return [
            self._input(question, passage, encoding, begin)
            for question, passage, encoding, (_, begin) in zip(
                questions, passages, encodings, contexts, strict=True
            )
        ]

    def bare_lengths(self, questions: Sequence[str]) -> list[int]:
        """Return how many ids each question has with an empty passage."""
        encodings = self._tokenizer.pairs([(question, "") for question in questions])
        return list(map(len, encodings))

    def _context(self, passage: Passage) -> tuple[str, int]:
        """Return what is read of a passage, and where its text begins there, in characters."""
        before = f"{passage.title} / " if self._title and passage.title else self._space
        return before + passage.text, len(before)

    def _input(
        self, question: str, passage: Passage | None, encoding: Any, begin: int
    ) -> SpanInput | None:
        ids: list[int] = encoding.ids
        # Positions of the context, which follow each other.
        context = [number for number, text in enumerate(encoding.sequence_ids) if text == 1]
        excess = max(0, len(ids) - self._limit)
        if excess > len(context):
            fault = question_fault(len(ids) - len(context), self._limit)
            raise QuestionError(
                f"model {self._model!r}: {fault}: a question is never cut, so ask a shorter one "
                f"(it begins {question[:60]!r})"
            )
        if excess:
            self._warn_of_cut(passage, len(ids), self._limit)
        read = context[: len(context) - excess]
        offsets = encoding.offsets
        # A token may have the space before it in its offsets, or be that space alone, which answers
        # have as well: so its end decides.
        text = [number for number in read if offsets[number][1] >= begin]
        if not text or passage is None or not passage.text.strip():
            return None
        end, after = text[-1] + 1, context[-1] + 1
        types: list[int] = encoding.type_ids
        return SpanInput(
            ids[:end] + ids[after:], types[:end] + types[after:], text[0], ids[text[0] : end]
        )


def span_input_limit(config: ExtractiveConfig, model: nn.Module, tokenizer: Any) -> int:
    """Return the most tokens that a model reads of one pair.

    It is `max_input_tokens`. Where that is not set it is the number of the model's positions, or
    for relative positions, which have no end, the tokenizer's own limit; but at most 4096.

    Raises:
        GeneratorError: `max_input_tokens` is larger than the number of positions.
    """
    limit, positions = config.max_input_tokens, _positions(model)
    if limit is not None and positions is not None and limit > positions:
        raise GeneratorError(
            f"max_input_tokens is {limit} but model {config.model!r} has positions for "
            f"{positions}: lower it, or leave it out"
        )
    if limit is not None:
        return limit
    trained = int(min(tokenizer.model_max_length, _UNKNOWN))
    return min(_MOST, positions or trained)


def _positions(model: nn.Module) -> int | None:
    """Return how many positions a model has; None for relative ones, which have no end."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # RoBERTa counts positions from after the padding's id.
            unused = 0 if module.padding_idx is None else module.padding_idx + 1
            return module.num_embeddings - unused
    positions = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    return positions if isinstance(positions, int) and positions > 0 else None
