"""Laws of the files that a corpus reads: their lines, their encoding, and where they are.

The laws find the files by the config's paths, and change copies of them.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from pydantic import ValidationError

from ragcore.errors import CorpusError, RagcoreError
from ragcore.registry.components import ComponentSpec
from ragcore.testing.elsewhere import UnreachableError, exercise_elsewhere
from ragcore.testing.manners import MannerLaws
from ragcore.testing.tokenizing import built_corpus
from ragcore.testing.variants import changed
from ragcore.types import Passage

__all__ = ["FileLaws"]

_SEPARATORS: Final = ("\u2028", "\u2029", "\x85")
"""What `str.splitlines` takes for the end of a line, and a file does not."""

_SUSPECTS: Final = ("wrong", '{"id": "1"', '"', "\t" * 8)
"""Lines that hardly any format of lines has; a corpus may accept them."""

_LARGEST: Final = 1 << 24
"""Bytes of the largest file that the laws copy."""

_ASCII: Final = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


class FileLaws(MannerLaws):
    """Test how a corpus reads its files; see `CorpusSuite`, which has the attributes."""

    first: ClassVar[int] = 1000
    wrong_line: ClassVar[str | None] = None

    def test_a_missing_file_is_an_error(self, component: Any, tmp_path: Path) -> None:
        """A file or folder that does not exist is an error with its name.

        Fix: raise `CorpusError` where a path does not exist. It is not an empty corpus.
        """
        spec = self.spec(component)
        paths = [name for name, path in _paths(spec) if path.exists()]
        if not paths:
            raise unittest.SkipTest("its config has no path of an existing file or folder")
        for name in paths:
            absent = tmp_path / f"absent{getattr(spec.config, name).suffix}"
            try:
                self._read(changed(spec, {name: absent}))
            except (CorpusError, ValidationError) as error:
                message = str(error)
            except Exception as error:
                raise AssertionError(
                    f"where {name} does not exist, it raised {type(error).__name__} ({error}): "
                    "expected CorpusError"
                ) from error
            else:
                raise AssertionError(f"{name} does not exist, and it raised no error")
            assert absent.name in message, f"the error does not name {absent.name}: {message}"

    def test_the_working_folder_does_not_matter(self, component: Any, tmp_path: Path) -> None:
        """After the program has changed its working folder, the passages are the same.

        Fix: use the paths of the `Config` as they are, and make none relative.
        """
        spec = self.spec(component)
        absolute = {name: path.absolute() for name, path in _paths(spec)}
        corpus = built_corpus(changed(spec, absolute))
        expected = list(itertools.islice(corpus, self.first))
        corpus = built_corpus(changed(spec, absolute))
        with contextlib.chdir(tmp_path):
            passages = list(itertools.islice(corpus, self.first))
        assert passages == expected, "in another working folder the passages are others"

    def test_the_locale_does_not_matter(self, component: Any, tmp_path: Path) -> None:
        """In a process whose locale is ASCII, the passages are the same.

        Fix: `open(path, encoding="utf-8")`; without it the locale decides.
        """
        spec = self.spec(component)
        for name, path in _text_files(spec):
            text = path.read_bytes().decode()
            accented = self._within(spec, text, "\u00e9 ")
            if accented is not None:
                spec = changed(spec, {name: _copy(tmp_path, path, accented.encode())})
        if not all(str(path).isascii() for _, path in _paths(spec)):
            raise unittest.SkipTest("a path of its config has letters beyond ASCII")
        expected = self.exercise(spec, tmp_path)
        try:
            results, _ = exercise_elsewhere(
                type(self), spec, tmp_path, tmp_path / "elsewhere", environment=_ASCII
            )
        except UnreachableError as reason:
            raise unittest.SkipTest(f"no second process: {reason}") from None
        for field, values in results.items():
            assert np.array_equal(values, expected[field]), (
                f"where the locale is ASCII, {field} is another"
            )

    def test_bytes_that_are_not_utf8_are_refused(self, component: Any, tmp_path: Path) -> None:
        """A file that is not UTF-8 raises `CorpusError` with the file's name.

        Fix: do not read with `errors="replace"` or "ignore", which change texts silently. A corpus
        that detects encodings, or whose config names one, waives this law.
        """
        spec = self.spec(component)
        for name, path in self._text_files_or_skip(spec):
            broken = path.read_bytes().rstrip(b"\r\n") + b"\xff\n"
            copy = _copy(tmp_path, path, broken)
            self._refuses(changed(spec, {name: copy}), copy, "a byte 0xFF, which is not UTF-8,")

    def test_the_last_line_needs_no_line_break(self, component: Any, tmp_path: Path) -> None:
        """A file whose last line has no line break has the same passages as with one.

        Fix: take what is left at the end of a file for a line, too.
        """
        spec = self.spec(component)
        for name, path in self._text_files_or_skip(spec):
            lines = path.read_bytes().rstrip(b"\r\n")
            versions = [
                self._read(changed(spec, {name: _copy(tmp_path, path, lines + end)}))
                for end in (b"\n", b"")
            ]
            ended, cut = ([_content(passage) for passage in version] for version in versions)
            assert cut == ended, (
                f"with a line break at the end there are {len(ended)} passages, and without it "
                f"{len(cut)}, or other ones"
            )

    def test_lines_end_at_line_breaks_alone(self, component: Any, tmp_path: Path) -> None:
        """U+2028, U+2029 and U+0085 within a text do not end a line.

        Fix: iterate over the file, or split at "\\n"; `str.splitlines` splits at more.
        """
        spec = self.spec(component)
        for name, path in self._text_files_or_skip(spec):
            expected = [passage.id for passage in self._read(spec)]
            for sign in _SEPARATORS:
                text = self._within(spec, path.read_bytes().decode(), sign)
                if text is None:
                    raise unittest.SkipTest("its file does not have its texts as they are")
                copy = _copy(tmp_path, path, text.encode())
                try:
                    ids = [passage.id for passage in self._read(changed(spec, {name: copy}))]
                except RagcoreError as error:
                    raise AssertionError(f"with U+{ord(sign):04X} in a text: {error}") from None
                assert ids == expected, (
                    f"with U+{ord(sign):04X} in a text there are {len(ids)} passages: there were "
                    f"{len(expected)}, or their ids are others"
                )

    def test_a_wrong_line_is_named(self, component: Any, tmp_path: Path) -> None:
        """A line that is refused raises `CorpusError` with the file's name and the line's number.

        The law appends some lines that few formats have, and the suite's `wrong_line`, which must
        be refused. It applies where passages come line by line.

        Fix: count lines from 1, and catch what a parser raises: `raise CorpusError(f"{path}:…`.
        """
        spec = self.spec(component)
        for name, path in self._text_files_or_skip(spec):
            lines = path.read_bytes().decode().rstrip("\r\n").split("\n")
            if not self._by_line(spec, name, path, lines, tmp_path):
                raise unittest.SkipTest("its passages do not come line by line")
            wrong = [*_SUSPECTS, *([] if self.wrong_line is None else [self.wrong_line])]
            for line in wrong:
                text = "\n".join([*lines, line, ""])
                copy = _copy(tmp_path, path, text.encode())
                variant = changed(spec, {name: copy})
                if line != self.wrong_line and self._accepts(variant):
                    continue
                message = self._refuses(variant, copy, f"the line {line!r}")
                number = len(lines) + 1
                rest = message.replace(str(copy), "").replace(copy.name, "")
                assert re.search(rf"(?<!\d){number}(?!\d)", rest), (
                    f"line {number}, {line!r}, is wrong, but the error names another: {message}"
                )

    def _read(self, spec: ComponentSpec[Any]) -> list[Passage]:
        """Build a corpus and read all of its passages."""
        return list(built_corpus(spec))

    def _text_files_or_skip(self, spec: ComponentSpec[Any]) -> list[tuple[str, Path]]:
        files = list(_text_files(spec))
        if not files:
            raise unittest.SkipTest("its config has no path of a text file in UTF-8, up to 16 MB")
        return files

    def _refuses(self, spec: ComponentSpec[Any], path: Path, what: str) -> str:
        """Check that a corpus raises a CorpusError that names a file; return its message."""
        try:
            self._read(spec)
        except CorpusError as error:
            message = str(error)
        except Exception as error:
            raise AssertionError(
                f"{what} raised {type(error).__name__} ({error}): expected CorpusError"
            ) from error
        else:
            raise AssertionError(f"{what} in the file raised no error")
        assert path.name in message, f"{what}: the error does not name the file: {message}"
        return message

    def _accepts(self, spec: ComponentSpec[Any]) -> bool:
        """Return whether a corpus raises no error at all."""
        try:
            self._read(spec)
        # What it raises is examined by `_refuses`.
        except Exception:
            return False
        return True

    def _by_line(
        self, spec: ComponentSpec[Any], name: str, path: Path, lines: list[str], folder: Path
    ) -> bool:
        """Return whether the file without its last line has fewer passages, the same first ones."""
        if len(lines) < 2:
            return False
        copy = _copy(folder, path, "\n".join([*lines[:-1], ""]).encode())
        whole = [_content(passage) for passage in self._read(spec)]
        try:
            part = [_content(passage) for passage in self._read(changed(spec, {name: copy}))]
        except RagcoreError:
            return False
        return len(part) < len(whole) and whole[: len(part)] == part

    def _within(self, spec: ComponentSpec[Any], text: str, sign: str) -> str | None:
        """Put a sign in place of a space within a passage's text; None if the file has none."""
        passages = list(itertools.islice(built_corpus(spec), self.first))
        for passage in passages:
            for left, right in itertools.pairwise(passage.text.split()):
                both = f"{left} {right}"
                if both in text and not any(both in other.id for other in passages):
                    return text.replace(both, f"{left}{sign}{right}", 1)
        return None


def _paths(spec: ComponentSpec[Any]) -> Iterator[tuple[str, Path]]:
    """Yield the config's fields that are paths."""
    for name in type(spec.config).model_fields:
        value = getattr(spec.config, name)
        if isinstance(value, Path):
            yield name, value


def _text_files(spec: ComponentSpec[Any]) -> Iterator[tuple[str, Path]]:
    """Yield the config's fields that are paths of text files, in UTF-8 and not too large."""
    for name, path in _paths(spec):
        if path.is_file() and path.stat().st_size <= _LARGEST and _is_text(path.read_bytes()):
            yield name, path


def _is_text(data: bytes) -> bool:
    try:
        return bool(data.decode().strip()) and b"\0" not in data
    except UnicodeDecodeError:
        return False


def _copy(folder: Path, path: Path, content: bytes) -> Path:
    """Write a changed copy of a file; its name ends as the file's does."""
    copy = folder / f"changed{''.join(path.suffixes)}"
    copy.write_bytes(content)
    return copy


def _content(passage: Passage) -> tuple[str, str, str]:
    return passage.id, passage.title, passage.text.rstrip()
