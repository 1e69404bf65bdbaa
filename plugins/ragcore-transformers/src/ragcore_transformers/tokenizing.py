"""What text adapters share: a fast tokenizer, a template's check, the text of ids, a cut passage.

Knows nothing of models. All that is here works for encoder-decoder and decoder-only checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tokenizers import decoders
from transformers import AutoTokenizer

from ragcore.errors import GeneratorError
from ragcore.types import Passage
from ragcore_transformers.loading import explained

__all__ = ["load_tokenizer", "plain_text", "shortened"]


def load_tokenizer(model: str, **where: str) -> Any:
    """The fast tokenizer of a model; `where` says more to Hugging Face, as `gguf_file` does.

    Raises:
        GeneratorError: it cannot be loaded, or has no fast form.
    """
    with explained(model, GeneratorError):
        tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False, **where)
    if not tokenizer.is_fast:
        raise GeneratorError(
            f"the tokenizer of model {model!r} has no fast form (tokenizer.json), which is needed "
            "to cut passages exactly: convert it with Hugging Face's tokenizers"
        )
    return tokenizer


def plain_text(tokenizer: Any, token_ids: Sequence[int]) -> str:
    """The text of token ids, without special tokens, single-spaced."""
    text: str = tokenizer.decode(
        list(token_ids),
        skip_special_tokens=True,
        # Word pieces have lost where spaces were; other tokens carry them, and are left alone.
        clean_up_tokenization_spaces=isinstance(
            tokenizer.backend_tokenizer.decoder, decoders.WordPiece
        ),
    )
    return " ".join(text.split())


def shortened(
    passage: Passage,
    limit: int,
    ids_of: Callable[[str, str], list[int]],
    ends_of: Callable[[str], list[int]],
) -> list[int]:
    """Ids of at most `limit` tokens: the passage's text is cut first, then its title.

    The text is cut, not the ids: so what is read is what tokenizing the shorter text gives, and
    what the template puts behind it stays whole.

    Args:
        passage: what may be cut.
        limit: at least as many as the ids of an empty passage.
        ids_of: the ids of a title and a text.
        ends_of: where each token of a text ends in it.
    """
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
