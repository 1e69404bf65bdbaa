"""Make the app of a server: its routes, the errors of all of them, and what guards them.

Knows the order in which a request passes: measures and log, host and origin, CORS, token, body,
route.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from importlib.util import find_spec

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

import ragcore
from ragcore.errors import RagcoreError
from ragcore_serve import admin, documents, openai_api, operations, page, routes
from ragcore_serve.access import log_fault, log_request
from ragcore_serve.auth import Access
from ragcore_serve.config import ServeConfig, check_exposure
from ragcore_serve.errors import InternalError, InvalidRequestError, invalid_request
from ragcore_serve.guards import Check, Guard, path_of
from ragcore_serve.hosts import HostCheck, hosts_of
from ragcore_serve.limits import BodyLimit, RefusedBody, declared_size_check
from ragcore_serve.measuring import MeasuredRequests
from ragcore_serve.metrics import Metrics
from ragcore_serve.plugin_routes import mount_plugin_routes
from ragcore_serve.responses import Json, error_reply
from ragcore_serve.served import Pipelines
from ragcore_serve.serving import Serving
from ragcore_serve.tracing import Tracing

__all__ = ["make_app"]

_ROUTERS = (
    routes.router,
    openai_api.router,
    admin.router,
    operations.router,
    documents.router,
    page.router,
)


def make_app(
    pipelines: Pipelines,
    config: ServeConfig,
    metrics: Metrics | None = None,
    tracing: Tracing | None = None,
    access: Access | None = None,
) -> FastAPI:
    """Return the app that serves pipelines, which the caller closes.

    When the app shuts down, it drains them as `config.drain` says.

    Raises:
        ConfigError: a file of tokens cannot be used, or others could ask without a token; see
            `check_exposure`.
    """
    check_exposure(config)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with tools:
            yield
            await pipelines.drain(config.drain)

    app = FastAPI(
        title="ragcore",
        version=ragcore.__version__,
        description="Answers with their probability and evidence, from a memory with versions.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    serving = Serving(
        pipelines, config, access or Access(config), metrics or Metrics(), tracing or Tracing()
    )
    app.state.serving = serving
    for router in _ROUTERS:
        app.include_router(router)
    mount_plugin_routes(app)
    tools = _mount_tools(app, serving)
    app.add_exception_handler(RagcoreError, _reply_to_ragcore_error)
    app.add_exception_handler(RequestValidationError, _reply_to_invalid_request)
    app.add_exception_handler(HTTPException, _reply_to_http_error)
    # The one that is added last sees a request first.
    app.add_middleware(BodyLimit, max_bytes=config.max_body_bytes)
    by_token: list[Check] = [serving.access, declared_size_check(config.max_body_bytes)]
    app.add_middleware(Guard, checks=by_token, reply=_refusal)
    if config.cors:
        # Outside: a browser sends no token when it asks what a page may send.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(config.cors),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["Retry-After"],
        )
    by_origin = [HostCheck(hosts_of(config), config.cors)]
    app.add_middleware(Guard, checks=by_origin, reply=_refusal)
    app.add_middleware(
        MeasuredRequests,
        observers=[log_request, serving.metrics.observe_request],
        on_fault=partial(_fault, messages=config.log_questions),
    )
    return app


def _mount_tools(app: FastAPI, serving: Serving) -> AbstractAsyncContextManager[None]:
    """Serve the tools for assistants where the extra `mcp` is installed."""
    if find_spec("mcp") is None:
        return nullcontext()
    from ragcore_serve.mcp import mount_mcp

    return mount_mcp(app, serving)


def _refusal(connection: HTTPConnection, error: RagcoreError) -> Response:
    """Return the reply to a request that reaches no route, in the form of the route's errors."""
    if path_of(connection).startswith(openai_api.PATHS):
        return openai_api.openai_error(error)
    return error_reply(error)


def _fault(error: Exception, *, messages: bool) -> RagcoreError:
    """Log an error that nobody should cause; return what the client may read of it."""
    log_fault(error, messages=messages)
    return InternalError("a fault of the server: its log has the cause")


async def _reply_to_ragcore_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RagcoreError)
    # Who may change versions runs the server, whose files the message may name.
    return error_reply(error, to_admin=request.url.path.startswith(admin.router.prefix))


async def _reply_to_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    kind = request.headers.get("content-type", "")
    if isinstance(error.body, bytes) and "json" not in kind:
        return error_reply(
            InvalidRequestError(
                f"the body is {ascii(kind[:100]) if kind else 'of no type'}, expected JSON: send "
                "the header Content-Type: application/json"
            )
        )
    return error_reply(invalid_request(error.errors()))


async def _reply_to_http_error(request: Request, error: Exception) -> Response:
    """Reply to a path or method that is none of the server's, in the form of all errors."""
    assert isinstance(error, HTTPException)
    if isinstance(error, RefusedBody):
        return error_reply(error.error)
    row = {"error": {"type": "HTTPError", "message": str(error.detail)}}
    return Json(row, error.status_code, dict(error.headers or {}))
