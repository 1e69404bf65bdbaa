"""A memory encoded anew while training goes on: built by another process, swapped in when there.

As REALM (Guu et al., 2020) and end-to-end RAG (Siriwardhana et al., 2023) do it. The passages stay
as they are; what changes is their vectors. The builder is this file run as a program, on a copy of
the passage encoder that was written to disk, so that training can go on changing its own.
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
"""The version that what was trained serves."""

_KEPT_VERSIONS: Final = 1
"""Versions that stay beside those that are open: training still reads one."""


class Refresher:
    """Builds versions of a training's memory in its folder, one at a time, in the first process.

    Others only open what is there.
    """

    def __init__(
        self, config: PipelineConfig, folder: Path, source: str, encoder: TrainableEncoder
    ) -> None:
        """Begin nothing yet.

        Args:
            config: the pipeline that is trained.
            folder: of the training.
            source: the version whose passages all versions have.
            encoder: trained; searches with its questions' side what its passages' side encoded.
        """
        self._config = config
        self._place = folder / "checkpoints" / "passage_encoder"
        self._source = source
        self._encoder = encoder
        self._process: subprocess.Popen[bytes] | None = None
        self._version = ""

    def begin(self, version: str) -> None:
        """Start building a version with the passage encoder as it is; one that runs goes on."""
        if self._process is not None:
            return
        shutil.rmtree(self._place, ignore_errors=True)
        self._place.mkdir(parents=True)
        store = str(Path("..", "..", MEMORIES))
        write_pipeline(
            self._place,
            self._config,
            encoder=self._encoder,
            generator=None,
            memory={"store": store, "version": version},
        )
        told = [str(self._place / PIPELINE), version]
        told += [str(self._config.memory.store), self._source]
        self._version = version
        with (self._place / "build.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, *told],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def ready(self, *, wait: bool = False) -> str | None:
        """The version that was being built, once it is there; None before.

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
            log = (self._place / "build.log").read_text(encoding="utf-8", errors="replace")
            raise TrainingError(
                f"train.refresh: the memory {self._version!r} could not be built (exit code "
                f"{code}): {log.strip()[-2000:]}"
            )
        return self._version

    def open(self, version: str) -> Memory:
        """A version that is there, searched with the question encoder as training changes it."""
        memory = open_memory(self._place / PIPELINE, version=version)
        cast(TrainableRetriever, memory.retriever).use_encoder(self._encoder)
        return memory

    def last(self) -> dict[str, Any]:
        """Build the version that what was trained serves; what the section `memory` says then."""
        self.stop()
        self.begin(LAST)
        self.ready(wait=True)
        return {"store": MEMORIES, "version": None}

    def stop(self) -> None:
        """End a build that is under way."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None


def rebuild(pipeline: Path, version: str, source: Path, source_version: str) -> None:
    """Encode a version's passages with another encoder, into the store that a pipeline names.

    Args:
        pipeline: names the encoder and the new store.
        version: the new version's name.
        source: the store that the passages are in.
        source_version: their version.
    """
    section = load_config(pipeline).memory
    store = Store(section.store)
    with Store(source).passages(source_version) as passages:
        store.build(version, passages, section.retriever)
    store.gc(_KEPT_VERSIONS)


if __name__ == "__main__":
    rebuild(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4])
