"""The routes for what runs the server: whether it lives, whether it can be asked, metrics.

Knows the state of the pipelines. Only the metrics need a token: they say what was asked.
"""

from __future__ import annotations

from fastapi import APIRouter, Response

from ragcore_serve.responses import ERRORS, Json
from ragcore_serve.serving import CallerNow, ServingNow

__all__ = ["router"]

router = APIRouter(tags=["operations"])


@router.get("/livez", summary="Whether the process runs")
async def livez() -> Json:
    """Reply as long as the event loop runs; a server that does not should be started again."""
    return Json({"status": "alive"})


@router.get("/readyz", summary="Whether questions can be asked", responses={503: ERRORS[503]})
async def readyz(serving: ServingNow) -> Json:
    """Reply 503 from the moment that the server is told to stop.

    `versions` has the version that each pipeline serves, of this process where there are several.
    """
    serving.pipelines.check_ready()
    versions = {each.name: each.rag.memory.version for each in serving.pipelines}
    return Json({"status": "ready", "versions": versions})


@router.get("/metrics", summary="Metrics for Prometheus", responses={401: ERRORS[401]})
def metrics(serving: ServingNow, caller: CallerNow) -> Response:
    """Return the metrics of all processes of this server."""
    content, content_type = serving.metrics.exposition()
    return Response(content, headers={"Content-Type": content_type})
