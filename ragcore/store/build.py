"""Making a version beside its place: passages and retriever written, described, renamed in.

Knows the folder `versions` and how it stays whole, whatever is killed: what a build leaves behind
never looks like a version, and the next one sweeps it away. What a version is made of, and which is
the current one, the store knows.

    versions/.building-NAME-…   being written; held by a lock as long as its process lives
    versions/.scratch-…         what a retriever worked out so far, for whoever builds with the same
    versions/.trash-…           a version that is being removed
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Final, cast

import numpy as np

from ragcore.contracts import Retriever, ScratchUser
from ragcore.disk.atomic import files_below, locked, sha256, try_lock
from ragcore.errors import ComponentError, CorpusError, EmptyCorpusError
from ragcore.memory.passages import PassageWriter
from ragcore.registry.components import ComponentSpec
from ragcore.store.manifest import FileRecord
from ragcore.types import Passage

__all__ = [
    "PASSAGES",
    "RETRIEVER",
    "TRASH",
    "Progress",
    "file_records",
    "in_workshop",
    "orphans",
    "scratch",
    "usable",
    "write_retriever",
    "write_version",
]

Progress = Callable[[str, int, int | None], None]
"""Called with the stage, how much of it is done, and how much there is if that is known."""

PASSAGES: Final = "passages.arrow"
RETRIEVER: Final = "retriever"
_BUILDING: Final = ".building-"
_SCRATCH: Final = ".scratch-"
TRASH: Final = ".trash-"
_NONE: Final[Mapping[tuple[int, int], FileRecord]] = {}


@contextmanager
def in_workshop(versions: Path, version: str, lock: Path) -> Iterator[Path]:
    """A folder to build in, removed if that fails; locked, so that no sweep takes it.

    Args:
        versions: the folder that it is made in.
        version: the name that it will have.
        lock: a file whose lock is held while folders come and go.
    """
    with locked(lock):
        for left, abandoned in orphans(versions, _BUILDING):
            shutil.rmtree(left)
            os.close(abandoned)
        work = versions / f"{_BUILDING}{version}-{uuid.uuid4().hex[:8]}"
        work.mkdir()
        held = try_lock(work)
    try:
        yield work
    except BaseException:
        with locked(lock):
            # The first error is the one to tell; what cannot be removed the next build sweeps.
            shutil.rmtree(work, ignore_errors=True)
        raise
    finally:
        if held is not None:
            os.close(held)


def orphans(versions: Path, *kinds: str) -> Iterator[tuple[Path, int]]:
    """What processes that are gone have left half-written, each locked: close the descriptor.

    Args:
        versions: the folder to look in; its store's lock is held.
        kinds: how names begin; those of all kinds where none is given.
    """
    for kind in kinds or (_BUILDING, _SCRATCH, TRASH):
        for left in sorted(versions.glob(f"{kind}*")):
            abandoned = try_lock(left)
            if abandoned is not None:
                yield left, abandoned


@contextmanager
def scratch(
    versions: Path, retriever: Retriever, lock: Path, *, fresh: bool, report: Progress
) -> Iterator[None]:
    """Let a retriever keep what it works out, if it can, until the version is in its place.

    It stays where the build does not come to its end, and is found again by the next one whose
    retriever has the same fingerprint, whatever the version's name. While another process builds
    with the same, nothing is kept.

    Args:
        versions: the folder that it is made in.
        retriever: nothing was added to it yet.
        lock: a file whose lock is held while folders come and go.
        fresh: begin with nothing.
        report: told of passages that need not be worked out again ("kept").
    """
    if "scratch" not in retriever.capabilities:
        yield
        return
    digest = blake2b(retriever.fingerprint.encode(), digest_size=8).hexdigest()
    folder = versions / f"{_SCRATCH}{digest}"
    with locked(lock):
        folder.mkdir(exist_ok=True)
        held = try_lock(folder)
    if held is None:
        yield
        return
    try:
        if fresh:
            shutil.rmtree(folder)
            folder.mkdir()
        kept = cast(ScratchUser, retriever).use_scratch(folder)
        if kept:
            report("kept", kept, None)
        yield
        shutil.rmtree(folder)
    except BaseException:
        if not any(path.stat().st_size for path in files_below(folder)):
            shutil.rmtree(folder)
        raise
    finally:
        os.close(held)


def write_version(
    work: Path,
    corpus: Iterable[Passage],
    retriever: ComponentSpec[Retriever],
    built: Retriever,
    batch: int,
    report: Progress,
) -> int:
    """Write the passages of a corpus, and what finds them; the number of passages.

    Args:
        work: the folder of the version.
        corpus: is streamed.
        retriever: what is built, for errors.
        built: it, empty.
        batch: how many passages it is given at once.
        report: told of the passages that are done.

    Raises:
        EmptyCorpusError: there are no passages.
        CorpusError: an id comes twice, or a passage has no id or no text.
        ComponentError: the retriever holds another number of rows.
    """
    passages, count = usable(corpus), 0
    total = len(corpus) if isinstance(corpus, Sized) else None
    with PassageWriter(work / PASSAGES) as writer:
        while chunk := list(islice(passages, batch)):
            writer.write(chunk)
            built.add(np.arange(count, count + len(chunk), dtype=np.int64), chunk)
            count += len(chunk)
            report("passages", count, total)
    if not count:
        raise EmptyCorpusError(
            "the corpus gave no passage: a memory needs at least one; check memory.corpus"
        )
    write_retriever(work, retriever, built, count)
    return count


def write_retriever(
    work: Path, retriever: ComponentSpec[Retriever], built: Retriever, count: int
) -> None:
    """Write what finds the passages of a version, of which there are `count`.

    Raises:
        ComponentError: the retriever holds another number of rows.
    """
    if len(built) != count:
        raise ComponentError(
            f"retriever {retriever.use!r} holds {len(built)} rows after {count} were added to it: "
            "its __len__ or add is faulty"
        )
    (work / RETRIEVER).mkdir()
    built.save(work / RETRIEVER)


def usable(corpus: Iterable[Passage]) -> Iterator[Passage]:
    """The corpus's passages, as long as each has an id of its own and a text.

    Raises:
        CorpusError: the first that has not.
    """
    seen: set[bytes] = set()
    for number, passage in enumerate(corpus, start=1):
        if not passage.id or not passage.text.strip():
            lacking = "text" if passage.id else "id"
            raise CorpusError(
                f"passage {number} of the corpus (id {passage.id!r}, title {passage.title!r}) has "
                f"an empty {lacking}: give it one or leave the passage out"
            )
        digest = blake2b(passage.id.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if digest in seen:
            raise CorpusError(
                f"passage {number} of the corpus (title {passage.title!r}) has the id "
                f"{passage.id!r}, which an earlier passage has: ids must be unique"
            )
        seen.add(digest)
        yield passage


def file_records(
    work: Path, report: Progress, known: Mapping[tuple[int, int], FileRecord] = _NONE
) -> dict[str, FileRecord]:
    """Size and digest of every file.

    Args:
        work: the folder of the version.
        report: told of the bytes that are done.
        known: digests of files that other versions share, by device and inode.
    """
    paths = files_below(work)
    total, done = sum(path.stat().st_size for path in paths), 0
    records = {}
    for path in paths:
        about = path.stat()
        record = known.get((about.st_dev, about.st_ino))
        record = record or FileRecord(bytes=about.st_size, sha256=sha256(path))
        records[path.relative_to(work).as_posix()] = record
        done += record.bytes
        report("files", done, total)
    return records
