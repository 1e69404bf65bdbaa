"""The routes of OpenAI's API that write: chats, and plain completions with the tops of each step.

Knows the API's requests; knows nothing of how long a prompt may be.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import closing
from typing import Final, Protocol, TypeAlias

from ragcore.contracts import Completion, Meter, Prompted, TopToken, Writing
from ragcore_openai.client import Ask, Json, Parts, Reply
from ragcore_openai.configs import OpenAIConfig
from ragcore_openai.prompt_texts import PromptTexts
from ragcore_openai.replies import (
    Faulty,
    answer_of,
    begun,
    choices_of,
    completion_of,
    count_usage,
    part_of,
    steps_of,
)

__all__ = ["Chat", "Completions", "Route", "Send", "TopRoute"]

Send: TypeAlias = Callable[[str, Json], tuple[Parts, int]]
"""Sends JSON to a path, as `Client.stream`."""


class Route(Protocol):
    """A way of a server to write."""

    def write(
        self, ask: Ask, prompted: Prompted, room: int | None, writing: Writing, meter: Meter
    ) -> list[Completion]:
        """Write for one prompt, whose passages have so many characters together (None: all).

        Raises:
            ServerError: the server refuses, also a prompt that is too long, or replies wrongly.
        """
        ...

    def parts(
        self, send: Send, prompted: Prompted, room: int | None, writing: Writing, meter: Meter
    ) -> Generator[Completion, None, None]:
        """Write for one prompt; return the text so far in parts, once the first is on its way.

        Raises:
            ServerError: as `write`, here or by the parts.
        """
        ...


class TopRoute(Route, Protocol):
    """A route that also continues given tokens, and shows each step's most probable ones."""

    def go_on(
        self,
        ask: Ask,
        prompted: Prompted,
        room: int | None,
        prefix: Sequence[TopToken],
        writing: Writing,
        meter: Meter,
    ) -> Completion:
        """Continue a prompt after a prefix; see `ragcore.contracts.TopGenerator`."""
        ...


class _OpenAIRoute:
    """What chats and completions have in common."""

    path: str

    def __init__(self, config: OpenAIConfig, texts: PromptTexts) -> None:
        self._config: Final = config
        self._texts: Final = texts
        self._url: Final = config.base_url + self.path
        # OpenAI's reasoning models take the newer name alone, most other servers the older.
        self.limit_field = "max_tokens"

    def write(
        self, ask: Ask, prompted: Prompted, room: int | None, writing: Writing, meter: Meter
    ) -> list[Completion]:
        """See `Route.write`; several texts are drawn in one request where the server can."""
        text = self._texts.text(prompted.question, prompted.passages, prompted.cite, room)
        drawn = writing.count if writing.temperature > 0 else 1
        written: list[Completion] = []
        while len(written) < drawn:
            request = self.request(text, writing)
            if not written and drawn > 1:
                request["n"] = drawn
            elif written and writing.seed is not None:
                # The same seed would draw the same text.
                request["seed"] = writing.seed + len(written)
            reply = ask(self.path, request)
            count_usage(meter, reply)
            written += [
                completion_of(self._url, choice) for choice in choices_of(self._url, reply.content)
            ]
        return written[:drawn]

    def parts(
        self, send: Send, prompted: Prompted, room: int | None, writing: Writing, meter: Meter
    ) -> Generator[Completion, None, None]:
        """See `Route.parts`."""
        text = self._texts.text(prompted.question, prompted.passages, prompted.cite, room)
        streaming: Json = {"stream": True, "stream_options": {"include_usage": True}}
        request = self.request(text, writing) | streaming | self._config.request
        parts, requests = send(
            self.path, {name: value for name, value in request.items() if value is not None}
        )
        return self._completions(parts, requests, meter)

    def _completions(
        self, parts: Parts, requests: int, meter: Meter
    ) -> Generator[Completion, None, None]:
        written, usage, reason = "", Reply({}, requests), None
        with closing(parts):
            for part in parts:
                # The last part may have the usage alone.
                usage = Reply(usage.content | part, requests)
                for choice in part.get("choices") or ():
                    added, ended = part_of(self._url, choice)
                    reason = ended or reason
                    if added:
                        written += added
                        yield Completion(begun(written), finished=False)
        count_usage(meter, usage)
        if reason is None:
            raise Faulty(self._url, "its stream ends before the text does (no finish_reason)")
        whole = {"text": written, "finish_reason": reason}
        yield completion_of(self._url, whole)

    def prompt_text(self, prompted: Prompted) -> str:
        """Return the prompt of a question with its whole passages."""
        return self._texts.text(prompted.question, prompted.passages, prompted.cite, None)

    def request(self, text: str, writing: Writing) -> Json:
        """Return the request that writes one text."""
        request: Json = {"model": self._config.model, **self._prompt(text)}
        request[self.limit_field] = writing.max_new_tokens
        request["temperature"] = writing.temperature
        if writing.temperature > 0:
            request["top_p"] = writing.top_p
        if writing.seed is not None:
            request["seed"] = writing.seed
        if writing.stop:
            request["stop"] = list(writing.stop)
        request |= self._config.request
        return {name: value for name, value in request.items() if value is not None}

    def _prompt(self, text: str) -> Json:
        raise NotImplementedError


class Chat(_OpenAIRoute):
    """Sends the prompt as a user's message."""

    path = "/chat/completions"

    def _prompt(self, text: str) -> Json:
        system = self._config.system
        opening = [] if system is None else [{"role": "system", "content": system}]
        return {"messages": [*opening, {"role": "user", "content": text}]}


class Completions(_OpenAIRoute):
    """Sends the prompt as text, which the model continues.

    Attributes:
        top_tokens: how many tokens of a step to ask for.
        ends: the texts of tokens that end an answer.
    """

    path = "/completions"

    def __init__(
        self, config: OpenAIConfig, texts: PromptTexts, ends: Collection[str] = ()
    ) -> None:
        super().__init__(config, texts)
        self.top_tokens = config.top_tokens
        self.ends = frozenset(ends)

    @property
    def url(self) -> str:
        """Return the address, for errors."""
        return self._url

    def go_on(
        self,
        ask: Ask,
        prompted: Prompted,
        room: int | None,
        prefix: Sequence[TopToken],
        writing: Writing,
        meter: Meter,
    ) -> Completion:
        """See `TopRoute.go_on`.

        The prefix is sent as text. Where the server cuts that into other tokens than it wrote, the
        log-probs are those after the text's own tokens.
        """
        text = self._texts.text(prompted.question, prompted.passages, prompted.cite, room)
        before = "".join(token.text for token in prefix)
        request = self.request(text + before, writing) | {"logprobs": self.top_tokens}
        reply = ask(self.path, request)
        count_usage(meter, reply)
        choice = choices_of(self._url, reply.content)[0]
        completion = completion_of(self._url, choice)
        steps = steps_of(self._url, choice, self.ends)
        if not steps:
            raise Faulty(self._url, "it wrote no token, and shows no step: set tier: text")
        if completion.finished and not writing.stop and not steps[-1][0].ends:
            raise Faulty(
                self._url,
                f"the text ended, but the last token shown is {steps[-1][0].text!r} and no end "
                "token: name it in end_tokens if it is one; a server that does not show the "
                "log-prob of the end can be used with tier: text",
            )
        return Completion(answer_of(before + _text_of(steps)), completion.finished, tuple(steps))

    def _prompt(self, text: str) -> Json:
        return {"prompt": text}


def _text_of(steps: Sequence[Sequence[TopToken]]) -> str:
    return "".join(step[0].text for step in steps)
