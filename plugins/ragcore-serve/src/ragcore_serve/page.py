"""The page of the server: the core's files of the page, served at `/` and `/page/`.

Knows the headers under which a browser may run them; knows nothing of pipelines or answers. The
files hold no data, so that they are served without a token: what they show, they ask the routes of
`/v1` for.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import PurePosixPath
from typing import Final

from fastapi import APIRouter, HTTPException, Request, Response

from ragcore.views.page import page_files

__all__ = ["router"]

_MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}

_HEADERS: Final = {
    # Texts of passages become nodes only. Were one to become HTML by a fault of the script, no
    # script in it would run: inline code is refused, and so is any string for innerHTML.
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # A browser asks each time, and gets one line where nothing has changed.
    "Cache-Control": "no-cache",
}

router: Final = APIRouter(include_in_schema=False)


@cache
def _content(name: str) -> tuple[bytes, str]:
    """Return a file of the page and its entity tag (RFC 9110, section 8.8.3)."""
    content = page_files()[name]
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'


@router.get("/")
def index(request: Request) -> Response:
    """Serve the page."""
    return _response(request, "index.html")


@router.get("/page/{name}")
def part(request: Request, name: str) -> Response:
    """Serve a module, the style sheet or the icon of the page.

    Raises:
        HTTPException: 404, the page has no such file.
    """
    if name not in page_files():
        raise HTTPException(404, f"the page has no file {name[:100]!r}")
    return _response(request, name)


def _response(request: Request, name: str) -> Response:
    content, tag = _content(name)
    headers = {**_HEADERS, "ETag": tag}
    if _matches(request.headers.get("If-None-Match", ""), tag):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=_MEDIA_TYPES[PurePosixPath(name).suffix], headers=headers)


def _matches(condition: str, tag: str) -> bool:
    """Return whether `If-None-Match` names the tag; a proxy that compresses makes it a weak one."""
    named = {each.strip().removeprefix("W/") for each in condition.split(",")}
    return tag in named or "*" in named
