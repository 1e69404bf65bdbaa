"""llama.cpp's own server: prompts as token ids, and the most probable tokens of each step.

Its route `/completion` takes and returns ids, so that prompts are those of `causal` and
`llamacpp`, special tokens in passages included, and a prefix is continued token by token. In a
chat the server's own template is put around the message. Knows this server; knows nothing of tiers.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, Final

from ragcore.contracts import Completion, Meter, Prompted, TopToken, Writing, whole_text
from ragcore.prompts.chat import THINKING_OFF, Chat
from ragcore.prompts.prompts import Prompts
from ragcore.prompts.thinking import closed
from ragcore_openai.client import Ask, Client, Json, Parts, Reply
from ragcore_openai.configs import OpenAIConfig
from ragcore_openai.prompt_texts import shortened
from ragcore_openai.replies import (
    Faulty,
    answer_of,
    as_step,
    begun,
    count_usage,
    log_prob_of,
    readable,
    tidy,
)
from ragcore_openai.routes import Send
from ragcore_openai.tokenizing import END_TOKENS, LlamaCppTokenizer

__all__ = ["LlamaCppRoute"]

_MESSAGE: Final = "ragcore\ufff9message"
"""Placeholder for a chat's message; no template strips, escapes or splits it."""

_ANSWER_ROOM: Final = 128
"""Positions reserved for the answer, as `llamacpp` does."""


class LlamaCppRoute:
    """Writes at llama.cpp's own server; safe to use from several threads.

    Attributes:
        limit: the most tokens of a prompt.
        ends: the ids of the tokens that end an answer.
    """

    def __init__(self, config: OpenAIConfig, client: Client, properties: Json) -> None:
        """Ask for the chat template and the end tokens.

        Args:
            config: of the generator.
            client: of the server.
            properties: its reply to `/props`.

        Raises:
            ServerError: it does not reply as llama.cpp's server does.
        """
        self._config = config
        self._url = f"{client.root}/completion"
        self._tokenizer = LlamaCppTokenizer(client)
        settings = properties.get("default_generation_settings")
        positions = settings.get("n_ctx") if isinstance(settings, dict) else None
        if type(positions) is not int or positions < 2:
            raise Faulty(f"{client.root}/props", f"its n_ctx is {positions!r}: expected a number")
        self.limit: Final = config.max_input_tokens or positions - min(_ANSWER_ROOM, positions // 2)
        chat = self._chat(client, properties) if config.chat else None
        self._prompts = Prompts(
            config.model,
            self._tokenizer,
            config.template,
            config.template_without_passage,
            chat,
            config.template_of_passages,
        )
        named = [properties.get("eos_token"), *(config.end_tokens or END_TOKENS)]
        self.ends: Final = frozenset(
            token
            for name in named
            if isinstance(name, str)
            and name
            and (token := self._tokenizer.special(name)) is not None
        )

    def write(
        self, ask: Ask, prompted: Prompted, room: int | None, writing: Writing, meter: Meter
    ) -> list[Completion]:
        """See `ragcore_openai.routes.Route`."""
        prompt = self.prompt(prompted, room)
        drawn = writing.count if writing.temperature > 0 else 1
        written = []
        for number in range(drawn):
            seed = None if writing.seed is None else writing.seed + number
            reply = self._send(ask, prompt, replace(writing, seed=seed), meter, tops=0)
            written.append(self._completion(reply, tidy(_text(self._url, reply))))
        return written

    def parts(
        self, send: Send, prompted: Prompted, room: int | None, writing: Writing, meter: Meter
    ) -> Generator[Completion, None, None]:
        """See `ragcore_openai.routes.Route`."""
        request = self._request(self.prompt(prompted, room), writing, tops=0)
        parts, requests = send(self._url, request | {"stream": True})
        return self._completions(parts, requests, meter)

    def _completions(
        self, parts: Parts, requests: int, meter: Meter
    ) -> Generator[Completion, None, None]:
        written, last = "", None
        with closing(parts):
            for part in parts:
                written += _text(self._url, part)
                if part.get("stop") is True:
                    last = part
                    break
                yield Completion(begun(written), finished=False)
        if last is None:
            raise Faulty(self._url, "its stream ends before the text does (no part has `stop`)")
        count_usage(meter, Reply(last, requests))
        yield self._completion(last, tidy(written))

    def go_on(
        self,
        ask: Ask,
        prompted: Prompted,
        room: int | None,
        prefix: Sequence[TopToken],
        writing: Writing,
        meter: Meter,
    ) -> Completion:
        """See `ragcore_openai.routes.TopRoute`."""
        before: list[int] = []
        for token in prefix:
            if token.id is None:
                raise Faulty(self._url, f"the token {token.text!r} of a prefix has no id")
            before.append(token.id)
        prompt = self.prompt(prompted, room) + before
        steps: list[tuple[TopToken, ...]] = []
        while True:
            left = replace(writing, max_new_tokens=writing.max_new_tokens - len(steps))
            tops = self._config.top_tokens
            reply = self._send(ask, prompt + _ids(steps), left, meter, tops=tops)
            found, whole = self._steps(reply)
            steps += found
            if whole or len(steps) >= writing.max_new_tokens:
                break
            # The server leaves out the step of a token that is a part of a character, but not where
            # another token is written there.
            forced = self._send(
                ask,
                prompt + _ids(steps),
                replace(left, max_new_tokens=1),
                meter,
                tops=tops,
                forced=min(self.ends, default=0),
            )
            steps.append(self._forced(forced))
        # The server writes beyond the limit until a character is whole.
        beyond = len(steps) > writing.max_new_tokens
        steps = steps[: writing.max_new_tokens]
        stopped = whole and not beyond and reply.get("stop_type") == "word"
        text = whole_text(token.text for token in (*prefix, *(step[0] for step in steps)))
        finished = steps[-1][0].ends or stopped
        return Completion(answer_of(text), finished, tuple(steps))

    def _steps(self, reply: Json) -> tuple[list[tuple[TopToken, ...]], bool]:
        """Return the steps of a reply up to the first that it lacks, and whether it lacks none."""
        rows, tokens = reply.get("completion_probabilities", []), reply.get("tokens")
        if not isinstance(rows, list) or not isinstance(tokens, list) or not tokens:
            raise Faulty(
                self._url, "it lacks a list `completion_probabilities` or `tokens`, asked for"
            )
        ended = reply.get("stop_type") == "eos"
        steps = []
        for number, (row, token) in enumerate(zip(rows, tokens, strict=False)):
            step = self._step(row, last=ended and number == len(tokens) - 1)
            if step[0].id != token:
                break
            steps.append(step)
        return steps, len(steps) == len(tokens)

    def _forced(self, reply: Json) -> tuple[TopToken, ...]:
        """Return the step at which another token than the most probable one was written."""
        rows = reply.get("completion_probabilities")
        if not isinstance(rows, list) or len(rows) != 1:
            raise Faulty(self._url, "it does not show the one step that was asked for")
        written, *others = self._step(rows[0], last=False)
        best, *rest = sorted((*others, written), key=lambda token: -token.log_prob)
        # The token that was forced stands outside of the order, unless it is one of the best.
        shown = rows[0]["top_logprobs"]
        listed = {token["id"] for token in shown}
        return (best, *(token for token in rest if token.id in listed))

    def prompt(self, prompted: Prompted, room: int | None) -> list[int]:
        """Return the ids of a prompt, at most `limit` of them; the question is never cut.

        Raises:
            QuestionError: the question does not fit even without its passages.
        """
        passages = prompted.passages
        cut = passages if room is None else shortened(passages, room)
        (ids,) = self._prompts.together([prompted.question], [cut], self.limit, cite=prompted.cite)
        return ids

    def _chat(self, client: Client, properties: Json) -> Chat:
        """Return the texts that the server's chat template puts around a message."""
        url = f"{client.root}/apply-template"
        system = self._config.system
        opening = [] if system is None else [{"role": "system", "content": system}]
        messages = [*opening, {"role": "user", "content": _MESSAGE}]
        variables = self._config.request.get("chat_template_kwargs") or {}
        request = {"messages": messages, "chat_template_kwargs": THINKING_OFF | variables}
        text = client.post(url, request).get("prompt")
        if not isinstance(text, str) or text.count(_MESSAGE) != 1:
            raise Faulty(
                url, "the chat template does not write the user's message once: set chat: false"
            )
        before, _, after = text.partition(_MESSAGE)
        first = properties.get("bos_token")
        if self._tokenizer.opening and isinstance(first, str) and not before.startswith(first):
            # The server puts it before the text of a chat, too.
            before = first + before
        return Chat(before, closed(after), "")

    def _send(
        self,
        ask: Ask,
        prompt: Sequence[int],
        writing: Writing,
        meter: Meter,
        *,
        tops: int,
        forced: int | None = None,
    ) -> Json:
        reply = ask(self._url, self._request(prompt, writing, tops=tops, forced=forced))
        count_usage(meter, reply)
        return reply.content

    def _request(
        self, prompt: Sequence[int], writing: Writing, *, tops: int, forced: int | None = None
    ) -> Json:
        request: dict[str, Any] = {
            "model": self._config.model,
            "prompt": list(prompt),
            "n_predict": writing.max_new_tokens,
            "temperature": writing.temperature,
            # Nothing but these two: the server's defaults cut the distribution further.
            "samplers": ["temperature", "top_p"],
            "top_p": writing.top_p,
            "return_tokens": True,
            "cache_prompt": True,
        }
        if tops:
            request["n_probs"] = tops
        if writing.seed is not None:
            request["seed"] = writing.seed
        if writing.stop:
            request["stop"] = list(writing.stop)
        if forced is not None:
            # Changes what is written, and no log-prob.
            request["logit_bias"] = [[forced, 1000.0]]
        request |= self._config.request
        return {name: value for name, value in request.items() if value is not None}

    def _completion(self, reply: Mapping[str, Any], text: str) -> Completion:
        if reply.get("truncated") is True:
            raise Faulty(self._url, "the server cut the prompt: set max_input_tokens lower")
        return Completion(text, finished=reply.get("stop_type") != "limit")

    def _step(self, row: Any, *, last: bool) -> tuple[TopToken, ...]:
        tops = row.get("top_logprobs") if isinstance(row, dict) else None
        if not isinstance(tops, list):
            raise Faulty(self._url, "a step has no list `top_logprobs`")
        return as_step(
            self._url, self._token(row, last), [self._token(token, False) for token in tops]
        )

    def _token(self, token: Any, last: bool) -> TopToken:
        number, text = (
            (token.get("id"), token.get("token")) if isinstance(token, dict) else (None, None)
        )
        if type(number) is not int or not isinstance(text, str):
            raise Faulty(self._url, "a token of a step has no `id` or no text `token`")
        ends = last or number in self.ends
        log_prob = log_prob_of(self._url, token.get("logprob"))
        return TopToken("" if ends else _spelled(text, token.get("bytes")), log_prob, number, ends)


def _ids(steps: Sequence[Sequence[TopToken]]) -> list[int]:
    """Return the ids of the tokens that were written."""
    return [step[0].id for step in steps if step[0].id is not None]


def _spelled(text: str, data: Any) -> str:
    """Return a token's text; a part of a character as its bytes (see TopToken)."""
    if not isinstance(data, list) or not all(
        type(byte) is int and 0 <= byte < 256 for byte in data
    ):
        return readable(text)
    return bytes(data).decode("utf-8", "surrogateescape")


def _text(url: str, reply: Json) -> str:
    text = reply.get("content")
    if not isinstance(text, str):
        raise Faulty(url, f"its `content` is {type(text).__name__}: expected a text")
    return readable(text)
