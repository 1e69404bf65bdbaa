"""Change which version of a memory is served: through the store, so that all workers follow.

Knows the routes under /v1/admin; each needs a token of the server's own file for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict
from starlette.concurrency import run_in_threadpool

from ragcore.errors import ConfigError
from ragcore_serve.errors import RefusedError
from ragcore_serve.requests import CheckBody, Pipeline, VersionBody
from ragcore_serve.responses import ERRORS, Json
from ragcore_serve.served import ServedPipeline
from ragcore_serve.serving import AdminNow, Serving, ServingNow

__all__ = ["router"]

router = APIRouter(prefix="/v1/admin", tags=["admin"], responses=ERRORS)

P = ParamSpec("P")
T = TypeVar("T")


class PipelineBody(BaseModel):
    """A pipeline to roll back."""

    model_config = ConfigDict(extra="forbid")

    pipeline: Pipeline = None


@router.post("/activate", summary="Make a version the store's current one, and serve it")
async def activate(body: VersionBody, admin: AdminNow, serving: ServingNow) -> Json:
    """Open the version first: where that fails, nothing has changed. All workers follow."""
    pipeline = serving.pipelines.get(body.pipeline)
    before = await _changed(serving, pipeline, pipeline.rag.activate, body.version)
    return Json({"pipeline": pipeline.name, "version": body.version, "before": before})


@router.post("/rollback", summary="Make the version before the current one current again")
async def rollback(admin: AdminNow, serving: ServingNow, body: PipelineBody | None = None) -> Json:
    """Go back to the version that was current before, and serve it. All workers follow."""
    pipeline = serving.pipelines.get(None if body is None else body.pipeline)
    before = pipeline.rag.memory.version
    version = await _changed(serving, pipeline, pipeline.rag.rollback)
    return Json({"pipeline": pipeline.name, "version": version, "before": before})


@router.post("/check", summary="Open a version as it would be served, and search it once")
async def check(body: CheckBody, admin: AdminNow, serving: ServingNow) -> Json:
    """Say whether a version can be served, and change nothing."""
    pipeline = serving.pipelines.get(body.pipeline)
    return Json(await _changed(serving, pipeline, _check, pipeline, body.version))


async def _changed(
    serving: Serving,
    pipeline: ServedPipeline,
    change: Callable[P, T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Make one change at a time, in a thread: a full queue of questions does not hold it up.

    Raises:
        RefusedError: the pipeline does not follow the store.
    """
    async with pipeline.changing:
        try:
            return await run_in_threadpool(change, *args, **kwargs)
        except ConfigError as error:
            message = str(error)
            if serving.config.pin:
                message = (
                    f"pipeline {pipeline.name!r} stays with version "
                    f"{pipeline.rag.memory.version!r}: the server was started with --pin; start "
                    "it without to change versions"
                )
            raise RefusedError(message) from error


def _check(pipeline: ServedPipeline, version: str) -> dict[str, Any]:
    memory = pipeline.rag.memory.open(version)
    try:
        return {"pipeline": pipeline.name, "version": memory.version, "passages": len(memory)}
    finally:
        memory.close()
