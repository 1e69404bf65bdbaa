"""A memory encoded anew while training goes on: built by another process, swapped in when there.

As REALM (Guu et al., 2020) and end-to-end RAG (Siriwardhana et al., 2023) do it. The passages stay
as they are; what changes is their vectors. The builder is this file run as a program, on a copy of
the passage encoder that was written to disk, so that training can go on changing its own.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from ragcore.config import load_config
from ragcore.errors import TrainingError
from ragcore.memory.store import Store

__all__ = ["Builder", "rebuild"]

_KEPT: Final = 1
"""Versions that stay beside the current one: training still reads it."""


class Builder:
    """A process that builds one version; see `rebuild` for what it is told."""

    def __init__(self, pipeline: Path, version: str, source: Path, source_version: str) -> None:
        self.version = version
        self._log = pipeline.with_name("build.log")
        command = [sys.executable, "-m", __name__, str(pipeline), version]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, str(source), source_version],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def done(self, *, wait: bool = False) -> bool:
        """Whether the version is there.

        Raises:
            TrainingError: it could not be built.
        """
        code = self._process.wait() if wait else self._process.poll()
        if code:
            said = self._log.read_text(encoding="utf-8", errors="replace").strip()
            raise TrainingError(
                f"train.refresh: the memory {self.version!r} could not be built (exit code "
                f"{code}): {said[-2000:]}"
            )
        return code == 0

    def stop(self) -> None:
        """End it, if it still runs."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait()


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
    store.gc(_KEPT)


if __name__ == "__main__":
    rebuild(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4])
