"""The requests of a pipeline in forms that an event loop awaits: each works in a thread.

Knows threads and cancelled tasks; knows nothing of how a question is answered, which blocking.py
does.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Unpack

from ragcore.answering.request import AnswerSettings, Request, SearchSettings
from ragcore.config import RagConfig
from ragcore.contracts import AnyGenerator
from ragcore.errors import RagcoreError
from ragcore.live.served import ServedMemory
from ragcore.process.cancellation import Cancellation
from ragcore.process.workers import Workers
from ragcore.requests.blocking import Requests
from ragcore.types import Answer, Event, SearchResult, Token

__all__ = ["AwaitedRequests"]


class AwaitedRequests(Requests):
    """What a pipeline can be asked, also in forms that are awaited."""

    def __init__(
        self, memory: ServedMemory, generator: AnyGenerator | None, config: RagConfig
    ) -> None:
        """Start no thread yet; see `Rag`."""
        super().__init__(memory, generator, config)
        self._workers = Workers("ragcore-answers")

    async def aanswer(
        self, questions: str | Sequence[str], **settings: Unpack[AnswerSettings]
    ) -> list[Answer]:
        """Answer as `answer` does, in a thread of the pipeline's own.

        A call that is cancelled before it has begun is never made; one that has begun ends before
        its next token.

        Raises:
            StoreError: the pipeline is closed, or was closed before the call began.
        """
        own = Cancellation(settings.get("cancellation"))
        settings["cancellation"] = own
        return await self._workers.run_until_cancelled(
            own.cancel, self.answer, questions, **settings
        )

    async def aanswer_each(self, requests: Sequence[str | Request]) -> list[Answer | RagcoreError]:
        """Answer as `answer_each` does, in a thread of the pipeline's own.

        A call that is cancelled when it has begun runs to its end; cancel its requests by their
        settings.

        Raises:
            StoreError: as `aanswer`.
        """
        return await self._workers.run(self.answer_each, requests)

    async def asearch(
        self,
        questions: str | Sequence[str],
        k: int | None = None,
        **settings: Unpack[SearchSettings],
    ) -> list[SearchResult]:
        """Search as `search` does, in a thread of the pipeline's own.

        Raises:
            StoreError: as `aanswer`.
        """
        return await self._workers.run(self.search, questions, k, **settings)

    def aevents(
        self, question: str, **settings: Unpack[AnswerSettings]
    ) -> AsyncGenerator[Event, None]:
        """Yield events as `events` does, each in a thread of the pipeline's own.

        Cancelled amid an event, the stream ends before the next step of its search, and is
        released.

        Raises:
            StoreError: the pipeline is closed, or was closed before the stream's end.
        """
        own = Cancellation(settings.get("cancellation"))
        settings["cancellation"] = own
        return self._workers.iterate(self.events(question, **settings), own.cancel)

    def astream(
        self, question: str, **settings: Unpack[AnswerSettings]
    ) -> AsyncGenerator[Token, None]:
        """Stream as `stream` does, in the way of `aevents`."""
        own = Cancellation(settings.get("cancellation"))
        settings["cancellation"] = own
        return self._workers.iterate(self.stream(question, **settings), own.cancel)
