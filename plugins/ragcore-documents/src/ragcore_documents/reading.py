"""In a worker process: read files, and make passages of them.

Knows types, readers and the splitter; knows nothing of folders or of memories. Whatever a reader
raises becomes the reason why its file is skipped.
"""

from __future__ import annotations

import errno
import importlib
import logging
import os
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from ragcore.corpora.content_ids import ContentIds
from ragcore.corpora.splitting import SplitConfig, split_document
from ragcore.corpora.structure import DocumentText
from ragcore.errors import CorpusError
from ragcore_documents.detect import (
    LOOKED_AT,
    DocumentType,
    begins_as_document,
    promised_type,
    type_of,
)
from ragcore_documents.metadata import clean_text, document_metadata, shortened
from ragcore_documents.readers.limits import Limits, UnreadableError

if TYPE_CHECKING:
    from ragcore.contracts.tokenizer import TextTokenizer

__all__ = ["Job", "Outcome", "Task", "read_file", "reader_of"]

_LOGGER: Final = logging.getLogger("ragcore_documents")
_TITLE: Final = 300
_HEADING: Final = 600
"""Characters of a title and of a path of headings at most."""

_STEP: Final = 20_000_000
_COARSE_STEP: Final = 2_000_000_000
"""Nanoseconds between two times that a file can have: commonly, and on file systems such as FAT."""

Row = tuple[str, str, str, dict[str, Any]]
"""A passage's id, title, text and metadata."""


class Task(NamedTuple):
    """A file that is read.

    Attributes:
        id: of its document.
        path: where it is.
        title: of the document if it names none itself.
        digest: of its content as a memory knows it; "" where it knows none.
        second: in which it was changed, as the memory knows it, since 1970.
    """

    id: str
    path: str
    title: str
    digest: str
    second: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a file.

    Attributes:
        state: read; the same content and second of change as before; no document; or skipped.
        mtime_ns: when it was changed, as it was opened; a nanosecond off if so lately that
            another change may not show in it.
        size: in bytes.
        digest: of its content, hexadecimal.
        type: of the document, where it was read.
        rows: its passages, where it was read.
        is_touched: whether it was read though its content is as before, since its time is another.
        reason: why it was skipped, and what to do.
        is_lasting: whether it would be skipped again for this reason, unless it is changed.
        notes: what its reader had to say, such as metadata that are left out.
    """

    state: Literal["read", "same", "other", "skipped"]
    mtime_ns: int = 0
    size: int = 0
    digest: str = ""
    type: DocumentType | None = None
    rows: tuple[Row, ...] = ()
    is_touched: bool = False
    reason: str = ""
    is_lasting: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """How files are read; a worker receives it once.

    Attributes:
        split: how texts become passages.
        tokenizer: of the encoder, for `by: tokens`.
        bytes: of a file at most.
        memory: bytes of the process at most.
        limits: of the readers.
        types: of files by further suffixes.
    """

    split: SplitConfig
    tokenizer: TextTokenizer | None
    bytes: int
    memory: int
    limits: Limits = field(default_factory=Limits)
    types: Mapping[str, DocumentType] = field(default_factory=dict)


class _UnavailableError(UnreadableError):
    """A file cannot be read at the moment, or not with these settings."""


def read_file(task: Task, job: Job) -> Outcome:
    """Read one file; raises nothing but what ends the process, and MemoryError."""
    notes: list[str] = []
    handler = _Notes(notes)
    _LOGGER.addHandler(handler)
    propagate, _LOGGER.propagate = _LOGGER.propagate, False
    try:
        outcome = _read(task, job, notes)
    except (UnreadableError, CorpusError) as error:
        is_lasting = not isinstance(error, _UnavailableError)
        return Outcome("skipped", reason=shortened(str(error), 1000), is_lasting=is_lasting)
    except RecursionError:
        reason = "its parts are nested too deeply: simplify it, or exclude it"
        return Outcome("skipped", reason=reason, is_lasting=True)
    except MemoryError:
        raise
    # A library may raise anything at a file that it did not expect.
    except Exception as error:
        text = shortened(f"{type(error).__name__}: {error}", 300)
        return Outcome(
            "skipped",
            reason=f"its reader failed ({text}): repair the file, or exclude it",
            is_lasting=not isinstance(error, ImportError | OSError),
        )
    finally:
        _LOGGER.removeHandler(handler)
        _LOGGER.propagate = propagate
    return outcome


def _read(task: Task, job: Job, notes: list[str]) -> Outcome:
    now = time.time_ns()
    status, data = _content(task, job)
    if data is None:
        return Outcome("other")
    digest = blake2b(data, digest_size=16).hexdigest()
    second = status.st_mtime_ns // 1_000_000_000
    unread = Outcome("same", _settled(status.st_mtime_ns, now), len(data), digest)
    if digest == task.digest and second == task.second:
        return unread
    kind = type_of(task.id, data, job.types)
    if kind is None:
        return replace(unread, state="other")
    document = reader_of(kind)(data, job.limits)
    del data
    rows = tuple(_rows(document, task, job, second, notes))
    return replace(
        unread,
        state="read",
        type=kind,
        rows=rows,
        is_touched=digest == task.digest,
        notes=tuple(notes),
    )


def _settled(mtime_ns: int, now: int) -> int:
    """Return a file's time if a later change would change it; else one a nanosecond off.

    A clock of files has steps: of milliseconds, or of two seconds where times are whole seconds.
    A file that was changed within the last step may change again without another time.
    """
    step = _COARSE_STEP if mtime_ns % 1_000_000_000 == 0 else _STEP
    return mtime_ns if now - mtime_ns > step else mtime_ns ^ 1


def _content(task: Task, job: Job) -> tuple[os.stat_result, bytes | None]:
    """Read a regular file, never a link or a pipe.

    Returns:
        What is known of it, and its bytes; None where its first bytes show that it is no document.

    Raises:
        UnreadableError: it cannot be opened or read, is no regular file any more, or too large.
    """
    path, most = task.path, job.bytes
    is_promised = promised_type(task.id, job.types) is not None
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    # A file that has become a pipe since is not waited for.
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        with open(os.open(path, flags), "rb") as stream:
            # Before it is read: a later change has another time, so that it is read again.
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _UnavailableError("it is no regular file any more: exclude it")
            data = stream.read(min(most + 1, LOOKED_AT))
            if not is_promised and not begins_as_document(task.id, data):
                return status, None
            data += stream.read(most + 1 - len(data))
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise _UnavailableError("it was removed while the folder was read") from None
        reason = error.strerror or type(error).__name__
        raise _UnavailableError(f"it cannot be read ({reason}): allow it, or exclude it") from None
    if len(data) > most:
        raise _UnavailableError(_too_large(max(len(data), status.st_size), most))
    return status, data


def _too_large(size: int, most: int) -> str:
    return (
        f"it has {size / (1 << 20):,.0f} MiB, more than {most >> 20}: raise max_mib, or exclude it"
    )


@cache
def reader_of(kind: DocumentType) -> Callable[[bytes, Limits], DocumentText]:
    """Return the function that reads documents of a type.

    Args:
        kind: of the document; its reader's module is imported.
    """
    module = importlib.import_module(f"ragcore_documents.readers.{kind}")
    reader: Callable[[bytes, Limits], DocumentText] = getattr(module, f"read_{kind}")
    return reader


def _rows(
    document: DocumentText, task: Task, job: Job, mtime: float, notes: list[str]
) -> list[Row]:
    """Split a document into passages."""
    text = clean_text(document.text)
    if text is not document.text and text != document.text:
        document = DocumentText(
            text, document.blocks, document.title, document.metadata, document.is_source
        )
    title = shortened(document.title, _TITLE) or task.title
    own, dropped = document_metadata(document.metadata)
    if dropped:
        notes.append(f"metadata left out: {shortened(', '.join(dropped), 200)}")
    ids, prefix, moment = ContentIds(), f"{task.id}-", _iso(mtime)
    rows: list[Row] = []
    section: tuple[str, ...] | None = None
    heading = titles = ""
    for piece in split_document(document, job.split, job.tokenizer, title):
        if piece.headings is not section:  # the same for all pieces of a section
            section = piece.headings
            headings = [clean_text(heading) for heading in section]
            heading = shortened(" > ".join(headings), _HEADING)
            titles = "\n".join([title, *headings])
        metadata = {**own, "path": task.id}
        if heading:
            metadata["heading"] = heading
        if piece.page is not None:
            metadata["page"] = piece.page
            # With a revision, `page` would be the id of a wiki's page; see `Source.of`.
            metadata.pop("revision", None)
        if piece.line is not None:
            metadata["line"] = piece.line
        # Line and span together say that the text is the file's own, so that lines can be counted
        # in it; reStructuredText knows its lines, but not which characters they become.
        if document.is_source or piece.line is None:
            metadata["span"] = [piece.start, piece.end]
        metadata["mtime"] = moment
        rows.append((ids.of(titles, piece.text, prefix), title, piece.text, metadata))
    return rows


def _iso(seconds: float) -> str:
    # Years that no calendar here has are cut to those that it has.
    latest = 253402300799
    moment = datetime.fromtimestamp(min(max(int(seconds // 1), -62135596800), latest), UTC)
    return moment.isoformat().replace("+00:00", "Z")


class _Notes(logging.Handler):
    """Collects what readers log while one file is read."""

    def __init__(self, notes: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._notes = notes

    def emit(self, record: logging.LogRecord) -> None:
        if len(self._notes) < 5:
            self._notes.append(shortened(record.getMessage(), 300))
