"""The precision of encoders, and what a memory keeps of it."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path

import numpy as np
import pytest
import tiny_models as tiny
import torch
from ragcore_transformers import kernels, packed, precision
from ragcore_transformers.configs import DprConfig, SentenceConfig
from ragcore_transformers.dpr import Dpr
from ragcore_transformers.loading import save_model
from ragcore_transformers.sentence import SentenceTransformers
from ragcore_transformers.trials import Trial
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense as DenseLayer

from ragcore.errors import MemoryMismatchError, PluginError, UnsupportedOperation
from ragcore.registry.components import ComponentSpec
from ragcore.retrievers.dense import Dense
from ragcore.retrievers.flat import Exact
from ragcore.store.diff import Changes
from ragcore.store.manifest import Manifest
from ragcore.store.store import Store
from ragcore.types import Passage

PASSAGES = [
    Passage("1", "Chad, Capital", "N'Djamena is the capital of Chad, a country of Africa."),
    Passage("2", "", "Nairobi"),
    Passage("3", "Ethiopia", "Abiy Ahmed Ali, since April 2018. " * 4),
]
NEW = Passage("4", "Kenya", "Nairobi is the capital of Kenya.")
QUESTIONS = ["What is the capital of Chad?", "Who?", "Who is the prime minister of Ethiopia now?"]

both_kinds = pytest.mark.parametrize("kind", ["sentence", "dpr"])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny.save_sentence(folder / "sentence", normalize=True)
    tiny.save_dpr(folder)
    return folder


def config_of(kind: str, models: Path, **settings: object) -> SentenceConfig | DprConfig:
    if kind == "sentence":
        return SentenceConfig(model=str(models / "sentence"), **settings)
    names = {"question_model": str(models / "question"), "passage_model": str(models / "passage")}
    return DprConfig(**names, **settings)


def made(kind: str, models: Path, **settings: object) -> SentenceTransformers | Dpr:
    config = config_of(kind, models, **settings)
    return SentenceTransformers(config) if kind == "sentence" else Dpr(config)


def of_questions(encoder: SentenceTransformers | Dpr) -> np.ndarray:
    with torch.no_grad():
        vectors = encoder.encode_questions(QUESTIONS)
    assert vectors.dtype == torch.float32
    return vectors.numpy()


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


def bfloat16_is(patch: pytest.MonkeyPatch, *, faster: bool) -> None:
    """Let a machine compute bfloat16 in half of float32's time, or in twice."""

    share = 0.5 if faster else 2.0
    patch.setattr(precision, "shortest_times", lambda *_: [1.0, share])


@both_kinds
@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_coarse_vectors_are_near_the_exact_ones(kind: str, dtype: str, models: Path) -> None:
    exact, coarse = made(kind, models), made(kind, models, dtype=dtype)
    passages = coarse.encode_passages(PASSAGES)
    assert passages.dtype == np.float32
    for found, expected in (
        (passages, exact.encode_passages(PASSAGES)),
        (of_questions(coarse), of_questions(exact)),
    ):
        assert cosines(found, expected).min() > 0.98
        assert not np.allclose(found, expected, atol=1e-4)
    if kind == "sentence":
        # Normalised in float32, and not in bfloat16.
        np.testing.assert_allclose(np.linalg.norm(passages, axis=1), 1, atol=1e-6)


@both_kinds
def test_a_fingerprint_names_a_precision_that_is_not_the_checkpoints(
    kind: str, models: Path
) -> None:
    plain = made(kind, models)
    assert "dtype" not in plain.fingerprint
    assert made(kind, models, dtype="float32").fingerprint == plain.fingerprint
    for dtype in ("bfloat16", "int8"):
        expected = plain.fingerprint[:-1] + f",dtype={dtype})"
        assert made(kind, models, dtype=dtype).fingerprint == expected
        assert made(kind, models, passage_dtype=dtype).fingerprint == expected
        # Questions may be encoded in any precision.
        asked = made(kind, models, dtype=dtype, passage_dtype="float32")
        assert asked.fingerprint == plain.fingerprint
        np.testing.assert_array_equal(
            asked.encode_passages(PASSAGES), plain.encode_passages(PASSAGES)
        )
        assert not np.array_equal(of_questions(asked), of_questions(plain))


def test_a_narrow_checkpoint_computes_as_it_is_stored(models: Path, tmp_path: Path) -> None:
    library = SentenceTransformer(str(models / "sentence"), device="cpu").to(torch.bfloat16)
    library.save(str(tmp_path), create_model_card=False)
    narrow = SentenceTransformers(SentenceConfig(model=str(tmp_path)))
    wide = SentenceTransformers(SentenceConfig(model=str(tmp_path), dtype="float32"))
    assert {weight.dtype for weight in narrow.model.parameters()} == {torch.bfloat16}
    assert {weight.dtype for weight in wide.model.parameters()} == {torch.float32}
    assert wide.fingerprint == narrow.fingerprint[:-1] + ",dtype=float32)"


def dtypes(module: torch.nn.Module) -> set[torch.dtype]:
    return {weight.dtype for weight in module.parameters()}


@both_kinds
@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16])
def test_int8_of_a_narrow_checkpoint_is_near_the_exact_vectors(
    kind: str, stored: torch.dtype, models: Path, tmp_path: Path
) -> None:
    if kind == "sentence":
        library = SentenceTransformer(str(models / "sentence"), device="cpu")
        # Read after the transformer, as some models do.
        library.insert(2, DenseLayer(library.get_embedding_dimension(), 8))
        folder = tmp_path / "exact" / "sentence"
        library.save(str(folder), create_model_card=False)
        library.to(stored).save(str(tmp_path / "sentence"), create_model_card=False)
        exact = made(kind, tmp_path / "exact")
    else:
        exact = made(kind, models)
        for side, model in (("question", exact.question_model), ("passage", exact.passage_model)):
            narrow = copy.deepcopy(model).to(stored)
            save_model(narrow, exact.passage_tokenizer, tmp_path / side)
    coarse = made(kind, tmp_path, dtype="int8")
    vectors = coarse.encode_passages(PASSAGES)
    gap = np.abs(vectors - exact.encode_passages(PASSAGES)).max()
    assert gap <= 0.1 * np.abs(vectors).max()
    assert np.isfinite(of_questions(coarse)).all()


@both_kinds
def test_the_speed_report_names_dtypes_and_kernels(kind: str, models: Path) -> None:
    lines = made(kind, models, dtype="int8", passage_dtype="bfloat16").speed_report()
    begin = lines.index("passages: dtype bfloat16")
    assert lines[0] == "questions: dtype int8"
    assert all(" x linear " in line and ", int8: " in line for line in lines[1:begin])
    assert len(lines[begin + 1 :]) >= 1
    assert all(", bfloat16: plain" in line for line in lines[begin + 1 :])
    if kind == "sentence":
        assert made(kind, models).speed_report()[0] == "dtype float32"
        assert made(kind, models, dtype="auto").speed_report()[0].endswith(", chosen by auto")


@both_kinds
@pytest.mark.parametrize(("faster", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_is_bfloat16_where_that_is_faster(
    kind: str, faster: bool, dtype: torch.dtype, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bfloat16_is(monkeypatch, faster=faster)
    encoder = made(kind, models, dtype="auto")
    assert dtypes(encoder.question_model) == {dtype}
    assert dtypes(encoder.model if kind == "sentence" else encoder.passage_model) == {dtype}
    assert ("dtype=bfloat16" in encoder.fingerprint) == faster


@both_kinds
def test_what_auto_made_narrow_is_trained_as_it_is_stored(
    kind: str, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = made(kind, models)
    bfloat16_is(monkeypatch, faster=True)
    encoder = made(kind, models, dtype="auto")
    assert dtypes(encoder.question_model) == {torch.bfloat16}
    passages = encoder.encode_passages(PASSAGES)
    pairs = [
        (encoder.trained_module, stored.trained_module()),
        (encoder.passage_module, stored.passage_module()),
    ]
    for number, (module, exact) in enumerate(pairs):
        weights = dict(module().named_parameters())
        assert module() is module()
        for name, value in exact.named_parameters():
            assert torch.equal(weights[name], value), name
        if not number:
            # The passages' vectors stay those of their memory until they are trained, too.
            np.testing.assert_array_equal(encoder.encode_passages(PASSAGES), passages)
    np.testing.assert_array_equal(of_questions(encoder), of_questions(stored))
    (tmp_path / "saved").mkdir()
    names = encoder.save_trained(tmp_path / "saved")
    config = encoder.config.model_copy(
        update={key: str(tmp_path / "saved" / path) for key, path in names.items()}
        | {"dtype": "checkpoint"}
    )
    again = type(encoder)(config)
    assert dtypes(again.question_model) == {torch.float32}
    np.testing.assert_array_equal(of_questions(again), of_questions(stored))


def test_passages_of_a_named_type_do_not_narrow_training(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bfloat16_is(monkeypatch, faster=True)
    encoder = made("sentence", models, dtype="auto", passage_dtype="bfloat16")
    assert encoder.question_model is encoder.model
    assert dtypes(encoder.trained_module()) == {torch.float32}
    assert dtypes(encoder.passage_module()) == {torch.bfloat16}


@pytest.mark.skipif(not kernels.can_pack(torch.bfloat16), reason="no packed products here")
def test_auto_packs_a_narrow_checkpoint(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = SentenceTransformer(str(models / "sentence"), device="cpu").to(torch.bfloat16)
    library.save(str(tmp_path), create_model_card=False)
    monkeypatch.setattr(packed, "SMALL", 1)
    monkeypatch.setattr(
        packed, "compare", lambda *_: Trial(plain=1.0, packed=0.5, plain_few=1.0, packed_few=1.0)
    )
    for dtype in ("auto", "checkpoint"):
        encoder = SentenceTransformers(SentenceConfig(model=str(tmp_path), dtype=dtype))
        layers = [part for part in encoder.model.modules() if isinstance(part, packed.PackedLinear)]
        assert layers, dtype
        assert "dtype" not in encoder.fingerprint


@both_kinds
def test_int8_vectors_do_not_depend_on_the_processor(
    kind: str, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = []
    for has_vnni in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda has=has_vnni: has)
        vectors.append(made(kind, models, dtype="int8").encode_passages(PASSAGES))
    np.testing.assert_array_equal(*vectors)


def test_auto_stays_exact_where_vectors_would_differ(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bfloat16_is(monkeypatch, faster=True)
    monkeypatch.setattr(precision, "_ALIKE", 1.5)
    encoder = made("sentence", models, dtype="auto")
    np.testing.assert_array_equal(of_questions(encoder), of_questions(made("sentence", models)))


@pytest.mark.parametrize("slower", ["float32", "bfloat16"])
def test_auto_is_decided_by_time_that_is_measured(
    slower: str, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = SentenceTransformers._vectors

    def costly(
        encoder: SentenceTransformers,
        model: SentenceTransformer,
        texts: list[str],
        prompt: str = "",
    ) -> torch.Tensor:
        if dtypes(model) == {getattr(torch, slower)}:
            end = time.thread_time() + 0.05
            while time.thread_time() < end:
                pass
        return vectors(encoder, model, texts, prompt)

    monkeypatch.setattr(SentenceTransformers, "_vectors", costly)
    encoder = made("sentence", models, dtype="auto")
    expected = torch.bfloat16 if slower == "float32" else torch.float32
    assert dtypes(encoder.model) == {expected}


def dense(kind: str, models: Path, **settings: object) -> ComponentSpec:
    """Return a retriever that encodes passages one by one: no rounding depends on a batch."""
    config = config_of(kind, models, batch_size=1, **settings)
    component = SentenceTransformers if kind == "sentence" else Dpr
    name = "sentence-transformers" if kind == "sentence" else "dpr"
    encoder = ComponentSpec("encoder", name, component, config)
    index = ComponentSpec("index", "exact", Exact, Exact.Config())
    return ComponentSpec("retriever", "dense", Dense, Dense.Config(encoder=encoder, index=index))


def adding(passage: Passage) -> Changes:
    return Changes({passage.id: passage}, {})


def manifest(store: Store, version: str) -> Manifest:
    return Manifest.read(store.folder / "versions" / version)


def scores(store: Store, version: str, spec: ComponentSpec) -> np.ndarray:
    """Return all passages' scores for the questions, in the passages' order."""
    with store.open(version, retriever=spec) as memory:
        hits = memory.hits(QUESTIONS, len(memory))
    order = np.argsort(hits.rows, axis=1)
    return np.take_along_axis(hits.scores, order, axis=1)


@both_kinds
@pytest.mark.parametrize("built_where_faster", [True, False])
def test_an_update_elsewhere_gives_the_vectors_of_a_rebuild(
    kind: str,
    built_where_faster: bool,
    models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, spec = Store(tmp_path), dense(kind, models, dtype="auto")
    bfloat16_is(monkeypatch, faster=built_where_faster)
    store.build("built", PASSAGES, spec)
    store.build("rebuilt", [*PASSAGES, NEW], spec)
    bfloat16_is(monkeypatch, faster=not built_where_faster)
    fingerprint = manifest(store, "rebuilt").fingerprint
    assert ("dtype=bfloat16" in fingerprint) == built_where_faster
    for number, retriever in enumerate((spec, None, dense(kind, models))):
        # With the config in use, with the recorded one, and with another dtype for questions.
        name = f"updated{number}"
        store.update(name, adding(NEW), parent="built", retriever=retriever)
        assert manifest(store, name).fingerprint == fingerprint
        np.testing.assert_array_equal(scores(store, name, spec), scores(store, "rebuilt", spec))
    # An update of an update knows it, too, and so does one that encodes nothing.
    store.update("fewer", Changes({}, {PASSAGES[0].id: "here"}), parent="updated0", retriever=spec)
    store.update("again", adding(PASSAGES[0]), parent="fewer", retriever=spec)
    np.testing.assert_array_equal(
        scores(store, "again", spec), np.roll(scores(store, "rebuilt", spec), -1, axis=1)
    )


@both_kinds
def test_a_memory_without_a_precision_stays_as_the_checkpoint(
    kind: str, models: Path, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    store.build("built", PASSAGES, dense(kind, models))
    record = json.loads((tmp_path / "versions" / "built" / "retriever" / "dense.json").read_bytes())
    assert record == {"index": "exact", "segments": 1}
    narrow = dense(kind, models, dtype="bfloat16")
    store.update("updated", adding(NEW), retriever=narrow)
    assert manifest(store, "updated").fingerprint == manifest(store, "built").fingerprint
    store.build("rebuilt", [*PASSAGES, NEW], dense(kind, models))
    exact = dense(kind, models)
    np.testing.assert_array_equal(scores(store, "updated", exact), scores(store, "rebuilt", exact))
    assert not np.array_equal(scores(store, "updated", narrow), scores(store, "updated", exact))
    with pytest.raises(MemoryMismatchError, match=r"dtype=int8"):
        store.open("updated", retriever=dense(kind, models, passage_dtype="int8"))


def test_a_precision_that_is_unknown_is_named(models: Path) -> None:
    config = config_of("sentence", models)
    with pytest.raises(MemoryMismatchError, match=r"passage_dtype 'float4'; this release has"):
        SentenceTransformers.with_chosen(config, {"passage_dtype": "float4"})


@both_kinds
def test_int8_cannot_be_trained(kind: str, models: Path) -> None:
    encoder = made(kind, models, dtype="int8")
    assert "trainable" not in encoder.capabilities
    with pytest.raises(UnsupportedOperation, match="int8 cannot be trained"):
        encoder.passage_module()
    mixed = made(kind, models, passage_dtype="int8")
    assert "trainable" in mixed.capabilities
    vectors = mixed.encode_questions(QUESTIONS)
    assert mixed.trained_module() is not None
    assert vectors.requires_grad
    with pytest.raises(UnsupportedOperation, match="int8 cannot be trained"):
        mixed.passage_module()


@pytest.mark.parametrize("normalize", [True, False, None])
def test_the_first_numbers_are_used_alone(normalize: bool | None, models: Path) -> None:
    encoder = made("sentence", models, truncate_dim=6, normalize=normalize)
    whole = made("sentence", models, normalize=normalize)
    cut = whole.encode_passages(PASSAGES)[:, :6]
    # The model normalises, unless that is turned off.
    if normalize is not False:
        cut = cut / np.linalg.norm(cut, axis=1, keepdims=True)
    found = encoder.encode_passages(PASSAGES)
    assert encoder.dim == 6
    np.testing.assert_allclose(found, cut, atol=1e-6)
    np.testing.assert_allclose(of_questions(encoder).shape, (3, 6))
    assert encoder.fingerprint != whole.fingerprint
    assert (
        made("sentence", models, truncate_dim=16).fingerprint
        == made("sentence", models).fingerprint
    )


def test_a_model_without_so_many_numbers_is_a_clear_error(models: Path) -> None:
    with pytest.raises(PluginError, match=r"truncate_dim is 17 and model .* of 16 dimensions"):
        made("sentence", models, truncate_dim=17)
