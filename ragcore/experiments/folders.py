"""Which folder a system's run is in, and whether a run in a folder can be used again.

    OUTPUT/runs/NAME-DIGEST/
      experiment.json       what the run is of, written before anything else; once complete, sha256
      run.json, predictions.jsonl, dev/      as `ragcore eval --output` writes them, once complete
      blocks/               while it is not

Knows digests and names of folders; knows nothing of how a run is made.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

from pydantic import TypeAdapter, ValidationError

from ragcore import __version__
from ragcore.config import PipelineConfig
from ragcore.disk.atomic import files_below, sha256
from ragcore.disk.replacing import write_file
from ragcore.errors import ConfigError, StoreError
from ragcore.evaluation.begun import settings_of
from ragcore.evaluation.runs import PREDICTIONS, RUN, faults_of
from ragcore.registry.components import ComponentSpec

__all__ = [
    "DEV",
    "SEARCHES",
    "Record",
    "advice",
    "complete_run",
    "digest_of",
    "identity",
    "no_store",
    "remove_run",
    "run_folder",
    "stamps",
]

DEV: Final = "dev"
SEARCHES: Final = "searches"
"""Folder of what an unfinished experiment searched for."""
_LOG: Final = logging.getLogger("ragcore.experiments")
_RECORD: Final = "experiment.json"
_FORMAT: Final = 1
_LONGEST: Final = 60


def digest_of(value: Any) -> str:
    """Compute the sha256 of a JSON-ready value."""
    text = json.dumps(value, ensure_ascii=True, sort_keys=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def identity(
    config: PipelineConfig, manifest: str, questions: Mapping[str, str], *, retrieval: bool
) -> dict[str, Any]:
    """Return all that a run's predictions depend on, except how deep is searched.

    Args:
        config: of the pipeline.
        manifest: sha256 of the manifest of the memory's version.
        questions: digests of the questions with their labels, by part.
        retrieval: whether there are no answers.
    """
    specs: list[ComponentSpec[Any] | None] = [config.memory.retriever]
    if not retrieval:
        abstain = config.rag.abstain
        specs += [config.generator, None if abstain is None else abstain.scorer]
    return {
        "settings": settings_of(config, retrieval=retrieval),
        "manifest": manifest,
        "questions": dict(questions),
        "retrieval": retrieval,
        "ragcore": __version__,
        "files": [stamps(spec) for spec in specs if spec is not None],
    }


def stamps(spec: ComponentSpec[Any]) -> list[list[Any]]:
    """List the files that a component's settings name, each with its size and when it was changed.

    So that a model which was trained again under the same path is not taken for the one before.
    """
    payload, rows = spec.to_dict(), []
    for pointer in spec.record_paths():
        value: Any = payload
        for key in pointer.split("/")[1:]:
            key = key.replace("~1", "/").replace("~0", "~")
            value = value[int(key) if isinstance(value, list) else key]
        path = Path(str(value))
        for file in files_below(path) if path.is_dir() else [path] * path.is_file():
            status = file.stat()
            rows.append([pointer, str(file.relative_to(path)), status.st_size, status.st_mtime_ns])
    return rows


def run_folder(output: Path, name: str, digest: str) -> Path:
    """Return the folder of a system's run."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii")
    slug = re.sub(r"[^A-Za-z0-9=.]+", "-", plain).strip("-.")[:_LONGEST].rstrip("-.")
    return output / "runs" / f"{slug or 'system'}-{digest[:12]}"


def no_store(store: Path) -> str:
    """Return the message about a memory whose store is not there."""
    return (
        f"the store {store} does not exist: build the memory (ragcore memory build), or set "
        "'build: true'"
    )


def advice(folder: Path) -> str:
    """Return what to do about a damaged run, for the end of a message."""
    return f"remove {folder}, or run the experiment with --fresh"


def complete_run(folder: Path, digest: str, *, dev: bool) -> Record | None:
    """Return the record of a run that is complete; None where it is not, or there is none.

    Raises:
        ConfigError: the record is damaged, or is of another run.
    """
    record = Record.read(folder)
    if record is not None and record.digest != digest:
        raise ConfigError(
            f"{folder / _RECORD}: of another run (system {record.system!r}): {advice(folder)}"
        )
    return record if record is not None and record.is_complete(folder, dev=dev) else None


@dataclass(frozen=True, slots=True)
class Record:
    """What a run is of, and what was found of its memory, so that it need not be opened again.

    Attributes:
        system: its name.
        digest: of identity and depth; the run's folder is named by it.
        identity: digest of all that predictions depend on, except the depth.
        depth: how deep the metrics wanted to search; None where none reads a ranking.
        deepest: how deep the retriever ranks; None for no limit.
        exact: whether a shallower search is the beginning of a deeper one.
        warnings: of the questions against the memory, by part.
        files: sha256 of the files of each part that is complete, by their path from the folder.
    """

    system: str
    digest: str
    identity: str
    depth: int | None
    deepest: int | None
    exact: bool
    warnings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def searched(self) -> int | None:
        """How deep was searched."""
        if self.depth is None or self.deepest is None:
            return self.depth
        return min(self.depth, self.deepest)

    def serves(self, depth: int | None) -> bool:
        """Tell whether the run has what a search of this depth would find."""
        if depth is None or depth == self.depth:
            return True
        if not self.exact or self.searched is None:
            return False
        return self.searched >= (depth if self.deepest is None else min(depth, self.deepest))

    def is_complete(self, folder: Path, *, dev: bool) -> bool:
        """Tell whether all files of a run were written, and are there."""
        parts = ("", f"{DEV}/") if dev else ("",)
        needed = [f"{part}{name}" for part in parts for name in (RUN, PREDICTIONS)]
        return all(name in self.files and (folder / name).is_file() for name in needed)

    def changed(self, folder: Path, part: str) -> list[Path]:
        """List the files of a part that are not what was written.

        Args:
            folder: of the run.
            part: "" for the run itself, or DEV.
        """
        paths = {name: folder / part / name for name in (RUN, PREDICTIONS)}
        return [
            path
            for name, path in paths.items()
            if sha256(path) != self.files.get(f"{part}/{name}" if part else name)
        ]

    def completed(self, folder: Path, part: str) -> Self:
        """Write down that the files of a part are whole, and return the new record.

        Args:
            folder: of the run.
            part: "" for the run itself, or DEV.
        """
        files = {
            (f"{part}/{name}" if part else name): sha256(folder / part / name)
            for name in (RUN, PREDICTIONS)
        }
        record = replace(self, files={**self.files, **files})
        record.write(folder)
        return record

    def write(self, folder: Path) -> None:
        """Write it into a run's folder, which is made where it is missing.

        Raises:
            StoreError: the folder holds something else, or is none.
        """
        _refuse_unlike_folder(folder)
        folder.mkdir(parents=True, exist_ok=True)
        others = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
        if others and not (folder / _RECORD).is_file():
            raise StoreError(
                f"{folder} is no run of an experiment (it has {', '.join(others[:3])}): move it "
                "away, or choose another folder for the output"
            )
        row = {"format": _FORMAT, **asdict(self)}
        write_file(folder / _RECORD, json.dumps(row, indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Record | None:
        """Read the record of a run's folder; None where there is none.

        Raises:
            ConfigError: it is damaged.
        """
        path = folder / _RECORD
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise ConfigError(f"{path}: cannot be read ({reason}): {advice(folder)}") from None
        try:
            record: Record = TypeAdapter(cls).validate_json(text)
        except ValidationError as error:
            raise ConfigError(
                f"{path}: the run is damaged: {faults_of(error)}: {advice(folder)}"
            ) from None
        return record

    @staticmethod
    def find(output: Path, identity: str, depth: int | None, *, dev: bool) -> Path | None:
        """Return the folder of a complete run of an identity that serves a depth, or None."""
        for path in sorted((output / "runs").glob(f"*/{_RECORD}")):
            try:
                record = Record.read(path.parent)
            except ConfigError as error:
                # Of what it is cannot be known: as if it were not there.
                _LOG.info("%s", error)
                continue
            if record is None or record.identity != identity or not record.serves(depth):
                continue
            if record.is_complete(path.parent, dev=dev):
                return path.parent
        return None


def remove_run(folder: Path) -> None:
    """Remove the folder of a run, to make it again.

    Raises:
        StoreError: the folder holds something else, or is none.
    """
    _refuse_unlike_folder(folder)
    if not folder.exists():
        return
    # A damaged record is that of a run, too.
    if not (folder / _RECORD).is_file() and any(folder.iterdir()):
        raise StoreError(f"{folder} is no run of an experiment: it is not removed: move it away")
    shutil.rmtree(folder)


def _refuse_unlike_folder(folder: Path) -> None:
    """Check that the path of a run is free, or that of a folder.

    Raises:
        StoreError: there is something else.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise StoreError(
            f"{folder} is no folder, and a run is to be written there: move it away, or choose "
            "another folder for the output"
        )
