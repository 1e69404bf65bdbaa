"""Laws of saving and loading, and of many threads, for indexes and retrievers alike."""

from __future__ import annotations

import hashlib
import resource
import sys
import unittest
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier
from typing import Any, Final

import numpy as np

from ragcore.errors import RagcoreError
from ragcore.testing.hits import agree, identical, well_formed
from ragcore.testing.search_suite import SearchSuite

__all__ = ["StoreLaws"]

THREADS: Final = 4
MAPS: Final = Path("/proc/self/maps")


class StoreLaws(SearchSuite):
    """What `save` and `load` do: a version of a memory is a folder that never changes."""

    def test_what_is_loaded_answers_bit_by_bit(self, component: Any, tmp_path: Path) -> None:
        """Saved and loaded, it gives the same rows and scores, to the last bit, and its length.

        To mend: save all that a score depends on, in the type in which it is computed with, and
        recompute nothing on loading that may round otherwise.
        """
        made = self.built(component, self.world())
        folder = self.saved(made, tmp_path / "saved")
        expected = self.search(made)
        for mmap in (True, False, True):
            loaded = self.load(component, folder, mmap=mmap)
            assert type(loaded) is type(made), f"load gave {type(loaded).__name__}"
            assert loaded.capabilities == made.capabilities, "loaded, it can do something else"
            assert len(loaded) == len(made), f"loaded, its length is {len(loaded)}"
            identical(self.search(loaded), expected, f"loaded with mmap={mmap}")
        identical(self.search(made), expected, "before and after it was saved")

    def test_what_is_loaded_can_be_saved_again(self, component: Any, tmp_path: Path) -> None:
        """A copy of a copy answers as the first.

        To mend: what `load` maps or leaves for later must be there when `save` wants it.
        """
        made = self.built(component, self.world())
        first = self.saved(made, tmp_path / "first")
        second = self.saved(self.load(component, first), tmp_path / "second")
        identical(self.search(self.load(component, second)), self.search(made), "a copy of a copy")

    def test_two_that_are_loaded_do_not_share(self, component: Any, tmp_path: Path) -> None:
        """Two versions can be open at once, with the same files or with others.

        To mend: keep everything in the object, nothing in the class or the module.
        """
        world = self.world()
        half = world.take(slice(0, self.count // 2))
        whole, part = self.built(component, world), self.built(component, half)
        one = self.load(component, self.saved(whole, tmp_path / "whole"))
        other = self.load(component, self.saved(part, tmp_path / "part"))
        identical(self.search(one), self.search(whole), "the first of two that are open")
        identical(self.search(other), self.search(part), "the second of two that are open")

    def test_a_saved_version_never_changes(self, component: Any, tmp_path: Path) -> None:
        """Loading, searching, adding and removing leave the files as they are.

        To mend: map files read-only; write into the folder that `save` is given, and no other.
        """
        world = self.world()
        most = world.take(slice(0, self.count - 3))
        folder = self.saved(self.built(component, most), tmp_path / "saved")
        before = _digests(folder)
        loaded = self.load(component, folder)
        self.search(loaded)
        if "remove" in loaded.capabilities:
            loaded.remove(world.rows[:2])
        if "add" in loaded.capabilities:
            rest = world.take(slice(self.count - 3, self.count))
            loaded.add(rest.rows, rest.items)
        self.search(loaded)
        assert _digests(folder) == before, "files that were saved have changed"

    def test_what_is_loaded_takes_more(self, component: Any, tmp_path: Path) -> None:
        """Added to after loading, it answers as one built at once (capability `add`).

        To mend: bring what is mapped into memory before it is changed.
        """
        world = self.world()
        most = world.take(slice(0, self.count - 5))
        folder = self.saved(self.built(component, most), tmp_path / "saved")
        for mmap in (True, False):
            loaded = self.load(component, folder, mmap=mmap)
            self.needs(loaded, "add")
            rest = world.take(slice(self.count - 5, self.count))
            loaded.add(rest.rows, rest.items)
            assert len(loaded) == self.count, f"its length is {len(loaded)}, not {self.count}"
            hits = self.search(loaded)
            well_formed(hits, len(self.asked()), self.k, world.rows)
            if "exact" in loaded.capabilities:
                agree(hits, self.search(self.built(component, world)), "added to after loading")

    def test_an_addition_that_is_not_declared_is_refused(
        self, component: Any, tmp_path: Path
    ) -> None:
        """Without the capability `add`, what is loaded takes no more: `UnsupportedOperation`.

        To mend: `raise UnsupportedOperation.of("index 'name'", "add")` once it is built.
        """
        world = self.world()
        made = self.built(component, world.take(slice(0, self.count - 1)))
        self.lacks(made, "add")
        loaded = self.load(component, self.saved(made, tmp_path / "saved"))
        last = world.take([self.count - 1])
        self.must_refuse(component, "add(…) after loading", lambda: loaded.add(*_pair(last)))

    def test_what_was_removed_stays_removed(self, component: Any, tmp_path: Path) -> None:
        """Saved and loaded, it has not what was removed before or after (capability `remove`).

        To mend: save what is left, or the marks of what is removed with it.
        """
        world = self.world()
        made = self.built(component, world)
        self.needs(made, "remove")
        made.remove(world.rows[:5])
        loaded = self.load(component, self.saved(made, tmp_path / "first"))
        identical(self.search(loaded), self.search(made), "saved after a removal")
        loaded.remove(world.rows[5:9])
        made.remove(world.rows[5:9])
        assert len(loaded) == self.count - 9, f"its length is {len(loaded)}"
        agree(self.search(loaded), self.search(made), "removed after loading")
        again = self.load(component, self.saved(loaded, tmp_path / "second"))
        well_formed(self.search(again), len(self.asked()), self.k, world.rows[9:])
        identical(self.search(again), self.search(loaded), "removed, saved and loaded again")

    def test_what_cannot_be_written_is_told(self, component: Any, tmp_path: Path) -> None:
        """On a full disk `save` raises OSError or an error of ragcore's, and all else stays.

        To mend: look whether all bytes were written, also by a library in C++; let OSError through.
        """
        made = self.built(component, self.world())
        whole = self.saved(made, tmp_path / "whole")
        expected = self.search(made)
        largest = max(path.stat().st_size for path in whole.rglob("*") if path.is_file())
        for room in (largest - 1, largest // 2, 0):
            try:
                with _files_of_at_most(room):
                    self.saved(made, tmp_path / f"room-{room}")
            except (OSError, RagcoreError):
                continue
            raise AssertionError(
                f"saved without an error where no file could have more than {room} bytes, and the "
                f"largest needs {largest}"
            )
        identical(self.search(made), expected, "after it could not be saved")

    def test_files_are_mapped_where_that_is_declared(self, component: Any, tmp_path: Path) -> None:
        """With `mmap=True` files stay on disk until read, with False none does (capability `mmap`).

        To mend: hand `mmap` on to whatever opens the files, as `np.load(…, mmap_mode="r")`.
        """
        made = self.built(component, self.world())
        self.needs(made, "mmap")
        if not MAPS.exists():
            raise unittest.SkipTest("this system does not say what is mapped (/proc/self/maps)")
        folder = self.saved(made, tmp_path / "saved")
        for mmap in (False, True):
            loaded = self.load(component, folder, mmap=mmap)
            self.search(loaded)
            mapped = str(folder) in MAPS.read_text(encoding="utf-8")
            assert mapped == mmap, f"with mmap={mmap} files are {'' if mapped else 'not '}mapped"
            del loaded

    def test_threads_search_while_others_load(self, component: Any, tmp_path: Path) -> None:
        """Searches in several threads give what one gives, while versions are loaded beside them.

        To mend: keep nothing of a search in the object; make what is made late under a lock.
        """
        made = self.built(component, self.world())
        folder = self.saved(made, tmp_path / "saved")
        asked, expected = self.asked(), self.search(made)
        fresh = self.load(component, folder)
        start = Barrier(THREADS)

        def ask(first: int) -> None:
            start.wait()
            for at in (np.arange(3 * len(asked)) + first) % len(asked):
                for one in (fresh, made):
                    hits = one.search(asked[at : at + 1], self.k)
                    assert (hits.rows == expected.rows[at]).all(), (
                        f"question {at} finds something else while other threads search"
                    )

        def load(_: int) -> None:
            start.wait()
            for mmap in (True, False, True):
                agree(self.search(self.load(component, folder, mmap=mmap)), expected, "loaded")

        with _eager_threads(), ThreadPoolExecutor(THREADS) as pool:
            jobs = [pool.submit(ask, at) for at in range(THREADS - 1)]
            for job in [*jobs, pool.submit(load, 0)]:
                job.result()


def _pair(world: Any) -> tuple[Any, Any]:
    return world.rows, world.items


def _digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@contextmanager
def _files_of_at_most(count: int) -> Iterator[None]:
    """A disk that is full once a file has so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def _eager_threads() -> Iterator[None]:
    """Let threads take turns as often as they can, so that a race shows."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
