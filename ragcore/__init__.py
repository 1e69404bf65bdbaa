"""ragcore: retrieval-augmented generation with a memory that can be swapped like a component.

Importing this package imports nothing heavy; each name below is imported on first use.

    rag = ragcore.load("pipeline.yaml")
    answer = rag.answer("Who is the prime minister of Ethiopia?")[0]
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ragcore.answering.request import Request
    from ragcore.build import (
        build_memory,
        build_shard,
        merge_shards,
        open_memory,
        train_index,
        update_memory,
    )
    from ragcore.config import load_config
    from ragcore.distributed import build_in_shards, load_runner
    from ragcore.errors import RagcoreError
    from ragcore.evaluation.running import evaluate
    from ragcore.experiments.api import experiment
    from ragcore.experiments.tuning import tune
    from ragcore.hookspecs import Components, Target, hookimpl
    from ragcore.process.cancellation import Cancellation
    from ragcore.questions import read_questions
    from ragcore.rag import Rag, load
    from ragcore.registry.components import (
        ComponentConfig,
        ComponentSpec,
        ConfigPath,
        ModelName,
    )
    from ragcore.registry.simple import SimpleRetriever
    from ragcore.training import train
    from ragcore.types import (
        Answer,
        Citation,
        Correction,
        Event,
        Evidence,
        Hits,
        Passage,
        SearchResult,
        Source,
        Timings,
        Token,
        Usage,
        Vote,
    )
    from ragcore.views.answer import answer_view
    from ragcore.views.console import TerminalConsole
    from ragcore.views.page import write_page

__version__ = "0.1.0"

_HOMES = {
    "Answer": "ragcore.types",
    "Cancellation": "ragcore.process.cancellation",
    "Correction": "ragcore.types",
    "Event": "ragcore.types",
    "Request": "ragcore.answering.request",
    "Timings": "ragcore.types",
    "Components": "ragcore.hookspecs",
    "ConfigPath": "ragcore.registry.paths",
    "Evidence": "ragcore.types",
    "Hits": "ragcore.types",
    "ModelName": "ragcore.registry.paths",
    "ComponentSpec": "ragcore.registry.components",
    "ComponentConfig": "ragcore.registry.components",
    "Passage": "ragcore.types",
    "Rag": "ragcore.rag",
    "RagcoreError": "ragcore.errors",
    "SearchResult": "ragcore.types",
    "SimpleRetriever": "ragcore.registry.simple",
    "Citation": "ragcore.types",
    "Source": "ragcore.types",
    "Target": "ragcore.hookspecs",
    "Token": "ragcore.types",
    "Usage": "ragcore.types",
    "Vote": "ragcore.types",
    "TerminalConsole": "ragcore.views.console",
    "answer_view": "ragcore.views.answer",
    "build_in_shards": "ragcore.distributed",
    "build_memory": "ragcore.build",
    "build_shard": "ragcore.build",
    "merge_shards": "ragcore.build",
    "open_memory": "ragcore.build",
    "update_memory": "ragcore.build",
    "write_page": "ragcore.views.page",
    "evaluate": "ragcore.evaluation.running",
    "experiment": "ragcore.experiments.api",
    "hookimpl": "ragcore.hookspecs",
    "load": "ragcore.rag",
    "load_config": "ragcore.config",
    "load_runner": "ragcore.distributed",
    "read_questions": "ragcore.questions",
    "train": "ragcore.training",
    "train_index": "ragcore.build",
    "tune": "ragcore.experiments.tuning",
}

__all__ = [
    "Answer",
    "Cancellation",
    "Correction",
    "Event",
    "Request",
    "Timings",
    "Components",
    "ConfigPath",
    "Evidence",
    "Hits",
    "ModelName",
    "ComponentSpec",
    "ComponentConfig",
    "Passage",
    "Rag",
    "RagcoreError",
    "SearchResult",
    "SimpleRetriever",
    "Citation",
    "Source",
    "Target",
    "TerminalConsole",
    "Token",
    "Usage",
    "Vote",
    "answer_view",
    "build_in_shards",
    "build_memory",
    "build_shard",
    "merge_shards",
    "open_memory",
    "update_memory",
    "write_page",
    "evaluate",
    "experiment",
    "hookimpl",
    "load",
    "load_config",
    "load_runner",
    "read_questions",
    "train",
    "train_index",
    "tune",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'ragcore' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
