"""The encoder: what is sent, which replies are refused, and builds that lose nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embedding_server import DIM, KEY, EmbeddingServer, rows, vector_of
from pydantic import ValidationError
from ragcore_openai.configs import EmbeddingsConfig
from ragcore_openai.embeddings import OpenAIEmbeddings
from ragcore_openai.failures import ServerError

from ragcore import Passage, build_memory, load_config
from ragcore.cli import main
from ragcore.errors import ConfigError

PASSAGES = [Passage("1", "Chad", "N'Djamena."), Passage("2", "", "Bamako.")]

PIPELINE = """\
ragcore: 1
memory:
  store: store
  corpus: {{use: jsonl, path: rows.jsonl}}
  cache: {{folder: cache}}
  retriever:
    use: dense
    batch_size: 2
    encoder:
      use: openai-embeddings
      base_url: {url}
      key: "${{env:EMBEDDINGS_KEY}}"
      model: tiny
      dim: 16
      retries: 0
    index: {{use: exact}}
"""


def encoder(server: EmbeddingServer, **settings: Any) -> OpenAIEmbeddings:
    return OpenAIEmbeddings(EmbeddingsConfig(**config(server, **settings)))


def config(server: EmbeddingServer, **settings: Any) -> dict[str, Any]:
    fixed = {"base_url": server.url, "model": "tiny", "dim": DIM, "retries": 0}
    return {**fixed, "key": KEY, **settings}


def test_each_text_gets_its_own_vector_whatever_the_order_of_a_reply(server):
    texts = [f"text {number}" for number in range(11)]
    vectors = encoder(server, batch_size=3, concurrency=2).encode_questions(texts)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, [vector_of(text) for text in texts])
    assert sorted(len(request["input"]) for request in server.requests) == [2, 3, 3, 3]
    assert {request["model"] for request in server.requests} == {"tiny"}
    assert encoder(server).encode_questions([]).shape == (0, DIM)


def test_titles_and_prompts_are_part_of_the_text(server):
    encoder(server).encode_passages(PASSAGES)
    prompted = encoder(
        server, passage_prompt="p: ", question_prompt="q: ", passage_template="{text} ({title})"
    )
    prompted.encode_passages(PASSAGES)
    prompted.encode_questions(["Who?"])
    plain = ["Chad. N'Djamena.", "Bamako."]
    assert server.texts == [*plain, "p: N'Djamena. (Chad)", "p: Bamako.", "q: Who?"]


def test_shorter_vectors_are_asked_for_where_the_config_says_so(server):
    vectors = encoder(server, dim=4, shortened=True).encode_questions(["a"])
    np.testing.assert_array_equal(vectors, [vector_of("a", 4)])
    encoder(server).encode_questions(["a"])
    assert [request.get("dimensions") for request in server.requests] == [4, None]


def test_vectors_are_scaled_where_the_config_says_so(server):
    vectors = encoder(server, normalize=True).encode_questions(["a", "b"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    server.always = lambda handler, body: handler.reply(
        200, {"data": [{"index": 0, "embedding": [0] * DIM}]}
    )
    assert not encoder(server, normalize=True).encode_questions(["a"]).any()


def changed(row: int, **fields: Any) -> Any:
    """Return what changes one row of a reply."""

    def change(made: list[dict[str, Any]]) -> list[dict[str, Any]]:
        made[row] |= fields
        return made

    return change


def with_number(number: Any) -> Any:
    return changed(0, embedding=[number, *[0.5] * (DIM - 1)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda made: made[:1], "is 1 rows: expected a list of 2 rows"),
        (lambda made: [*made, made[0]], "is 3 rows"),
        (lambda made: None, "is NoneType"),
        (lambda made: {"0": made[0]}, "is dict"),
        (lambda made: ["a", "b"], "index None"),
        (changed(0, index=0), "index 0: expected each from 0 to 1 once"),
        (changed(0, index=2), "index 2"),
        (changed(0, index=-1), "index -1"),
        (changed(0, index=True), "index True"),
        (changed(0, index=1.0), "index 1.0"),
        (changed(0, index=[1]), r"index \[1\]"),
        (changed(1, embedding=[0.5] * 15), "15 components: expected `dim`, 16; set dim: 15"),
        (changed(1, embedding=[0.5] * 17), "17 components"),
        (changed(1, embedding=None), "no list of numbers"),
        (changed(1, embedding="AAAA"), "no list of numbers"),
        (with_number(math.nan), "NaN, or too large"),
        (with_number(math.inf), "NaN, or too large"),
        (with_number(1e39), "NaN, or too large"),
        (with_number(10**400), "NaN, or too large"),
        (with_number("0.5"), "no list of numbers"),
        (with_number(True), "no list of numbers"),
        (with_number(None), "no list of numbers"),
    ],
)
def test_a_reply_without_a_vector_for_each_text_is_refused(server, change, message):
    server.always = lambda handler, body: handler.reply(200, {"data": change(rows(body))})
    with pytest.raises(ServerError, match=message) as raised:
        encoder(server).encode_questions(["a", "b"])
    assert f"{server.url}/embeddings, model 'tiny'" in str(raised.value)
    assert len(server.requests) == 1


def test_the_fingerprint_names_what_vectors_depend_on_and_not_the_server(server):
    own = encoder(server).fingerprint
    elsewhere = encoder(server, base_url="https://example.org/v1", key=None, batch_size=1)
    assert elsewhere.fingerprint == own
    assert encoder(server, question_prompt="q: ").fingerprint == own
    others = [
        encoder(server, **change).fingerprint
        for change in (
            {"model": "other"},
            {"dim": 8},
            {"normalize": True},
            {"passage_prompt": "p: "},
            {"passage_template": "{text}"},
            {"model": 'tiny",normalize=no,dim=16'},
        )
    ]
    assert len({own, *others}) == len(others) + 1
    assert KEY not in own
    assert not server.requests, "a fingerprint needs no server"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"key": "sk-written-into-the-file"}, "key is written out"),
        ({"key": ""}, "key is empty"),
        ({"base_url": "http://user:hidden@host/v1"}, "holds a user or a password"),
        ({"base_url": "ftp://host/v1"}, "expected http"),
        ({"base_url": "host/v1"}, "expected http"),
        ({"base_url": "http://host/v1?key=3"}, "has a query"),
        ({"passage_template": "{title}"}, "must have the field"),
    ],
)
def test_a_config_that_cannot_work_is_refused(server, settings, message):
    with pytest.raises(ValidationError, match=message) as raised:
        EmbeddingsConfig(**config(server, **settings))
    own_words = raised.value.errors(include_input=False)[0]["msg"]
    assert "hidden" not in own_words
    assert "sk-" not in own_words


def test_a_key_that_is_written_out_is_in_no_message(server, tmp_path):
    text = PIPELINE.format(url=server.url)
    (tmp_path / "p.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "key.yaml").write_text(
        text.replace("${env:EMBEDDINGS_KEY}", "sk-written-out"), encoding="utf-8"
    )
    override = "memory.retriever.encoder.key=sk-written-out"
    for name, overrides in (("key.yaml", []), ("p.yaml", [override])):
        with pytest.raises(ConfigError, match="key is written out") as raised:
            load_config(tmp_path / name, overrides)
        assert "sk-" not in str(raised.value)


def passages_sent(server: EmbeddingServer) -> list[str]:
    """The texts of passages: a build ends with a search for "warm up"."""
    return [text for text in server.texts if text != "warm up"]


def built(folder: Path, server: EmbeddingServer, texts: list[str], version: str) -> None:
    (folder / "p.yaml").write_text(PIPELINE.format(url=server.url), encoding="utf-8")
    lines = [json.dumps({"id": text, "text": text}) for text in texts]
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    build_memory(folder / "p.yaml", version=version)


def test_a_build_sends_a_text_once_and_writes_the_key_nowhere(
    server, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    built(tmp_path, server, ["a", "b", "c"], "first")
    assert sorted(passages_sent(server)) == ["a", "b", "c"]
    server.requests.clear()
    built(tmp_path, server, ["a", "b", "c", "d"], "second")
    assert passages_sent(server) == ["d"], "the embedding cache has the others"
    server.requests.clear()
    assert main(["search", "p.yaml", "c", "-k", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == "c"
    assert server.texts == ["c"]
    assert main(["fill", "p.yaml"]) == 0
    assert "${env:EMBEDDINGS_KEY}" in capsys.readouterr().out
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any("manifest" in path.name for path in files)
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_what_was_encoded_before_the_server_failed_is_not_sent_again(server, tmp_path):
    texts = [f"text {number}" for number in range(8)]
    refusing = {"text 5"}

    def refuse(handler: Any, body: Any) -> None:
        if refusing & set(body["input"]):
            handler.reply(400, {"error": {"message": "not that one"}})
        else:
            handler.reply(200, {"data": rows(body)})

    server.always = refuse
    with pytest.raises(ServerError, match="not that one"):
        built(tmp_path, server, texts, "first")
    sent = set(server.texts) - {"text 4", "text 5"}
    assert sent == {f"text {number}" for number in range(4)}
    refusing.clear()
    server.requests.clear()
    built(tmp_path, server, texts, "first")
    assert set(passages_sent(server)) == set(texts) - sent
