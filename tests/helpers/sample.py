"""A small plugin for tests of discovery, config and command line; imports nothing heavy.

Installed by the fixture `installed` under the entry point `sample`, in the module `sample_plugin`.
"""

from __future__ import annotations

from typing import Any, Literal, Self

import typer
from pydantic import Field, field_validator, model_validator

from ragcore import ComponentConfig, ComponentSpec, ConfigPath, ModelName, hookimpl
from ragcore.contracts import Encoder, Index, Retriever


@hookimpl
def ragcore_encoders() -> dict[str, str]:
    return {"tiny": "sample_plugin:Tiny"}


@hookimpl
def ragcore_indexes() -> dict[str, str]:
    return {"flat": "sample_plugin:Flat"}


@hookimpl
def ragcore_retrievers() -> dict[str, str]:
    return {
        "pair": "sample_plugin:Pair",
        "words": "sample_plugin:Words",
        "mix": "sample_plugin:Mix",
    }


@hookimpl
def ragcore_generators() -> dict[str, str]:
    return {
        "echo": "sample_plugin:Echo",
        "bare": "sample_plugin:Bare",
        "gone": "sample_plugin_that_is_not_there:Gone",
        "crash": "sample_plugin:Crash",
    }


@hookimpl
def ragcore_corpora() -> dict[str, str]:
    return {"lines": "sample_plugin:Lines"}


@hookimpl
def ragcore_cli() -> dict[str, str]:
    return {"hello": "sample_plugin:app", "notapp": "sample_plugin:Tiny"}


class Holder:
    """The base of every component here: store the config. None of its methods is called."""

    capabilities: frozenset[str] = frozenset()

    def __init__(self, config: Any) -> None:
        self.config = config


class Filled(Holder):
    """What indexes and retrievers share."""

    fingerprint = "sample"

    def __len__(self) -> int:
        return 0

    def add(self, rows: Any, items: Any) -> None: ...

    def search(self, questions: Any, k: int, *, allowed: Any = None) -> Any: ...

    def remove(self, rows: Any) -> None: ...

    def save(self, folder: Any) -> None: ...

    @classmethod
    def load(cls, folder: Any, config: Any, *, mmap: bool = True) -> Any: ...


class Generating(Holder):
    """What the generators share."""

    device = forced_bos_token_id = None
    vocabulary_size, eos_token_id = 2, 1

    def encode_answers(self, answers: Any) -> Any: ...

    def decode_tokens(self, token_ids: Any) -> Any: ...

    def read(self, questions: Any, passages: Any) -> Any: ...

    def score(self, read: Any, pairs: Any, targets: Any) -> Any: ...

    def start(self, read: Any, pairs: Any) -> Any: ...

    def step(self, state: Any, tokens: Any) -> Any: ...


class Tiny(Holder):
    dim, fingerprint = 8, "sample"

    def encode_passages(self, passages: Any) -> Any: ...

    def encode_questions(self, questions: Any) -> Any: ...

    class Config(ComponentConfig):
        model: ModelName = Field(description="a folder, or a name on a hub")
        dim: int = Field(default=8, ge=1, multiple_of=4, description="length of a vector")
        pooling: Literal["mean", "cls"] = "mean"
        lower: bool = True
        scale: float = Field(default=1.0, allow_inf_nan=False)
        token: str | None = Field(default=None, max_length=40)


class Flat(Filled):
    def __init__(self, config: Any, *, dim: int) -> None:
        super().__init__(config)

    class Config(ComponentConfig):
        factory: str = Field(default="Flat", min_length=1)


class Pair(Filled):
    class Config(ComponentConfig):
        encoder: ComponentSpec[Encoder]
        index: ComponentSpec[Index]
        cache: ConfigPath = Field(default="cache", validate_default=True)


class Words(Filled):
    class Config(ComponentConfig):
        k1: float = Field(default=1.2, gt=0)
        stop: list[str] = Field(default=[], max_length=3)
        weights: dict[str, float] = Field(default={})


class Mix(Filled):
    class Config(ComponentConfig):
        retrievers: list[ComponentSpec[Retriever]] = Field(min_length=1)
        named: dict[str, ComponentSpec[Retriever]] = Field(default={})
        low: int = 0
        high: int = 9

        @model_validator(mode="after")
        def _ordered(self) -> Self:
            if self.low > self.high:
                raise ValueError(f"low ({self.low}) must not exceed high ({self.high})")
            return self


class Echo(Generating):
    class Config(ComponentConfig):
        model: ModelName
        template: str = "{question}"

        @field_validator("template")
        @classmethod
        def _asks(cls, value: str) -> str:
            if "{question}" not in value:
                raise ValueError(f"must hold {{question}}, but is {value!r}")
            return value


class Bare(Generating):
    pass


class Crash(Generating):
    class Config(ComponentConfig):
        model: str

        @field_validator("model")
        @classmethod
        def _breaks(cls, value: str) -> str:
            raise KeyError(value)


class Lines(Holder):
    def __iter__(self) -> Any: ...

    class Config(ComponentConfig):
        path: ConfigPath
        words: int | None = Field(default=None, ge=1)


app = typer.Typer()


@app.command()
def hello(name: str) -> None:
    """Greet."""
    print(f"hello {name}")
