"""The configs of the components; imports no HTTP library, so a file is checked fast."""

from __future__ import annotations

import os
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from ragcore.corpora.templates import PASSAGE_TEMPLATE, checked_template
from ragcore.prompts.settings import PromptConfig, check_template
from ragcore.registry.components import ComponentConfig

__all__ = ["EmbeddingsConfig", "GeneratorTier", "OpenAIConfig", "ServerConfig"]

GeneratorTier = Literal["score", "top", "text"]

_SET_BY_RAGCORE: Final = frozenset(
    {
        "echo",
        "logprobs",
        "max_tokens",
        "messages",
        "model",
        "n",
        "n_predict",
        "n_probs",
        "prompt",
        "prompt_logprobs",
        "return_tokens",
        "seed",
        "stop",
        "stream",
        "top_logprobs",
    }
)
"""Fields of a request that the config or `rag` decides."""


def _default_of(name: str) -> str:
    """Return a template that all causal generators share."""
    default: str = PromptConfig.model_fields[name].default
    return default


class ServerConfig(ComponentConfig):
    """How a server is reached, and how long it is waited for."""

    base_url: str = Field(
        "https://api.openai.com/v1", description="of the API, up to the version: http://host/v1"
    )
    key: str | None = Field(
        None, repr=False, description="written ${env:NAME}; null where the server asks for none"
    )
    concurrency: int = Field(4, ge=1, le=256, description="requests under way at the same time")
    timeout: float = Field(60.0, gt=0, description="seconds that one attempt may take")
    retries: int = Field(
        6, ge=0, description="further attempts at a request that failed for the moment"
    )
    retry_seconds: float = Field(
        120.0, ge=0, description="seconds after which a request is not tried again"
    )

    @field_validator("base_url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.username is not None or parts.password is not None:
            # Not quoted: it holds a password.
            raise ValueError("base_url holds a user or a password: write the key as key: ${env:…}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no address of a server: expected http://… or https://…")
        if parts.query or parts.fragment:
            raise ValueError(f"{url!r} has a query or a fragment: write the address up to /v1")
        return url.rstrip("/")

    @field_validator("key")
    @classmethod
    def _check_key(cls, key: str | None) -> str | None:
        if key is None:
            return None
        # The key itself is in none of the messages.
        if not key or not key.isascii() or not key.isprintable():
            raise ValueError("key is empty, or has characters that no HTTP header can have")
        # Written out, it would be in every copy of the file, and in the records of memories.
        if key not in os.environ.values():
            raise ValueError("key is written out: put it into the environment, write ${env:NAME}")
        return key


class EmbeddingsConfig(ServerConfig):
    """Settings of `{use: openai-embeddings}`."""

    model: str = Field(min_length=1, description="the name by which the server knows the model")
    dim: int = Field(gt=0, description="how many components the model's vectors have")
    shortened: bool = Field(
        False, description="ask the server for vectors of `dim` components, where it can shorten"
    )
    normalize: bool = Field(False, description="scale vectors to length 1")
    question_prompt: str = Field("", description="put before each question")
    passage_prompt: str = Field("", description="put before each passage")
    passage_template: str = Field(
        PASSAGE_TEMPLATE, description="the text that is encoded of a passage with a title"
    )
    batch_size: int = Field(64, ge=1, le=2048, description="texts in one request")

    _check_template = field_validator("passage_template")(checked_template)


class OpenAIConfig(ServerConfig):
    """Settings of `{use: openai}`."""

    model: str = Field(min_length=1, description="the name by which the server knows the model")
    tier: GeneratorTier | None = Field(
        None,
        description="what the server must give; null for the most that it gives with this `chat`",
    )
    chat: bool = Field(
        True,
        description="whether the prompt is a message, which the server puts into the model's chat "
        "template; false sends the template's text alone",
    )
    system: str | None = Field(None, description="a chat's system message; null for none")
    template: str = Field(
        _default_of("template"), description="the prompt, or in a chat the user's message"
    )
    template_without_passage: str = Field(
        _default_of("template_without_passage"),
        description="the same for a question without a passage",
    )
    template_of_passages: str = Field(
        _default_of("template_of_passages"),
        description="the same for several passages in one prompt, which are numbered",
    )
    answer_prefix: str | None = Field(
        None,
        description="text between prompt and answer where answers are scored; null for a space "
        "where the prompt ends with a character that is neither white space nor of a special token",
    )
    end_tokens: tuple[str, ...] = Field(
        (),
        description="the tokens that end an answer, as the tokenizer writes them; empty for "
        "those that the server knows",
    )
    top_tokens: int = Field(
        20, ge=1, le=1000, description="with tier top: how many tokens are asked for at each step"
    )
    max_input_tokens: int | None = Field(
        None, gt=0, description="a longer passage is cut; null for what the server reads"
    )
    request: dict[str, Any] = Field(
        default_factory=dict,
        description="more fields of each request that writes, such as reasoning_effort; null "
        "leaves out a field",
    )

    @field_validator("template")
    @classmethod
    def _check_template_with_title(cls, template: str) -> str:
        return check_template(template, ("text", "question"), ("title",))

    @field_validator("template_of_passages")
    @classmethod
    def _check_template_of_passages(cls, template: str) -> str:
        return check_template(template, ("text", "question"))

    @field_validator("template_without_passage")
    @classmethod
    def _check_without_passage(cls, template: str) -> str:
        return check_template(template, ("question",))

    @field_validator("end_tokens")
    @classmethod
    def _check_ends(cls, tokens: tuple[str, ...]) -> tuple[str, ...]:
        if not all(tokens):
            raise ValueError("an end token is empty: write it as the model's tokenizer does")
        return tokens

    @field_validator("request")
    @classmethod
    def _check_request(cls, request: dict[str, Any]) -> dict[str, Any]:
        reserved = sorted(_SET_BY_RAGCORE & request.keys())
        if reserved:
            raise ValueError(f"{', '.join(reserved)}: set by ragcore; leave out")
        return request

    @model_validator(mode="after")
    def _check_chat(self) -> Self:
        if self.system is not None and not self.chat:
            raise ValueError("system is set but chat is false: write the message in template")
        return self
