"""The routes for what runs the server: whether it lives, whether it can be asked, metrics.

Knows the state of the pipelines. What is served, only those learn who may ask.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from ragcore_serve.errors import UnauthorizedError
from ragcore_serve.responses import ERRORS, Json
from ragcore_serve.serving import CallerNow, Serving, ServingNow

__all__ = ["router"]

router = APIRouter(tags=["operations"])


@router.get("/livez", summary="Whether the process runs")
async def livez() -> Json:
    """Reply as long as the event loop runs; a server that does not should be started again."""
    return Json({"status": "alive"})


@router.get("/readyz", summary="Whether questions can be asked", responses={503: ERRORS[503]})
async def readyz(request: Request, serving: ServingNow) -> Json:
    """Reply 503 as soon as the server begins to stop, and while a memory's database is silent.

    To those who may ask, `versions` names the version that each pipeline serves, in this process.
    """
    serving.pipelines.check_ready()
    if serving.pipelines.has_unavailable:
        await run_in_threadpool(serving.pipelines.check_available)
    row: dict[str, Any] = {"status": "ready"}
    if not request.state.foreign and _may_ask(request, serving):
        row["versions"] = {each.name: each.rag.memory.version for each in serving.pipelines}
    return Json(row)


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    responses={status: ERRORS[status] for status in (401, 403)},
)
def metrics(serving: ServingNow, caller: CallerNow) -> Response:
    """Return the metrics of all processes of this server; a token with a filter reads none."""
    serving.access.check_reads_all(caller)
    content, content_type = serving.metrics.exposition()
    return Response(content, headers={"Content-Type": content_type})


def _may_ask(request: Request, serving: Serving) -> bool:
    try:
        serving.access.caller(request.headers.get("authorization"))
    except UnauthorizedError:
        return False
    return True
