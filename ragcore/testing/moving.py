"""Laws of folders and settings, for indexes and retrievers alike: both may change."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from ragcore.errors import RagcoreError
from ragcore.testing.hits import identical
from ragcore.testing.search_suite import SearchSuite

__all__ = ["MoveLaws"]


class MoveLaws(SearchSuite):
    """Test that a saved version is complete in its folder, wherever that is."""

    def test_a_saved_folder_may_be_moved(self, component: Any, tmp_path: Path) -> None:
        """Saved, renamed and loaded from elsewhere by a relative path, it answers the same.

        The new path has a space and letters beyond ASCII; the working folder changes before the
        version is loaded and after it.

        Fix: write no path of the folder into its files, and open by `load` what a search reads, or
        keep `folder.absolute()`. Encode a path for a C++ library with `os.fsencode`.
        """
        subject = self.filled(component, self.world())
        expected = self.search(subject)
        (tmp_path / "was").mkdir()
        with contextlib.chdir(tmp_path / "was"):
            saved = self.saved(subject, Path("saved"))
            moved = tmp_path / "Übergröße 東京"
            saved.rename(moved)
        for mmap in (True, False):
            with contextlib.chdir(tmp_path):
                loaded = self.load(component, Path(moved.name), mmap=mmap)
            identical(self.search(loaded), expected, "from a folder that was renamed")

    def test_a_folder_may_be_used_again(self, component: Any, tmp_path: Path) -> None:
        """What is saved where another version was before is loaded as it is now.

        Fix: cache no loaded files by their path.
        """
        world = self.world()
        folder = tmp_path / "saved"
        for number, count in enumerate((self.count, self.count // 2)):
            subject = self.filled(component, world.take(slice(0, count)))
            loaded = self.load(component, self.saved(subject, folder))
            assert len(loaded) == count, f"of {count} rows saved, {len(loaded)} are loaded"
            identical(self.search(loaded), self.search(subject), "where another version was")
            folder.rename(tmp_path / f"former-{number}")

    def test_a_saved_version_is_complete_at_once(self, component: Any, tmp_path: Path) -> None:
        """Changes after `save` do not reach the saved version, and it loads before they are made.

        Fix: write and close all files in `save`; map none of them for writing.
        """
        world = self.world()
        most = world.take(slice(0, self.count - 3))
        subject = self.filled(component, most)
        expected = self.search(subject)
        folder = self.saved(subject, tmp_path / "saved")
        loaded = self.load(component, folder)
        if "add" in subject.capabilities:
            subject.add(*world.take(slice(self.count - 3, self.count)).pair)
        if "remove" in subject.capabilities:
            subject.remove(world.rows[:5])
        self.search(subject)
        identical(self.search(loaded), expected, "loaded before the original changed")
        reloaded = self.load(component, folder)
        identical(self.search(reloaded), expected, "loaded after the original changed")

    def test_load_follows_its_config(self, component: Any, tmp_path: Path) -> None:
        """A loaded component has the settings that `load` received, or refuses them.

        Checked are the attribute `config`, where it exists, and the fingerprint under each of the
        suite's `variants`, which must be the one of the new settings.

        Fix: take settings from `config`, not from the saved files. Where saved files depend on a
        setting that differs now, raise `MemoryMismatchError`.
        """
        spec = self.spec(component)
        folder = self.saved(self.filled(component, self.world()), tmp_path / "saved")
        config = getattr(self.load(component, folder), "config", spec.config)
        assert config == spec.config, f"loaded with {spec.config!r}, its config is {config!r}"
        for settings, variant in self.varied(component):
            try:
                loaded = variant.load(folder)
            except RagcoreError:
                continue
            expected = variant.build().fingerprint
            assert loaded.fingerprint == expected, (
                f"loaded with {dict(settings)}, its fingerprint is {loaded.fingerprint!r}, not "
                f"{expected!r}, and it was not refused"
            )
