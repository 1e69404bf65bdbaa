"""The configs of the components; imports no HTTP library, so a file is checked fast."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from ragcore.corpora.templates import PASSAGE_TEMPLATE, checked_template
from ragcore.registry.components import ComponentConfig

__all__ = ["EmbeddingsConfig", "ServerConfig"]


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
