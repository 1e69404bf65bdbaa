"""The route `/mcp`: pipelines as tools of the Model Context Protocol, which assistants call.

Knows the tools `answer`, `search` and `versions`; knows nothing of the protocol, which is the
library `mcp`'s: the extra `ragcore-serve[mcp]`. Each request stands for itself, so that any worker
can reply to it. https://modelcontextprotocol.io
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Annotated, Any, Final

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from mcp.types import ToolAnnotations
from pydantic import Field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

import ragcore
from ragcore.errors import RagcoreError
from ragcore.views.output import json_text
from ragcore_serve.auth import Caller
from ragcore_serve.errors import client_message
from ragcore_serve.requests import SearchSettings, Settings, check_settings, question_fault
from ragcore_serve.responses import answer_row, version_row
from ragcore_serve.served import ServedPipeline
from ragcore_serve.serving import (
    Serving,
    answers_to,
    authenticated,
    called,
    narrowed_settings,
    request_for,
)

__all__ = ["mount_mcp"]

_QUESTIONS: Final = logging.getLogger("ragcore.serve.questions")
_PATH: Final = "/mcp"

Row = dict[str, Any]

Question = Annotated[str, Field(description="A question in natural language.")]
Pipeline = Annotated[
    str | None, Field(description="Name of the pipeline; the server's first one by default.")
]
Version = Annotated[
    str | None, Field(description="Version of the memory; the one that is served by default.")
]
K = Annotated[int | None, Field(description="How many passages to read.")]
AnswerSettings = Annotated[
    Settings,
    Field(
        description="Of this answer alone, such as `sample` {temperature, n, seed}, `stop`, "
        "`max_new_tokens`, `where`, and `history`, the turns before the question, from which a "
        "pipeline with `rag.rewrite` makes a stand-alone question."
    ),
]


def mount_mcp(app: Starlette, serving: Serving) -> AbstractAsyncContextManager[None]:
    """Serve the tools under `/mcp`, behind the server's tokens.

    Args:
        app: of the server.
        serving: what the tools ask.

    Returns:
        What must be entered while the app serves.
    """
    with _root_logger_unchanged():
        server = MCPServer(
            "ragcore",
            version=ragcore.__version__,
            instructions="Ask a pipeline for an answer with its probability and evidence, or "
            "search the passages of its memory.",
        )
    tools = _Tools(serving)
    for tool in (tools.answer, tools.search, tools.versions):
        server.add_tool(tool, annotations=ToolAnnotations(read_only_hint=True))
    application = server.streamable_http_app(
        streamable_http_path=_PATH,
        json_response=True,
        stateless_http=True,
        max_request_body_size=serving.config.max_body_bytes,
        # The server has looked at Host and Origin already.
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    # Without a session there is nothing to send by GET: the library would hold such a stream open,
    # empty, for as long as its client likes.
    app.router.routes.append(Route(_PATH, application, methods=["POST"]))
    return server.session_manager.run()


@contextmanager
def _root_logger_unchanged() -> Iterator[None]:
    """Restore the root logger after the block.

    A new `MCPServer` makes it print what all libraries log from INFO on. How this process logs is
    the command line's choice, or that of the program that made the app.
    """
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


class _Tools:
    """What an assistant may call; each call asks as its caller."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    async def answer(
        self,
        context: Context,
        question: Question,
        pipeline: Pipeline = None,
        version: Version = None,
        k: K = None,
        settings: AnswerSettings = Settings(),  # noqa: B008 (a frozen default of the tool)
    ) -> Row:
        """Answer a question from a pipeline's memory, with log p and the passages it rests on."""
        with _errors_as_text():
            served = await self._asked(question, pipeline, version)
            if k is not None:
                settings = settings.model_copy(update={"k": k})
            checked = check_settings(settings, self._serving.config)
            caller, request = _caller(context), _request(context)
            asked = [request_for(caller, question, checked, version)]
            deadline = self._serving.deadline()
            (answer,) = await answers_to(request, self._serving, served, asked, deadline)
            if isinstance(answer, RagcoreError):
                raise answer
            return _plain(answer_row(caller.shown(answer), served.name))

    async def search(
        self,
        context: Context,
        question: Question,
        pipeline: Pipeline = None,
        version: Version = None,
        k: K = None,
    ) -> Row:
        """Find the passages that an answer to a question would be read from, best first."""
        with _errors_as_text():
            served = await self._asked(question, pipeline, version)
            check_settings(SearchSettings(k=k), self._serving.config)
            caller, request = _caller(context), _request(context)
            (found,) = await called(
                request,
                self._serving,
                served,
                served.rag.search,
                [question],
                k,
                questions=[question],
                operation="retrieval",
                **narrowed_settings(caller, {}, version),
            )
            return _plain({"pipeline": served.name, **caller.shown(found).to_dict()})

    async def versions(self, context: Context, pipeline: Pipeline = None) -> Row:
        """List the versions of a pipeline's memory, and which one is served now."""
        with _errors_as_text():
            served = self._serving.pipelines.get(pipeline)
            listed = await served.batcher.call(served.rag.memory.versions)
            serving, caller = served.rag.memory.version, _caller(context)
            rows = [version_row(info, serving, caller) for info in listed]
            return _plain({"pipeline": served.name, "serving": serving, "versions": rows})

    async def _asked(
        self, question: str, pipeline: str | None, version: str | None
    ) -> ServedPipeline:
        """Return the pipeline that is asked.

        Raises:
            QuestionError: the question cannot be asked.
            UnknownPipelineError, UnknownVersionError: there is no such pipeline, or version.
        """
        if (fault := question_fault(question, self._serving.config)) is not None:
            raise fault
        served = self._serving.pipelines.get(pipeline)
        await asyncio.to_thread(served.check_version, version)
        if self._serving.config.log_questions:
            _QUESTIONS.info("%s: %s", served.name, ascii(question))
        return served


def _request(context: Context) -> Request:
    """Return the HTTP request of a call, whose client may leave."""
    request: Any = context.request_context.request
    assert isinstance(request, Request)
    return request


def _caller(context: Context) -> Caller:
    return authenticated(_request(context))


def _plain(row: Row) -> Row:
    """Return a row of what JSON has; other numbers are null."""
    values: Row = json.loads(json_text(row))
    return values


@contextmanager
def _errors_as_text() -> Iterator[None]:
    """Show the assistant what it may read of a RagcoreError; the library hides those of others."""
    try:
        yield
    except RagcoreError as error:
        raise ToolError(client_message(error)) from error
