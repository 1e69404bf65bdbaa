"""Pipeline files: read them with every fault by position, write them out in full, describe them.

`models` says what a file may hold. `source` turns YAML into a tree with positions, `overrides`
changes it, `reader` checks it against the models and the components' own `Config`s; `fill` writes
a config back as YAML, and `schema` describes all files as a JSON Schema.
"""

from __future__ import annotations

from ragcore.config.fill import fill_config
from ragcore.config.load import load_component, load_config, load_store_config, parse_config
from ragcore.config.models import (
    AbstainConfig,
    CacheConfig,
    ConfidenceConfig,
    MemoryConfig,
    PipelineConfig,
    RagConfig,
    RewriteConfig,
    SampleConfig,
    WriteConfig,
)
from ragcore.config.schema import config_schema

__all__ = [
    "AbstainConfig",
    "CacheConfig",
    "ConfidenceConfig",
    "MemoryConfig",
    "PipelineConfig",
    "RagConfig",
    "RewriteConfig",
    "SampleConfig",
    "WriteConfig",
    "config_schema",
    "fill_config",
    "load_component",
    "load_config",
    "load_store_config",
    "parse_config",
]
