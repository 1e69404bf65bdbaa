"""A corpus of lines, and copies of it with one mistake each."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from ragcore.errors import CorpusError
from ragcore.registry.components import ComponentConfig, ConfigPath
from ragcore.testing import CorpusSuite
from ragcore.types import Passage
from tests.testing.faults.marking import fault

LINES = Path(__file__).with_name("lines.tsv")


class Correct:
    """Reads lines of id, title and text with tabs between them; splits texts into pieces."""

    class Config(ComponentConfig):
        path: ConfigPath = LINES
        words: int = 3

    capabilities: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config: Config) -> None:
        self._config = config

    def __iter__(self) -> Iterator[Passage]:
        for number, line in self._lines():
            yield from self._passages(number, line)

    def _lines(self) -> Iterator[tuple[int, str]]:
        path, number = self._config.path, 0
        try:
            with path.open(encoding="utf-8") as file:
                for number, line in enumerate(file, start=1):
                    yield number, line
        except (OSError, UnicodeDecodeError) as error:
            raise CorpusError(f"{path}:{number + 1}: {error}") from None

    def _passages(self, number: int, line: str) -> Iterator[Passage]:
        fields = line.rstrip("\n").split("\t")
        if len(fields) != 3 or not fields[0] or not fields[2].strip():
            raise CorpusError(f"{self._config.path}:{number}: expected id, title and text")
        words = fields[2].split()
        for piece, start in enumerate(self._starts(len(words)), start=1):
            text = " ".join(words[start : start + self._config.words])
            yield self._passage(f"{fields[0]}-{piece}", fields[1], text, number)

    def _starts(self, count: int) -> range:
        return range(0, count, self._config.words)

    def _passage(self, id_: str, title: str, text: str, number: int) -> Passage:
        return Passage(id_, title, text, {"line": number})


class Suite(CorpusSuite):
    pass


def made(component: type[Any], path: Path = LINES) -> Any:
    """Make a corpus of a file."""
    return component(component.Config(path=path))


def ids(passages: Any, count: int | None = None) -> list[Any]:
    """Return the ids of passages, or of the first ones."""
    return [passage.id for passage in itertools.islice(passages, count)]


def interleaved(corpus: Any) -> bool:
    """Return whether two iterations at the same time each see all passages."""
    pairs = list(zip(corpus, corpus, strict=False))
    return len(pairs) == 19 and all(left == right for left, right in pairs)


def after_a_break(corpus: Any) -> bool:
    """Return whether an iteration starts from the beginning after another one was left."""
    for _ in corpus:
        break
    return ids(corpus, 1) == ["td-1"]


def bytes_read_for_one(component: type[Any]) -> int:
    """Return how much of a file with a wrong second line is read for one passage: 1 is right."""
    return len(ids(of_text(component, "a\tA\tword\nwrong\n"), 1))


def of_text(component: type[Any], text: str | bytes) -> Iterator[Passage]:
    """Yield the passages of a file with this content."""
    content = text.encode() if isinstance(text, str) else text
    with TemporaryDirectory() as folder:
        path = Path(folder) / "some.tsv"
        path.write_bytes(content)
        yield from made(component, path)


def error_of(component: type[Any], text: str | bytes) -> str:
    """Return the message of the CorpusError that a file's content raises, and "" for none."""
    try:
        ids(of_text(component, text))
    except CorpusError as error:
        return str(error)
    return ""


def open_files(corpus: Any) -> int:
    """Return how many files more are open after an iteration."""
    before = len(os.listdir("/proc/self/fd"))
    ids(corpus)
    return len(os.listdir("/proc/self/fd")) - before


def works_in_another_folder(component: type[Any]) -> bool:
    """Return whether a corpus can be read after the working directory has changed."""
    before, corpus = Path.cwd(), made(component)
    with TemporaryDirectory() as folder:
        try:
            os.chdir(folder)
            return ids(corpus, 1) == ["td-1"]
        finally:
            os.chdir(before)


def works_in_ascii(component: type[Any]) -> bool:
    """Return whether a corpus reads its file in a process whose locale is ASCII."""
    name = component.__name__
    code = f"from tests.testing.faults.corpus import {name} as C, made, ids\nids(made(C))"
    environment = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-X", "utf8=0", "-c", code]
    return not subprocess.run(command, env=environment, capture_output=True).returncode


@fault("(c := made(C)) and ids(c) == ids(c)")
class OpensOnce(Correct):
    """Opens its file when it is made, so that it can be read once."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._open = super()._lines()

    def _lines(self) -> Iterator[tuple[int, str]]:
        return self._open


@fault("interleaved(made(C))")
class SharesAFile(Correct):
    """Rewinds one open file for each iteration, and so disturbs one that is under way."""

    def _lines(self) -> Iterator[tuple[int, str]]:
        if "_file" not in self.__dict__:
            self._file = self._config.path.open(encoding="utf-8")
        self._file.seek(0)
        number = 0
        while line := self._file.readline():
            number += 1
            yield number, line


@fault("after_a_break(made(C))")
class IsItsIterator(Correct):
    """Is its own iterator, which goes on where the last loop was left."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._iterator: Iterator[Passage] | None = None

    def __iter__(self) -> Iterator[Passage]:
        return self

    def __next__(self) -> Passage:
        if self._iterator is None:
            self._iterator = super().__iter__()
        try:
            return next(self._iterator)
        except StopIteration:
            self._iterator = None
            raise


@fault("bytes_read_for_one(C) == 1")
class ReadsAll(Correct):
    """Reads the whole file before the first passage."""

    def __iter__(self) -> Iterator[Passage]:
        return iter(list(super().__iter__()))


@fault("open_files(made(C)) == 0")
class LeavesOpen(Correct):
    """Never closes its file."""

    def _lines(self) -> Iterator[tuple[int, str]]:
        file = self._config.path.open(encoding="utf-8")
        self.__dict__.setdefault("_files", []).append(file)
        yield from enumerate(file, start=1)


@fault("len(set(ids(made(C)))) == len(ids(made(C)))")
class TitlesAsIds(Correct):
    """Makes ids of titles, of which two are the same."""

    def _passage(self, id_: str, title: str, text: str, number: int) -> Passage:
        return Passage(f"{title}-{id_.rpartition('-')[2]}", title, text)


@fault("all(passage.text for passage in made(C))")
class EmptyLastPiece(Correct):
    """Ends with an empty piece where the words fill the others exactly."""

    def _starts(self, count: int) -> range:
        return range(0, count + 1, self._config.words)


@fault("works_in_ascii(C)")
class LocaleEncoding(Correct):
    """Reads the file in the locale's encoding."""

    def _lines(self) -> Iterator[tuple[int, str]]:
        with self._config.path.open() as file:
            yield from enumerate(file, start=1)


@fault("'some.tsv:1' in error_of(C, b'a\\tA\\t\\xff\\n')")
class ReplacesBytes(Correct):
    """Replaces bytes that are not UTF-8, without an error."""

    def _lines(self) -> Iterator[tuple[int, str]]:
        with self._config.path.open(encoding="utf-8", errors="replace") as file:
            yield from enumerate(file, start=1)


@fault("'some.tsv:1' in error_of(C, 'wrong\\n')")
class ValueErrors(Correct):
    """Raises ValueError in place of CorpusError."""

    def _passages(self, number: int, line: str) -> Iterator[Passage]:
        id_, title, text = line.rstrip("\n").split("\t")
        return super()._passages(number, f"{id_}\t{title}\t{text}\n")


@fault("'some.tsv:2' in error_of(C, 'a\\tA\\tword\\nwrong\\n')")
class LinesFromZero(Correct):
    """Counts lines from 0 in its errors."""

    def _lines(self) -> Iterator[tuple[int, str]]:
        return ((number - 1, line) for number, line in super()._lines())


@fault("'none.tsv' in error_of_absent(C)")
class AbsentIsEmpty(Correct):
    """Takes a file that does not exist for one without lines."""

    def _lines(self) -> Iterator[tuple[int, str]]:
        return super()._lines() if self._config.path.exists() else iter(())


def error_of_absent(component: type[Any]) -> str:
    """Return the message of the CorpusError that a missing file raises, and "" for none."""
    try:
        ids(made(component, Path(__file__).with_name("none.tsv")))
    except CorpusError as error:
        return str(error)
    return ""


@fault("(c := made(C)) and ids(c) == ids(c)")
class NewIds(Correct):
    """Makes a new id for each passage at each iteration."""

    def _passage(self, id_: str, title: str, text: str, number: int) -> Passage:
        return Passage(uuid.uuid4().hex, title, text)


@fault("(c := made(C)) and ids(c) == ids(c)")
class CountsOn(Correct):
    """Numbers passages by a counter that an iteration does not start again."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._count = 0

    def _passage(self, id_: str, title: str, text: str, number: int) -> Passage:
        self._count += 1
        return Passage(str(self._count), title, text)


@fault("[passage.metadata['line'] for passage in list(made(C))][:4] == [1, 1, 1, 2]")
class OneMetadata(Correct):
    """Gives all passages the same dict of metadata, and changes it."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._metadata: dict[str, Any] = {}

    def _passage(self, id_: str, title: str, text: str, number: int) -> Passage:
        self._metadata["line"] = number
        return Passage(id_, title, text, self._metadata)


@fault("(c := made(C)) and ids(c) == ids(c)")
class Shuffles(Correct):
    """Shuffles each line's pieces by the global generator."""

    def _passages(self, number: int, line: str) -> Iterator[Passage]:
        passages = list(super()._passages(number, line))
        random.shuffle(passages)
        return iter(passages)


@fault(
    "ids(of_text(C, '7\\tA\\tword\\n')) == ['7-1'] and"
    " all(isinstance(passage.id, str) for passage in made(C))"
)
class NumbersAsIds(Correct):
    """Makes ids that are integers."""

    def _passage(self, id_: str, title: str, text: str, number: int) -> Passage:
        piece = int(id_.rpartition("-")[2])
        return Passage(100 * number + piece, title, text)  # type: ignore[arg-type]


@fault("ids(of_text(C, 'a\\tA\\tword')) == ['a-1']")
class LosesTheLastLine(Correct):
    """Reads only lines that end, and so loses a last one without a line break."""

    def _lines(self) -> Iterator[tuple[int, str]]:
        return ((number, line) for number, line in super()._lines() if line.endswith("\n"))


@fault("works_in_another_folder(C)")
class RelativePath(Correct):
    """Keeps its path relative to the working directory of the time when it was made."""

    def __init__(self, config: Any) -> None:
        super().__init__(config.model_copy(update={"path": Path(os.path.relpath(config.path))}))


@fault("all(isinstance(passage.title, str) for passage in of_text(C, 'a\\t\\tword\\n'))")
class NoneForNoTitle(Correct):
    """Has None in place of an empty title."""

    def _passage(self, id_: str, title: str, text: str, number: int) -> Passage:
        return Passage(id_, title or None, text)  # type: ignore[arg-type]


@fault("ids(of_text(C, 'a\\tA\\tone\\u2028two\\nb\\tB\\tword\\n')) == ['a-1', 'b-1']")
class SplitsAtSeparators(Correct):
    """Splits lines at every character that `str.splitlines` takes for an end."""

    def _lines(self) -> Iterator[tuple[int, str]]:
        text = self._config.path.read_text(encoding="utf-8")
        return iter(list(enumerate(text.splitlines(), start=1)))
