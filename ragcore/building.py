"""From a pipeline to a new version of its memory."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from ragcore.config import PipelineConfig, load_config
from ragcore.errors import ConfigError
from ragcore.memory.store import Progress, Store, VersionInfo

__all__ = ["build_memory"]


def build_memory(
    pipeline: str | Path | PipelineConfig,
    *overrides: str,
    version: str | None = None,
    fresh: bool = False,
    progress: Progress | None = None,
) -> VersionInfo:
    """Read a pipeline's corpus into a new version of its memory, and make that the current one.

    Args:
        pipeline: path of a YAML file, or a config that was loaded already.
        overrides: changes to the file, as on the command line: "memory.retriever.use=bm25".
        version: the new version's name; where None, `memory.version`, else today's date.
        fresh: encode all passages, also those that a build that was killed has encoded.
        progress: called with a stage, how much of it is done, and how much there is, if known.

    Raises:
        ConfigError: the file is faulty, or names no corpus.
        StoreError: there is such a version already.
        CorpusError: the corpus cannot be read, or is empty.
    """
    if isinstance(pipeline, PipelineConfig):
        if overrides:
            raise ConfigError(
                f"overrides {list(overrides)} with a config that is loaded already: give the "
                "pipeline's path, or the overrides to load_config"
            )
        config, name = pipeline, "the pipeline"
    else:
        config, name = load_config(pipeline, overrides), str(pipeline)
    section = config.memory
    if section.corpus is None:
        raise ConfigError(
            f"{name}: no corpus to build a memory from: add a key 'corpus' to the section "
            "'memory', such as corpus: {use: jsonl, path: passages.jsonl}"
        )
    return Store(section.store).build(
        version or section.version or date.today().isoformat(),
        section.corpus.build(),
        section.retriever,
        corpus_config=section.corpus.to_dict(),
        fresh=fresh,
        progress=progress,
    )
