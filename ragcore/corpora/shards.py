"""Find the files that a config's `path` names: a file, a folder, a pattern, or a list of these.

Knows names only.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from ragcore.disk.paths import usable_path
from ragcore.errors import CorpusError, EmptyCorpusError
from ragcore.registry.components import ConfigPath

__all__ = ["Paths", "Shard", "find_shards", "packed", "unpacked"]

Paths = ConfigPath | Annotated[tuple[ConfigPath, ...], Field(min_length=1)]
"""The setting `path` of a corpus that reads several files."""

_PACKINGS: Final = ("", ".gz", ".bz2", ".xz", ".zst")


@dataclass(frozen=True, slots=True)
class Shard:
    """A file of a corpus.

    Attributes:
        path: where it is.
        name: its path from the folder that was searched, with `/`.
        is_whole: whether the config names it alone; then rows without an id have their bare number.
    """

    path: Path
    name: str
    is_whole: bool

    def row_id(self, number: int) -> str:
        """Return the id of a row that has none: its number, with the file's name where needed."""
        return str(number) if self.is_whole else f"{self.name}:{number}"


def packed(*names: str) -> tuple[str, ...]:
    """Return patterns of file names, each also with the endings of packed files."""
    return tuple(f"{name}{packing}" for name in names for packing in _PACKINGS)


def unpacked(path: Path) -> Path:
    """Return a file's path without the ending of its packing."""
    return path.with_suffix("") if path.suffix.lower() in _PACKINGS[1:] else path


def find_shards(
    paths: Path | Sequence[Path], patterns: Sequence[str], preferred: Sequence[str] = ()
) -> list[Shard]:
    """Return the files that paths name, each once.

    Args:
        paths: files; folders, which are searched with their subfolders; or patterns with `*`, `?`
            or `[…]`. The files of a folder or pattern come in the order of their paths, those of a
            list as it has them.
        patterns: of the names that are read in a folder, such as `*.jsonl`.
        preferred: patterns that stand for `patterns` in a folder, where it also has files with
            something else than passages, such as questions.

    Raises:
        CorpusError: there is no such file or folder, or a folder has a file packed and unpacked.
        EmptyCorpusError: a folder or pattern has no file.
    """
    if isinstance(paths, Path):
        usable_path(paths, CorpusError)
        if paths.is_file():
            return [Shard(paths, paths.name, is_whole=True)]
        paths = (paths,)
    names: dict[Path, str] = {}
    for path in paths:
        for file, name in _files_at(path, patterns, preferred):
            names.setdefault(file, name)
    if len(set(names.values())) < len(names):
        # Files of several folders have the same name: each is named from their common folder on.
        common = Path(os.path.commonpath([file.absolute() for file in names]))
        names = {file: file.absolute().relative_to(common).as_posix() for file in names}
    return [Shard(file, name, is_whole=False) for file, name in names.items()]


def _files_at(
    path: Path, patterns: Sequence[str], preferred: Sequence[str]
) -> Iterator[tuple[Path, str]]:
    """Yield the files that one path names, with their names."""
    usable_path(path, CorpusError)
    if path.is_dir():
        expected = preferred or patterns
        files = _files_in(path, expected)
        if not files:
            names = ", ".join(each for each in expected if not each.endswith(_PACKINGS[1:]))
            raise EmptyCorpusError(
                f"{path}: no file in it or below it has a name like {names}: name the files by "
                f"a pattern, such as {path}/*.json"
            )
        _check_packed_once(files)
        for file in files:
            yield file, file.relative_to(path).as_posix()
    elif glob.has_magic(str(path)) and not path.is_file():
        files = sorted(
            file for name in glob.glob(str(path), recursive=True) if (file := Path(name)).is_file()
        )
        if not files:
            raise EmptyCorpusError(f"{path}: no file has a name like this: check the pattern")
        _check_packed_once(files)
        base = _fixed_part(path)
        for file in files:
            yield file, file.relative_to(base).as_posix()
    elif path.exists():
        yield path, path.name
    else:
        raise CorpusError(f"{path}: no such file or folder: check the path")


def _files_in(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """Return the files below a folder with a name like a pattern; hidden ones are left out.

    Capital letters make no difference: `A.JSONL` is like `*.jsonl`.
    """
    return sorted(
        path
        for path in folder.rglob("*")
        if any(fnmatchcase(path.name.lower(), pattern) for pattern in patterns)
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def _check_packed_once(files: Sequence[Path]) -> None:
    """Check that no file is there packed and unpacked, or packed in two ways.

    Raises:
        CorpusError: one is, whose rows would be read twice.
    """
    by_stem: dict[Path, Path] = {}
    for file in files:
        stem = unpacked(file)
        other = by_stem.setdefault(stem, file)
        if other != file:
            raise CorpusError(
                f"{other} and {file.name}: two files whose names differ only in their packing: "
                "remove one if they have the same rows, or name the files in a list"
            )


def _fixed_part(pattern: Path) -> Path:
    """Return the folder that all files of a pattern are in."""
    parts = []
    for part in pattern.parts[:-1]:
        if glob.has_magic(part):
            break
        parts.append(part)
    return Path(*parts)
