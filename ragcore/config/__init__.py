"""Pipeline files: reading them with every fault at its place, filling them in, describing them.

`models` says what a file may hold. `source` turns YAML into a tree with positions, `overrides`
changes it, `reader` checks it against the models and the components' own `Config`s; `fill` and
`schema` are the two ways back.
"""

from __future__ import annotations

from ragcore.config.fill import fill_config
from ragcore.config.load import load_config, parse_config
from ragcore.config.models import AbstainConfig, MemoryConfig, PipelineConfig, RagConfig
from ragcore.config.schema import config_schema

__all__ = [
    "AbstainConfig",
    "MemoryConfig",
    "PipelineConfig",
    "RagConfig",
    "config_schema",
    "fill_config",
    "load_config",
    "parse_config",
]
