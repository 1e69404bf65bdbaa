"""Turn examples into tensors, and a reader's logits into a distribution over answers.

Knows the reader's input (`question [SEP] title / text`) and the distribution of ragcore's
generator `extractive`: over all spans of at most `LONGEST` word pieces of the text, and the span at
[CLS], which stands for no answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from items import Example
from torch import Tensor
from transformers import PreTrainedTokenizerBase

__all__ = ["IGNORED", "LONGEST", "Encoded", "encode", "log_spans", "span_loss"]

LONGEST = 30
IGNORED = -1
MAX_TOKENS = 320


@dataclass(slots=True)
class Encoded:
    """One example's token ids, where its text lies, and the right spans.

    Attributes:
        ids: all of them.
        types: 0 for the question, 1 for the passage.
        first: the text's first token; behind the title.
        last: its last token.
        spans: (start, end) of each occurrence of an answer, both inclusive; [(0, 0)] for none.
    """

    ids: list[int]
    types: list[int]
    first: int
    last: int
    spans: list[tuple[int, int]]


def encode(example: Example, tokenizer: PreTrainedTokenizerBase) -> Encoded | None:
    """Encode an example; None where it is too long or where its answer is no span of tokens."""
    context = f"{example.title} / {example.text}"
    encoding = tokenizer(example.question, context)._encodings[0]
    offset = len(example.title) + 3
    begins, ends = {}, {}  # from a character of the context to its token
    tokens = []
    for i, (sequence, (begin, end)) in enumerate(
        zip(encoding.sequence_ids, encoding.offsets, strict=True)
    ):
        if sequence == 1 and begin >= offset:
            tokens.append(i)
            begins[begin], ends[end] = i, i
    if not tokens or len(encoding.ids) > MAX_TOKENS:
        return None
    spans = []
    for answer in example.answers:
        for match in re.finditer(rf"(?<!\w){re.escape(answer)}(?!\w)", example.text, re.IGNORECASE):
            start, end = begins.get(match.start() + offset), ends.get(match.end() + offset)
            if start is not None and end is not None and 0 <= end - start < LONGEST:
                spans.append((start, end))
    if example.answers and not spans:
        return None
    return Encoded(
        encoding.ids, encoding.type_ids, tokens[0], tokens[-1], sorted(set(spans)) or [(0, 0)]
    )


def log_spans(starts: Tensor, ends: Tensor, first: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """Return log p of each span and of no answer, normalised together.

    Args:
        starts, ends: logits, float32 [B, S].
        first, last: int64 [B], the text's first and last token.

    Returns:
        log p(s, e) [B, S, LONGEST] for end e = s + index, -inf outside of the text; and [B].
    """
    batch, width = starts.shape
    positions = torch.arange(width)
    inside = (positions >= first[:, None]) & (positions <= last[:, None])  # [B, S]
    padded = torch.cat([ends, ends.new_full((batch, LONGEST), -torch.inf)], dim=1)
    is_end = torch.cat([inside, inside.new_zeros(batch, LONGEST)], dim=1)
    banded = padded.unfold(1, LONGEST, 1)[:, :width]  # [B, S, LONGEST]
    valid = is_end.unfold(1, LONGEST, 1)[:, :width] & inside[:, :, None]
    scores = (starts[:, :, None] + banded).masked_fill(~valid, -torch.inf)
    null = starts[:, 0] + ends[:, 0]
    total = torch.logaddexp(scores.flatten(1).logsumexp(dim=1), null)
    return scores - total[:, None, None], null - total


def span_loss(spans: Tensor, none: Tensor, targets: Tensor) -> Tensor:
    """Return the mean of -log of the summed probability of the right spans.

    Args:
        spans, none: from `log_spans`.
        targets: int64 [B, N, 2], right (start, end) padded with -1; (0, 0) stands for no answer.
    """
    start, end = targets.unbind(dim=-1)  # [B, N]
    length = (end - start).clamp(min=0)
    rows = torch.arange(len(spans))[:, None]
    picked = spans[rows, start.clamp(min=0), length]
    picked = torch.where(start == 0, none[:, None], picked)
    picked = picked.masked_fill(start == IGNORED, -torch.inf)
    return -picked.logsumexp(dim=1).clamp(min=-20).mean()
