"""What a client of OpenAI's chat API asks: the body of a request, and what of it can be done.

Knows the fields of `POST /v1/chat/completions`; knows nothing of pipelines. What changes an answer
and cannot be done is refused, what cannot change one is ignored.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from ragcore.config import RagConfig, SampleConfig
from ragcore.contracts import AnyGenerator, gives_steps
from ragcore.errors import RagcoreError, nearest
from ragcore_serve.errors import quoted
from ragcore_serve.openai_replies import SOURCES_HEADING
from ragcore_serve.requests import Settings

__all__ = [
    "ChatMessage",
    "ChatRequest",
    "RagcoreOptions",
    "RefusedFieldError",
    "StreamOptions",
    "check_fields",
    "decoding_of",
    "drawable",
    "history_of",
    "question_of",
]

_SEED_BITS: Final = 53
"""Of a seed that is made here: what any client reads as a whole number."""


class RefusedFieldError(RagcoreError):
    """A request sets a field to what cannot be done.

    Attributes:
        param: the field.
        code: OpenAI's word for the fault.
    """

    def __init__(self, message: str, param: str, code: str = "unsupported_value") -> None:
        super().__init__(message)
        self.param = param
        self.code = code


class ContentPart(BaseModel):
    """A part of a message; only those of type `text` can be read."""

    model_config = ConfigDict(extra="allow")

    type: str
    text: str | None = None


class ChatMessage(BaseModel):
    """A message of the conversation; those before the user's last one are its history."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[ContentPart] | None = None


class StreamOptions(BaseModel):
    """Options of a stream."""

    model_config = ConfigDict(extra="allow")

    include_usage: bool | None = None


class RagcoreOptions(BaseModel):
    """What OpenAI's API has no field for.

    Attributes:
        citations: whether the text ends with the sources; the server's setting where None.
        settings: as of `/v1/answer`.
        timeout: in seconds.
    """

    model_config = ConfigDict(extra="forbid")

    citations: bool | None = None
    settings: Settings = Settings()
    timeout: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class ChatRequest(BaseModel):
    """The body of `POST /v1/chat/completions`, as far as it has an effect here.

    Attributes:
        model: `PIPELINE`, or `PIPELINE@VERSION`.
        messages: the last one of role `user` is the question, and earlier ones of `user` and
            `assistant` are its history, which is read with `rag.rewrite` alone. The system's
            message is not read.
        max_tokens: an older name of `max_completion_tokens`.
        max_completion_tokens: most tokens of the answer; never more than the pipeline's own
            `rag.max_new_tokens`.
        n: how many choices the reply has; 1 for a stream.
        temperature: of the drawing of answers; 0 searches for the most probable one. Where it is
            left out the pipeline's own `rag.sample` holds, which draws nothing by default.
        top_p: as of `rag.sample`.
        top_k: as of `rag.sample`; -1 is 0.
        seed: as of `rag.sample`; a new one for each request where it is left out.
        stop: one string, or several, before which an answer ends.
        repetition_penalty: as `rag.repetition_penalty`.
        stream: whether the answer is sent as it is decoded.
        stream_options: of a stream.
        logprobs: whether log p of each token is sent.
        top_logprobs: 0.
        ragcore: options of ragcore's own.
    """

    # Others are looked at by `check_fields`.
    model_config = ConfigDict(extra="allow")

    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    n: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=-1)
    seed: int | None = None
    stop: str | list[str] | None = None
    repetition_penalty: float | None = Field(default=None, ge=1, allow_inf_nan=False)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    ragcore: RagcoreOptions = RagcoreOptions()

    @property
    def longest(self) -> int | None:
        """The most tokens that the client wants; None where it does not say."""
        limits = [self.max_completion_tokens, self.max_tokens]
        return min((limit for limit in limits if limit is not None), default=None)


IGNORED: Final = frozenset(
    {
        # No counterpart here; the others that change how tokens are drawn have one.
        "frequency_penalty",
        "min_p",
        "presence_penalty",
        # How an answer is computed, billed or stored elsewhere.
        "metadata",
        "parallel_tool_calls",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning_effort",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
        "verbosity",
    }
)
"""Fields that are accepted and have no effect."""

_TOOLS: Final = "a pipeline answers from passages, and calls no tools"
_REFUSED: Final[Mapping[str, tuple[Sequence[object], str]]] = {
    "audio": ((), "answers are text"),
    "function_call": (("none", "auto"), _TOOLS),
    "functions": (([],), _TOOLS),
    "logit_bias": (({},), "its probabilities would no longer be the generator's"),
    "modalities": ((["text"],), "answers are text"),
    "response_format": (({"type": "text"},), "answers are plain text"),
    "tool_choice": (("none", "auto"), _TOOLS),
    "tools": (([],), _TOOLS),
    "web_search_options": ((), "passages are found in the pipeline's memory alone"),
}
"""Fields that cannot be done: the values that ask for nothing, and why others are refused."""


def check_fields(request: ChatRequest) -> None:
    """Refuse fields that cannot be done, and unknown ones; null counts as left out.

    Raises:
        RefusedFieldError: names the first.
    """
    if request.stream and request.n not in (None, 1):
        raise RefusedFieldError(
            "n: a stream has one answer here: leave n out, set 1, or do not stream", "n"
        )
    if request.top_logprobs:
        raise RefusedFieldError(
            "top_logprobs: log p is known of the answer's own tokens alone: leave it out, or set 0",
            "top_logprobs",
        )
    for name, value in (request.model_extra or {}).items():
        if value is None or name in IGNORED:
            continue
        if name not in _REFUSED:
            known = sorted({*ChatRequest.model_fields, *IGNORED, *_REFUSED})
            close = nearest(name, known)
            hint = f": did you mean {close!r}?" if close else ""
            raise RefusedFieldError(
                f"unrecognized field {quoted(name)}{hint}", name[:100], code="unknown_parameter"
            )
        harmless, reason = _REFUSED[name]
        if value not in harmless:
            raise RefusedFieldError(f"{name}: {reason}: leave it out", name)


def decoding_of(request: ChatRequest, config: RagConfig) -> dict[str, Any]:
    """Return the settings by which the request's answers are drawn, and where they end.

    Fields that ask for nothing, such as `top_p` 1, do not make a pipeline draw that searches.

    Args:
        request: with fields that were checked.
        config: the section `rag` of the pipeline, whose `sample` the fields change.
    """
    settings: dict[str, Any] = {}
    if sample := _sample_of(request, config):
        settings["sample"] = sample
    stop = [request.stop] if isinstance(request.stop, str) else request.stop or []
    if any(stop):
        settings["stop"] = [each for each in stop if each]
    if request.repetition_penalty is not None:
        settings["repetition_penalty"] = request.repetition_penalty
    return settings


def drawable(
    settings: dict[str, Any], config: RagConfig, generator: AnyGenerator
) -> dict[str, Any]:
    """Return settings by which the generator can draw, where the request asks for it.

    Generators of texts draw whole answers, which are those of RAG-Sequence. So where the formula is
    RAG-Token, a chat that sets a temperature is drawn by RAG-Sequence: its client knows nothing of
    formulas, and would otherwise get no answer.

    Args:
        settings: of the request, of all fields.
        config: the section `rag` of the pipeline.
        generator: of the pipeline.
    """
    sample = (config.sample.model_dump() if config.sample else {}) | settings.get("sample", {})
    drawing = bool(sample) and sample.get("temperature", SampleConfig().temperature) > 0
    if gives_steps(generator) or not drawing or config.marginalize != "token":
        return settings
    return {"marginalize": "sequence"} | settings


def _sample_of(request: ChatRequest, config: RagConfig) -> dict[str, float]:
    """Return what of the pipeline's `rag.sample` the request changes; nothing where nothing."""
    drawing = config.sample is not None and config.sample.temperature > 0
    if request.temperature == 0:
        # The answer is searched for, and each of n choices is the same.
        return {"temperature": 0.0} if drawing else {}
    fields = {
        "temperature": request.temperature,
        "top_p": None if request.top_p == 1 else request.top_p,
        "top_k": request.top_k if request.top_k and request.top_k > 0 else None,
        "n": None if request.n == 1 else request.n,
    }
    sample: dict[str, float] = {name: value for name, value in fields.items() if value is not None}
    if not sample and not (drawing and request.seed is not None):
        return {}
    if not drawing:
        # OpenAI's own default.
        sample.setdefault("temperature", 1.0)
    # Clients that ask again want another answer, unless they name a seed.
    seed = secrets.randbits(_SEED_BITS) if request.seed is None else request.seed
    return sample | {"seed": seed}


def history_of(request: ChatRequest, longest: int) -> list[dict[str, str]]:
    """Return the turns before the question, each cut at `longest` characters.

    An answer is without the sources that `ChatReply` adds to its text. Parts that are not text are
    left out.
    """
    messages = request.messages
    last = max(number for number, message in enumerate(messages) if message.role == "user")
    turns: list[dict[str, str]] = []
    for message in messages[:last]:
        text = _texts_of(message)
        if message.role == "user":
            turns.append({"question": text[:longest], "answer": ""})
        elif message.role == "assistant" and turns:
            turns[-1]["answer"] = text.partition(SOURCES_HEADING)[0][:longest]
    return turns


def question_of(request: ChatRequest) -> str:
    """Return the text of the user's last message; texts of several parts are joined by a space.

    Raises:
        RefusedFieldError: there is none, or it has a part that is not text.
    """
    for number, message in reversed(list(enumerate(request.messages))):
        if message.role == "user":
            return _text(message, f"messages.{number}.content")
    raise RefusedFieldError(
        "messages: no message has the role 'user': the last one of that role is the question",
        "messages",
        code="invalid_value",
    )


def _text(message: ChatMessage, param: str) -> str:
    if isinstance(message.content, str):
        return message.content
    texts: list[str] = []
    for part in message.content or []:
        if part.type != "text":
            raise RefusedFieldError(
                f"{param}: found a part of type {quoted(part.type)}: a question is text alone",
                param,
            )
        texts.append(part.text or "")
    return " ".join(texts)


def _texts_of(message: ChatMessage) -> str:
    if isinstance(message.content, str):
        return message.content
    return " ".join(part.text or "" for part in message.content or [] if part.type == "text")
