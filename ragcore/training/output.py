"""Write the folder that training produces: a pipeline ready for `ragcore ask`, and its record.

    pipeline.yaml       the pipeline, with the trained components in place of the original ones
    question_encoder/   safetensors and tokenizer, where it was trained
    generator/          the same
    memories/           a store, where the passage encoder was trained too
    training.json       config, sha256 of the data, seed, versions of libraries, results
    log.jsonl           a line per step, and a line per evaluation on `dev`
    logs/               for TensorBoard
    evaluation/         answers to `dev` of the final pipeline, for `ragcore replay`
    checkpoints/        to resume from, and the best so far

Knows configs and files; knows nothing of models or steps.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ragcore.config import PipelineConfig
from ragcore.config.record import portable
from ragcore.config.source import dump
from ragcore.contracts import Trainable
from ragcore.disk.atomic import sha256
from ragcore.disk.replacing import write_file
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
    """Write the trained components, and a pipeline of them with paths relative to the folder.

    Args:
        folder: exists; files of the same names are replaced.
        config: the pipeline that was trained.
        encoder: the question encoder, where it was trained.
        generator: the generator, where it was trained.
        memory: settings to change in the section `memory`.
        rag: settings to change in the section `rag`.
    """
    fields = to_plain(config)
    del fields["train"]
    if encoder is not None:
        fields["memory"]["retriever"]["encoder"] |= _saved(encoder, folder, ENCODER)
    if generator is not None:
        fields["generator"] |= _saved(generator, folder, GENERATOR)
    fields = portable(fields, folder.resolve())
    fields["memory"] |= dict(memory or {})
    fields["rag"] |= dict(rag or {})
    write_file(folder / PIPELINE, dump(fields))


def clear(folder: Path) -> None:
    """Remove what a training has written in its folder, and nothing else."""
    for name in ("checkpoints", "evaluation", "logs", ENCODER, GENERATOR, MEMORIES):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in (PIPELINE, RECORD, "log.jsonl"):
        (folder / name).unlink(missing_ok=True)


def _saved(trained: Trainable, folder: Path, name: str) -> dict[str, str]:
    """Save a trained component in a subfolder; return the config keys that load it from there."""
    subfolder = folder / name
    subfolder.mkdir(exist_ok=True)
    return {key: str(Path(name, path)) for key, path in trained.save_trained(subfolder).items()}


def data_record(path: Path) -> dict[str, Any]:
    """Record a file of questions, so that a later change of it can be noticed."""
    return {"path": str(path), "sha256": sha256(path)}


def config_digest(config: PipelineConfig, *, without: tuple[str, ...] = ()) -> str:
    """Compute a digest of a pipeline's config, without some settings of its section `train`."""
    fields = to_plain(config)
    for name in without:
        (fields.get("train") or {}).pop(name, None)
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write training.json."""
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    write_file(folder / RECORD, text)
