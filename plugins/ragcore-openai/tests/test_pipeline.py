"""Pipelines whose generator is `openai`: what is answered, by tier, and where the key is not."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from embedding_server import DIM, KEY, running
from ragcore_openai import client as client_module
from writing_server import END, WORDS, WritingServer, greedy, log_prob_of, log_probs_after

import ragcore
from ragcore import build_memory
from ragcore.cli import main
from ragcore.errors import DeadlineError, GeneratorError, RagcoreError, RequestCancelledError

PIPELINE = """\
ragcore: 1
memory:
  store: store
  corpus: {{use: jsonl, path: rows.jsonl}}
  retriever:
    use: dense
    encoder:
      use: openai-embeddings
      base_url: "{url}"
      key: "${{env:WRITING_KEY}}"
      model: m
      dim: {dim}
    index: {{use: exact}}
generator:
  use: openai
  base_url: "{url}"
  key: "${{env:WRITING_KEY}}"
  model: m
  template: "{{title}}: {{text}} {{question}} Answer:"
  retries: 2
{generator}
rag: {{k: 3, max_new_tokens: 4, {rag}}}
"""
TEXTS = ["Its capital is Nairobi.", "Its capital is N'Djamena.", "A river.", "A lake."]
QUESTION = "Where is the capital?"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(client_module, "_FIRST_WAIT", 0.001)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("WRITING_KEY", KEY)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def server() -> Iterator[WritingServer]:
    with running(WritingServer(["logprobs", "echo"])) as server:
        yield server


def loaded(
    server: WritingServer, generator: str = "", rag: str = "marginalize: token"
) -> ragcore.Rag:
    """Build the memory where there is none, and load the pipeline."""
    text = PIPELINE.format(url=server.url, dim=DIM, generator=generator, rag=rag)
    Path("p.yaml").write_text(text, encoding="utf-8")
    rows = [{"id": str(n), "title": f"T{n}", "text": text} for n, text in enumerate(TEXTS)]
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    if not Path("store").exists():
        build_memory("p.yaml", version="first")
    return ragcore.load("p.yaml")


SCORE = f'  chat: false\n  end_tokens: ["{END}"]'
TOP = "  chat: false\n  tier: top\n  top_tokens: 2"


def prompt(title: str, text: str) -> str:
    return f"{title}: {text} {QUESTION} Answer:"


@pytest.mark.parametrize("marginalize", ["token", "sequence"])
def test_the_tier_score_has_the_model_s_exact_log_p(server, marginalize):
    with loaded(server, SCORE, f"marginalize: {marginalize}") as rag:
        (answer,) = rag.answer(QUESTION)
        assert answer.tier == "score"
        priors = [hit.prior for hit in answer.evidence]
        prompts = [prompt(hit.passage.title, hit.passage.text) for hit in answer.evidence]
        if marginalize == "sequence":
            expected = math.fsum(
                prior * math.exp(log_prob_of(text, f" {answer.text}"))
                for prior, text in zip(priors, prompts, strict=True)
            )
        else:
            expected, written = 1.0, ""
            for token in [*answer.tokens[:-1], END]:
                expected *= math.fsum(
                    prior * math.exp(log_probs_after(text + written)[token])
                    for prior, text in zip(priors, prompts, strict=True)
                )
                written += token
        assert answer.log_prob == pytest.approx(math.log(expected), abs=1e-6)
        assert rag.log_prob([QUESTION], [answer.text]) == pytest.approx([answer.log_prob], abs=1e-6)
        assert answer.usage.prompt_tokens > 100


def test_the_tier_top_bounds_the_model_s_log_p(server):
    with loaded(server, TOP) as rag:
        (answer,) = rag.answer(QUESTION)
    assert answer.tier == "top"
    best = answer.candidates[0]
    exact, written = 1.0, ""
    for token in best.tokens:
        name = token or END
        exact *= math.fsum(
            hit.prior
            * math.exp(log_probs_after(prompt(hit.passage.title, hit.passage.text) + written)[name])
            for hit in answer.evidence
        )
        written += token
    # The prior is float32.
    assert best.log_prob <= math.log(exact) + 1e-6
    assert exact <= (math.exp(best.log_prob) + best.dropped_mass) * (1 + 1e-6)
    assert best.dropped_mass > 0


def test_the_tier_text_has_votes_and_no_log_p(server):
    with loaded(server) as rag:
        (answer,) = rag.answer(QUESTION)
    assert (answer.tier, answer.log_prob) == ("text", None)
    texts = set()
    # The end is one of the 4 tokens that an answer may have.
    for hit in answer.evidence:
        written, _ = greedy(
            f"<|user|>{prompt(hit.passage.title, hit.passage.text)}{END}<|assistant|>", 3
        )
        texts.add(" ".join("".join(written).split()))
    assert {vote.text for vote in answer.votes} <= texts
    assert sum(vote.share for vote in answer.votes) == pytest.approx(1)
    assert answer.usage.requests == 3
    assert answer.usage.fingerprints == ("fp_1",)


def test_draws_are_asked_for_by_the_settings(server):
    rag = "marginalize: token, write: {candidates: 3, temperature: 1.0, seed: 2}"
    with loaded(server, rag=rag) as loaded_rag:
        server.requests.clear()
        (answer,) = loaded_rag.answer(QUESTION)
    asked = [body for body in server.requests if "messages" in body]
    assert [(body["n"], body["seed"], body["temperature"]) for body in asked] == [(3, 2, 1.0)] * 3
    assert answer.usage.seed == 2
    assert answer.text in {word.strip() for word in WORDS}


def test_one_prompt_is_streamed_and_ends_with_its_answer(server):
    with loaded(server, rag="marginalize: none") as rag:
        (expected,) = rag.answer(QUESTION)
        *_, first, answer = rag.events(QUESTION)
        tokens = list(rag.stream(QUESTION))
    assert answer == expected
    assert len(tokens) > 1
    assert "".join(token.text for token in tokens) == expected.text
    assert first == tokens[-1]


def test_a_stream_that_is_left_closes_its_request(server):
    with loaded(server, rag="marginalize: none") as rag:
        server.always = hanging = Hanging(1)
        with pytest.raises(DeadlineError):
            list(rag.stream(QUESTION, timeout=0.3))
        assert hanging.all_left()

        def begin(handler: Any, body: Any) -> None:
            if handler.path.endswith("completions"):
                handler.send_response(200)
                handler.end_headers()
                row = {"choices": [{"delta": {"content": "Li"}}]}
                handler.wfile.write(b"data: " + json.dumps(row).encode() + b"\n\n")
                handler.wfile.flush()
            hanging(handler, body)

        server.always = begin
        stream = rag.stream(QUESTION)
        assert next(stream).text == "Li"
        stream.close()
        assert hanging.all_left()


def test_the_key_is_in_no_output_and_no_file(server, capsys, caplog):
    loaded(server).close()
    ask = ["ask", "p.yaml", QUESTION]
    for command in (ask, [*ask, "--json"], ["fill", "p.yaml"]):
        assert main(command) == 0
    server.always = lambda handler, _: handler.reply(401, {"error": f"key {KEY} is wrong"})
    assert main(ask) != 0
    shown = capsys.readouterr()
    assert "key … is wrong" in shown.err
    assert KEY not in shown.out + shown.err + caplog.text
    files = [path for path in Path().rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_a_server_that_fails_amid_questions_loses_none_of_those_before(server):
    with loaded(server) as rag:
        (first,) = rag.answer(QUESTION)
        server.always = lambda handler, _: handler.reply(500, {})
        with pytest.raises(RagcoreError, match="status 500"):
            rag.answer("What is the river?")
        server.always = None
        assert rag.answer(QUESTION)[0].text == first.text


class Hanging:
    """Replies at one route never, until the client leaves.

    Attributes:
        asked: set once so many requests have come.
        left: how many connections were closed by the client.
    """

    def __init__(self, count: int, route: str = "completions") -> None:
        self._route = route
        self.asked = threading.Event()
        self.left = threading.Semaphore(0)
        self._count = count
        self._come = 0
        self._lock = threading.Lock()

    def __call__(self, handler: Any, body: Any) -> None:
        if not handler.path.endswith(self._route):
            handler.reply(*handler.server.reply_to(handler.path, body))
            return
        with self._lock:
            self._come += 1
            if self._come == self._count:
                self.asked.set()
        handler.connection.settimeout(20)
        if handler.connection.recv(1) == b"":
            self.left.release()

    def all_left(self) -> bool:
        return all(self.left.acquire(timeout=10) for _ in range(self._count))


@pytest.mark.parametrize("generator", ["", TOP, SCORE], ids=["text", "top", "score"])
def test_a_deadline_ends_requests_that_are_under_way(server, generator):
    with loaded(server, generator) as rag:
        server.always = hanging = Hanging(3)
        began = time.monotonic()
        with pytest.raises(DeadlineError, match=r"longer than its timeout, 0\.3 s"):
            rag.answer(QUESTION, timeout=0.3)
        assert time.monotonic() - began < 5
        assert hanging.all_left(), "a connection is still open"
        server.always = None
        assert rag.answer(QUESTION)[0].tier == {"": "text", TOP: "top", SCORE: "score"}[generator]


@pytest.mark.parametrize("call", ["answer", "search", "events"])
def test_a_deadline_ends_the_encoding_of_a_question(server, call):
    with loaded(server) as rag:
        server.always = hanging = Hanging(1, "embeddings")
        with pytest.raises(DeadlineError):
            list(getattr(rag, call)(QUESTION, timeout=0.3))
        assert hanging.all_left()


def test_an_answer_that_is_cancelled_closes_its_requests(server):
    with loaded(server) as rag:
        server.always = hanging = Hanging(3)
        cancellation = ragcore.Cancellation()

        def cancel() -> None:
            hanging.asked.wait(10)
            cancellation.cancel()

        cancelling = threading.Thread(target=cancel)
        cancelling.start()
        with pytest.raises(RequestCancelledError):
            rag.answer(QUESTION, cancellation=cancellation)
        cancelling.join()
        assert hanging.all_left()


def test_a_deadline_ends_the_wait_before_another_attempt(server):
    with loaded(server) as rag:
        server.always = lambda handler, _: handler.reply(429, {}, **{"Retry-After": "50"})
        began = time.monotonic()
        with pytest.raises(DeadlineError):
            rag.answer(QUESTION, timeout=0.3)
        assert time.monotonic() - began < 5


def test_a_server_that_is_down_is_named_when_the_pipeline_is_loaded(server):
    loaded(server).close()
    server.shutdown()
    server.server_close()
    with pytest.raises(GeneratorError, match=r"127\.0\.0\.1:\d+/v1/chat/completions: Connect"):
        ragcore.load("p.yaml")
