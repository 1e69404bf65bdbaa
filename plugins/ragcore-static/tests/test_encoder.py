"""The vectors of `static` are model2vec's, and its fingerprint tells models apart."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_static as tiny
from hypothesis import given
from hypothesis import strategies as st
from model2vec import StaticModel
from ragcore_static.encoder import Static
from safetensors.numpy import load_file, save_file

from ragcore.errors import PluginError
from ragcore.types import Passage

ODD = ["", "Chad", "the capital of Kenya", "東京", "Chad 東京 Chad", "of " * 40, "é ﬁ\u2028x\x00y"]

KINDS: list[dict[str, Any]] = [
    {},
    {"normalize": False},
    {"tokenizer": tiny.word_pieces()},
    {"shared": True},
    {"dtype": "float16"},
    {"dtype": "int8", "normalize": False},
]


def build(folder: Path, **settings: Any) -> Static:
    return Static(Static.Config(model=str(folder), **settings))


def plain(*texts: str) -> list[Passage]:
    return [Passage(str(number), "", text) for number, text in enumerate(texts)]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: "-".join(kind) or "plain")
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Static, StaticModel]:
    folder = tiny.save(tmp_path_factory.mktemp("model"), tiny.make(**request.param))
    return build(folder), StaticModel.from_pretrained(folder)


@given(texts=st.lists(st.one_of(st.sampled_from(ODD), st.text()), max_size=8))
def test_the_vectors_are_those_of_model2vec(
    pair: tuple[Static, StaticModel], texts: list[str]
) -> None:
    encoder, library = pair
    vectors = encoder.encode_passages(plain(*texts))
    expected = library.encode([*texts, ""], max_length=None)[:-1].astype(np.float32)
    # The library averages float16 in float16.
    coarse = library.embedding.dtype == np.float16
    assert vectors == pytest.approx(expected, rel=0, abs=4e-3 if coarse else 1e-5)
    assert encoder.encode_questions(texts) == pytest.approx(vectors)
    for text, vector in zip(texts, vectors, strict=True):
        assert np.array_equal(encoder.encode_passages(plain(text))[0], vector), "to the last bit"


def test_titles_and_prompts_are_part_of_the_text(tmp_path: Path) -> None:
    encoder = build(
        tiny.save(tmp_path),
        passage_template="{text} ({title})",
        passage_prompt="p: ",
        question_prompt="q: ",
    )
    bare = build(tmp_path)
    titled = encoder.encode_passages([Passage("1", "Kenya", "Nairobi")])
    assert np.array_equal(titled, bare.encode_passages(plain("p: Nairobi (Kenya)")))
    assert np.array_equal(encoder.encode_questions(["Who?"]), bare.encode_questions(["q: Who?"]))


@pytest.mark.parametrize("inside", ["", "0_StaticEmbedding"])
@pytest.mark.parametrize("layers", [["StaticEmbedding"], ["StaticEmbedding", "Normalize"]])
def test_models_of_sentence_transformers_keep_their_layers_and_prompts(
    tmp_path: Path, inside: str, layers: list[str]
) -> None:
    folder = tiny.save_layers(
        tmp_path / "model", layers, inside=inside, prompts={"query": "Who ", "document": "city "}
    )
    encoder = build(folder)
    tokenizer = tiny.byte_pairs()
    vectors = tiny.draw(tokenizer.get_vocab_size(), 16)
    for actual, text in (
        (encoder.encode_passages(plain("of Chad"))[0], "city of Chad"),
        (encoder.encode_questions(["is?"])[0], "Who is?"),
    ):
        expected = vectors[tokenizer.encode(text).ids].mean(axis=0)
        if "Normalize" in layers:
            expected /= np.linalg.norm(expected)
        assert actual == pytest.approx(expected, abs=1e-6)


def test_all_of_a_text_is_read_unless_max_tokens_cuts_it(tmp_path: Path) -> None:
    folder = tiny.save(tmp_path, tiny.make(normalize=False))
    text = "the capital of Chad " * 400
    tokens = tiny.byte_pairs().encode(text)
    ids = tokens.ids
    assert len(ids) > 1200
    vectors = tiny.make().embedding.astype(np.float64)
    whole, cut = build(folder), build(folder, max_tokens=9)
    assert whole.encode_passages(plain(text))[0] == pytest.approx(
        vectors[ids].mean(axis=0), abs=1e-5
    )
    assert cut.encode_passages(plain(text))[0] == pytest.approx(
        vectors[ids[:9]].mean(axis=0), abs=1e-6
    )
    passages = plain(text, "Chad", text[: tokens.offsets[8][1]])
    assert (whole.count_cut(passages), cut.count_cut(passages)) == (0, 1)
    assert (whole.max_input_tokens, cut.max_input_tokens) == (None, 9)


def test_the_first_components_can_be_used_alone(tmp_path: Path) -> None:
    folder = tiny.save(tmp_path)
    short, whole = build(folder, truncate_dim=5), build(folder, normalize=False)
    expected = whole.encode_passages(plain("of Chad"))[:, :5]
    assert short.dim == 5
    assert short.encode_passages(plain("of Chad")) == pytest.approx(
        expected / np.linalg.norm(expected), abs=1e-6
    )
    with pytest.raises(PluginError, match=r"truncate_dim 17 is more than the 16 components"):
        build(folder, truncate_dim=17)


def test_a_passage_is_encoded_without_torch(tmp_path: Path) -> None:
    tiny.save(tmp_path)
    script = (
        "import sys\n"
        "from ragcore.types import Passage\n"
        "from ragcore_static.encoder import Static\n"
        "encoder = Static(Static.Config(model=sys.argv[1]))\n"
        "print(encoder.encode_passages([Passage('1', '', 'Chad')]).shape, 'torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "(1, 16) False\n"


def rewrite(path: Path, change: Any) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content, indent=3), encoding="utf-8")


def set_weights(folder: Path, **tensors: Any) -> None:
    path = folder / "model.safetensors"
    stored = load_file(path) | tensors
    save_file({name: value for name, value in stored.items() if value is not None}, path)


def test_the_fingerprint_is_of_the_content_and_not_of_the_folder(tmp_path: Path) -> None:
    folder = tiny.save(tmp_path / "a", tiny.make(shared=True))
    copied = tmp_path / "b"
    shutil.copytree(folder, copied)
    # Cutting and padding have no effect, and neither has the file's layout.
    rewrite(copied / "tokenizer.json", lambda rules: rules.update(truncation=None, padding=None))
    assert build(folder).fingerprint == build(copied).fingerprint

    fingerprints = {build(folder).fingerprint}
    tensors = load_file(folder / "model.safetensors")
    for name, value in tensors.items():
        changed = value.copy()
        changed[-1] = changed[0]
        set_weights(copied, **{**tensors, name: changed})
        fingerprints.add(build(copied).fingerprint)
    set_weights(copied, **tensors)
    rewrite(copied / "tokenizer.json", lambda rules: rules.update(normalizer={"type": "Lowercase"}))
    fingerprints.add(build(copied).fingerprint)
    assert len(fingerprints) == 5


DAMAGES: dict[str, Any] = {
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "pickled weights": lambda folder: (folder / "model.safetensors").rename(
        folder / "pytorch_model.bin"
    ),
    "half of the weights": lambda folder: (folder / "model.safetensors").write_bytes(
        (folder / "model.safetensors").read_bytes()[:500]
    ),
    "other weights": lambda folder: save_file({"bias": tiny.draw(3)}, folder / "model.safetensors"),
    "flat vectors": lambda folder: set_weights(folder, embeddings=tiny.draw(330)),
    "no components": lambda folder: set_weights(folder, embeddings=tiny.draw(330, 0)),
    "booleans": lambda folder: set_weights(folder, embeddings=tiny.draw(330, 4) > 0),
    "not finite": lambda folder: set_weights(folder, embeddings=tiny.draw(330, 4) * np.inf),
    "too few vectors": lambda folder: set_weights(folder, embeddings=tiny.draw(300, 4)),
    "a mapping beyond the vectors": lambda folder: set_weights(
        folder, mapping=np.full(330, 330), embeddings=tiny.draw(330, 4)
    ),
    "a negative mapping": lambda folder: set_weights(folder, mapping=np.full(330, -1)),
    "a mapping of fractions": lambda folder: set_weights(folder, mapping=np.zeros(330)),
    "a short mapping": lambda folder: set_weights(folder, mapping=np.zeros(7, np.int64)),
    "short weights": lambda folder: set_weights(folder, weights=tiny.draw(7)),
    "weights in a matrix": lambda folder: set_weights(folder, weights=tiny.draw(330, 2)),
    "weights that are not finite": lambda folder: set_weights(
        folder, weights=np.full(330, np.nan, np.float32)
    ),
    "no tokenizer": lambda folder: (folder / "tokenizer.json").unlink(),
    "a damaged tokenizer": lambda folder: (folder / "tokenizer.json").write_text('{"model": 3}'),
    "ids beyond the vectors": lambda folder: rewrite(
        folder / "tokenizer.json", lambda rules: rules["model"]["vocab"].update(Ġof=900)
    ),
    "no config": lambda folder: (folder / "config.json").write_text("["),
    "a config that is a list": lambda folder: (folder / "config.json").write_text("[1]"),
    "a dense layer": lambda folder: rewrite(
        folder / "modules.json", lambda layers: layers.append({"type": "a.Dense"})
    ),
    "layers without types": lambda folder: (folder / "modules.json").write_text("[{}]"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    folder = tiny.save(tmp_path / "model")
    DAMAGES[damage](folder)
    with pytest.raises(PluginError, match="cannot be loaded: ") as raised:
        build(folder)
    assert repr(str(folder)) in str(raised.value)
    assert "model.safetensors, tokenizer.json and config.json" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("template", ["{title}", "{text} {question}", "{text!r}", "{text:>9}", "{"])
def test_a_template_needs_the_text(template: str) -> None:
    with pytest.raises(ValueError, match="passage_template"):
        Static.Config(model="a/model", passage_template=template)
