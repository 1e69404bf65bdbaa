"""Tokenizing for all text adapters: a fast tokenizer, the text of ids, a passage cut to fit.

Knows nothing of models; works for encoder-decoder and decoder-only checkpoints.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from tokenizers import decoders
from transformers import AutoTokenizer

from ragcore.errors import GeneratorError, QuestionError
from ragcore.types import Passage
from ragcore_transformers.loading import explained
from ragcore_transformers.plain_tokens import own_backend

__all__ = [
    "CutWarning",
    "LengthCounter",
    "fit_passage",
    "load_tokenizer",
    "passage_texts",
    "plain_text",
    "question_fault",
    "settled_text",
    "special_id",
    "verbatim_text",
]

_LOG: Final = logging.getLogger(__name__)

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


class CutWarning:
    """Warns once that a generator cuts passages; safe to use from several threads."""

    def __init__(self, model: str) -> None:
        """Take the model's name, for the warning."""
        self._model = model
        self._given = False

    def __call__(self, passage: Passage | None, length: int, limit: int) -> None:
        """Warn at the first call with a passage.

        Args:
            passage: what was cut.
            length: in tokens, with its question and what the template adds.
            limit: the most tokens that the model reads.
        """
        if self._given or passage is None:
            return
        self._given = True
        _LOG.warning(
            "model %r reads at most %d tokens, and passage %r with its question has %d: what is "
            "too long is cut, here and from now on; build the memory from shorter passages, or set "
            "the generator's max_input_tokens if the model can read more",
            self._model,
            limit,
            passage.id,
            length,
        )


def question_fault(length: int, limit: int) -> str | None:
    """Say why a question of this length, with what the template adds, cannot be read.

    Args:
        length: in tokens, with an empty passage.
        limit: the most tokens that the model reads.
    """
    if length <= limit:
        return None
    return (
        f"the question is {length} tokens long, with what the template adds, and the model reads "
        f"at most {limit}"
    )


def fit_passage(
    model: str,
    question: str,
    passage: Passage | None,
    bare: list[int],
    limit: int,
    ids_of: Callable[[str, str], list[int]],
    ends_of: Callable[[str], list[int]],
) -> list[int]:
    """Return ids of at most `limit` tokens: the passage's text is cut first, then its title.

    The text is cut, not the ids: so the model reads what tokenizing the shorter text gives, and
    what the template puts after the passage stays whole.

    Args:
        model: its name, for the error.
        question: is never cut.
        passage: what may be cut, if there is one.
        bare: the ids with the question alone, or with an empty passage.
        limit: the most tokens that the model reads.
        ids_of: gives the ids for a title and a text.
        ends_of: gives the end of each token in a text.

    Raises:
        QuestionError: the question does not fit even without its passage.
    """
    if passage is None or len(bare) > limit:
        raise QuestionError(
            f"the question is {len(bare)} tokens long, with what the template adds, and model "
            f"{model!r} reads at most {limit}: a question is never cut, so ask a shorter one (it "
            f"begins {question[:60]!r})"
        )
    parts = {"title": passage.title, "text": passage.text}
    ids = ids_of(parts["title"], parts["text"])
    for name in ("text", "title"):
        whole = parts[name]
        ends = ends_of(whole)
        kept = len(ends)
        while len(ids) > limit and kept:
            kept = max(0, kept - (len(ids) - limit))
            parts[name] = whole[: ends[kept - 1]] if kept else ""
            ids = ids_of(parts["title"], parts["text"])
    return ids
