"""The configs of the components; imports no driver, so a file is checked fast."""

from __future__ import annotations

import os
import re
from typing import Annotated, ClassVar, Final, Literal, Self
from urllib.parse import unquote

from pydantic import ConfigDict, Field, StringConstraints, field_validator, model_validator

from ragcore.filters.predicates import ColumnKind, check_columns
from ragcore.registry.components import ComponentConfig

__all__ = ["DatabaseConfig", "PgvectorConfig"]

_SECRET: Final = "(?:ssl)?password|scram_client_key|scram_server_key|oauth_client_secret"
_SETTING: Final = re.compile(
    rf"\b(?:{_SECRET})\s*=\s*(?:'((?:[^'\\]|\\.)*)|((?:[^'\\\s]|\\.)+))",
    re.IGNORECASE | re.DOTALL,
)
_URL: Final = re.compile(r"\s*postgres(?:ql)?://")
_SETTING_OF_URL: Final = re.compile(_SECRET, re.IGNORECASE)
_USER_OF_URL: Final = re.compile(r"://[^:@/]*:([^@/]*)@")
"""As libpq reads it: a password may have # and ? in it."""

SchemaName = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]{0,40}$")]


class DatabaseConfig(ComponentConfig):
    """How a PostgreSQL database is reached, and how long it is waited for."""

    # An invalid dsn is in no message: it may hold a password.
    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)

    dsn: str = Field(
        repr=False,
        description="how to connect, as libpq reads it: host=db dbname=rag user=reader, or a URL; "
        "a password is written ${env:NAME}",
    )
    schema_: SchemaName = Field(
        "ragcore", alias="schema", description="of the database, that tables are in; it is made"
    )
    timeout: float = Field(
        10.0, gt=0, description="seconds that connecting, and a search, may take"
    )
    build_timeout: float = Field(
        3600.0, gt=0, description="seconds that one statement of a build may take"
    )
    connections: int = Field(8, ge=1, le=512, description="open at most, for each process")

    @field_validator("dsn")
    @classmethod
    def _check_dsn(cls, dsn: str) -> str:
        known = os.environ.values()
        if dsn not in known and not all(password in known for password in passwords_in(dsn)):
            # Written out, it would be in every copy of the file, and in the records of memories.
            raise ValueError(
                "dsn has a password written out: put it into the environment, write ${env:NAME}"
            )
        return dsn


def passwords_in(dsn: str) -> list[str]:
    """Return the passwords in a text for libpq, as they are used; empty ones are left out."""
    values = []
    if _URL.match(dsn):
        for setting in re.split("[?&]", dsn)[1:]:
            name, _, value = setting.partition("=")
            if _SETTING_OF_URL.fullmatch(unquote(name)):
                values.append(unquote(value))
    else:
        for quoted, plain in _SETTING.findall(dsn):
            values.append(re.sub(r"\\(.)", r"\1", quoted or plain, flags=re.DOTALL))
    values += map(unquote, _USER_OF_URL.findall(dsn))
    return [value for value in values if value]


class PgvectorConfig(DatabaseConfig):
    """Settings of `{use: pgvector}`."""

    method: Literal["exact", "hnsw"] = Field(
        "exact", description="compare all vectors, or search a graph, which misses some"
    )
    half: bool = Field(
        False, description="16 bits for each number: half the memory, three digits of a score"
    )
    m: int = Field(16, ge=2, le=100, description="neighbours of a row in the graph")
    ef_construction: int = Field(
        64, ge=4, le=1000, description="candidates for these; twice `m` at least"
    )
    ef_search: int = Field(
        100, ge=1, le=1000, description="candidates of a search, which may differ from build time"
    )

    columns: dict[str, ColumnKind] = Field(
        default_factory=dict,
        description="fields of metadata, text or int, stored with the vectors: filters on them "
        "alone are evaluated by the database",
    )

    @field_validator("columns")
    @classmethod
    def _check_columns(cls, columns: dict[str, ColumnKind]) -> dict[str, ColumnKind]:
        check_columns(columns)
        return columns

    @model_validator(mode="after")
    def _check_graph(self) -> Self:
        if self.ef_construction < 2 * self.m:
            raise ValueError(
                f"ef_construction is {self.ef_construction}, expected twice m or more, "
                f"{2 * self.m}: pgvector makes no graph of fewer candidates"
            )
        return self
