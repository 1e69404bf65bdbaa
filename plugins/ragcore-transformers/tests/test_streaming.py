"""Laws of streamed text: the parts are final when sent, and together they are the answer's text."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import tiny_models as tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from ragcore_transformers.tokenizing import plain_text, settled_text, verbatim_text
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from ragcore.answering.streaming import TextStream, generated_prefix

SCRIPTS = [
    "東京都は日本の首都です",
    "العربية لغة سامية",
    "👩‍👩‍👧 🇪🇹 emoji 🙂 end",
    "Ελλάδα, Ἀθῆναι",
    "ภาษาไทย ไม่มีช่องว่าง",
    "don't we'll it's n't ' s . , ? !",
    "naïve café e\u0301",
]


class Decoder:
    """The part of a generator that streaming uses."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer

    def decode_tokens(self, token_ids: Sequence[int]) -> str:
        return plain_text(self._tokenizer, token_ids)

    def decode_prefix(self, token_ids: Sequence[int]) -> str:
        return settled_text(self._tokenizer, token_ids)


def byte_fallback() -> PreTrainedTokenizerFast:
    names = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "東"]
    tokenizer = Tokenizer(
        models.BPE({name: at for at, name in enumerate(names)}, [], unk_token="<unk>")
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


BYTE_LEVEL = tiny.byte_pairs(start=None)
TOKENIZERS = {
    "bytes": BYTE_LEVEL,
    "pieces": tiny.word_pieces(),
    "metaspace": tiny.metaspace(),
    "fallback": byte_fallback(),
}


def parts_of(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int]) -> tuple[list[str], str]:
    decoder = Decoder(tokenizer)
    stream = TextStream(lambda tokens: generated_prefix(decoder, tokens))  # type: ignore[arg-type]
    parts = [stream.next(ids[:length]) for length in range(1, len(ids) + 1)]
    final = decoder.decode_tokens(ids)
    return [*parts, stream.rest(final, final)], final


text_of_scripts = st.lists(
    st.one_of(st.sampled_from(SCRIPTS), st.text(max_size=6)), min_size=1, max_size=4
).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(text_of_scripts)
def test_no_part_has_half_a_character(text: str) -> None:
    text = text.replace("\ufffd", "")
    ids = BYTE_LEVEL(text, add_special_tokens=False, split_special_tokens=True).input_ids
    parts, final = parts_of(BYTE_LEVEL, ids)
    assert "".join(parts) == final == " ".join(text.split())
    assert not any("\ufffd" in part for part in parts)


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_the_parts_of_any_tokens_are_the_text(name: str, data: st.DataObject) -> None:
    tokenizer = TOKENIZERS[name]
    ids = data.draw(st.lists(st.integers(0, len(tokenizer) - 1), max_size=12))
    parts, final = parts_of(tokenizer, ids)
    assert "".join(parts) == final


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(["do", "n", "'", "t", "s", "m", ".", "ve", "a", "?"]), max_size=9))
def test_word_pieces_that_cleaning_joins(pieces: list[str]) -> None:
    names = ["[UNK]", "do", "n", "'", "t", "s", "m", ".", "ve", "a", "?"]
    tokenizer = Tokenizer(
        models.WordPiece(vocab={name: at for at, name in enumerate(names)}, unk_token="[UNK]")
    )
    tokenizer.decoder = decoders.WordPiece()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")
    parts, final = parts_of(fast, [names.index(piece) for piece in pieces])
    assert "".join(parts) == final


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_text_as_written_is_the_text_but_for_white_space(name: str, data: st.DataObject) -> None:
    tokenizer = TOKENIZERS[name]
    ids = data.draw(st.lists(st.integers(0, len(tokenizer) - 1), max_size=12))
    assert " ".join(verbatim_text(tokenizer, ids).split()) == plain_text(tokenizer, ids)


def test_line_breaks_are_in_the_text_as_written() -> None:
    text = "Nairobi\n\nKenya "
    ids = BYTE_LEVEL(text, add_special_tokens=False).input_ids
    assert verbatim_text(BYTE_LEVEL, ids) == text


def test_text_is_not_held_back_for_long() -> None:
    ids = BYTE_LEVEL("Nairobi, Kenya", add_special_tokens=False).input_ids
    parts, _ = parts_of(BYTE_LEVEL, ids)
    assert "".join(parts[:-1]) == "Nairobi, Kenya"
    assert parts[0]
