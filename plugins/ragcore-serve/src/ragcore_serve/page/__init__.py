"""The page of the server: four files that a browser shows, served at `/` and `/page/`.

Knows these files and the headers under which a browser may run them; knows nothing of pipelines or
answers. The files hold no data, so that they are served without a token: what they show, they ask
the routes of `/v1` for.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import Final

from fastapi import APIRouter, HTTPException, Request, Response

__all__ = ["router"]

_MEDIA_TYPES: Final = {
    "index.html": "text/html; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
"""The files of the page; no other file of the folder is served."""

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
    content = (files(__name__) / name).read_bytes()
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'


@router.get("/")
def index(request: Request) -> Response:
    """Serve the page."""
    return _response(request, "index.html")


@router.get("/page/{name}")
def part(request: Request, name: str) -> Response:
    """Serve the script, the style sheet or the icon of the page.

    Raises:
        HTTPException: 404, the page has no such file.
    """
    if name not in _MEDIA_TYPES:
        raise HTTPException(404, f"the page has no file {name!r}")
    return _response(request, name)


def _response(request: Request, name: str) -> Response:
    content, tag = _content(name)
    headers = {**_HEADERS, "ETag": tag}
    if _matches(request.headers.get("If-None-Match", ""), tag):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=_MEDIA_TYPES[name], headers=headers)


def _matches(condition: str, tag: str) -> bool:
    """Return whether `If-None-Match` names the tag; a proxy that compresses makes it a weak one."""
    named = {each.strip().removeprefix("W/") for each in condition.split(",")}
    return tag in named or "*" in named
