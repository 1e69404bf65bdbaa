"""The routes under /v1 that ask a pipeline: answers, searches, scores, comparisons, versions.

Knows which function of a pipeline each calls and the JSON around it. All of them let the question
in through the pipeline's batcher, and ask by `request_for` or `narrowed_settings`, which keep to
the passages that the caller may read.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ragcore.errors import QuestionError, RagcoreError
from ragcore.tiers import Meter
from ragcore.types import Answer, SearchResult
from ragcore_serve.auth import Caller
from ragcore_serve.errors import InvalidRequestError, error_row
from ragcore_serve.leaving import while_connected
from ragcore_serve.requests import (
    AnswerBody,
    AnswerQuery,
    CompareBody,
    LogProbBody,
    SearchBody,
    SearchQuery,
    WithoutBody,
    check_settings,
    question_fault,
    questions_of,
)
from ragcore_serve.responses import ERRORS, Json, answer_row, manifest_row, version_row
from ragcore_serve.served import ServedPipeline
from ragcore_serve.serving import (
    CallerNow,
    Serving,
    ServingNow,
    answers_to,
    called,
    events_of,
    narrowed_settings,
    request_for,
)
from ragcore_serve.streams import event_stream

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["pipelines"], responses=ERRORS)

_QUESTIONS: Final = logging.getLogger("ragcore.serve.questions")
_STREAM: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The answers; as server-sent events where the request accepts them.",
        "content": {"application/json": {}, "text/event-stream": {}},
    }
}


@router.post("/answer", summary="Answer questions, with evidence", responses=_STREAM)
async def answer(
    request: Request, body: AnswerBody, caller: CallerNow, serving: ServingNow
) -> Response:
    """Find the most probable answer to each question.

    A single question that fails has a status of its own; in a list, the error is in its place. With
    `Accept: text/event-stream` one question is answered as a stream of events.
    """
    return await _answer(request, body, caller, serving)


@router.get("/answer", summary="Answer questions, by query parameters", responses=_STREAM)
async def answer_by_query(
    request: Request,
    query: Annotated[AnswerQuery, Query()],
    caller: CallerNow,
    serving: ServingNow,
) -> Response:
    """As by POST; the filter `where` is JSON."""
    return await _answer(request, query.body(), caller, serving)


@router.post("/search", summary="Find passages, and read none")
async def search(
    request: Request, body: SearchBody, caller: CallerNow, serving: ServingNow
) -> Json:
    """Find the passages that an answer to each question would be read from."""
    return await _search(request, body, caller, serving)


@router.get("/search", summary="Find passages, by query parameters")
async def search_by_query(
    request: Request,
    query: Annotated[SearchQuery, Query()],
    caller: CallerNow,
    serving: ServingNow,
) -> Json:
    """As by POST; the filter `where` is JSON."""
    return await _search(request, query.body(), caller, serving)


@router.post("/log_prob", summary="Compute log p of answers")
async def log_prob(
    request: Request, body: LogProbBody, caller: CallerNow, serving: ServingNow
) -> Json:
    """Compute log p(y|x) of an answer to each question; null for an impossible one."""
    pipeline = serving.pipelines.get(body.pipeline)
    questions = _sound_questions(body.questions, serving)
    if len(questions) != len(body.answers):
        raise QuestionError(
            f"{len(questions)} questions with {len(body.answers)} answers: log_prob takes one "
            "answer for each question"
        )
    for text in body.answers:
        _check_length(text, serving)
    settings = check_settings(body.settings, serving.config)
    meters = [Meter() for _ in questions]
    log_probs = await called(
        request,
        serving,
        pipeline,
        pipeline.rag.log_prob,
        questions,
        body.answers,
        questions=questions,
        timeout=body.timeout,
        meters=meters,
        **narrowed_settings(caller, settings, body.version),
    )
    row: dict[str, Any] = {"pipeline": pipeline.name, "log_probs": log_probs}
    usages = [meter.usage() for meter in meters]
    if any(usage.requests for usage in usages):
        row["usage"] = [asdict(usage) for usage in usages]
    return Json(row)


@router.post("/without", summary="Answer, then leave passages out")
async def without(
    request: Request, body: WithoutBody, caller: CallerNow, serving: ServingNow
) -> Json:
    """Answer a question, and recompute the answer without some of its passages."""
    pipeline = serving.pipelines.get(body.pipeline)
    deadline = serving.deadline(body.timeout)
    settings = check_settings(body.settings, serving.config)
    (question,) = _sound_questions([body.question], serving)
    asked = request_for(caller, question, settings, body.version)
    (answer,) = await answers_to(request, serving, pipeline, [asked], deadline)
    if isinstance(answer, RagcoreError):
        raise answer
    recompute = pipeline.batcher.call(
        pipeline.rag.without, answer, body.passage_ids, deadline=deadline
    )
    left_out = await while_connected(request, recompute)
    row = answer_row(caller.shown(answer), pipeline.name)
    return Json({"pipeline": pipeline.name, "answer": row, "without": left_out.to_dict()})


@router.post("/compare", summary="Answer one question from two versions")
async def compare(
    request: Request, body: CompareBody, caller: CallerNow, serving: ServingNow
) -> Json:
    """Answer a question from two versions of the memory; an error is in its answer's place."""
    pipeline = serving.pipelines.get(body.pipeline)
    settings = check_settings(body.settings, serving.config)
    (question,) = _sound_questions([body.question], serving)
    asked = [request_for(caller, question, settings, version) for version in body.versions]
    outcomes = await answers_to(request, serving, pipeline, asked, serving.deadline(body.timeout))
    if all(isinstance(each, RagcoreError) for each in outcomes):
        (first, *_) = outcomes
        assert isinstance(first, RagcoreError)
        raise first
    answers = [answer_row(caller.shown(each), pipeline.name) for each in outcomes]
    return Json({"pipeline": pipeline.name, "versions": body.versions, "answers": answers})


@router.get("/pipelines", summary="List the pipelines that are served")
async def pipelines(caller: CallerNow, serving: ServingNow) -> Json:
    """List each pipeline's name and the version that it serves."""
    rows = [
        {
            "name": each.name,
            "version": each.rag.memory.version,
            "default": each is serving.pipelines.default,
        }
        for each in serving.pipelines
    ]
    return Json({"pipelines": rows})


@router.get("/versions", summary="List the versions of a memory")
async def versions(caller: CallerNow, serving: ServingNow, pipeline: str | None = None) -> Json:
    """List the versions of a pipeline's store; `serving` is the one that answers now."""
    served = serving.pipelines.get(pipeline)
    listed = await served.batcher.call(served.rag.memory.versions)
    return Json(
        {
            "pipeline": served.name,
            "serving": served.rag.memory.version,
            "versions": [version_row(info, served.rag.memory.version, caller) for info in listed],
        }
    )


@router.get("/versions/{version}", summary="Show a version of a memory")
async def version(
    version: str, caller: CallerNow, serving: ServingNow, pipeline: str | None = None
) -> Json:
    """Show one version, with the version that it was derived from."""
    served = serving.pipelines.get(pipeline)
    manifest = await served.batcher.call(served.manifest, version)
    row = manifest_row(manifest, served.rag.memory.version, caller)
    return Json({"pipeline": served.name, **row})


async def _answer(request: Request, body: AnswerBody, caller: Caller, serving: Serving) -> Response:
    pipeline = serving.pipelines.get(body.pipeline)
    settings = check_settings(body.settings, serving.config)
    questions = questions_of(body.question, serving.config)
    if "text/event-stream" in request.headers.get("accept", ""):
        return _stream(request, questions, body, caller, serving, pipeline, settings)
    results: list[Answer | RagcoreError | None] = [
        question_fault(each, serving.config) for each in questions
    ]
    _log_questions(questions, pipeline, serving)
    asked = [
        request_for(caller, question, settings, body.version)
        for question, fault in zip(questions, results, strict=True)
        if fault is None
    ]
    answers = iter(
        await answers_to(request, serving, pipeline, asked, serving.deadline(body.timeout))
    )
    outcomes = [next(answers) if fault is None else fault for fault in results]
    if isinstance(body.question, str) and isinstance(outcomes[0], RagcoreError):
        raise outcomes[0]
    return Json({"answers": [answer_row(caller.shown(each), pipeline.name) for each in outcomes]})


def _stream(
    request: Request,
    questions: Sequence[str],
    body: AnswerBody,
    caller: Caller,
    serving: Serving,
    pipeline: ServedPipeline,
    settings: dict[str, Any],
) -> Response:
    if not isinstance(body.question, str):
        raise InvalidRequestError("question: a list cannot be streamed: stream each question alone")
    (question,) = _sound_questions(questions, serving)
    _log_questions(questions, pipeline, serving)
    seconds = serving.seconds(body.timeout)
    asked = request_for(caller, question, settings, body.version)
    events = events_of(request, serving, pipeline, asked, serving.deadline(body.timeout))
    return event_stream(events, pipeline=pipeline.name, shown=caller.shown, deadline=seconds)


async def _search(request: Request, body: SearchBody, caller: Caller, serving: Serving) -> Json:
    pipeline = serving.pipelines.get(body.pipeline)
    settings = check_settings(body.settings, serving.config)
    questions = questions_of(body.question, serving.config)
    faults = [question_fault(each, serving.config) for each in questions]
    if isinstance(body.question, str) and faults[0] is not None:
        raise faults[0]
    _log_questions(questions, pipeline, serving)
    sound = [each for each, fault in zip(questions, faults, strict=True) if fault is None]
    k = settings.pop("k", None)
    searched: list[SearchResult] = []
    if sound:
        searched = await called(
            request,
            serving,
            pipeline,
            pipeline.rag.search,
            sound,
            k,
            questions=sound,
            timeout=body.timeout,
            operation="retrieval",
            **narrowed_settings(caller, settings, body.version),
        )
    results = iter(searched)
    rows = [
        {**caller.shown(next(results)).to_dict(), "pipeline": pipeline.name}
        if fault is None
        else error_row(fault)
        for fault in faults
    ]
    return Json({"results": rows})


def _sound_questions(questions: Sequence[str], serving: Serving) -> list[str]:
    """Return the questions of a request in which one that is wrong fails all.

    Raises:
        QuestionError, InvalidRequestError: the first fault.
    """
    batch = questions_of(questions, serving.config)
    for question in batch:
        fault = question_fault(question, serving.config)
        if fault is not None:
            raise fault
    return batch


def _check_length(answer: str, serving: Serving) -> None:
    limit = serving.config.max_question_chars
    if len(answer) > limit:
        raise QuestionError(
            f"an answer has {len(answer):,} characters, and this server takes at most {limit:,}: "
            "shorten it"
        )


def _log_questions(questions: Sequence[str], pipeline: ServedPipeline, serving: Serving) -> None:
    if serving.config.log_questions:
        for question in questions:
            _QUESTIONS.info("%s: %s", pipeline.name, ascii(question))
