"""Copies of tokenizers: what they share, and what is their own."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models as tiny
from ragcore_transformers.plain_tokens import PlainTokenizer, own_backend
from transformers import AddedToken, AutoTokenizer, PreTrainedTokenizerFast

TEXTS = [*tiny.TEXT, "Chad <tool> Kenya Mombasa </s> <mask>x", "", "  Naïrobi\n"]


@pytest.fixture(params=["byte_pairs", "word_pieces", "metaspace", "mbart"])
def tokenizer(request: pytest.FixtureRequest, tmp_path: Path) -> PreTrainedTokenizerFast:
    if request.param == "mbart":
        made = AutoTokenizer.from_pretrained(tiny.save_multilingual("mbart", tmp_path))
    else:
        options = {"start": "<s>"} if request.param == "byte_pairs" else {}
        made = getattr(tiny, request.param)(**options)
    made.add_tokens([AddedToken("<tool>", special=True, lstrip=True), "Mombasa"])
    return made


def test_a_backend_of_its_own_gives_the_same_ids(tokenizer: PreTrainedTokenizerFast) -> None:
    whole = tokenizer(TEXTS).input_ids
    tokenizer(TEXTS, truncation=True, max_length=3, padding=True)
    backend = tokenizer.backend_tokenizer
    settings = (backend.truncation, backend.padding)
    own = own_backend(backend)
    assert [encoding.ids for encoding in own.encode_batch(TEXTS)] == whole
    assert own.decode_batch(whole) == backend.decode_batch(whole)
    assert (own.truncation, own.padding) == (None, None)
    assert (backend.truncation, backend.padding) == settings
    assert None not in settings


def test_a_backend_of_its_own_has_no_second_vocabulary() -> None:
    backend = tiny.byte_pairs(start=None).backend_tokenizer
    own = own_backend(backend)
    # A setting of the model itself shows that there is one.
    own.model.dropout = 0.25
    assert backend.model.dropout == 0.25


@pytest.mark.parametrize("kind", ["mbart", "mbart50", "nllb"])
def test_a_copy_set_for_answers_is_that_of_a_tokenizer_set_so(kind: str, tmp_path: Path) -> None:
    tiny.save_multilingual(kind, tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    codes = [token for token in tokenizer.get_vocab() if token.startswith(("de", "fr"))]
    tokenizer.src_lang, tokenizer.tgt_lang = codes[:2]
    inputs = PlainTokenizer(tokenizer)
    before = inputs.ids(TEXTS)
    tokenizer._switch_to_target_mode()
    assert inputs.set_as(tokenizer).ids(TEXTS) == PlainTokenizer(tokenizer).ids(TEXTS) != before
    assert inputs.ids(TEXTS) == before
