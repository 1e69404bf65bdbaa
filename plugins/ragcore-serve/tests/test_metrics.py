"""Metrics count each question once, and their labels are bounded."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from typing import get_args

import pytest
import ragcore_serve.plugin
from gated_rag import SECONDS, make_rag
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from ragcore_serve.batching import Batcher, QueueFull
from ragcore_serve.measuring import FinishedRequest
from ragcore_serve.metrics import Metrics, entropy, prior_posterior_kl
from ragcore_serve.outcomes import OutcomeKind

from ragcore import Request
from ragcore.evaluation.metrics.entropy import PosteriorEntropy, PriorEntropy, PriorPosteriorKl
from ragcore.evaluation.prediction import Prediction, RankedPassage


@pytest.fixture
def rag(tmp_path):
    with make_rag(tmp_path) as rag:
        yield rag


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Return the values of all metrics but buckets, by name and values of labels, in order."""
    content, content_type = metrics.exposition()
    assert content_type.startswith("text/plain")
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(content.decode())
        for sample in family.samples
        if not sample.name.endswith(("_bucket", "_created"))
    }


def test_questions_are_counted_by_outcome_and_answers_measured(rag):
    metrics = Metrics()
    world = metrics.pipeline("world", lambda: rag.memory.version)

    async def main():
        batcher = Batcher(
            rag,
            queue=3,
            streams=1,
            observe=world.observe,
            observe_batch=world.observe_batch,
            observe_queue=world.observe_queue,
        )
        results = await batcher.answer([Request(name) for name in ("a", "b", "broken")])
        events = [event async for event in batcher.stream(Request("c"))]
        rag.generator.gate.close()
        waiting = asyncio.create_task(batcher.answer([Request("d"), Request("e")]))
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            await batcher.answer([Request("f"), Request("g")])
        waiting.cancel()
        await asyncio.wait({waiting})
        rag.generator.gate.open()
        assert await batcher.drain(SECONDS)
        return [*results[:2], events[-1]]

    answers = asyncio.run(main())
    values = samples(metrics)
    outcomes = {
        kind: values["ragcore_questions_total", kind, "world"] for kind in get_args(OutcomeKind)
    }
    expected = {"answered": 3, "abstained": 0, "error": 1, "refused": 2, "cancelled": 2}
    assert outcomes == expected
    assert values["ragcore_queue_questions", "world"] == 0
    assert values["ragcore_first_token_seconds_count", "world"] == 1
    assert values["ragcore_question_seconds_count", "stream", "world"] == 1
    tokens = sum(len(answer.token_ids) for answer in answers)
    assert values["ragcore_tokens_total", "world"] == tokens
    surprise = -sum(answer.log_prob for answer in answers)
    assert values["ragcore_answer_surprise_nats_sum", "world"] == pytest.approx(surprise)
    assert values["ragcore_prior_entropy_nats_count", "world"] == 3
    assert values["ragcore_batch_questions_sum", "world"] >= 3


SHARES = st.lists(st.integers(0, 9), min_size=3, max_size=3).filter(any)


@given(priors=SHARES, posteriors=SHARES)
def test_entropies_and_divergence_are_those_of_the_evaluation(priors, posteriors):
    prior = [share / sum(priors) for share in priors]
    posterior = [share / sum(posteriors) for share in posteriors]
    passages = tuple(
        RankedPassage(str(n), "", 0.0, p, q, False)
        for n, (p, q) in enumerate(zip(prior, posterior, strict=True))
    )
    prediction = Prediction("q", "who", (), False, (), "x", -1.0, None, passages)
    expected = [
        metric(metric.Config()).score(prediction)
        for metric in (PriorEntropy, PosteriorEntropy, PriorPosteriorKl)
    ]
    found = [entropy(prior), entropy(posterior), prior_posterior_kl(prior, posterior)]
    assert found == pytest.approx(expected, abs=1e-9)


def test_stages_and_swaps_are_counted_by_the_hooks_while_there_is_a_listener(rag):
    metrics = Metrics()
    metrics.pipeline("world", lambda: rag.memory.version)
    rag.answer("before")
    with metrics.listening():
        rag.answer(["who rules chad", "who rules mali"])
        ragcore_serve.plugin.ragcore_timed("of a later core", 0, 0.25, 1, "v1")
        assert samples(metrics)["ragcore_memory_info", "v1", "world"] == 1
        rag.swap("v2")
    rag.swap("v1")
    values = samples(metrics)
    counted = {
        stage: values["ragcore_stage_seconds_count", stage]
        for stage in ("search", "read", "decode", "open", "other")
    }
    assert counted == dict.fromkeys(counted, 1)
    assert values["ragcore_memory_swaps_total",] == 1
    info = [key for key in values if key[0] == "ragcore_memory_info"]
    assert info == [("ragcore_memory_info", "v2", "world")]


def test_requests_are_counted_by_the_template_of_their_route():
    metrics = Metrics()
    metrics.observe_request(FinishedRequest("/v1/versions/{version}", "GET", "/", 200, 0.1))
    metrics.observe_request(FinishedRequest(None, "BREW", "/", 404, 0.1))
    metrics.observe_request(FinishedRequest(None, "STEEP", "/", 404, 0.1))
    values = samples(metrics)
    assert values["ragcore_http_requests_total", "/v1/versions/{version}", "200", "GET"] == 1
    assert values["ragcore_http_requests_total", "404", "other", "other"] == 2


WORKER = """
import sys
from ragcore_serve.outcomes import OutcomeKind
from ragcore_serve.measuring import FinishedRequest
from ragcore_serve.metrics import Metrics
metrics = Metrics()
version = ["v1"]
world = metrics.pipeline("world", lambda: version[0])
metrics.observe_request(FinishedRequest("/v1/answer", "POST", "/", 200, 0.1))
world.observe_queue(2)
version[0] = "v2"
world.note_version()
sys.stdout.buffer.write(metrics.exposition()[0])
"""


def test_each_of_several_processes_shows_the_sums_of_all(tmp_path):
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    shown = ""
    for _ in range(2):
        shown = subprocess.run(
            [sys.executable, "-c", WORKER], env=environment, capture_output=True, check=True
        ).stdout.decode()
    families = {family.name: family for family in text_string_to_metric_families(shown)}
    (requests,) = families["ragcore_http_requests"].samples
    assert requests.value == 2
    (queue,) = families["ragcore_queue_questions"].samples
    assert queue.value == 4
    info = Counter(
        (sample.labels["version"], sample.value)
        for sample in families["ragcore_memory_info"].samples
    )
    assert info == {("v1", 0.0): 2, ("v2", 1.0): 2}
    assert len({sample.labels["pid"] for sample in families["ragcore_memory_info"].samples}) == 2
