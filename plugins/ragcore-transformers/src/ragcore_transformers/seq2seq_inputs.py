"""What an encoder-decoder model reads: the filled template as ids, with the passage cut to fit.

Knows templates and tokens; knows nothing of the model's forward pass.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Final

import torch

from ragcore.errors import GeneratorError
from ragcore.prompts.fitting import CutWarning, fit_passage, fit_passages
from ragcore.prompts.numbering import numbered
from ragcore.types import Passage
from ragcore_transformers.configs import Seq2SeqConfig
from ragcore_transformers.plain_tokens import PlainTokenizer

__all__ = ["Inputs", "answer_positions", "batches", "input_limit"]

_MOST: Final = 4096
"""Input tokens where the settings name no limit: memory grows with their square."""

_UNKNOWN: Final = 1_000_000
"""A tokenizer's `model_max_length` from here on means that it knows no limit."""

_TOKENS_AT_ONCE: Final = 1024
"""Tokens in one run of the encoder on a CPU; that many use it fully, and more only add padding."""

_RUN: Final = 32
"""What starting one more run of the encoder costs on a CPU, in tokens: reading its weights."""


class Inputs:
    """Makes the encoder's input ids of one model; safe to use from several threads."""

    def __init__(self, config: Seq2SeqConfig, tokenizer: PlainTokenizer, limit: int) -> None:
        """Prepare what is the same for all inputs.

        Args:
            config: names the model and the template, whose own special tokens are recognised.
            tokenizer: of the encoder's texts.
            limit: the most ids of an input.
        """
        self._model = config.model
        self._template = tokenizer.marked(config.template)
        self._of_passages = tokenizer.marked(config.template_of_passages)
        self._tokenizer = tokenizer
        self._limit = limit
        self._warn_of_cut = CutWarning(config.model)

    def __call__(
        self, questions: Sequence[str], passages: Sequence[Passage | None]
    ) -> list[list[int]]:
        """Return the input ids of each pair, none longer than the limit.

        Raises:
            QuestionError: a question does not fit even without its passage.
        """
        texts = [
            question if passage is None else self._fill(question, passage.title, passage.text)
            for question, passage in zip(questions, passages, strict=True)
        ]
        inputs = self._tokenizer.ids(texts) if texts else []
        for pair, ids in enumerate(inputs):
            if len(ids) > self._limit:
                inputs[pair] = self._shortened(questions[pair], passages[pair])
                self._warn_of_cut(passages[pair], len(ids), self._limit)
        return inputs

    def together(
        self, questions: Sequence[str], passages: Sequence[Sequence[Passage]]
    ) -> list[list[int]]:
        """Return the input ids of each question with all of its passages, which are numbered.

        Without passages they are those of the question alone, with one those of the pair.

        Raises:
            QuestionError: a question does not fit even without its passages.
        """
        inputs: list[list[int]] = []
        for question, each in zip(questions, passages, strict=True):
            if len(each) < 2:
                inputs += self([question], [each[0] if each else None])
                continue
            (ids,) = self._tokenizer.ids([self._fill_together(question, each)])
            if len(ids) > self._limit:
                self._warn_of_cut.together(len(each), len(ids), self._limit)
                ids = self._shortened_together(question, each)
            inputs.append(ids)
        return inputs

    def bare_lengths(self, questions: Sequence[str]) -> list[int]:
        """Return how many ids each question has with an empty passage."""
        texts = [self._fill(question, "", "") for question in questions]
        return [len(ids) for ids in self._tokenizer.ids(texts)] if texts else []

    def template_ids(self) -> list[int]:
        """Return the ids of the template and of what is put around any text."""
        return [id_ for ids in self._tokenizer.ids([self._fill("", "", ""), ""]) for id_ in ids]

    def _shortened(self, question: str, passage: Passage | None) -> list[int]:
        """Return input ids with as much of the passage as fits; the question stays whole."""
        bare = question if passage is None else self._fill(question, "", "")
        return fit_passage(
            self._model,
            question,
            passage,
            self._tokenizer.ids([bare])[0],
            self._limit,
            lambda title, text: self._tokenizer.ids([self._fill(question, title, text)])[0],
            self._tokenizer.ends,
        )

    def _shortened_together(self, question: str, passages: Sequence[Passage]) -> list[int]:
        return fit_passages(
            self._model,
            question,
            passages,
            self._limit,
            lambda cut: self._tokenizer.ids([self._fill_together(question, cut)])[0],
            self._tokenizer.ends,
        )

    def _fill_together(self, question: str, passages: Sequence[Passage]) -> str:
        return self._of_passages.format(text=numbered(passages), question=question)

    def _fill(self, question: str, title: str, text: str) -> str:
        return self._template.format(title=title, text=text, question=question)


def batches(
    order: Sequence[int], lengths: Sequence[int], size: int, device: torch.device
) -> Iterator[list[int]]:
    """Yield pairs that the encoder reads together, of those in `order`, the shorter first.

    On a CPU padding costs as much as tokens do, so the pairs are divided such that padding and the
    number of runs together cost least.

    Args:
        order: the pairs, the shortest first.
        lengths: how many tokens each pair has.
        size: the most pairs of a batch.
        device: on which the encoder runs.
    """
    if device.type != "cpu":
        yield from (list(order[begin : begin + size]) for begin in range(0, len(order), size))
        return
    # The least cost of the first pairs, and where their last batch begins.
    least: list[tuple[int, int]] = [(0, 0)]
    for end in range(1, len(order) + 1):
        longest = lengths[order[end - 1]]
        begins = range(end - 1, max(0, end - size) - 1, -1)
        least.append(
            min(
                (least[begin][0] + _RUN + longest * (end - begin), begin)
                for begin in begins
                if end - begin == 1 or longest * (end - begin) <= _TOKENS_AT_ONCE
            )
        )
    bounds = [len(order)]
    while bounds[-1]:
        bounds.append(least[bounds[-1]][1])
    for begin, end in itertools.pairwise(reversed(bounds)):
        yield list(order[begin:end])


def input_limit(config: Seq2SeqConfig, model_config: Any, tokenizer: Any) -> int:
    """Return the most tokens that the encoder reads of one input.

    It is `max_input_tokens`. Where that is not set it is the number of the encoder's positions, or
    for relative positions, which have no end, the tokenizer's own limit; but at most 4096.

    Raises:
        GeneratorError: `max_input_tokens` is larger than the number of positions.
    """
    limit = config.max_input_tokens
    positions = _positions(model_config, "encoder")
    if limit is not None and positions is not None and limit > positions:
        raise GeneratorError(
            f"max_input_tokens is {limit} but model {config.model!r} has positions for "
            f"{positions}: lower it, or leave it out"
        )
    if limit is not None:
        return limit
    trained = int(min(tokenizer.model_max_length, _UNKNOWN))
    own = trained if positions is None and trained < _UNKNOWN else positions
    return min(_MOST, own or _MOST)


def answer_positions(model_config: Any) -> int | None:
    """Return how many positions the decoder has; None for relative ones, which have no end."""
    return _positions(model_config, "decoder")


def _positions(config: Any, part: str) -> int | None:
    """Return the positions of the encoder or decoder; LED and T5Gemma name them apart."""
    own = getattr(config, part, None)
    for source, name in (
        (config, f"max_{part}_position_embeddings"),
        (own, "max_position_embeddings"),
        (getattr(own, "text_config", None), "max_position_embeddings"),
        (config, "max_position_embeddings"),
    ):
        positions = getattr(source, name, None)
        if isinstance(positions, int) and positions > 0:
            return positions
    return None
