"""The settings of a server: where it listens, who may ask, and how much.

Knows names, defaults and which settings exclude each other; knows nothing of HTTP or of pipelines.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ragcore.errors import ConfigError

__all__ = ["ServeConfig", "check_exposure", "is_loopback"]

MEBIBYTE: Final = 2**20


class ServeConfig(BaseModel):
    """The settings of `ragcore serve`; the options of the command have the same names.

    Attributes:
        host: address or name to listen on.
        port: TCP port; 0 takes a free one, which the server prints.
        token_file: file of bearer tokens, one a line; see `ragcore_serve.auth.Tokens`.
        admin_token_file: the same for those who may change which version is served.
        open: serve without tokens although others can reach the address.
        hosts: names that a request's `Host` may have besides the server's own; `*` allows any.
        cors: origins, such as `https://example.org`, whose pages may ask.
        queue: questions that may wait or be answered at a time, for each pipeline.
        streams: streams that may be open at a time, for each pipeline.
        max_questions: questions in one request.
        max_question_chars: characters of a question.
        max_body_bytes: bytes of a request's body.
        max_k: the largest `k` that a request may set.
        max_beams: the largest `beams` that a request may set.
        max_new_tokens: the largest `max_new_tokens` that a request may set.
        max_samples: the largest `sample.n` that a request may set.
        timeout: seconds until a request is ended; a request may ask for fewer.
        drain: seconds that requests have to end before the server stops.
        workers: processes that serve.
        pin: serve the version that is current at the start, and do not follow the store.
        interval: seconds between two looks at the store.
        log_questions: write questions to the log.
        citations: end the text of chat completions with the sources.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    token_file: Path | None = None
    admin_token_file: Path | None = None
    open: bool = False
    hosts: tuple[str, ...] = ()
    cors: tuple[str, ...] = ()
    queue: int = Field(default=256, ge=1)
    streams: int = Field(default=8, ge=1)
    max_questions: int = Field(default=64, ge=1)
    max_question_chars: int = Field(default=10_000, ge=1)
    max_body_bytes: int = Field(default=MEBIBYTE, ge=1)
    max_k: int = Field(default=100, ge=1)
    max_beams: int = Field(default=16, ge=1)
    max_new_tokens: int = Field(default=512, ge=1)
    max_samples: int = Field(default=16, ge=1)
    timeout: float = Field(default=60.0, gt=0, allow_inf_nan=False)
    drain: float = Field(default=30.0, ge=0, allow_inf_nan=False)
    workers: int = Field(default=1, ge=1)
    pin: bool = False
    interval: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    log_questions: bool = False
    citations: bool = True

    @model_validator(mode="after")
    def _questions_fit_the_queue(self) -> Self:
        """Refuse limits by which a request of full size could never be admitted."""
        if self.max_questions > self.queue:
            raise ValueError(
                f"max_questions {self.max_questions} is more than queue {self.queue}: a request "
                "of so many questions could never be admitted; raise queue or lower max_questions"
            )
        return self


def check_exposure(config: ServeConfig) -> None:
    """Refuse to serve without tokens where others can reach the address.

    Raises:
        ConfigError: says which option to give.
    """
    if config.open and config.token_file is not None:
        raise ConfigError(
            "--open with --token-file: the one lets anybody ask, the other only those who have a "
            "token; leave one of them out"
        )
    if is_loopback(config.host) or config.token_file is not None or config.open:
        return
    raise ConfigError(
        f"--host {config.host} can be reached from other machines, and there is no --token-file: "
        "give a file of tokens, listen on 127.0.0.1, or let anybody ask with --open"
    )


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address; other names count as reachable."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
