"""ragcore: retrieval-augmented generation with a memory that can be swapped like a part.

Importing this package imports nothing heavy; each name below is loaded when it is first used.

    rag = ragcore.load("pipeline.yaml")
    answer = rag.answer("Who is the prime minister of Ethiopia?")[0]
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ragcore.building import build_memory, update_memory
    from ragcore.cli.render import answer_view
    from ragcore.config import load_config
    from ragcore.errors import RagcoreError
    from ragcore.evaluation.running import evaluate
    from ragcore.hookspecs import hookimpl
    from ragcore.parts import ConfigPath, Kind, ModelName, Part, PartConfig
    from ragcore.questions import read_asked
    from ragcore.rag import Rag, load
    from ragcore.simple import SimpleRetriever
    from ragcore.training import train
    from ragcore.types import Answer, Evidence, Hits, Passage, Token

__version__ = "0.1.0"

_HOMES = {
    "Answer": "ragcore.types",
    "ConfigPath": "ragcore.parts",
    "Evidence": "ragcore.types",
    "Hits": "ragcore.types",
    "Kind": "ragcore.parts",
    "ModelName": "ragcore.parts",
    "Part": "ragcore.parts",
    "PartConfig": "ragcore.parts",
    "Passage": "ragcore.types",
    "Rag": "ragcore.rag",
    "RagcoreError": "ragcore.errors",
    "SimpleRetriever": "ragcore.simple",
    "Token": "ragcore.types",
    "answer_view": "ragcore.cli.render",
    "build_memory": "ragcore.building",
    "update_memory": "ragcore.building",
    "evaluate": "ragcore.evaluation.running",
    "hookimpl": "ragcore.hookspecs",
    "load": "ragcore.rag",
    "load_config": "ragcore.config",
    "read_asked": "ragcore.questions",
    "train": "ragcore.training",
}

__all__ = [
    "Answer",
    "ConfigPath",
    "Evidence",
    "Hits",
    "Kind",
    "ModelName",
    "Part",
    "PartConfig",
    "Passage",
    "Rag",
    "RagcoreError",
    "SimpleRetriever",
    "Token",
    "answer_view",
    "build_memory",
    "update_memory",
    "evaluate",
    "hookimpl",
    "load",
    "load_config",
    "read_asked",
    "train",
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
