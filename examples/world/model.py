"""Read with a trained checkpoint, without ragcore: the most probable span of each passage.

For looking at a checkpoint while it is trained. Everything else reads through ragcore's generator
`extractive`, which has the same distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from spans import LONGEST, log_spans
from transformers import AutoTokenizer, BertForQuestionAnswering

__all__ = ["Reader", "Reading"]

BATCH = 32


@dataclass(frozen=True, slots=True)
class Reading:
    """The most probable answer of a passage, as it is spelled there, and its probabilities.

    Attributes:
        answer: of the most probable span.
        p: of that span.
        none: of no answer.
    """

    answer: str
    p: float
    none: float


class Reader:
    """A checkpoint of `train.py`."""

    def __init__(self, folder: str | Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = BertForQuestionAnswering.from_pretrained(folder, dtype=torch.float32).eval()

    @torch.inference_mode()
    def read(self, rows: Sequence[tuple[str, str, str]]) -> list[Reading]:
        """Read (question, title, text) each; batches are of similar length."""
        order = sorted(range(len(rows)), key=lambda i: len(rows[i][2]))
        readings: dict[int, Reading] = {}
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            questions, titles, texts = zip(*(rows[i] for i in batch), strict=True)
            contexts = [f"{title} / {text}" for title, text in zip(titles, texts, strict=True)]
            inputs = self.tokenizer(
                list(questions),
                contexts,
                padding=True,
                truncation="only_second",
                max_length=512,
                return_tensors="pt",
            )
            bounds = []
            for encoding, title in zip(inputs.encodings, titles, strict=True):
                inside = [
                    i
                    for i, sequence in enumerate(encoding.sequence_ids)
                    if sequence == 1 and encoding.offsets[i][0] >= len(title) + 3
                ]
                bounds.append((inside[0], inside[-1]))
            logits = self.model(**inputs)
            first, last = torch.tensor(bounds).unbind(dim=1)
            spans, none = log_spans(logits.start_logits, logits.end_logits, first, last)
            best, where = spans.flatten(1).max(dim=1)
            for row, i in enumerate(batch):
                token, length = divmod(int(where[row]), LONGEST)
                offsets = inputs.encodings[row].offsets
                answer = contexts[row][offsets[token][0] : offsets[token + length][1]]
                readings[i] = Reading(answer, best[row].exp().item(), none[row].exp().item())
        return [readings[i] for i in range(len(rows))]
