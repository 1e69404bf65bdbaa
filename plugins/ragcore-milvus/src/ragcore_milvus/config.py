"""The config of the index `milvus`; imports no client, so that a file is checked without it."""

from __future__ import annotations

import os
from typing import Final, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, field_validator

from ragcore.filters.predicates import ColumnKind, check_columns
from ragcore.registry.components import ComponentConfig
from ragcore.registry.paths import ConfigPath

__all__ = ["MilvusConfig"]

_SCHEMES: Final = ("http", "https")


class MilvusConfig(ComponentConfig):
    """Settings of `{use: milvus}`."""

    # A message about a token or an address would quote it otherwise.
    model_config = ConfigDict(hide_input_in_errors=True)

    uri: str = Field(
        "http://localhost:19530", description="of the server; https for a connection by TLS"
    )
    token: str | None = Field(
        None,
        repr=False,
        description="user:password, or an API key; written ${env:NAME}; null where none is asked",
    )
    database: str = Field("", description="in the server; empty for the default one")
    ca_file: ConfigPath | None = Field(
        None, description="PEM file by which the server's certificate is checked; null for public"
    )
    method: Literal["exact", "hnsw"] = Field(
        "exact", description="compare all vectors, or search a graph, which misses some"
    )
    m: int = Field(16, ge=2, le=2048, description="of hnsw: links of a vector in the graph")
    ef_construction: int = Field(
        200, ge=1, le=32768, description="of hnsw: candidates when a vector is put into the graph"
    )
    ef_search: int = Field(
        100, ge=1, le=32768, description="of hnsw: candidates of a search; at least k are taken"
    )
    shards: int = Field(1, ge=1, le=16, description="parts that are written in parallel")
    replicas: int = Field(
        1, ge=1, description="copies in the memory of different query nodes, which share searches"
    )
    timeout: float = Field(10.0, gt=0, description="seconds that one request may take")
    build_timeout: float = Field(
        3600.0, gt=0, description="seconds to wait for Milvus to store, index or load a collection"
    )

    columns: dict[str, ColumnKind] = Field(
        default_factory=dict,
        description="fields of metadata, text or int, stored with the vectors: filters on them "
        "alone are evaluated by Milvus",
    )

    @field_validator("columns")
    @classmethod
    def _check_columns(cls, columns: dict[str, ColumnKind]) -> dict[str, ColumnKind]:
        check_columns(columns)
        return columns

    @field_validator("uri")
    @classmethod
    def _check_uri(cls, uri: str) -> str:
        parts = urlsplit(uri)
        if parts.username is not None or parts.password is not None:
            # Not quoted: it holds a password.
            raise ValueError("uri holds a user or a password: write them as token: ${env:…}")
        if parts.scheme not in _SCHEMES or not parts.hostname:
            raise ValueError(f"{uri!r} is no address of a server: expected http://… or https://…")
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError(f"{uri!r} has a path or a query: write host and port, and database")
        return uri.rstrip("/")

    @field_validator("token")
    @classmethod
    def _check_token(cls, token: str | None) -> str | None:
        if token is None:
            return None
        # The token itself is in none of the messages.
        if not token or not token.isascii() or not token.isprintable():
            raise ValueError("token is empty, or has characters that no header can have")
        # Written out, it would be in every copy of the file, and in the records of memories.
        if token not in os.environ.values():
            raise ValueError("token is written out: put it into the environment, write ${env:NAME}")
        return token
