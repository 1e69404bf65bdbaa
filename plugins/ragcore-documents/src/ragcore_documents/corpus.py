"""The corpus `documents`: passages of the documents in a folder."""

from __future__ import annotations

import json
import logging
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from hashlib import blake2b
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from ragcore.contracts import KnownDocuments
from ragcore.corpora.splitting import plain_document, split_document
from ragcore.disk.paths import usable_path
from ragcore.errors import CorpusError, EmptyCorpusError
from ragcore.process.cpus import usable_cpus
from ragcore.types import Document, Passage
from ragcore_documents.config import DocumentsConfig
from ragcore_documents.detect import may_be_document, promised_type, suffix_of
from ragcore_documents.metadata import shortened
from ragcore_documents.reading import Job, Outcome, Task
from ragcore_documents.report import Report
from ragcore_documents.scan import FileEntry, Rules, SkippedPath, scan

if TYPE_CHECKING:
    from ragcore.contracts.tokenizer import TextTokenizer

__all__ = ["Documents"]

_LOGGER: Final = logging.getLogger("ragcore_documents")
_FORMAT: Final = 1
"""Changes where the same file would give other passages."""

_FOLDER_NAMED: Final = frozenset({"readme", "index"})
"""Names of files that stand for their folder."""


class _Key(NamedTuple):
    """A document's key: what its passages depend on, and how to see quickly that it is the same.

    Attributes:
        mtime_ns: when the file was changed, in nanoseconds since 1970.
        size: in bytes.
        content: digest of it; "" where it was skipped.
        settings: digest of what else the passages, or the reason, depend on.
        reason: why it was skipped, so that it has no passages; "" where it was read.
    """

    mtime_ns: int
    size: int
    content: str
    settings: str
    reason: str = ""

    def __str__(self) -> str:
        key = f"{self.mtime_ns}-{self.size}-{self.content}-{self.settings}"
        return f"{key} {self.reason}" if self.reason else key

    @classmethod
    def of(cls, text: str | None) -> _Key | None:
        """Read a key; None where there is none, or one of another form."""
        key, _, reason = (text or "").partition(" ")
        try:
            mtime_ns, size, content, settings = key.rsplit("-", 3)
            return cls(int(mtime_ns), int(size), content, settings, reason)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class _File:
    """A file on its way through the pool.

    Attributes:
        id: of its document.
        key: under which a memory has the document; None where it has none.
        settings: digest of what else its passages depend on.
        unchanged: whether it need not be read.
        reason: why it is skipped unread; "" where it is not.
        is_folder: whether it is a folder.
        was_skipped: whether the memory has it as a file that was skipped, without passages.
        mtime_ns: when it was changed, as it was found.
        size: in bytes, as it was found.
    """

    id: str
    key: str | None = None
    settings: str = ""
    unchanged: bool = False
    reason: str = ""
    is_folder: bool = False
    was_skipped: bool = False
    mtime_ns: int = 0
    size: int = 0


class Documents:
    """The documents of a folder; a document is a file, its id the file's path in the folder.

    What the last iteration that has ended found is in `report`.
    """

    Config: ClassVar[type[DocumentsConfig]] = DocumentsConfig
    keys_cover_settings: ClassVar[bool] = True

    def __init__(self, config: DocumentsConfig) -> None:
        self._config = config
        self._tokenizer: TextTokenizer | None = None
        self._report: Report | None = None
        self._unread: tuple[frozenset[str], tuple[str, ...]] = (frozenset(), ())

    @property
    def capabilities(self) -> frozenset[str]:
        """`documents`; and `tokenizer` where it splits by tokens."""
        names = {"documents"} | ({"tokenizer"} if self._config.split.by == "tokens" else set())
        return frozenset(names)

    def use_tokenizer(self, tokenizer: TextTokenizer) -> None:
        """Count tokens as an encoder does; called before the corpus is iterated."""
        self._tokenizer = tokenizer

    @property
    def report(self) -> Report:
        """What became of the files in the last iteration that has ended; zeros before."""
        return self._report or Report()

    def summary(self) -> Sequence[str]:
        """Say what became of the files in the last iteration that has ended."""
        return [] if self._report is None else self._report.lines()

    @property
    def complete(self) -> bool:
        """Whether a document that the folder lacks is deleted; False before an iteration has ended.

        False, too, where it is not known of some files: `covers` says of which it is.
        """
        return self._report is not None and not self._unread[0]

    def covers(self, document_id: str) -> bool:
        """Return whether a document that was not yielded is deleted: not if it cannot be read."""
        if self._report is None:
            return False
        files, folders = self._unread
        return document_id not in files and not document_id.startswith(folders)

    def __iter__(self) -> Iterator[Passage]:
        """Yield the passages of all documents.

        Raises:
            CorpusError: as for `documents`.
        """
        for document in self.documents(_NothingKnown()):
            yield from document.passages or ()

    def documents(self, known: KnownDocuments) -> Iterator[Document]:
        """Yield the documents, folder by folder, in the order of their names.

        A file whose time and size are those of a known document is not opened; one whose time alone
        is another is read again, since its passages say when it was changed. A file that cannot be
        read is reported. If it would fail again and has no passages yet, it is a document without
        passages, so that the next update does not try it again.

        Args:
            known: documents that a memory has already.

        Raises:
            CorpusError: there is no such file or folder, `split` needs a tokenizer and there is
                none, or, with `on_error: stop`, a file cannot be read; names the file.
            EmptyCorpusError: there is no document in the folder.
        """
        from ragcore_documents.pool import Pool

        config = self._config
        root = config.path
        _check(root)
        if config.split.by == "tokens" and self._tokenizer is None:
            raise CorpusError(
                "split by tokens: no tokenizer was given: use a retriever with an encoder, or "
                "split: {by: words}"
            )
        # Settings that fit no document are an error before the first.
        next(split_document(plain_document("a"), config.split, self._tokenizer), None)
        job = Job(
            config.split,
            self._tokenizer,
            config.max_mib << 20,
            int(config.memory_gib * (1 << 30)),
            types=config.types,
        )
        report, unread = Report(), _Unread()
        pool: Pool[_File] = Pool(config.workers or usable_cpus(), job, config.seconds)
        stream = pool.map(self._files(known, report))
        try:
            for file, outcome in stream:
                document = self._document(file, outcome, report, unread)
                if document is not None:
                    yield document
        finally:
            stream.close()
        if not report.documents and not unread.known:
            raise EmptyCorpusError(_why_empty(root, report))
        self._report, self._unread = report, (frozenset(unread.files), tuple(unread.folders))
        for line in report.lines():
            _LOGGER.info("%s: %s", root, line)

    def _files(
        self, known: KnownDocuments, report: Report
    ) -> Iterator[tuple[_File, Task | None, int]]:
        """Yield the files that may be documents, each with a task where it has to be opened."""
        config = self._config
        rules = Rules(
            config.include, config.exclude, hidden=config.hidden, symlinks=config.symlinks
        )
        most = config.max_mib << 20
        for entry in scan(config.path, rules, report.left_out):
            if isinstance(entry, SkippedPath):
                is_known = None if entry.is_folder else known.key(entry.id)
                yield (
                    _File(entry.id, is_known, reason=entry.reason, is_folder=entry.is_folder),
                    None,
                    0,
                )
                continue
            if not may_be_document(entry.id, config.types):
                report.other[suffix_of(entry.id)] += 1
                continue
            yield self._file(entry, known.key(entry.id), most)

    def _file(self, entry: FileEntry, key: str | None, most: int) -> tuple[_File, Task | None, int]:
        """Return what is to be done with a file."""
        title = _title(self._config.path, entry.id)
        settings = self._settings(title, entry.id)
        before = _Key.of(key)
        file = _File(entry.id, key, settings, mtime_ns=entry.mtime_ns, size=entry.size)
        if before is not None and before.reason:
            file = replace(file, was_skipped=True)
            settings = self._skip_settings(settings)
        if before is not None and before.settings != settings:
            before = None
        if before is not None and before[:2] == (entry.mtime_ns, entry.size):
            return replace(file, unchanged=True, reason=before.reason), None, 0
        if entry.size > most and promised_type(entry.id, self._config.types) is not None:
            size = entry.size / (1 << 20)
            reason = f"it has {size:,.1f} MiB, more than {self._config.max_mib}: raise max_mib, or "
            return replace(file, reason=f"{reason}exclude it"), None, 0
        task = Task(entry.id, entry.path, title, "")
        if before is not None:
            second = before.mtime_ns // 1_000_000_000
            task = task._replace(digest=before.content, second=second)
        return file, task, min(entry.size, most)

    def _document(
        self, file: _File, outcome: Outcome | None, report: Report, unread: _Unread
    ) -> Document | None:
        """Count what became of a file; return its document, if it is one that can be read."""
        reason = file.reason
        if outcome is not None and outcome.state == "skipped":
            reason = outcome.reason
        if reason:
            if self._config.on_error == "stop":
                path = self._config.path
                where = path / file.id if path.is_dir() else path
                raise CorpusError(f"{where}: {reason}; on_error: skip goes on without it")
            report.skip(file.id, reason)
            if file.unchanged and file.key is not None:
                return Document(file.id, file.key, None)
            is_lasting = outcome is not None and outcome.is_lasting
            if is_lasting and (file.key is None or file.was_skipped):
                settings = self._skip_settings(file.settings)
                key = _Key(file.mtime_ns, file.size, "", settings, reason)
                return Document(file.id, str(key), ())
            unread.add(file)
            return None
        if file.unchanged or (outcome is not None and outcome.state == "same"):
            assert file.key is not None
            report.unchanged += 1
            return Document(file.id, file.key, None)
        assert outcome is not None
        if outcome.state == "other":
            report.other[suffix_of(file.id)] += 1
            return None
        report.read[str(outcome.type)] += 1
        report.touched += outcome.is_touched
        report.passages += len(outcome.rows)
        if not outcome.rows:
            report.add_empty(file.id, str(outcome.type))
        report.note(file.id, outcome.notes)
        key = _Key(outcome.mtime_ns, outcome.size, outcome.digest, file.settings)
        passages = tuple(Passage(*row) for row in outcome.rows)
        return Document(file.id, str(key), passages)

    def _settings(self, title: str, id_: str) -> str:
        """Return a digest of what a document's passages depend on besides its content."""
        tokenizer = None if self._tokenizer is None else self._tokenizer.fingerprint
        values: list[Any] = [_FORMAT, self._config.split.model_dump(), tokenizer, title]
        if (type_ := self._config.types.get(suffix_of(id_))) is not None:
            values.append(type_)
        return _digest(values)

    def _skip_settings(self, settings: str) -> str:
        """Return a digest of what else it depends on that a file is skipped."""
        config = self._config
        return _digest([settings, config.seconds, config.memory_gib, _versions()])


def _check(root: Path) -> None:
    """Check that there is a folder, or a file, before a process is started.

    Raises:
        CorpusError: there is none, or something else, such as a pipe.
    """
    usable_path(root, CorpusError)
    try:
        mode = root.stat().st_mode
    except PermissionError as error:
        raise CorpusError(f"{root}: cannot be looked at ({error.strerror}): allow it") from None
    except OSError:
        raise CorpusError(f"{root}: no such file or folder: expected one with documents") from None
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise CorpusError(f"{root}: neither a folder nor a file: expected one with documents")


class _Unread:
    """The documents of which an iteration does not know whether they are there still.

    Attributes:
        files: their ids.
        folders: what the ids of those in folders begin with.
        known: whether a memory has one of them, as far as that is known.
    """

    def __init__(self) -> None:
        self.files: set[str] = set()
        self.folders: list[str] = []
        self.known = False

    def add(self, file: _File) -> None:
        """Note a file or folder that could not be read."""
        if file.is_folder:
            self.folders.append(f"{file.id}/" if file.id else "")
            self.known = True
        self.files.add(file.id)
        self.known |= file.key is not None and not file.was_skipped


class _NothingKnown:
    """Documents of which none is known; see `KnownDocuments`."""

    def key(self, document_id: str) -> str | None:
        """Return None."""
        return None


def _digest(values: list[Any]) -> str:
    return blake2b(json.dumps(values).encode(), digest_size=8).hexdigest()


@cache
def _versions() -> list[str]:
    """Return the versions of this package and of those that it needs, such as those of readers."""
    names = ["ragcore-documents"]
    try:
        names += [re.split(r"[^\w.-]", each)[0] for each in metadata.requires(names[0]) or ()]
    except metadata.PackageNotFoundError:
        return []
    versions = []
    for name in dict.fromkeys(names):
        with suppress(metadata.PackageNotFoundError):  # of an extra
            versions.append(f"{name} {metadata.version(name)}")
    return versions


def _title(root: Path, id_: str) -> str:
    """Return the title of a document that names none itself: of its file, or of its folder."""
    path = PurePosixPath(id_)
    if path.stem.lower() not in _FOLDER_NAMED:
        return path.stem
    real = root.resolve()
    return path.parent.name or (real.name if real.is_dir() else real.parent.name) or path.stem


def _why_empty(root: Path, report: Report) -> str:
    """Say why a folder has no document that can be read."""
    if report.reasons:
        id_, reason = report.reasons[0]
        where = root / id_ if root.is_dir() else root
        others = f" (and {count - 1:,} more)" if (count := report.skipped.total()) > 1 else ""
        return f"{root}: no document in it can be read: {where}: {reason}{others}"
    types = "Markdown, HTML, PDF, DOCX, PPTX, reStructuredText, EPUB and text"
    parts = [f"{root}: there is no document in it or below it: expected {types}"]
    if report.other:
        parts.append(f"its files are of other types: {report.other_types()}")
        suffix = next((suffix for suffix, _ in report.other.most_common() if suffix), None)
        if suffix is not None:
            parts.append(f"if these are texts, set types: {{{shortened(suffix, 20)}: text}}")
    if report.left_out:
        counts = (f"{count:,} {reason}" for reason, count in sorted(report.left_out.items()))
        parts.append(f"left out by settings: {', '.join(counts)}")
    return "; ".join(parts)
