"""Check that each worker has what a job was begun with: settings, version and release.

Figures of which some are from another memory are the figures of none. Knows pipelines and
manifests; knows nothing of runners.
"""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from hashlib import sha256 as new_sha256
from pathlib import Path
from typing import Any, Final, Self

from ragcore import __version__
from ragcore.config import PipelineConfig
from ragcore.disk.atomic import sha256
from ragcore.errors import ConfigError, MemoryMismatchError
from ragcore.registry.components import to_plain
from ragcore.store.manifest import MANIFEST

__all__ = ["Begun", "settings_of"]

_UNRELATED: Final = frozenset({"store", "version", "corpus", "cache", "verify"})
"""Settings of the memory that change no figure: the version's manifest is compared apart."""
_SHOWN: Final = 12
"""Digits of a digest that an error has."""


def settings_of(config: PipelineConfig, *, retrieval: bool) -> dict[str, Any]:
    """Return the settings that answers, or retrieval alone, depend on, without the memory's files.

    Args:
        config: of the pipeline.
        retrieval: whether there are no answers.
    """
    plain = to_plain(config)
    memory = {key: value for key, value in plain["memory"].items() if key not in _UNRELATED}
    if retrieval:
        del memory["temperature"]
        return {"memory": memory, "where": plain["rag"]["where"]}
    return {"memory": memory, "generator": plain["generator"], "rag": plain["rag"]}


@dataclass(frozen=True, slots=True)
class Begun:
    """What a job was begun with; can be sent to workers.

    Attributes:
        version: of the memory.
        manifest: sha256 of the version's manifest, which has the digest of each file and the
            fingerprint of the retriever.
        settings: sha256 of the pipeline's settings that figures depend on.
        release: of ragcore.
    """

    version: str
    manifest: str
    settings: str
    release: str

    @classmethod
    def of(cls, config: PipelineConfig, version: str) -> Self:
        """Describe a pipeline and a version of its memory as they are on this machine.

        Raises:
            MemoryMismatchError: the version is not there.
        """
        path = Path(config.memory.store) / "versions" / version / MANIFEST
        try:
            manifest = sha256(path)
        except (FileNotFoundError, NotADirectoryError):
            raise MemoryMismatchError(
                f"{config.memory.store}: version {version!r} is not on this machine "
                f"({platform.node()}), which works on a part of the job: copy the store to it, or "
                "use a file system that all workers see"
            ) from None
        settings = json.dumps(settings_of(config, retrieval=False), sort_keys=True)
        return cls(version, manifest, new_sha256(settings.encode()).hexdigest(), __version__)

    def check(self, config: PipelineConfig, path: Path) -> None:
        """Check that a worker has the same.

        Args:
            config: as the worker has loaded it.
            path: of the file that it is from.

        Raises:
            MemoryMismatchError: the version is missing here, or is another one.
            ConfigError: the pipeline's settings, or the release of ragcore, are others.
        """
        machine = f"on this machine ({platform.node()})"
        if self.release != __version__:
            raise ConfigError(
                f"ragcore {__version__} is installed {machine}, and the job was begun with "
                f"{self.release}: install the same release for all workers"
            )
        own = Begun.of(config, self.version)
        if own.manifest != self.manifest:
            raise MemoryMismatchError(
                f"{config.memory.store}: version {self.version!r} is another one {machine} than "
                f"where the job was begun: manifest {own.manifest[:_SHOWN]}, expected "
                f"{self.manifest[:_SHOWN]}: copy the store again"
            )
        if own.settings != self.settings:
            raise ConfigError(
                f"{path}: the pipeline has other settings {machine} than where the job was begun: "
                f"digest {own.settings[:_SHOWN]}, expected {self.settings[:_SHOWN]}: copy the file "
                "again"
            )
