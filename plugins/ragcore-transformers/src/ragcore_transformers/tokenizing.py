"""Tokenizing for all text adapters: a fast tokenizer, the text of ids, texts of passages.

Knows nothing of models; works for encoder-decoder and decoder-only checkpoints.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from tokenizers import decoders
from transformers import AutoTokenizer

from ragcore.errors import GeneratorError
from ragcore.types import Passage
from ragcore_transformers.loading import explained
from ragcore_transformers.plain_tokens import own_backend

__all__ = [
    "LengthCounter",
    "load_tokenizer",
    "passage_texts",
    "plain_text",
    "settled_text",
    "special_id",
    "verbatim_text",
]

_JOINED: Final = 2
"""Words at the end that cleaning may still join to those before or after them."""

_BYTE: Final = re.compile(r"<0x[0-9A-F]{2}>")
"""A token of SentencePiece's models for a byte of a character without a token of its own."""


def load_tokenizer(model: str, **where: str) -> Any:
    """Load the fast tokenizer of a model; `where` are options of Hugging Face's, as `gguf_file`.

    Raises:
        GeneratorError: it cannot be loaded, or has no fast form.
    """
    with explained(model, GeneratorError) as source:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False, **where)
    if not tokenizer.is_fast:
        raise GeneratorError(
            f"the tokenizer of model {model!r} has no fast form (tokenizer.json), which is needed "
            "to cut passages exactly: convert it with Hugging Face's tokenizers"
        )
    return tokenizer


def passage_texts(passages: Sequence[Passage], template: str) -> list[str]:
    """Return the texts that are encoded or scored; of a passage without title its text alone.

    Args:
        passages: of which each has one text.
        template: with the fields {title} and {text}.
    """
    return [
        template.format(title=passage.title, text=passage.text) if passage.title else passage.text
        for passage in passages
    ]


def plain_text(tokenizer: Any, token_ids: Sequence[int]) -> str:
    """Return the text of token ids, without special tokens, single-spaced."""
    return " ".join(verbatim_text(tokenizer, token_ids).split())


def verbatim_text(tokenizer: Any, token_ids: Sequence[int]) -> str:
    """Return the text of token ids, without special tokens, with white space as it was written."""
    text: str = tokenizer.decode(
        list(token_ids),
        skip_special_tokens=True,
        # Word pieces do not record where spaces were; other tokens do, and are left alone.
        clean_up_tokenization_spaces=isinstance(
            tokenizer.backend_tokenizer.decoder, decoders.WordPiece
        ),
    )
    return text


def settled_text(tokenizer: Any, token_ids: Sequence[int]) -> str:
    """Return the text of the first tokens of an answer that no further token changes.

    Apart from a last character that is incomplete, it is all of the text for most tokenizers.
    """
    ids = list(token_ids)
    if isinstance(tokenizer.backend_tokenizer.decoder, decoders.WordPiece):
        # Cleaning joins at most three pieces: "do n ' t" becomes "don't".
        words = plain_text(tokenizer, ids).rsplit(maxsplit=_JOINED)
        return words[0] if len(words) > _JOINED else ""
    # A run of bytes is decoded as a whole: one that is incomplete makes all of it unreadable.
    while ids and _BYTE.fullmatch(tokenizer.convert_ids_to_tokens(ids[-1]) or ""):
        ids.pop()
    return plain_text(tokenizer, ids)


def special_id(name: str, *sources: Any) -> int | None:
    """Return the id that the first of these configs or tokenizers names, such as `eos_token_id`.

    Where one names a list of ids, it is the first of them; None where no source names any.
    """
    for source in sources:
        token_id = getattr(source, name, None)
        if token_id is not None:
            return int(token_id[0] if isinstance(token_id, list | tuple) else token_id)
    return None


class LengthCounter:
    """Counts an encoder's texts that are too long; safe to use while other threads encode."""

    def __init__(self, tokenizer: Any) -> None:
        """Take a tokenizer of Hugging Face's, which is not changed by any call.

        Truncation is a setting of a fast tokenizer itself, and so of all threads that encode with
        it: a copy counts. One without a fast form has no such setting.
        """
        self._slow: Any = None if tokenizer.is_fast else tokenizer
        self._backend = own_backend(tokenizer.backend_tokenizer) if tokenizer.is_fast else None

    @property
    def backend(self) -> Any:
        """The copy that counts, a `tokenizers.Tokenizer`; None for one without a fast form."""
        return self._backend

    def longer(self, limit: int, *texts: list[str]) -> int:
        """Return how many texts, or pairs of texts, have more than `limit` tokens.

        Args:
            limit: the most tokens that the encoder reads, those put around a text included.
            texts: the texts, or first and second texts of pairs.
        """
        if not texts[0]:
            return 0
        if self._backend is None:
            rows = self._slow(*texts, truncation=False, verbose=False).input_ids
        else:
            rows = self._backend.encode_batch_fast(
                texts[0] if len(texts) == 1 else list(zip(*texts, strict=True))
            )
        return sum(len(row) > limit for row in rows)
