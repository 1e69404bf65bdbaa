"""Laws of indexes whose data lie in a database (capability `remote`).

They run against a real server, which the component's config leads to.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ragcore.disk.remote import POINTER, RemotePointer, pointers_below
from ragcore.errors import StoreCorruptError
from ragcore.testing.hits import identical
from ragcore.testing.search_suite import SearchSuite

__all__ = ["RemoteLaws"]


class RemoteLaws(SearchSuite):
    """Test that a table is where its pointer says, and goes when it is dropped."""

    def test_a_pointer_leads_to_the_data_until_they_are_dropped(
        self, component: Any, tmp_path: Path
    ) -> None:
        """What is saved passes `check`; dropped, it is corrupt, and can be dropped again.

        Dropping one table leaves another as it was. Capability `remote`.

        Fix: give each table a name of its own, with random digits; `drop` the one that the pointer
        names, and nothing where there is none.
        """
        spec, world = self.spec(component), self.world()
        kept, dropped = self.filled(component, world), self.filled(component, world)
        self.needs(kept, "remote")
        folders = [self.saved(kept, tmp_path / "kept"), self.saved(dropped, tmp_path / "dropped")]
        pointers = [RemotePointer.read(folder) for folder in folders]
        assert pointers[0].key != pointers[1].key, "two indexes have one table"
        assert pointers[0].use == spec.use, (
            f"the pointer names the component {pointers[0].use!r}, not {spec.use!r}: a store could "
            "not find how to connect"
        )
        expected = self.search(self.load(component, folders[0]))
        for folder in folders:
            for full in (False, True):
                self.load(component, folder).check(full=full)
        del dropped
        gc.collect()
        assert spec.component.drop(folders[1], spec.config), "drop left what nobody has open"
        assert spec.component.drop(folders[1], spec.config), "dropped again, it says it is in use"
        loaded = self.load(component, folders[1])
        actions: dict[str, Callable[[], object]] = {
            "check": partial(loaded.check, full=False),
            "search": partial(self.search, loaded),
        }
        for what, action in actions.items():
            try:
                action()
            except StoreCorruptError:
                continue
            raise AssertionError(f"{what} of a dropped table raised no StoreCorruptError")
        identical(self.search(self.load(component, folders[0])), expected, "after another drop")
        spec.component.drop(folders[0], spec.config)

    def test_a_pointer_is_written_before_the_data(self, component: Any, tmp_path: Path) -> None:
        """Given a scratch folder, an index has a pointer in it once vectors were added.

        What the pointer leads to can be dropped, as `gc` does after a kill.

        Fix: write the pointer into a new subfolder of the scratch folder, then make the table.
        Capability `remote`, which needs `scratch`.
        """
        spec, world = self.spec(component), self.world()
        subject = self.empty(component)
        self.needs(subject, "remote")
        assert "scratch" in subject.capabilities, "an index with `remote` must have `scratch`"
        subject.use_scratch(tmp_path)
        subject.add(*world.pair)
        folders = list(pointers_below(tmp_path))
        assert len(folders) == 1, f"there are {len(folders)} pointers in the scratch folder"
        assert folders[0] != tmp_path, "the pointer is in the folder, not in a subfolder of it"
        # Another index may have the same scratch folder, as where segments are joined.
        other = self.empty(component)
        other.use_scratch(tmp_path)
        other.add(*world.pair)
        identical(self.search(other), self.search(subject), "two indexes in one scratch folder")
        del subject, other
        gc.collect()
        for folder in pointers_below(tmp_path):
            assert spec.component.drop(folder, spec.config), "drop left what nobody has open"

    def test_no_secret_is_in_a_pointer(self, component: Any, tmp_path: Path) -> None:
        """No text of the config is in the pointer: it would be copied with the version.

        Fix: write a name that tells databases apart, not how to connect. Capability `remote`.
        """
        subject = self.filled(component, self.world())
        self.needs(subject, "remote")
        folder = self.saved(subject, tmp_path / "saved")
        content = (folder / POINTER).read_text(encoding="utf-8")
        config = self.spec(component).config
        for name in type(config).model_fields:
            if not type(config).model_fields[name].repr:
                text = json.dumps(str(getattr(config, name)))
                assert text not in content, f"{POINTER} has the config's {name}"
        self.spec(component).component.drop(folder, config)
