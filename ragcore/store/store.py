"""A store: all versions of a memory in one folder, and what can be done with them.

A version is written in a staging folder, then renamed into place; from then on it never changes. A
process killed at any write leaves the old state or the new one; the next build or `gc` removes what
it left half-written.

Knows which operations change a store; reading.py has the others. How each works is in the module
that it calls: layout.py and catalog.py say what lies where, build.py and update.py make versions,
forget.py rewrites them, opening.py opens them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ragcore.contracts import Corpus, Retriever, VectorCache
from ragcore.disk.atomic import writing
from ragcore.registry.components import ComponentSpec
from ragcore.store.archive import import_version
from ragcore.store.build import build_version
from ragcore.store.change_log import (
    log_built,
    log_collected,
    log_compacted,
    log_imported,
    log_updated,
)
from ragcore.store.collect import Collected, collect
from ragcore.store.compacting import compact_version
from ragcore.store.comparing import DocumentCounts
from ragcore.store.diff import Changes
from ragcore.store.forget import Forgotten, rewrite_all
from ragcore.store.forget_targets import find, holding, refuse_empty
from ragcore.store.guards import Allowed
from ragcore.store.index_training import use_training
from ragcore.store.info import (
    BuildInfo,
    CompactInfo,
    UpdateInfo,
    VersionInfo,
    build_info,
    compact_info,
    info_of,
    update_info,
)
from ragcore.store.layout import Verify
from ragcore.store.opening import check_opens
from ragcore.store.progress import Progress, silent
from ragcore.store.reading import StoreReader
from ragcore.store.remote import raise_left
from ragcore.store.staging import remove_half_versions
from ragcore.store.update import ChangeSource, update_version
from ragcore.types import Passage

__all__ = [
    "Allowed",
    "ChangeSource",
    "CompactInfo",
    "DocumentCounts",
    "Forgotten",
    "Progress",
    "Store",
    "UpdateInfo",
    "Verify",
    "VersionInfo",
]


class Store(StoreReader):
    """The versions of a memory in a folder; the folder is made by the first build.

    Where the disk is full or the folder may not be written to, all methods that write raise
    StoreError and leave the store as it was.
    """

    def activate(
        self,
        version: str,
        *,
        check: bool = False,
        retriever: ComponentSpec[Retriever] | None = None,
    ) -> None:
        """Make a version the current one, for all programs that open the store from now on.

        Args:
            version: its name.
            check: open it and search it once before.
            retriever: how to search it for that; as it was built where None.

        Raises:
            UnknownVersionError: there is no such version.
            StoreError: `check`, and it cannot be opened or searched.
        """
        if check:
            with self._catalog.lease(version) as leased:
                leased.check_files(digests=False)
                check_opens(
                    leased.path,
                    leased.manifest,
                    retriever,
                    self.folder,
                    self._catalog.passage_store,
                )
        with writing(self.folder):
            self._catalog.activate(version)

    def rollback(self) -> tuple[str | None, str]:
        """Make the version that was current before the current one the current one again.

        A second rollback goes back one version further; `activate` goes to any version.

        Returns:
            The version that was current until now, and the one that is now.

        Raises:
            UnknownVersionError: no other version was current before, or none that still exists.
        """
        with writing(self.folder):
            return self._catalog.rollback()

    def build(
        self,
        version: str | None,
        corpus: Iterable[Passage],
        retriever: ComponentSpec[Retriever],
        *,
        corpus_config: ComponentSpec[Corpus] | dict[str, Any] | None = None,
        training: Path | None = None,
        activate: bool = True,
        check: bool = False,
        fresh: bool = False,
        batch: int = 512,
        cache: VectorCache | None = None,
        progress: Progress | None = None,
    ) -> BuildInfo:
        """Build a version from a corpus.

        Passages are streamed. What grows with their number is what the retriever itself holds,
        and 16 bytes for each id (some 100 as Python stores them), to check that ids are unique.

        Args:
            version: the new version's name: letters, digits, `.`, `_` and `-`; where None today's
                date, with a number behind it where there is such a version.
            corpus: the passages.
            retriever: what finds them.
            corpus_config: recorded in the manifest.
            training: of the index, in the folder that `ragcore.train_index` made; where None it is
                trained on the first passages, if it is trained at all.
            activate: make it the current version.
            check: open it and search it once before it becomes the current one.
            fresh: discard what an interrupted build has encoded, and encode all passages.
            batch: how many passages are added to the retriever together.
            cache: vectors of texts that an encoder has read before; none where None.
            progress: called after each batch ("passages") and each file ("files", in bytes), and
                once before them if an interrupted build has left vectors ("kept", passages).

        Raises:
            StoreError: the name has other characters; or `check`, and the version cannot be opened
                or searched.
            VersionExistsError: there is a version of this name, or another program builds one;
                this is known before a passage is read.
            EmptyCorpusError: there are no passages.
            CorpusError: an id occurs twice, or a passage has no id or no text.
        """
        began = time.perf_counter()
        built = build_version(
            self._catalog,
            version,
            corpus,
            retriever,
            corpus_config=corpus_config,
            prepare=None if training is None else partial(use_training, training, retriever),
            activate=activate,
            check=check,
            fresh=fresh,
            batch=batch,
            cache=cache,
            report=progress or silent,
        )
        info = build_info(built, self.current())
        log_built(self.folder, info, time.perf_counter() - began)
        return info

    def update(
        self,
        version: str | None,
        changes: ChangeSource,
        *,
        parent: str | None = None,
        retriever: ComponentSpec[Retriever] | None = None,
        corpus_config: ComponentSpec[Corpus] | None = None,
        activate: bool = True,
        verify: Verify = False,
        allow: Collection[Allowed] = (),
        batch: int = 512,
        cache: VectorCache | None = None,
        progress: Progress | None = None,
    ) -> UpdateInfo:
        """Derive a version from another by adding, replacing and deleting passages.

        Its passages are the parent's that stay, in their order, then those that are added or
        replaced, in theirs; it answers as one that is built from these. Files that do not change
        are shared with the parent (hard links), and only new passages are encoded. Where nothing
        changes no version is made; see `UpdateInfo.nothing_changed`.

        Files of the parent that the update reads or derives others from are compared with their
        sha256. Those that are only shared are not read: they keep the parent's recorded sha256, so
        that `verify` finds damage in them as it does in the parent.

        Args:
            version: the new version's name, as for `build`.
            changes: what is added, replaced and deleted; see `read_changes` and `changes_to`. A
                function is called with the parent's passages. With a corpus they become its
                passages; one that knows documents is compared document by document, without those
                whose keys are the same; what stays keeps the metadata that it has, unless it
                moved in its document (`UpdateInfo.moved`).
            parent: the version that it is derived from; the current one where None.
            retriever: the one that the parent was built with; its own record where None.
            corpus_config: of the corpus, recorded in the manifest; the parent's where None.
            activate: make it the current version.
            verify: compare every file of the parent with its sha256; as for `open`.
            allow: what a corpus that knows documents may do: "deletions" of more than a fifth of
                them, be "older" than the parent, or "other" than the parent's.
            batch: how many new passages are added to the retriever together.
            cache: as for `build`.
            progress: as for `build`, and with the number of documents compared ("documents").

        Raises:
            StoreError: the name has other characters, the parent or the new version cannot be
                opened, or the corpus would do what is not allowed.
            StoreCorruptError: a file of the parent was changed.
            VersionExistsError: there is a version of this name, or another program makes one.
            UnsupportedOperation: the retriever cannot add or remove passages.
            CorpusError: an id to delete does not exist, or a passage has no text.
            EmptyCorpusError: no passage would be left.
        """
        updated = update_version(
            self._catalog,
            version,
            changes,
            parent=parent,
            retriever=retriever,
            corpus_config=corpus_config,
            activate=activate,
            verify=verify,
            allow=allow,
            batch=batch,
            cache=cache,
            report=progress or silent,
        )
        info = update_info(updated, self.current())
        log_updated(self.folder, info)
        return info

    def compact(
        self,
        version: str | None = None,
        *,
        parent: str | None = None,
        retriever: ComponentSpec[Retriever] | None = None,
        activate: bool = True,
        verify: Verify = False,
        progress: Progress | None = None,
    ) -> CompactInfo:
        """Derive a version without removed rows in its index, and with one segment if possible.

        It has the same passages and answers as its parent, an exact one bit for bit. What can be
        joined is written part by part, from mapped files; a graph is built again, in memory, from
        its vectors. Inverted lists and codes that were trained apart stay in segments. All files
        but the retriever's are shared. Where there is nothing to do no version is made; see
        `CompactInfo.nothing_changed`.

        Args:
            version: the new version's name, as for `build`.
            parent: the version that it is derived from; the current one where None.
            retriever: as for `update`.
            activate: make it the current version.
            verify: compare every file of the parent with its sha256; as for `open`. Files that
                others are written from are compared in any case.
            progress: called with the bytes of files that are done ("files").

        Raises:
            StoreError: the name has other characters, or a version cannot be opened.
            StoreCorruptError: a file of the parent was changed.
            VersionExistsError: there is a version of this name, or another program makes one.
            UnsupportedOperation: the retriever has no capability `compact`.
        """
        compacted = compact_version(
            self._catalog,
            version,
            parent=parent,
            retriever=retriever,
            activate=activate,
            verify=verify,
            report=progress or silent,
        )
        info = compact_info(compacted, self.current())
        log_compacted(self.folder, info)
        return info

    def forget(
        self,
        ids: Sequence[str],
        *,
        everywhere: bool = False,
        version: str | None = None,
        retriever: ComponentSpec[Retriever] | None = None,
        forget_copies: Callable[[Sequence[Passage]], None] | None = None,
        progress: Progress | None = None,
    ) -> Forgotten:
        """Remove documents or passages from the current version, by a new one that is activated.

        Other versions have them still, and so have the files that the new one shares with these.
        `everywhere` also rewrites the files of all versions, each under its name, so that none has
        a passage that no version has; one that a program has open stays. The corpus is not changed:
        the next update from it brings back what it still has.

        Args:
            ids: of documents, or of passages; each in some version.
            everywhere: rewrite the files of all versions.
            version: the new version's name, as for `build`.
            retriever: as for `update`.
            forget_copies: called with the passages, where `everywhere`, before any file of a
                version is rewritten: it removes what else was derived from them, such as vectors in
                a cache. As long as it has not returned, the store knows the ids, so that a call
                that was interrupted can be repeated.
            progress: as for `build`.

        Raises:
            CorpusError: an id stands for nothing in any version; so does a repeated call if the one
                before was interrupted when all was done.
            EmptyCorpusError: no passage would be left in a version.
            UnsupportedOperation: the retriever cannot remove passages.
            StoreError: a version cannot be opened.
        """
        report = progress or silent
        if everywhere:
            # First: what a killed run has left may be all that there is of it.
            remove_half_versions(self._catalog, retriever)
        targets = find(self._catalog, ids)
        if everywhere:
            refuse_empty(self._catalog, targets.ids)
        made = None
        if targets.current:
            deletions = dict.fromkeys(sorted(targets.current), "forget")
            made = self.update(
                version, Changes({}, deletions), retriever=retriever, progress=progress
            ).name
        rewritten: list[str] = []
        in_use: list[str] = []
        if everywhere:
            if forget_copies is not None:
                forget_copies(targets.passages)
            rewritten, in_use = rewrite_all(
                self._catalog, targets, retriever=retriever, report=report
            )
        left = holding(self._catalog, targets)
        return Forgotten(
            passages=targets.passages,
            version=made,
            rewritten=tuple(rewritten),
            left=tuple(left),
            in_use=tuple(name for name in in_use if name in left),
        )

    def gc(
        self,
        keep: int,
        *,
        retriever: ComponentSpec[Retriever] | None = None,
        dry_run: bool = False,
        deleted: Sequence[str | Path] = (),
    ) -> Collected:
        """Remove all versions but a few, and leftovers of interrupted builds.

        The current version, the one that `rollback` would go to, then the newest stay, `keep` in
        all; so does each that a program has open. One whose manifest is broken goes, unless it is
        the current one. The space of files that versions share is freed
        with the last of these versions, and a table in a database is dropped with it; where a
        program elsewhere has it open, it stays until the next `gc`, see `Collected.left`.

        Args:
            keep: how many versions stay at least, 1 or more.
            retriever: how to reach databases; as the versions record it where None.
            dry_run: remove nothing, and return what would be removed.
            deleted: stores that were merged from the shards in this one, and that were deleted:
                what they shared can be dropped. While such a store is missing, and is not named
                here, it may have moved, so that tables and the pointers to them stay.

        Raises:
            StoreError: `keep` is less than 1, or a store in `deleted` is there, or was never merged
                from this one.
            StoreCorruptError: CURRENT holds no name, or a pointer to a database is broken.
            MemoryUnavailableError: a database does not answer; all else is removed.
            ConfigError: nothing says how to reach a database; all else is removed.
        """
        collected = collect(
            self._catalog,
            keep,
            retriever=retriever,
            dry_run=dry_run,
            deleted=[Path(each) for each in deleted],
        )
        if not dry_run:
            log_collected(self.folder, collected.removed, collected.orphans, collected.bytes)
            raise_left(each for each in collected.left if each.error is not None)
        return collected

    def import_version(
        self,
        path: str | Path,
        version: str | None = None,
        *,
        activate: bool = False,
        retriever: ComponentSpec[Retriever] | None = None,
        progress: Progress | None = None,
    ) -> VersionInfo:
        """Add a version from a file that `export` of this store or another wrote.

        Args:
            path: of the file.
            version: its name here; the one that it had where None.
            activate: make it the current version, after it was opened and searched once.
            retriever: how to search it for that; as it was built where None.
            progress: called with the bytes that are done ("files").

        Raises:
            VersionExistsError: there is a version of this name.
            StoreCorruptError: the file is no exported version, or was changed.
            StoreError: `activate`, and it cannot be opened or searched here; or the disk is full.
        """
        manifest = import_version(
            self._catalog,
            Path(path),
            version,
            progress or silent,
            activate=activate,
            retriever=retriever,
        )
        info = info_of(manifest, self.current())
        log_imported(self.folder, info)
        return info
