"""Answers in the form of OpenAI's chat API: whole, as the chunks of a stream, and the sources.

Knows answers and OpenAI's objects; knows nothing of HTTP and of pipelines. The field `ragcore` has
the whole answer. Since many clients drop fields that they do not know, the text may also end with
the sources, as Markdown.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ragcore.types import Answer, Correction, Event, SearchResult, Token
from ragcore.views.source import on_one_line, source_parts
from ragcore_serve.streams import data_frame

__all__ = ["DONE", "SOURCES_HEADING", "ChatReply", "sources_text"]

DONE: Final = "data: [DONE]\n\n"
"""The end of a stream."""

SOURCES_HEADING: Final = "\n\nSources:\n\n- \\["
"""How the list of sources at the end of a text begins, up to the first number."""

_MARKUP: Final = re.compile(r"([\\`*_\[\]<>!&$|~#])")


def sources_text(answer: Answer) -> str:
    """Return the numbered sources of an answer as Markdown; empty where no passage was read.

    They are numbered as `ragcore ask` does, each with the posterior of its passage, or with its
    prior where the answer has no log p. Titles and paths are untrusted: none becomes an image,
    a link or other markup.

    Args:
        answer: with its evidence.
    """
    lines = []
    for citation in answer.citations:
        parts = source_parts(citation.source)
        link = citation.source.link
        if link is not None and parts and parts[-1] == link:
            parts.pop()
        else:
            link = None
        title, identifier = on_one_line(citation.title), on_one_line(citation.passage_id)
        shown = [title or identifier, *(parts or ([identifier] if title and not link else []))]
        texts = [_MARKUP.sub(r"\\\1", part) for part in shown] + ([f"<{link}>"] if link else [])
        share = citation.prior if citation.posterior is None else citation.posterior
        lines.append(f"- \\[{citation.number}\\] {' · '.join(texts)} ({share:.2f})")
    return "\n\nSources:\n\n" + "\n".join(lines) if lines else ""


@dataclass(frozen=True, slots=True)
class ChatReply:
    """What a request is answered with.

    Attributes:
        model: as the request names it.
        pipeline: the name of the pipeline.
        prompt_tokens: of the question.
        citations: whether the text ends with the sources.
        logprobs: whether log p of each token is sent.
        include_usage: whether a stream ends with the usage.
        id: of the reply.
        created: in seconds since 1970.
    """

    model: str
    pipeline: str
    prompt_tokens: int
    citations: bool
    logprobs: bool
    include_usage: bool = False
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def completion(self, answer: Answer, choices: Sequence[Answer]) -> dict[str, Any]:
        """Return the whole reply, an object `chat.completion`.

        Args:
            answer: the pipeline's answer, which the field `ragcore` has.
            choices: an answer for each choice, in order; at least one.
        """
        return {
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self._fingerprint(answer.memory),
            "choices": [self._choice(index, each) for index, each in enumerate(choices)],
            "usage": self._usage(choices),
            "ragcore": self._ragcore(answer),
        }

    def _choice(self, index: int, answer: Answer) -> dict[str, Any]:
        content = [_token(*each) for each in _token_log_probs(answer)]
        text = answer.text + (sources_text(answer) if self.citations else "")
        return {
            "index": index,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "logprobs": {"content": content, "refusal": None}
            if self.logprobs and content
            else None,
            "finish_reason": _finish_reason(answer),
        }

    def frames(self, event: Event) -> str:
        """Return what a stream sends for an event: chunks; after the answer its end, too."""
        match event:
            case SearchResult():
                return self._chunk({"role": "assistant", "content": "", "refusal": None})
            case Token():
                logprobs = None
                if self.logprobs and event.log_prob is not None:
                    content = [_token(event.text, event.log_prob)]
                    logprobs = {"content": content, "refusal": None}
                if not event.text and logprobs is None:
                    return ""
                return self._chunk({"content": event.text}, logprobs=logprobs)
            case Correction():
                # No chunk can take back what was sent; the text is right in `ragcore`.
                return ""
            case _:
                return self._end(event)

    def _end(self, answer: Answer) -> str:
        frames = []
        if self.citations and (sources := sources_text(answer)):
            frames.append(self._chunk({"content": sources}))
        frames.append(
            self._chunk(
                {},
                finish_reason=_finish_reason(answer),
                system_fingerprint=self._fingerprint(answer.memory),
                ragcore=self._ragcore(answer),
            )
        )
        if self.include_usage:
            row = self._chunk_row() | {"choices": [], "usage": self._usage([answer])}
            frames.append(data_frame(row))
        return "".join([*frames, DONE])

    def _chunk(
        self,
        delta: dict[str, Any],
        *,
        logprobs: dict[str, Any] | None = None,
        finish_reason: str | None = None,
        **more: object,
    ) -> str:
        choice = {
            "index": 0,
            "delta": delta,
            "logprobs": logprobs,
            "finish_reason": finish_reason,
        }
        return data_frame(self._chunk_row() | {"choices": [choice]} | more)

    def _chunk_row(self) -> dict[str, Any]:
        row: dict[str, Any] = {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
        }
        # As OpenAI does: with the usage at the end, each chunk has the field.
        return row | ({"usage": None} if self.include_usage else {})

    def _fingerprint(self, version: str) -> str:
        return f"{self.pipeline}@{version}"

    def _ragcore(self, answer: Answer) -> dict[str, Any]:
        return {"pipeline": self.pipeline} | answer.to_dict()

    def _usage(self, choices: Sequence[Answer]) -> dict[str, int]:
        counted = choices[0].usage
        prompt = self.prompt_tokens if counted is None else counted.prompt_tokens or 0
        completion = sum(len(answer.tokens) for answer in choices)
        if not completion:
            # The server counted what it wrote for all choices.
            completion = choices[0].token_count
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }


def _finish_reason(answer: Answer) -> str:
    """Return why the answer ends: it was cut, or it ended by itself or at a stop string."""
    return "length" if answer.cut else "stop"


def _token_log_probs(answer: Answer) -> list[tuple[str, float]]:
    """Return the answer's tokens with their log p; none where it has no log p."""
    if answer.log_prob is None:
        return []
    log_probs = answer.candidates[0].token_log_probs
    return list(zip(answer.tokens, log_probs, strict=True))


def _token(text: str, log_prob: float) -> dict[str, Any]:
    return {
        "token": text,
        "logprob": log_prob,
        "bytes": list(text.encode("utf-8", "replace")),
        "top_logprobs": [],
    }
