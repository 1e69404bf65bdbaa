"""Filters that an index in a database evaluates find what they find in a memory of files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragcore.contracts import FilteringRetriever, supports
from ragcore.filters.expressions import read_where
from ragcore.registry.components import ComponentSpec
from ragcore.retrievers import segment
from ragcore.retrievers.hybrid import Hybrid
from ragcore.store.diff import Changes
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.conftest import Installed
from tests.helpers.pages import page, pages_spec, write_pages
from tests.helpers.sqlite_index import SqliteIndex, make_database, remote_part
from tests.helpers.word_encoder import dense_part

COLUMNS = {"lang": "text", "year": "int"}
WHERE = {"lang": "de", "year": {"gte": 2010}}


def passage(number: int, **metadata: Any) -> Passage:
    return Passage(f"p{number}", "", f"text {number} of w{number % 7}", metadata)


PASSAGES = [
    passage(n, **({"lang": ["de", "en", "fr"][n % 3]} if n % 5 else {}), year=2000 + n)
    for n in range(40)
]


@pytest.fixture(autouse=True)
def plugins(installed: Installed) -> None:
    installed.add("words", "from tests.helpers.word_encoder import ragcore_encoders\n")
    installed.add("sqlite", "from tests.helpers.sqlite_index import ragcore_indexes\n")


@pytest.fixture(autouse=True)
def lists_of_no_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send filters even where they allow few rows."""
    monkeypatch.setattr(segment, "FEW_LISTED", 0)


@pytest.fixture
def part(tmp_path: Path) -> ComponentSpec[Any]:
    return remote_part(make_database(tmp_path / "database.sqlite"), columns=COLUMNS)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows by each filter that reaches an index."""
    filters: list[str] = []
    search: Callable[..., Any] = SqliteIndex.search_where

    def noting(index: SqliteIndex, queries: Any, k: int, where: Any) -> Any:
        filters.append(repr(where))
        return search(index, queries, k, where)

    monkeypatch.setattr(SqliteIndex, "search_where", noting)
    return filters


@pytest.fixture
def store(tmp_path: Path, part: ComponentSpec[Any]) -> Store:
    store = Store(tmp_path / "store")
    store.build("one", PASSAGES, part, check=True)
    return store


@pytest.fixture
def local(tmp_path: Path) -> Store:
    """The same memory in files."""
    store = Store(tmp_path / "local")
    store.build("one", PASSAGES, dense_part())
    return store


def changes_of(added: list[Passage], removed: list[str]) -> Changes:
    return Changes({each.id: each for each in added}, dict.fromkeys(removed, "here"))


def found(store: Store, where: dict[str, Any], k: int = 6) -> list[tuple[str, float]]:
    with store.open() as memory:
        (result,) = memory.search("text 8 of w1", k, where=where)
        return [
            (each.id, score) for each, score in zip(result.passages, result.scores, strict=True)
        ]


def same(store: Store, local: Store, where: dict[str, Any]) -> None:
    mine, expected = found(store, where), found(local, where)
    assert [name for name, _ in mine] == [name for name, _ in expected]
    assert np.allclose([score for _, score in mine], [score for _, score in expected])


def test_a_filter_on_columns_is_sent(store: Store, local: Store, sent: list[str]) -> None:
    same(store, local, WHERE)
    assert sent == [repr(read_where(WHERE))]
    same(store, local, {"not": WHERE})
    assert len(sent) == 2


def test_a_filter_on_other_fields_is_a_list_of_rows(
    store: Store, local: Store, sent: list[str]
) -> None:
    for where in ({"$id": {"prefix": "p1"}}, {**WHERE, "other": {"exists": False}}):
        same(store, local, where)
    assert sent == []


def test_few_rows_are_a_list(
    store: Store, sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment, "FEW_LISTED", 10_000)
    assert found(store, WHERE)
    assert sent == []


def test_removed_passages_are_not_found_by_a_filter(
    store: Store, local: Store, sent: list[str], part: ComponentSpec[Any]
) -> None:
    changes = changes_of(
        added=[passage(99, lang="de", year=2099), passage(8, lang="de", year=2050)],
        removed=[f"p{n}" for n in (11, 14, 17, 23)],
    )
    store.update("two", changes, retriever=part)
    local.update("two", changes, retriever=dense_part())
    for where in (WHERE, {"year": {"gt": 2005}}, {"not": {"lang": "en"}}):
        sent.clear()
        same(store, local, where)
        assert sent


def test_segments_that_are_written_as_one_keep_their_columns(
    store: Store, local: Store, sent: list[str], part: ComponentSpec[Any]
) -> None:
    changes = changes_of(added=[passage(99, year=2099), passage(98, lang="de")], removed=["p8"])
    for each, spec in ((store, part), (local, dense_part())):
        each.update("two", changes, retriever=spec)
        each.compact("three", retriever=spec)
    same(store, local, WHERE)
    same(store, local, {"lang": {"exists": False}})
    same(store, local, {"not": {"year": {"exists": True}}})
    assert len(sent) == 3


def test_a_field_with_a_list_among_its_values_is_never_sent(
    store: Store, local: Store, sent: list[str], part: ComponentSpec[Any]
) -> None:
    changes = changes_of(added=[passage(98, lang=["de", "en"], year=2020)], removed=[])
    for each, spec in ((store, part), (local, dense_part())):
        each.update("two", changes, retriever=spec)
        each.compact("three", retriever=spec)
    same(store, local, {"lang": {"any": ["de"]}})
    assert sent == []
    same(store, local, {"year": 2020})
    assert len(sent) == 1


def test_hybrid_sends_a_filter_to_the_member_that_takes_it(
    tmp_path: Path, part: ComponentSpec[Any], sent: list[str]
) -> None:
    stores = []
    for name, member in (("store", part), ("local", dense_part())):
        config = Hybrid.Config(retrievers=[member, dense_part(seed=1)])
        spec = ComponentSpec("retriever", "hybrid", Hybrid, config)
        stores.append(Store(tmp_path / name))
        with stores[-1].build("one", PASSAGES, spec) and stores[-1].open(retriever=spec) as memory:
            assert supports(memory.retriever, FilteringRetriever) == (member is part)
        stores[-1] = (stores[-1], spec)
    results = []
    for store, spec in stores:
        with store.open(retriever=spec) as memory:
            hits = memory.hits(["text 8 of w1"], 6, where=read_where(WHERE))
            results.append(hits.rows.tolist())
    assert results[0] == results[1]
    assert len(sent) == 1


def test_passages_that_moved_are_found_by_where_they_are(tmp_path: Path, sent: list[str]) -> None:
    """The database has the lines that they were at."""
    part = remote_part(make_database(tmp_path / "moving.sqlite"), columns={"line": "int"})
    texts = ["Chad is a country.", "Its capital is N'Djamena.", "It has a lake."]
    store = Store(tmp_path / "moving")
    for name, lines in (("one", texts), ("two", ["", *texts])):
        pages = [page(1, "Chad", *lines, revision=len(lines))]
        spec = pages_spec(write_pages(tmp_path / "pages.jsonl", pages), lines=True)
        if name == "one":
            store.build(name, spec.build(), part, corpus_config=spec)
            with store.open(retriever=part) as memory:
                (result,) = memory.search("lake", 5, where={"line": {"gte": 1}})
                before = {each.text: each.metadata["line"] for each in result.passages}
            assert len(sent) == 1
        else:
            info = store.update(name, spec.build(), corpus_config=spec, retriever=part)
            assert info.moved == 3
    for compacted in (False, True):
        if compacted:
            store.update("three", changes_of([passage(9, line=50)], []), retriever=part)
            store.compact("four", retriever=part)
        sent.clear()
        with store.open(retriever=part) as memory:
            for text, line in before.items():
                (result,) = memory.search("lake", 5, where={"line": line + 1})
                assert [each.text for each in result.passages] == [text]
        assert sent == []


values = st.fixed_dictionaries(
    {},
    optional={
        "lang": st.sampled_from(["de", "en", ""]),
        "year": st.sampled_from([1999, 2000, 2001]),
    },
)
wheres = st.sampled_from(
    [
        {"lang": "de"},
        {"lang": {"ne": "de"}},
        {"not": {"lang": "de"}},
        {"year": {"gte": 2000}},
        {"year": {"exists": False}},
        {"or": [{"lang": {"lt": "en"}}, {"year": {"in": [1999, "2000"]}}]},
        {"and": [{"lang": {"prefix": ""}}, {"not": {"year": 2000.0}}]},
    ]
)


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(values, min_size=3, max_size=8),
    st.lists(values, min_size=1, max_size=3),
    st.lists(st.integers(0, 2), unique=True, max_size=2),
    st.lists(wheres, min_size=1, max_size=3),
)
def test_any_memory_answers_filters_as_one_in_files(
    tmp_path_factory: pytest.TempPathFactory,
    old: list[dict[str, Any]],
    new: list[dict[str, Any]],
    removed: list[int],
    filters: list[dict[str, Any]],
) -> None:
    folder = tmp_path_factory.mktemp("law")
    part = remote_part(make_database(folder / "database.sqlite"), columns=COLUMNS)
    changes = changes_of(
        added=[passage(50 + n, **each) for n, each in enumerate(new)],
        removed=[f"p{n}" for n in removed],
    )
    stores = []
    for name, spec in (("store", part), ("local", dense_part())):
        stores.append(Store(folder / name))
        stores[-1].build("one", [passage(n, **each) for n, each in enumerate(old)], spec)
        stores[-1].update("two", changes, retriever=spec)
    for where in filters:
        same(stores[0], stores[1], where)
