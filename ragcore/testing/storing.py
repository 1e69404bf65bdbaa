"""Laws of saving, loading and threads, for indexes and retrievers alike."""

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

__all__ = ["StoreLaws", "digests_of", "eager_threads"]

THREADS: Final = 4
MAPS: Final = Path("/proc/self/maps")


class StoreLaws(SearchSuite):
    """Test `save` and `load`: a saved version is a folder that never changes."""

    def test_loaded_answers_are_identical(self, component: Any, tmp_path: Path) -> None:
        """After save and load, rows, scores (to the last bit) and length are the same.

        Fix: save everything on which a score depends, in the type in which it is computed, and
        recompute nothing on loading that may round differently.
        """
        subject = self.filled(component, self.world())
        folder = self.saved(subject, tmp_path / "saved")
        expected = self.search(subject)
        for mmap in (True, False, True):
            loaded = self.load(component, folder, mmap=mmap)
            assert type(loaded) is type(subject), f"load returned {type(loaded).__name__}"
            assert loaded.capabilities == subject.capabilities, (
                "a loaded component declares other capabilities"
            )
            assert len(loaded) == len(subject), f"loaded, its length is {len(loaded)}"
            identical(self.search(loaded), expected, f"loaded with mmap={mmap}")
        identical(self.search(subject), expected, "before and after it was saved")

    def test_loaded_can_be_saved_again(self, component: Any, tmp_path: Path) -> None:
        """A copy of a copy answers as the original.

        Fix: have `save` read whatever `load` maps or defers.
        """
        subject = self.filled(component, self.world())
        first = self.saved(subject, tmp_path / "first")
        second = self.saved(self.load(component, first), tmp_path / "second")
        identical(
            self.search(self.load(component, second)), self.search(subject), "a copy of a copy"
        )

    def test_loaded_versions_are_independent(self, component: Any, tmp_path: Path) -> None:
        """Two versions can be open together, with the same files or with others.

        Fix: keep all state in the object, none in the class or the module.
        """
        world = self.world()
        half = world.take(slice(0, self.count // 2))
        whole, halved = self.filled(component, world), self.filled(component, half)
        first = self.load(component, self.saved(whole, tmp_path / "whole"))
        second = self.load(component, self.saved(halved, tmp_path / "half"))
        identical(self.search(first), self.search(whole), "the first of two open versions")
        identical(self.search(second), self.search(halved), "the second of two open versions")

    def test_a_saved_version_never_changes(self, component: Any, tmp_path: Path) -> None:
        """Loading, searching, adding and removing leave the saved files as they are.

        Fix: map files read-only; write only into the folder that `save` receives.
        """
        world = self.world()
        most = world.take(slice(0, self.count - 3))
        folder = self.saved(self.filled(component, most), tmp_path / "saved")
        before = digests_of(folder)
        loaded = self.load(component, folder)
        self.search(loaded)
        if "remove" in loaded.capabilities:
            loaded.remove(world.rows[:2])
        if "add" in loaded.capabilities:
            rest = world.take(slice(self.count - 3, self.count))
            loaded.add(rest.rows, rest.items)
        self.search(loaded)
        assert digests_of(folder) == before, "saved files have changed"

    def test_loaded_accepts_additions(self, component: Any, tmp_path: Path) -> None:
        """Added to after loading, it answers as one built in one step (capability `add`).

        Fix: copy mapped arrays into memory before you change them.
        """
        world = self.world()
        most = world.take(slice(0, self.count - 5))
        folder = self.saved(self.filled(component, most), tmp_path / "saved")
        for mmap in (True, False):
            loaded = self.load(component, folder, mmap=mmap)
            self.needs(loaded, "add")
            rest = world.take(slice(self.count - 5, self.count))
            loaded.add(rest.rows, rest.items)
            assert len(loaded) == self.count, f"its length is {len(loaded)}, not {self.count}"
            hits = self.search(loaded)
            well_formed(hits, len(self.questions()), self.k, world.rows)
            if "exact" in loaded.capabilities:
                agree(hits, self.search(self.filled(component, world)), "added to after loading")

    def test_undeclared_add_is_refused(self, component: Any, tmp_path: Path) -> None:
        """Without the capability `add`, adding after loading raises `UnsupportedOperation`.

        Fix: `raise UnsupportedOperation.of("index 'name'", "add")` once it is built.
        """
        world = self.world()
        subject = self.filled(component, world.take(slice(0, self.count - 1)))
        self.lacks(subject, "add")
        loaded = self.load(component, self.saved(subject, tmp_path / "saved"))
        last = world.take([self.count - 1])
        self.must_refuse(component, "add(…) after loading", lambda: loaded.add(*last.pair))

    def test_removed_rows_stay_removed(self, component: Any, tmp_path: Path) -> None:
        """Rows removed before saving or after loading stay removed (capability `remove`).

        Fix: save the rows that are left, or the removal marks with them.
        """
        world = self.world()
        subject = self.filled(component, world)
        self.needs(subject, "remove")
        subject.remove(world.rows[:5])
        loaded = self.load(component, self.saved(subject, tmp_path / "first"))
        identical(self.search(loaded), self.search(subject), "saved after a removal")
        loaded.remove(world.rows[5:9])
        subject.remove(world.rows[5:9])
        assert len(loaded) == self.count - 9, f"its length is {len(loaded)}"
        agree(self.search(loaded), self.search(subject), "removed after loading")
        reloaded = self.load(component, self.saved(loaded, tmp_path / "second"))
        well_formed(self.search(reloaded), len(self.questions()), self.k, world.rows[9:])
        identical(self.search(reloaded), self.search(loaded), "removed, saved and loaded again")

    def test_a_full_disk_raises_an_error(self, component: Any, tmp_path: Path) -> None:
        """On a full disk `save` raises OSError or a `RagcoreError`, and the component still works.

        Fix: check that all bytes were written, also by a C++ library; let OSError through.
        """
        subject = self.filled(component, self.world())
        whole = self.saved(subject, tmp_path / "whole")
        expected = self.search(subject)
        largest = max(path.stat().st_size for path in whole.rglob("*") if path.is_file())
        for room in (largest - 1, largest // 2, 0):
            try:
                with _files_of_at_most(room):
                    self.saved(subject, tmp_path / f"room-{room}")
            except (OSError, RagcoreError):
                continue
            raise AssertionError(
                f"save raised no error where no file could exceed {room} bytes, and the largest "
                f"needs {largest}"
            )
        identical(self.search(subject), expected, "after a failed save")

    def test_declared_mmap_maps_files(self, component: Any, tmp_path: Path) -> None:
        """With `mmap=True` files are mapped, with False they are read (capability `mmap`).

        Fix: pass `mmap` on to whatever opens the files, as in `np.load(…, mmap_mode="r")`.
        """
        subject = self.filled(component, self.world())
        self.needs(subject, "mmap")
        if not MAPS.exists():
            raise unittest.SkipTest("this system does not list mapped files in /proc/self/maps")
        folder = self.saved(subject, tmp_path / "saved")
        for mmap in (False, True):
            loaded = self.load(component, folder, mmap=mmap)
            self.search(loaded)
            mapped = str(folder) in MAPS.read_text(encoding="utf-8")
            assert mapped == mmap, f"with mmap={mmap} files are {'' if mapped else 'not '}mapped"
            del loaded

    def test_threads_search_while_others_load(self, component: Any, tmp_path: Path) -> None:
        """Searches in several threads are correct while other threads load versions.

        Fix: store nothing of a search in the object; create what is built lazily under a lock.
        """
        subject = self.filled(component, self.world())
        folder = self.saved(subject, tmp_path / "saved")
        questions, expected = self.questions(), self.search(subject)
        fresh = self.load(component, folder)
        barrier = Barrier(THREADS)

        def ask(start: int) -> None:
            barrier.wait()
            for number in (np.arange(3 * len(questions)) + start) % len(questions):
                for opened in (fresh, subject):
                    hits = opened.search(questions[number : number + 1], self.k)
                    assert (hits.rows == expected.rows[number]).all(), (
                        f"question {number} finds something else while other threads search"
                    )

        def load(_: int) -> None:
            barrier.wait()
            for mmap in (True, False, True):
                agree(self.search(self.load(component, folder, mmap=mmap)), expected, "loaded")

        with eager_threads(), ThreadPoolExecutor(THREADS) as pool:
            jobs = [pool.submit(ask, number) for number in range(THREADS - 1)]
            for job in [*jobs, pool.submit(load, 0)]:
                job.result()


def digests_of(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file below a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@contextmanager
def _files_of_at_most(count: int) -> Iterator[None]:
    """Simulate a full disk: no file can exceed so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def eager_threads() -> Iterator[None]:
    """Switch threads as often as possible, so that a race shows."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
