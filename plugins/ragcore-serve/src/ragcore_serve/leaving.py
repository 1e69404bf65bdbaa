"""End the work for a request whose client has left.

Knows connections; knows nothing of what is worked at. Neither the server nor FastAPI cancels a
route's coroutine when its client goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from ragcore.errors import RequestCancelledError

__all__ = ["while_connected"]

T = TypeVar("T")


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine does, and cancel it as soon as the request's client has left.

    Args:
        request: whose body has been read.
        work: the coroutine.

    Raises:
        RequestCancelledError: the client left, so that nobody reads the reply.
    """
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise RequestCancelledError("the client left before its answer was known")
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
