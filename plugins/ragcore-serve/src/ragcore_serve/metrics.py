"""Count and time what a server does, in the format of Prometheus.

Knows the metrics' names, labels and buckets; knows nothing of how a reply is sent. Labels are
bounded: templates of routes, names of pipelines, and words of this file; nothing that a request
contains. With the variable PROMETHEUS_MULTIPROC_DIR, which must be set before this module is
imported, the processes of a server write into its folder, and each of them shows the sums of all.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from math import log
from typing import Final, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from ragcore.types import Answer
from ragcore_serve.listeners import Listener, listening
from ragcore_serve.measuring import FinishedRequest
from ragcore_serve.outcomes import Outcome, OutcomeKind

__all__ = ["MULTIPROCESS_FOLDER", "Metrics", "PipelineMetrics", "entropy", "prior_posterior_kl"]

MULTIPROCESS_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The variable by which prometheus_client knows where processes share their numbers."""

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_STAGE_SECONDS: Final = (0.0005, 0.002, *_SECONDS)
_NATS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0)
_LOG_PROB_NATS: Final = (0.01, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128)

_STAGES: Final = ("rewrite", "search", "read", "decode", "score", "open")
_OTHER: Final = "other"
_CLIENT_LEFT: Final = 499
"""What counts as the status of a request whose client left before its reply began."""

_LEAST: Final = 2.0**-149
"""What a prior counts as that has become 0 in single precision, so that KL is finite."""

Method = Literal["GET", "HEAD", "OPTIONS", "POST"]


class Metrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        """Begin at 0; in a folder of several processes, where this process's files end."""
        self._registry = CollectorRegistry()
        self._multiprocess = MULTIPROCESS_FOLDER in os.environ
        self._pipelines: list[PipelineMetrics] = []
        self.requests = Counter(
            "ragcore_http_requests",
            "Requests by route, method and status.",
            ("route", "method", "status"),
            registry=self._registry,
        )
        self.request_seconds = Histogram(
            "ragcore_http_request_seconds",
            "Time from a request's head to the end of its reply.",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.stage_seconds = Histogram(
            "ragcore_stage_seconds",
            "Time of each stage: waiting in the queue, rewrite, search, read, decode, score, and "
            "opening a version. Questions that are answered together share one search, read and "
            "decode.",
            ("stage",),
            buckets=_STAGE_SECONDS,
            registry=self._registry,
        )
        self.questions = self._counter("questions", "Questions by outcome.", "outcome")
        self.question_seconds = self._histogram(
            "question_seconds", "Time from admission to the answer.", _SECONDS, "lane"
        )
        self.first_token_seconds = self._histogram(
            "first_token_seconds", "Time from admission to a stream's first token.", _SECONDS
        )
        self.batch_questions = self._histogram(
            "batch_questions", "Questions that are answered together.", _SIZES
        )
        self.queue_questions = Gauge(
            "ragcore_queue_questions",
            "Questions that are admitted and unfinished.",
            ("pipeline",),
            multiprocess_mode="livesum",
            registry=self._registry,
        )
        self.tokens = self._counter("tokens", "Tokens of answers, end-of-sequence included.")
        self.surprise = self._histogram(
            "answer_surprise_nats", "-log p(y|x) of answers.", _LOG_PROB_NATS
        )
        self.prior_entropy = self._histogram(
            "prior_entropy_nats", "Entropy of the passages' prior p(z|x).", _NATS
        )
        self.posterior_entropy = self._histogram(
            "posterior_entropy_nats", "Entropy of the passages' posterior p(z|x,y).", _NATS
        )
        self.prior_posterior_kl = self._histogram(
            "prior_posterior_kl_nats", "Divergence of the posterior from the prior.", _NATS
        )
        self.memory = Gauge(
            "ragcore_memory_info",
            "1 for the version of the memory that a pipeline serves; by process, with workers.",
            ("pipeline", "version"),
            multiprocess_mode="liveall",
            registry=self._registry,
        )
        self.swaps = Counter(
            "ragcore_memory_swaps",
            "Versions that were swapped in, of all pipelines.",
            registry=self._registry,
        )

    def pipeline(self, name: str, version: Callable[[], str]) -> PipelineMetrics:
        """Add a pipeline.

        Args:
            name: of the pipeline.
            version: returns which version it serves.
        """
        pipeline = PipelineMetrics(self, name, version, keep_old=self._multiprocess)
        self._pipelines.append(pipeline)
        pipeline.note_version()
        return pipeline

    def observe_request(self, request: FinishedRequest) -> None:
        """Count a request; a method that no route has counts as "other"."""
        route = _OTHER if request.route is None else request.route
        method = request.method if request.method in get_args(Method) else _OTHER
        status = _CLIENT_LEFT if request.status is None else request.status
        self.requests.labels(route, method, str(status)).inc()
        self.request_seconds.labels(route).observe(request.seconds)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Count stages and swaps inside the block, by the core's hooks."""
        with listening(Listener(self._stage, self._swap)):
            yield

    def exposition(self) -> tuple[bytes, str]:
        """Return the metrics as text, of all processes, and its content type."""
        registry = self._registry
        if self._multiprocess:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry), CONTENT_TYPE_LATEST

    def _stage(self, stage: str, started: int, seconds: float, questions: int, memory: str) -> None:
        self.stage_seconds.labels(stage if stage in _STAGES else _OTHER).observe(seconds)

    def _swap(self, old: str, new: str) -> None:
        self.swaps.inc()
        for pipeline in self._pipelines:
            pipeline.note_version()

    def _counter(self, name: str, help_: str, *labels: str) -> Counter:
        names = ("pipeline", *labels)
        return Counter(f"ragcore_{name}", help_, names, registry=self._registry)

    def _histogram(
        self, name: str, help_: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        names = ("pipeline", *labels)
        return Histogram(f"ragcore_{name}", help_, names, buckets=buckets, registry=self._registry)


class PipelineMetrics:
    """The metrics of one pipeline; its methods are the observers of a `Batcher`."""

    def __init__(
        self, metrics: Metrics, name: str, version: Callable[[], str], *, keep_old: bool
    ) -> None:
        """Begin at 0; see `Metrics.pipeline`.

        Args:
            metrics: of the process.
            name: of the pipeline.
            version: returns which version it serves.
            keep_old: whether old versions stay, as 0, since no series can be removed.
        """
        self._version = version
        self._keep_old = keep_old
        self._served: str | None = None
        self._noting = threading.Lock()
        self._name = name
        self._memory = metrics.memory
        self._waiting = metrics.stage_seconds.labels("queue")
        # Each outcome is there from the beginning, so that rates are known at the first one.
        self._questions = {
            kind: metrics.questions.labels(name, kind) for kind in get_args(OutcomeKind)
        }
        self._seconds = {
            lane: metrics.question_seconds.labels(name, lane) for lane in ("batch", "stream")
        }
        self._first_token = metrics.first_token_seconds.labels(name)
        self._batch = metrics.batch_questions.labels(name)
        self._queue = metrics.queue_questions.labels(name)
        self._tokens = metrics.tokens.labels(name)
        self._surprise = metrics.surprise.labels(name)
        self._prior = metrics.prior_entropy.labels(name)
        self._posterior = metrics.posterior_entropy.labels(name)
        self._kl = metrics.prior_posterior_kl.labels(name)

    def observe(self, outcome: Outcome) -> None:
        """Count a question by its outcome, and measure its answer."""
        self._questions[outcome.kind].inc()
        if outcome.kind == "refused":
            return
        self._waiting.observe(outcome.waited)
        self._seconds["stream" if outcome.streamed else "batch"].observe(outcome.seconds)
        if outcome.first_token is not None:
            self._first_token.observe(outcome.first_token)
        if isinstance(outcome.result, Answer):
            self._measure(outcome.result)

    def observe_batch(self, questions: int) -> None:
        """Count a batch by its size."""
        self._batch.observe(questions)

    def observe_queue(self, questions: int) -> None:
        """Note how many questions are admitted and unfinished."""
        self._queue.set(questions)

    def note_version(self) -> None:
        """Note which version is served now."""
        with self._noting:
            served = self._version()
            if self._served not in (None, served):
                if self._keep_old:
                    self._memory.labels(self._name, self._served).set(0)
                else:
                    self._memory.remove(self._name, self._served)
            self._served = served
            self._memory.labels(self._name, served).set(1)

    def _measure(self, answer: Answer) -> None:
        self._tokens.inc(answer.token_count)
        if answer.log_prob is not None:
            self._surprise.observe(max(0.0, -answer.log_prob))
        if answer.closed_book:
            return
        prior = [each.prior for each in answer.evidence]
        self._prior.observe(entropy(prior))
        posterior = [each.posterior for each in answer.evidence if each.posterior is not None]
        if len(posterior) < len(prior):
            return
        self._posterior.observe(entropy(posterior))
        self._kl.observe(prior_posterior_kl(prior, posterior))


def entropy(distribution: Iterable[float]) -> float:
    """Compute - Σ_z p(z) log p(z) of probabilities [k] in nats, with 0 log 0 = 0."""
    return max(0.0, -sum(p * log(p) for p in distribution if p > 0))


def prior_posterior_kl(prior: Iterable[float], posterior: Iterable[float]) -> float:
    """Compute Σ_z p(z|x,y) log p(z|x,y) / p(z|x) of probabilities [k] in nats (Kullback 1951).

    It is 0 where all passages make the answer equally probable.
    """
    pairs = zip(prior, posterior, strict=True)
    return max(0.0, sum(q * log(q / max(p, _LEAST)) for p, q in pairs if q > 0))
