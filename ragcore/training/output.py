"""The folder that training leaves: a pipeline that can be asked as it is, and how it came about.

pipeline.yaml       what was trained instead of what it was trained from
question_encoder/   safetensors and tokenizer, where it was trained
generator/          the same
memories/           a store, where the passages' side was trained too
training.json       config, sha256 of the data, seed, versions of libraries, how it went
log.jsonl           a line a step, and a line a look at `dev`
logs/               for TensorBoard
    evaluation/         `dev` answered by what is kept, for `ragcore replay`
checkpoints/        to go on from, and the best so far
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ragcore.config import PipelineConfig
from ragcore.config.record import portable
from ragcore.config.source import dump
from ragcore.contracts import Trainable
from ragcore.disk.atomic import sha256
from ragcore.registry.components import to_plain

__all__ = [
    "ENCODER",
    "GENERATOR",
    "MEMORIES",
    "PIPELINE",
    "RECORD",
    "clear",
    "config_digest",
    "data_record",
    "write_pipeline",
    "write_record",
]

PIPELINE: Final = "pipeline.yaml"
RECORD: Final = "training.json"
ENCODER: Final = "question_encoder"
GENERATOR: Final = "generator"
MEMORIES: Final = "memories"


def write_pipeline(
    folder: Path,
    config: PipelineConfig,
    *,
    encoder: Trainable | None,
    generator: Trainable | None,
    memory: Mapping[str, Any] | None = None,
    rag: Mapping[str, Any] | None = None,
) -> None:
    """Write what was trained, and a pipeline of it; paths in it start from the folder.

    Args:
        folder: exists; files of the same names are replaced.
        config: the pipeline that was trained.
        encoder: the question encoder, where it was trained.
        generator: the generator, where it was trained.
        memory: what the section `memory` says otherwise.
        rag: what the section `rag` says otherwise.
    """
    said = to_plain(config)
    del said["train"]
    section = said["memory"]
    if encoder is not None:
        section["retriever"]["encoder"] |= _saved(encoder, folder, ENCODER)
    if generator is not None:
        said["generator"] |= _saved(generator, folder, GENERATOR)
    said = portable(said, folder.resolve())
    said["memory"] |= dict(memory or {})
    said["rag"] |= dict(rag or {})
    path = folder / PIPELINE
    new = path.with_suffix(".new")
    new.write_text(dump(said), encoding="utf-8")
    os.replace(new, path)


def clear(folder: Path) -> None:
    """Remove what a training has left in its folder, and nothing else."""
    for name in ("checkpoints", "evaluation", "logs", ENCODER, GENERATOR, MEMORIES):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in (PIPELINE, RECORD, "log.jsonl"):
        (folder / name).unlink(missing_ok=True)


def _saved(trained: Trainable, folder: Path, name: str) -> dict[str, str]:
    place = folder / name
    place.mkdir(exist_ok=True)
    return {key: str(Path(name, path)) for key, path in trained.save_trained(place).items()}


def data_record(path: Path) -> dict[str, Any]:
    """What says later whether a file of questions is still the same."""
    return {"path": str(path), "sha256": sha256(path)}


def config_digest(config: PipelineConfig, *, without: tuple[str, ...] = ()) -> str:
    """A digest of a pipeline's config, less some settings of its section `train`."""
    said = to_plain(config)
    for name in without:
        (said.get("train") or {}).pop(name, None)
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write training.json."""
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    (folder / RECORD).write_text(text, encoding="utf-8")
