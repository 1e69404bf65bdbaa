"""The OpenAPI document, and a page that shows it; the page loads nothing from elsewhere.

Knows the page's files; what the routes are, the document says. The page itself needs no token,
since a browser sends none with a page: it has nothing of the server's on it.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response

from ragcore_serve.responses import ERRORS, Json
from ragcore_serve.serving import CallerNow

__all__ = ["CONTENT_POLICY", "router"]

router = APIRouter()

CONTENT_POLICY: Final = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""What a page may load: files of this server alone."""

_FILES: Final = files("ragcore_serve.docs_page")


@router.get("/openapi.json", tags=["operations"], responses={401: ERRORS[401]})
async def openapi(request: Request, caller: CallerNow) -> Json:
    """Describe all routes, as OpenAPI does."""
    app: FastAPI = request.app
    return Json(app.openapi())


@router.get("/docs", include_in_schema=False)
async def page() -> Response:
    """Show the routes."""
    return _file("docs.html", "text/html")


@router.get("/docs/docs.js", include_in_schema=False)
async def script() -> Response:
    """Return the page's script."""
    return _file("docs.js", "text/javascript")


@router.get("/docs/docs.css", include_in_schema=False)
async def style() -> Response:
    """Return the page's style sheet."""
    return _file("docs.css", "text/css")


def _file(name: str, media_type: str) -> Response:
    headers = {
        "Content-Security-Policy": CONTENT_POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    content = (_FILES / name).read_bytes()
    return Response(content, media_type=f"{media_type}; charset=utf-8", headers=headers)
