"""Test that an id which occurs twice is found among the digests of shards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragcore.store.ids import IdDigests, digest_of, find_repeated, read_digests
from ragcore.types import Passage


def ids(names: list[str], folder: Path) -> Any:
    digests = IdDigests()
    list(digests.noting(iter([Passage(name, "", "x") for name in names])))
    folder.mkdir()
    digests.save(folder)
    return read_digests(folder)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.text("abc", max_size=3), max_size=8), max_size=4))
def test_a_repeated_id_is_found_wherever_it_is(
    tmp_path_factory: pytest.TempPathFactory, names: list[list[str]]
) -> None:
    folder = tmp_path_factory.mktemp("ids")
    lists = [ids(each, folder / str(number)) for number, each in enumerate(names)]
    repeated = find_repeated(lists)
    flat = [name for each in names for name in each]
    assert (repeated is None) == (len(set(flat)) == len(flat))
    if repeated is not None:
        (name,) = {name for name in flat if digest_of(name) == repeated.digest}
        owners = [number for number, each in enumerate(names) for n in each if n == name]
        assert list(repeated.sources) == owners[:2] or set(repeated.sources) <= set(owners)


def test_many_ids_are_compared_in_sections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragcore.store.ids._SECTION", 16)
    lists = [
        ids([f"{letter}{n}" for n in range(100)], tmp_path / letter) for letter in ("a", "b", "c")
    ]
    assert find_repeated(lists) is None
    again = ids(["b42", "x"], tmp_path / "again")
    repeated = find_repeated([*lists, again])
    assert repeated is not None
    assert (repeated.digest, repeated.sources) == (digest_of("b42"), (1, 3))
