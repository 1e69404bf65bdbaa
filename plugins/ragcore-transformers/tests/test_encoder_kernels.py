from __future__ import annotations

import copy
import itertools
from pathlib import Path

import numpy as np
import pytest
import tiny_models as tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from ragcore_transformers import batching, int8, kernels, packed
from ragcore_transformers.batching import encode_by_length
from ragcore_transformers.configs import DprConfig, SentenceConfig
from ragcore_transformers.dpr import Dpr
from ragcore_transformers.int8 import PackedInt8Linear
from ragcore_transformers.packed import PackedLinear
from ragcore_transformers.sentence import SentenceTransformers
from ragcore_transformers.trials import Trial

from ragcore.types import Passage

PASSAGES = [
    Passage("1", "Chad, Capital", "N'Djamena is the capital of Chad, a country of Africa."),
    Passage("2", "", "Nairobi"),
    Passage("3", "Ethiopia", "Abiy Ahmed Ali, since April 2018. " * 4),
]
QUESTIONS = ["What is the capital of Chad?", "Who?", "Who is the prime minister of Ethiopia now?"]

CPU = torch.device("cpu")

needs_packing = pytest.mark.skipif(
    not kernels.can_pack(torch.float32), reason="this torch has no packed products here"
)


@pytest.fixture
def packs_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pack every layer, also small ones and slow ones."""
    monkeypatch.setattr(packed, "SMALL", 1)
    monkeypatch.setattr(int8, "SMALL", 1)
    monkeypatch.setattr(
        int8, "compare", lambda *_: Trial(plain=1.0, packed=0.5, plain_few=1.0, packed_few=1.0)
    )
    monkeypatch.setattr(
        packed, "compare", lambda *_: Trial(plain=1.0, packed=0.5, plain_few=1.0, packed_few=1.0)
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny.save_sentence(folder / "sentence")
    tiny.save_dpr(folder)
    return folder


def made(kind: str, models: Path, **settings: object) -> SentenceTransformers | Dpr:
    if kind == "sentence":
        return SentenceTransformers(SentenceConfig(model=str(models / "sentence"), **settings))
    names = {"question_model": str(models / "question"), "passage_model": str(models / "passage")}
    return Dpr(DprConfig(**names, **settings))


def modules(encoder: SentenceTransformers | Dpr) -> list[torch.nn.Module]:
    """Return the models of questions and of passages, without changing them."""
    if isinstance(encoder, SentenceTransformers):
        return [encoder.question_model, encoder.model]
    return [encoder.question_model, encoder.passage_model]


def kinds(module: torch.nn.Module) -> set[type]:
    return {type(part) for part in module.modules()}


def vectors(encoder: SentenceTransformers | Dpr) -> tuple[np.ndarray, np.ndarray]:
    with torch.no_grad():
        questions = encoder.encode_questions(QUESTIONS).numpy()
    return questions, encoder.encode_passages(PASSAGES)


both_kinds = pytest.mark.parametrize("kind", ["sentence", "dpr"])


@needs_packing
@both_kinds
def test_packed_layers_give_the_same_vectors_and_fingerprint(
    kind: str, models: Path, request: pytest.FixtureRequest
) -> None:
    plain = made(kind, models)
    assert all(PackedLinear not in kinds(module) for module in modules(plain))
    request.getfixturevalue("packs_all")
    fast = made(kind, models)
    for module in modules(fast):
        assert PackedLinear in kinds(module)
        assert torch.nn.Linear not in kinds(module)
    assert fast.fingerprint == plain.fingerprint
    for found, expected in zip(vectors(fast), vectors(plain), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)


@needs_packing
@both_kinds
def test_training_gets_the_plain_layers_and_saves_them(
    kind: str, models: Path, packs_all: None, tmp_path: Path
) -> None:
    encoder = made(kind, models)
    expected = vectors(encoder)
    trained = [encoder.trained_module(), encoder.passage_module()]
    for module in trained:
        assert PackedLinear not in kinds(module)
    questions = encoder.encode_questions(QUESTIONS)
    passages = encoder.encode_passages_with_grad(PASSAGES)
    (questions @ passages.T * torch.arange(3.0)).sum().backward()
    for module in trained:
        layers = [part for part in module.modules() if type(part) is torch.nn.Linear]
        assert any(layer.weight.grad is not None for layer in layers)
    saved = encoder.save_trained(tmp_path)
    settings = {name: str(tmp_path / folder) for name, folder in saved.items()}
    again = (
        SentenceTransformers(SentenceConfig(**settings))
        if kind == "sentence"
        else Dpr(DprConfig(**settings))
    )
    for found, before in zip(vectors(again), expected, strict=True):
        np.testing.assert_allclose(found, before, atol=1e-5, rtol=1e-5)


@needs_packing
@both_kinds
def test_gradients_need_no_call_before_them(kind: str, models: Path, packs_all: None) -> None:
    encoder = made(kind, models)
    for tensor in (
        encoder.encode_questions(QUESTIONS),
        encoder.encode_passages_with_grad(PASSAGES),
    ):
        assert tensor.requires_grad


@needs_packing
@both_kinds
@pytest.mark.parametrize("dtype", ["checkpoint", "bfloat16", "int8", "auto"])
def test_a_copy_of_a_packed_model_computes_the_same(
    kind: str, dtype: str, models: Path, packs_all: None
) -> None:
    encoder = made(kind, models, dtype=dtype)
    expected = vectors(encoder)
    if isinstance(encoder, SentenceTransformers):
        encoder.model = encoder.question_model = copy.deepcopy(encoder.model)
    else:
        encoder.question_model = copy.deepcopy(encoder.question_model)
        encoder.passage_model = copy.deepcopy(encoder.passage_model)
    assert {PackedLinear, PackedInt8Linear} & kinds(modules(encoder)[0])
    for found, before in zip(vectors(encoder), expected, strict=True):
        np.testing.assert_array_equal(found, before)


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=40),
    st.integers(1, 6),
    st.one_of(st.none(), st.integers(1, 20)),
)
def test_batches_are_no_larger_than_allowed_and_keep_the_order(
    lengths: list[int], size: int, limit: int | None
) -> None:
    batches: list[list[int]] = []

    def encode(batch: list[int]) -> torch.Tensor:
        batches.append(batch)
        return torch.tensor(batch, dtype=torch.float32)[:, None]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batching, "_CPU_CHARACTERS", 100)
        found = encode_by_length(lengths, int, size, encode, device=CPU, limit=limit)
    assert found[:, 0].tolist() == lengths
    assert [length for batch in batches for length in batch] == sorted(lengths)
    most = 60 if limit is None else limit * batching.CHARACTERS_OF_A_TOKEN
    areas = [len(batch) * min(max(batch), most) for batch in batches]
    assert all(len(batch) <= size for batch in batches)
    assert all(area <= 100 for batch, area in zip(batches, areas, strict=True) if len(batch) > 1)
    # No batch could have taken the next item, too.
    for batch, after in itertools.pairwise(batches):
        assert len(batch) == size or (len(batch) + 1) * min(after[0], most) > 100


def test_on_a_gpu_only_the_number_of_items_limits_a_batch() -> None:
    sizes = []

    def encode(batch: list[str]) -> torch.Tensor:
        sizes.append(len(batch))
        return torch.zeros(len(batch), 1)

    texts = ["a" * 5000] * 7
    encode_by_length(texts, len, 4, encode, device=torch.device("cuda"))
    encode_by_length(texts, len, 4, encode, device=CPU)
    assert sizes == [4, 3] + [1] * 7
