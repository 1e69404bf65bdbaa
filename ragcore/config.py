"""The pipeline file: what it may say, and how it is read, filled in, and described.

This file holds the pipeline's own sections; what a component may say is in its `Config`. Reading
YAML with positions is in `yaml_source.py`, checking it against models in `config_reader.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ragcore.config_overrides import apply_overrides
from ragcore.config_reader import ConfigReader
from ragcore.errors import ConfigError
from ragcore.parts import ConfigPath, Kind, Part, PartConfig
from ragcore.yaml_source import Mapping, Node, Scalar, Source

__all__ = [
    "AbstainConfig",
    "MemoryConfig",
    "PipelineConfig",
    "RagConfig",
    "load_config",
    "parse_config",
]


class AbstainConfig(PartConfig):
    """When to say that the passages do not hold the answer."""

    answer: str = Field(
        default="unknown", min_length=1, description="what is said instead of an answer"
    )
    above: float = Field(
        default=0.5, ge=0, le=1, description="said where its own probability is above this"
    )


class RagConfig(PartConfig):
    """How an answer is computed from the passages."""

    marginalize: Literal["token", "sequence"] = Field(
        default="token",
        description="RAG-Token sums over passages at each token, RAG-Sequence once an answer",
    )
    decode: Literal["thorough", "fast", "joint"] = Field(
        default="thorough", description="how RAG-Sequence is decoded"
    )
    k: int = Field(default=5, ge=1, description="passages retrieved for a question")
    beams: int = Field(
        default=4, ge=1, description="hypotheses kept by the beam search; 1 is greedy"
    )
    max_new_tokens: int = Field(default=32, ge=1, description="longest answer, in tokens")
    min_new_tokens: int = Field(default=0, ge=0, description="shortest answer, in tokens")
    length_penalty: float = Field(
        default=0.0,
        allow_inf_nan=False,
        description="hypotheses are ranked by log p / length ** this; 0 ranks by log p",
    )
    no_repeat_ngram: int = Field(
        default=0, ge=0, description="no n-gram of this length twice in an answer; 0 allows all"
    )
    abstain: AbstainConfig | None = Field(
        default=None, description="when to answer that the passages do not say; null never does"
    )

    @model_validator(mode="after")
    def _lengths_agree(self) -> Self:
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError(
                f"min_new_tokens ({self.min_new_tokens}) must not exceed "
                f"max_new_tokens ({self.max_new_tokens})"
            )
        return self


class MemoryConfig(PartConfig):
    """Which passages are read, and how they are found."""

    store: ConfigPath = Field(description="folder of the store that holds the memory's versions")
    version: str | None = Field(
        default=None,
        min_length=1,
        description="version to answer from; null is the store's current one",
    )
    corpus: Annotated[Part, Kind("corpus")] | None = Field(
        default=None, description="where passages come from when the memory is built"
    )
    retriever: Annotated[Part, Kind("retriever")] = Field(
        description="finds the passages of a question"
    )
    temperature: float = Field(
        default=1.0,
        gt=0,
        allow_inf_nan=False,
        description="scores are divided by this before they become a prior",
    )


class PipelineConfig(PartConfig):
    """A whole pipeline file."""

    ragcore: Literal[1] = Field(description="the file format's version, 1")
    memory: MemoryConfig = Field(description="which passages are read, and how they are found")
    generator: Annotated[Part, Kind("generator")] | None = Field(
        default=None, description="writes the answer; a pipeline that only searches needs none"
    )
    rag: RagConfig = Field(
        default=RagConfig(), description="how an answer is computed from the passages"
    )


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> PipelineConfig:
    """The checked config of a pipeline file.

    Args:
        path: of a YAML file; relative paths in it start from its folder.
        overrides: changes to it, as "rag.k=10" or "generator.use=t5"; the last one wins.

    Raises:
        ConfigError: it cannot be read, or has faults; the message lists all, by position.
    """
    return read_file(path, overrides)[1]


def parse_config(
    text: str, name: str = "<text>", base: str | Path = ".", overrides: Sequence[str] = ()
) -> PipelineConfig:
    """As `load_config`, from a text; `name` stands for the file's, `base` for its folder."""
    return _read(Source(text, name, overrides), Path(base))[1]


def read_file(path: str | Path, overrides: Sequence[str] = ()) -> tuple[Node, PipelineConfig]:
    """As `load_config`, with the tree that the file and the overrides make."""
    return _read(Source(_text(Path(path)), str(path), overrides), Path(path).parent)


def _read(source: Source, base: Path) -> tuple[Node, PipelineConfig]:
    tree = source.tree()
    config = None
    if tree is not None:
        if isinstance(tree, Scalar) and tree.value is None:
            source.fault(tree.place, _EMPTY)
        else:
            if isinstance(tree, Mapping):
                apply_overrides(tree, source)
            reader = ConfigReader(source, base.absolute())
            config = reader.read(tree, PipelineConfig, "the pipeline")
    if tree is None or config is None or source.faults:
        raise ConfigError(source.show())
    return tree, config


_EMPTY = "the file is empty: a pipeline begins with 'ragcore: 1' and has a section 'memory'"


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file: give the path of a pipeline file (from {Path.cwd()})"
        ) from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: a folder: give the path of a pipeline file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", errors="replace").split("\n")
        raise ConfigError(
            f"{path}:{len(before)}:{len(before[-1]) + 1}: not UTF-8 (byte "
            f"0x{data[error.start]:02X}): save the file as UTF-8"
        ) from None
