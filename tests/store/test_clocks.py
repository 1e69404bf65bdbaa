"""Test shards and versions from machines whose clocks are wrong: no time makes a file damaged."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, tzinfo
from itertools import cycle
from pathlib import Path

import pytest

import ragcore
from ragcore.errors import StoreCorruptError
from ragcore.store import layout
from ragcore.store.diff import Changes
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.shard_project import answers, build_shards

MOMENTS = [
    *("1969-12-31T23:59:00", "1979-06-30T00:00:00", "2026-11-30T00:00:00"),
    *("2038-01-19T03:14:08", "2126-11-06T00:00:00", "9999-12-31T23:59:59.999999"),
]
"""Before and after what files, archives and 32 bits may count from and to."""
FILE_TIMES = [-(10**9), 0, 3 * 10**8, 2**31, 2**32 + 5, 2**33]
"""In seconds since 1970."""


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that sets the clock of builds, in UTC."""

    def set_to(moment: str) -> None:
        class Clock(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> datetime:
                return datetime.fromisoformat(moment).replace(tzinfo=tz)

        monkeypatch.setattr("ragcore.store.manifest.datetime", Clock)

    return set_to


def set_times(folder: Path) -> None:
    """Give files and folders times that are far apart, and none that is right."""
    for path, seconds in zip(sorted(folder.rglob("*")), cycle(FILE_TIMES), strict=False):
        os.utime(path, (seconds, seconds))


@pytest.mark.parametrize("verify", [True, "sampled"])
def test_shards_of_any_clock_merge_and_verify(
    pipeline: Callable[..., Path],
    set_clock: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    verify: layout.Verify,
) -> None:
    monkeypatch.setattr(layout, "LARGE", 100)
    path = pipeline()
    out = path.parent / "shards"
    for number, moment in enumerate(MOMENTS):
        set_clock(moment)
        shard = ragcore.build_shard(path, number=number, of=len(MOMENTS), out=out)
        assert shard.created.startswith(moment[:16])
    set_times(out)
    set_clock(MOMENTS[1])
    merged = ragcore.merge_shards(path, [out], version="merged", verify=verify)
    store = Store(path.parent / "store")
    # A name more for each file changes what the folder of shards says of it, too.
    set_times(store.folder)
    store.verify("merged")
    Store(out).verify("shard-0-of-6")
    ragcore.build_memory(path, version="whole")
    with ragcore.open_memory(path, version="whole") as whole:
        expected = answers(whole)
    with ragcore.open_memory(path, version="merged", verify=verify) as memory:
        assert answers(memory) == expected
    assert merged.passages == 60


def test_a_version_is_newer_than_those_before_it_whatever_the_clock_says(
    pipeline: Callable[..., Path], set_clock: Callable[[str], None], tmp_path: Path
) -> None:
    path = pipeline()
    out, store = build_shards(path, 2), Store(path.parent / "store")
    set_clock("2126-11-06T00:00:00")
    ragcore.merge_shards(path, [out], version="from-2126")
    set_clock("2026-11-30T00:00:00")
    changes = Changes({"new": Passage("new", "", "lake")}, {"p3": "here"})
    store.update("updated", changes, activate=False)
    store.compact("compacted", parent="updated", activate=False)
    set_clock("1969-12-31T23:59:00")
    ragcore.merge_shards(path, [out], version="from-1969", activate=False)
    set_times(store.folder)
    store.export(tmp_path / "compacted.tar", "compacted")
    assert store.gc(3).kept == ("compacted", "from-1969", "from-2126")
    assert store.gc(2).kept == ("from-1969", "from-2126")
    imported = Store(tmp_path / "imported")
    imported.import_version(tmp_path / "compacted.tar")
    imported.verify("compacted")


def test_a_time_that_was_edited_in_a_manifest_is_refused(pipeline: Callable[..., Path]) -> None:
    # Its own digest is part of it: a wrong time stays as it was written, or the shard is damaged.
    path = pipeline()
    out = build_shards(path, 2)
    manifest = out / "versions" / "shard-1-of-2" / "manifest.json"
    text = manifest.read_text()
    year = text[text.index('"created": "') + len('"created": "') :][:4]
    manifest.write_text(text.replace(f'"created": "{year}', '"created": "2126'))
    with pytest.raises(StoreCorruptError, match=r"manifest\.json was changed: its sha256 is not"):
        ragcore.merge_shards(path, [out])
