"""The tokenizers of encoders: what has no more tokens than their room is read whole."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models as tiny
from hypothesis import given
from hypothesis import strategies as st
from ragcore_transformers.configs import DprConfig, SentenceConfig
from ragcore_transformers.dpr import Dpr
from ragcore_transformers.plain_tokens import own_backend
from ragcore_transformers.sentence import SentenceTransformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    BoW,
    Normalize,
    StaticEmbedding,
)
from tokenizers import Tokenizer

from ragcore.contracts import ANY_LENGTH, TokenizedEncoder, TokenizedRetriever, supports
from ragcore.corpora.tokenizer import PassageTokenizer
from ragcore.errors import UnsupportedOperation
from ragcore.registry.components import ComponentSpec
from ragcore.retrievers.dense import Dense
from ragcore.retrievers.flat import Exact
from ragcore.types import Passage

LIMIT = 40


def unigrams() -> Tokenizer:
    from transformers import MBartTokenizer

    return MBartTokenizer(vocab=tiny.unigram_vocabulary()).backend_tokenizer


KINDS: dict[str, Any] = {
    "word pieces": lambda: tiny.word_pieces().backend_tokenizer,
    "byte pairs": lambda: tiny.byte_pairs(start="<s>").backend_tokenizer,
    "metaspace": lambda: tiny.metaspace().backend_tokenizer,
    "unigrams": unigrams,
}
LAYOUTS = [
    {"template": "{title}. {text}"},
    {"template": "{title}. {text}", "prompt": "passage: "},
    {"template": "{title}\n{text}", "prompt": "Chad"},
    {"template": "{text} ({title})"},
    {"template": "{text} / {title} / {text}!"},
    {"template": "{text}"},
]


@pytest.fixture(scope="module", params=list(KINDS))
def backend(request: pytest.FixtureRequest) -> Tokenizer:
    return own_backend(KINDS[request.param]())


WORDS = [
    *" ".join(tiny.TEXT).split(),
    "1",
    "東京",
    "é",
    "(x",
    "a-b",
    "<s>",
    "[SEP]",
    "ﬁ",
    "Nairobis",
]
TEXTS = st.one_of(
    st.lists(st.sampled_from(WORDS), min_size=1).map(" ".join),
    st.text(min_size=1).map(str.strip).filter(bool),
)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: "-".join(layout.values()))
@given(text=TEXTS, title=st.sampled_from(["", "Chad", "Kenya, Nairobi (city)", "Lake Chad. "]))
def test_a_text_without_more_tokens_than_room_is_read_whole(
    backend: Tokenizer, layout: dict[str, str], text: str, title: str
) -> None:
    around = backend.num_special_tokens_to_add(is_pair=False)
    tokenizer = PassageTokenizer(backend, limit=LIMIT, around=around, **layout)
    template, prompt = layout["template"], layout.get("prompt", "")
    composed = prompt + (template.format(title=title, text=text) if title else text)
    (spans,) = tokenizer.spans([text])
    texts = template.count("{text}") if title else 1
    read = len(backend.encode(composed))
    assert read <= LIMIT - texts * (tokenizer.room(title) - len(spans)) or len(spans) > LIMIT


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny.save_dpr(folder / "dpr")
    tiny.save_sentence(folder / "sentence")
    return folder


def made_dpr(folder: Path, **settings: Any) -> Dpr:
    models = {f"{side}_model": str(folder / "dpr" / side) for side in ("question", "passage")}
    return Dpr(DprConfig(**models, **{"max_tokens": 48, **settings}))


def made_sentence(folder: Path, **settings: Any) -> SentenceTransformers:
    return SentenceTransformers(SentenceConfig(model=str(folder / "sentence"), **settings))


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (made_dpr, {}),
        (made_sentence, {}),
        (made_sentence, {"max_tokens": 20, "passage_prompt": "passage: "}),
        (made_sentence, {"passage_template": "{text} ({title})"}),
    ],
)
def test_an_encoder_cuts_exactly_the_passages_that_exceed_its_room(
    folder: Path, make: Any, settings: dict[str, Any]
) -> None:
    encoder = make(folder, **settings)
    assert supports(encoder, TokenizedEncoder)
    words = " ".join(tiny.TEXT * 4).split()
    cut = []
    for title in ("", "Chad", "The capital of Kenya, Nairobi"):
        for count in range(4, 44):
            passage = Passage(str(count), title, " ".join(words[:count]))
            (spans,) = encoder.tokenizer.spans([passage.text])
            exceeds = len(spans) > encoder.tokenizer.room(title)
            assert encoder.count_cut([passage]) == exceeds, passage
            cut.append(exceeds)
    assert len(set(cut)) == 2


def test_spans_are_those_of_the_text_and_its_vector_follows_from_them(folder: Path) -> None:
    encoder = made_dpr(folder)
    text = "Nairobi, the largest city"
    (spans,) = encoder.tokenizer.spans([text])
    pieces = [text[start:end] for start, end in spans]
    assert "".join(pieces) == text.replace(" ", "")
    assert [tuple(span) for span in spans][:2] == [(0, 7), (7, 8)]
    # What lies beyond the room changes no vector; what lies before it does.
    long = " ".join(tiny.TEXT)
    (spans,) = encoder.tokenizer.spans([long])
    room = encoder.tokenizer.room("Chad")
    assert room < len(spans) - 2
    fits = long[: spans[room - 1, 1]]
    texts = [long, fits, fits[: spans[room - 2, 1]]]
    whole, same, shorter = encoder.encode_passages([Passage("1", "Chad", text) for text in texts])
    np.testing.assert_allclose(whole, same, atol=1e-6)
    assert np.abs(whole - shorter).max() > 1e-4


def test_fingerprints_of_tokenizers_tell_settings_apart(folder: Path) -> None:
    tokenizers = [
        encoder.tokenizer
        for encoder in (
            made_dpr(folder),
            made_dpr(folder, max_tokens=32),
            made_sentence(folder),
            made_sentence(folder, passage_prompt="p: "),
            made_sentence(folder, passage_template="{text}"),
        )
    ]
    assert len({tokenizer.fingerprint for tokenizer in tokenizers}) == len(tokenizers)
    assert made_sentence(folder).tokenizer.fingerprint == tokenizers[2].fingerprint
    assert pickle.loads(pickle.dumps(tokenizers[2])).fingerprint == tokenizers[2].fingerprint


@pytest.mark.parametrize("cuts", [True, False])
def test_static_embeddings_read_as_much_as_their_tokenizer_lets_them(
    tmp_path: Path, cuts: bool
) -> None:
    tokenizer = tiny.word_pieces().backend_tokenizer
    if cuts:
        tokenizer.enable_truncation(12)
    module = StaticEmbedding(tokenizer, embedding_dim=8)
    SentenceTransformer(modules=[module, Normalize()], device="cpu").save_pretrained(str(tmp_path))
    encoder = SentenceTransformers(SentenceConfig(model=str(tmp_path)))
    assert encoder.tokenizer.room("") == (12 if cuts else ANY_LENGTH)
    (spans,) = encoder.tokenizer.spans(["Chad is a country of Africa. " * 5])
    assert len(spans) > 12
    passages = [Passage("1", "", "Chad " * 11 + word) for word in ("Chad", "Kenya")]
    assert not np.array_equal(*encoder.encode_passages(passages))
    assert (encoder.model.tokenizer.truncation is None) is not cuts


def test_an_encoder_without_offsets_has_no_tokenizer(tmp_path: Path) -> None:
    words = [word.strip(",.?;:/") for text in tiny.TEXT for word in text.lower().split()]
    bag = BoW(vocab=sorted(set(filter(None, words))))
    SentenceTransformer(modules=[bag], device="cpu").save_pretrained(str(tmp_path))
    config = SentenceConfig(model=str(tmp_path))
    encoder = ComponentSpec("encoder", "sentence-transformers", SentenceTransformers, config)
    assert "tokenizer" not in encoder.build().capabilities
    index = ComponentSpec("index", "exact", Exact, Exact.Config())
    retriever = Dense(Dense.Config(encoder=encoder, index=index))
    # What the class declares, as long as the encoder is not loaded.
    assert supports(retriever, TokenizedRetriever)
    with pytest.raises(UnsupportedOperation, match=r"'sentence-transformers'.*'tokenizer'"):
        _ = retriever.tokenizer
    assert not supports(retriever, TokenizedRetriever)
