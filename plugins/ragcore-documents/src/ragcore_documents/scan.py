"""Find the files of a folder, in an order that stays, without following what leads elsewhere.

Knows names and kinds of files; opens none of them. Hidden files, folders of version control and
caches are left out, and so is all that is no regular file: a pipe or a device is never opened.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from pathspec import GitIgnoreSpec

__all__ = ["FileEntry", "Rules", "SkippedPath", "scan"]

_NEVER: Final = frozenset(
    {
        ".git",
        ".hg",
        ".svn",
        ".bzr",
        ".jj",
        "CVS",
        "node_modules",
        "__pycache__",
        "site-packages",
        ".venv",
        ".tox",
        ".nox",
        ".mypy_cache",
        ".pytest_cache",
        ".ruff_cache",
        ".ipynb_checkpoints",
    }
)
"""Folders of version control, installed packages and caches."""

_TOOLS: Final = "folders of version control, packages and caches"
"""Why a folder of `_NEVER`, or an environment of Python, is left out."""

_ENVIRONMENT: Final = "pyvenv.cfg"
"""The file that each environment of Python has."""

_LOCK: Final = "~$"
"""How the names of the files begin that Office writes while a document is open."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A regular file of the folder.

    Attributes:
        id: its path relative to the folder, with `/`.
        path: where it is.
        mtime_ns: when it was changed, in nanoseconds since 1970.
        size: in bytes.
    """

    id: str
    path: str
    mtime_ns: int
    size: int


class SkippedPath(NamedTuple):
    """A file or folder that could not be looked at.

    Attributes:
        id: its path relative to the folder; "" of the folder itself.
        reason: why, and what to do.
        is_folder: whether it is a folder, so that files in it are unknown.
    """

    id: str
    reason: str
    is_folder: bool = False


class Rules:
    """Which files of a folder are read; see `DocumentsConfig`."""

    def __init__(
        self,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        *,
        hidden: bool = False,
        symlinks: bool = False,
    ) -> None:
        self.symlinks = symlinks
        self._hidden = hidden
        self._include = GitIgnoreSpec.from_lines(include) if include else None
        self._exclude = GitIgnoreSpec.from_lines(exclude) if exclude else None

    def why_not(self, id_: str, name: str, *, is_folder: bool) -> str | None:
        """Return why a file or folder is left out, such as "hidden"; None where it is not."""
        if is_folder and name in _NEVER:
            return _TOOLS
        if (name.startswith(".") or name.startswith(_LOCK)) and not self._hidden:
            return "hidden"
        if self._exclude is not None and self._exclude.match_file(f"{id_}/" if is_folder else id_):
            return "excluded"
        if self._include is not None and not is_folder and not self._include.match_file(id_):
            return "not included"
        return None

    def reads(self, id_: str) -> bool:
        """Return whether no folder on the way to a path is left out, nor the path itself."""
        parts = id_.split("/")
        return all(
            self.why_not("/".join(parts[:count]), parts[count - 1], is_folder=count < len(parts))
            is None
            for count in range(1, len(parts) + 1)
        )


def scan(root: Path, rules: Rules, left_out: Counter[str]) -> Iterator[FileEntry | SkippedPath]:
    """Yield the files below a folder, in the order of their names, folder by folder.

    Args:
        root: the folder; or a file, which is then the only one.
        rules: which files are read.
        left_out: receives how many files and folders are left out, by reason.
    """
    if root.is_file():
        yield from _one_file(root)
        return
    yield from _Walk(root, rules, left_out)


def _one_file(path: Path) -> Iterator[FileEntry | SkippedPath]:
    id_ = _utf8(path.name)
    if id_ is None:
        yield _not_utf8(path.name, "", is_folder=False)
        return
    status = path.stat()
    yield FileEntry(id_, os.path.realpath(path), status.st_mtime_ns, status.st_size)


class _Walk:
    """One walk over a folder; depth first, with the open folders on a stack."""

    def __init__(self, root: Path, rules: Rules, left_out: Counter[str]) -> None:
        self._root = os.path.realpath(root)
        self._rules = rules
        self._left_out = left_out
        self._linked: set[tuple[int, int]] = set()

    def __iter__(self) -> Iterator[FileEntry | SkippedPath]:
        stack = [self._children(self._root, "")]
        while stack:
            child = next(stack[-1], None)
            if child is None:
                stack.pop()
            elif isinstance(child, _Folder):
                stack.append(self._children(child.path, f"{child.id}/"))
            else:
                yield child

    def _children(self, path: str, prefix: str) -> Iterator[FileEntry | SkippedPath | _Folder]:
        try:
            with os.scandir(path) as stream:
                entries = sorted(stream, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            reason = f"the folder cannot be listed ({_reason(error)}): allow it, or exclude it"
            yield SkippedPath(prefix.rstrip("/"), reason, is_folder=True)
            return
        if prefix and any(entry.name == _ENVIRONMENT for entry in entries):
            self._left_out[_TOOLS] += 1
            return
        for entry in entries:
            name = _utf8(entry.name)
            if name is None:
                yield _not_utf8(entry.name, prefix, is_folder=_is_folder(entry))
                continue
            try:
                yield from self._child(entry, name, f"{prefix}{name}")
            except OSError as error:
                reason = f"it cannot be looked at ({_reason(error)}): allow it, or exclude it"
                yield SkippedPath(f"{prefix}{name}", reason, is_folder=True)

    def _child(
        self, entry: os.DirEntry[str], name: str, id_: str
    ) -> Iterator[FileEntry | SkippedPath | _Folder]:
        is_link = entry.is_symlink()
        status = entry.stat(follow_symlinks=False)
        path = entry.path
        reason = self._rules.why_not(id_, name, is_folder=stat.S_ISDIR(status.st_mode))
        if reason is None and is_link:
            if not self._rules.symlinks:
                reason = "symbolic links"
            else:
                try:
                    path = os.path.realpath(entry.path, strict=True)
                except OSError:
                    yield SkippedPath(id_, "a symbolic link to nothing: remove it, or exclude it")
                    return
                if not self._is_inside(path):
                    yield SkippedPath(
                        id_,
                        "a symbolic link that leads out of the folder: copy what it leads to, or "
                        "exclude it",
                        is_folder=os.path.isdir(path),
                    )
                    return
                status = os.stat(path)
                reason = self._why_not_followed(path, id_, name, status)
        if reason is not None:
            self._left_out[reason] += 1
        elif stat.S_ISDIR(status.st_mode):
            yield _Folder(id_, path)
        elif stat.S_ISREG(status.st_mode):
            yield FileEntry(id_, path, status.st_mtime_ns, status.st_size)
        else:
            self._left_out["pipes, sockets and devices"] += 1

    def _is_inside(self, path: str) -> bool:
        return path == self._root or path.startswith(os.path.join(self._root, ""))

    def _is_in_environment(self, path: str) -> bool:
        """Return whether a folder between the root and a path is an environment of Python."""
        while len(path := os.path.dirname(path)) > len(self._root):
            if os.path.exists(os.path.join(path, _ENVIRONMENT)):
                return True
        return False

    def _why_not_followed(
        self, path: str, id_: str, name: str, status: os.stat_result
    ) -> str | None:
        """Return why what a link leads to is left out; see `Rules.why_not`."""
        is_folder = stat.S_ISDIR(status.st_mode)
        reason = self._rules.why_not(id_, name, is_folder=is_folder)
        if reason is not None:
            return reason
        target = _utf8(os.path.relpath(path, self._root).replace(os.sep, "/"))
        once = "symbolic links to what is read once already"
        is_read = target is not None and self._rules.reads(target)
        if path == self._root or (is_read and not self._is_in_environment(path)):
            return once
        if is_folder:
            identity = (status.st_dev, status.st_ino)
            if identity in self._linked:
                return once
            self._linked.add(identity)
        return None


class _Folder(NamedTuple):
    """A folder that is walked."""

    id: str
    path: str


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _utf8(name: str) -> str | None:
    """Return a name as text, whatever the locale; None where its bytes are not UTF-8."""
    try:
        return os.fsencode(name).decode("utf-8")
    except UnicodeError:
        return None


def _not_utf8(name: str, prefix: str, *, is_folder: bool) -> SkippedPath:
    shown = os.fsencode(name).decode("utf-8", "backslashreplace")
    return SkippedPath(f"{prefix}{shown}", "its name is not UTF-8: rename it", is_folder)


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
