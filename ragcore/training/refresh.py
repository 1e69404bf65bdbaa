"""Encode the memory again while training continues, in another process, and swap it in.

REALM (Guu et al., 2020) and end-to-end RAG (Siriwardhana et al., 2023) do the same. The passages
stay as they are; their vectors change. The builder is this file run as a program, on a copy of the
passage encoder on disk, so that training can go on changing its own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, cast

from ragcore.build import open_memory
from ragcore.config import PipelineConfig, load_config
from ragcore.contracts import TrainableEncoder, TrainableRetriever
from ragcore.errors import TrainingError
from ragcore.memory.memory import Memory
from ragcore.store.store import Store
from ragcore.training.output import MEMORIES, PIPELINE, write_pipeline

__all__ = ["Refresher", "rebuild"]

LAST: Final = "trained"
"""The version that the trained pipeline serves."""

_KEPT_VERSIONS: Final = 1
"""Versions that remain in addition to those that are open: training still reads one."""


class Refresher:
    """Builds versions of the memory in the training's folder, one at a time, in the first process.

    Other processes only open them.
    """

    def __init__(
        self, config: PipelineConfig, folder: Path, source: str, encoder: TrainableEncoder
    ) -> None:
        """Prepare without building anything.

        Args:
            config: the pipeline that is trained.
            folder: the training's output.
            source: the version whose passages all versions have.
            encoder: the trained encoder, of passages and of the questions that search for them.
        """
        self._config = config
        self._folder = folder / "checkpoints" / "passage_encoder"
        self._source = source
        self._encoder = encoder
        self._process: subprocess.Popen[bytes] | None = None
        self._version = ""

    def begin(self, version: str) -> None:
        """Start building a version with the current passage encoder, unless a build is running."""
        if self._process is not None:
            return
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        store = str(Path("..", "..", MEMORIES))
        write_pipeline(
            self._folder,
            self._config,
            encoder=self._encoder,
            generator=None,
            memory={"store": store, "version": version},
        )
        arguments = [str(self._folder / PIPELINE), version]
        arguments += [str(self._config.memory.store), self._source]
        self._version = version
        with (self._folder / "build.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def ready(self, *, wait: bool = False) -> str | None:
        """Return the version that was being built, once it is complete; None before.

        Args:
            wait: wait until it is complete.

        Raises:
            TrainingError: it could not be built.
        """
        if self._process is None:
            return None
        code = self._process.wait() if wait else self._process.poll()
        if code is None:
            return None
        self._process = None
        if code:
            log = (self._folder / "build.log").read_text(encoding="utf-8", errors="replace")
            raise TrainingError(
                f"train.refresh: the memory {self._version!r} could not be built (exit code "
                f"{code}): {log.strip()[-2000:]}"
            )
        return self._version

    def open(self, version: str) -> Memory:
        """Open a version, to be searched with the question encoder that is being trained."""
        memory = open_memory(self._folder / PIPELINE, version=version)
        cast(TrainableRetriever, memory.retriever).use_encoder(self._encoder)
        return memory

    def last(self) -> dict[str, Any]:
        """Build the version that the trained pipeline serves; return its section `memory`."""
        self.stop()
        self.begin(LAST)
        self.ready(wait=True)
        return {"store": MEMORIES, "version": None}

    def stop(self) -> None:
        """End a build that is running."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None


def rebuild(pipeline: Path, version: str, source: Path, source_version: str) -> None:
    """Build a version of a pipeline's store from the passages of another store.

    Args:
        pipeline: names the encoder and the store to build in.
        version: the new version's name.
        source: the store of the passages.
        source_version: the version of the passages.
    """
    section = load_config(pipeline).memory
    store = Store(section.store, passages=section.passages)
    # Whatever `memory.verify` says: damage would get new digests.
    with Store(source).passages(source_version, verify=True) as passages:
        store.build(version, passages, section.retriever)
    store.gc(_KEPT_VERSIONS)


if __name__ == "__main__":
    rebuild(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4])
