"""Release what a request has computed, when it is ended before its answer is known.

Knows tracebacks and the allocator; knows nothing of why a request ends.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from ragcore.errors import RequestStoppedError
from ragcore.process.heap import release_free_memory

__all__ = ["released_if_stopped"]


@contextmanager
def released_if_stopped() -> Iterator[None]:
    """Release the states of a search that is stopped, or left, inside the block."""
    try:
        yield
    except (GeneratorExit, RequestStoppedError) as stopped:
        # The traceback holds the frame of the search, and that all the pairs' states.
        traceback.clear_frames(stopped.__traceback__)
        release_free_memory()
        raise
