"""Filters over metadata: what they mean, which are refused, and that a search obeys them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragcore.errors import ComponentError, QuestionError, StoreError
from ragcore.filters.evaluation import CACHED_FILTERS, RowFilter
from ragcore.filters.expressions import both, faults_of, read_where, where_from_json
from ragcore.memory.memory import Memory
from ragcore.memory.passages import Passages, PassageWriter
from ragcore.registry.discovery import registry
from ragcore.types import MISSING_ROW, Hits, Passage
from tests.helpers.word_encoder import dense_part

SCALARS: list[Any] = [None, True, False, 0, 1, 2, 1.0, 1.5, -2, 2**70, 2**70 + 1, "", "1", "é", "Z"]
FIELDS = ["year", "country", "if"]
OWN = ["$id", "$title"]
TITLES = ["", "é", "Z", "1", "Z\U0001f600", "\ue000"]
STRINGS = [*TITLES, "0", "2", "\ud800"]
ABSENT = object()

scalars = st.sampled_from(SCALARS)
orderable = scalars.filter(
    lambda value: isinstance(value, str | int | float) and not isinstance(value, bool)
)
conditions = (
    scalars
    | st.dictionaries(st.sampled_from(["eq", "ne"]), scalars, min_size=1)
    | st.dictionaries(st.sampled_from(["lt", "lte", "gt", "gte"]), orderable, min_size=1)
    | st.dictionaries(
        st.sampled_from(["in", "any", "all"]),
        st.lists(scalars | st.sampled_from(STRINGS), min_size=1, max_size=3),
        min_size=1,
        max_size=2,
    )
    | st.fixed_dictionaries({"exists": st.booleans()})
    | st.dictionaries(
        st.sampled_from(["prefix", "eq", "ne", "lt", "gte"]),
        st.sampled_from(STRINGS),
        min_size=1,
        max_size=2,
    )
)
filters = st.recursive(
    st.dictionaries(st.sampled_from(FIELDS + OWN), conditions, min_size=1, max_size=2),
    lambda inner: (
        st.fixed_dictionaries({"not": inner})
        | st.fixed_dictionaries({"or": st.lists(inner, min_size=1, max_size=3)})
        | st.fixed_dictionaries({"and": st.lists(inner, min_size=1, max_size=3), "year": scalars})
    ),
    max_leaves=5,
)
odd = st.sampled_from([[], {"a": 1}, {}]) | st.lists(
    scalars | st.sampled_from([[1], {"a": 1}, "0", "2"]), max_size=4
)
metadata = st.dictionaries(st.sampled_from(FIELDS), scalars | odd, max_size=3)


def meets(expression: dict[str, Any], data: dict[str, Any]) -> bool:
    """Evaluate a filter by definition, from the mapping."""
    for key, value in expression.items():
        if key == "not":
            holds = not meets(value, data)
        elif key == "or":
            holds = any(meets(part, data) for part in value)
        elif key == "and":
            holds = all(meets(part, data) for part in value)
        else:
            operators = value if isinstance(value, dict) else {"eq": value}
            actual = data.get(key, ABSENT)
            holds = all(compare(actual, word, operand) for word, operand in operators.items())
        if not holds:
            return False
    return True


def compare(actual: Any, word: str, value: Any) -> bool:
    if actual is ABSENT:
        return word == "exists" and not value
    if word == "exists":
        return bool(value)
    if word == "prefix":
        return isinstance(actual, str) and actual.startswith(value)
    items = actual if isinstance(actual, list) else [actual]
    if word == "any":
        return any(equal(item, sought) for item in items for sought in value)
    if word == "all":
        return all(any(equal(item, sought) for item in items) for sought in value)
    if word == "ne":
        return not equal(actual, value)
    if word == "eq":
        return equal(actual, value)
    if word == "in":
        return any(equal(actual, item) for item in value)
    texts = isinstance(actual, str) and isinstance(value, str)
    if not texts and not (number(actual) and number(value)):
        return False
    return {
        "lt": actual < value,
        "lte": actual <= value,
        "gt": actual > value,
        "gte": actual >= value,
    }[word]


def number(value: Any) -> bool:
    return type(value) is int or (type(value) is float and abs(value) < float("inf"))


def equal(first: Any, second: Any) -> bool:
    if number(first) and number(second):
        return bool(first == second)
    return type(first) is type(second) and isinstance(second, str | bool | None) and first == second


def title_of(row: int) -> str:
    return TITLES[row % len(TITLES)]


def fields_of_row(row: int, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata of a row, with the passage's own fields."""
    return {**fields, "$id": str(row), "$title": title_of(row)}


def written(folder: Path, data: Sequence[dict[str, Any]]) -> Passages:
    with PassageWriter(folder / "p.arrow") as writer:
        texts = ("chad", "mali chad", "mali", "river river", "")
        writer.write(
            [
                Passage(str(row), title_of(row), f"{texts[row % 5]} word{row % 7}", fields)
                for row, fields in enumerate(data)
            ]
        )
    return Passages(folder / "p.arrow")


@settings(max_examples=200, deadline=None)
@given(expression=filters, data=st.lists(metadata, min_size=1, max_size=8))
def test_rows_are_those_that_meet_the_filter(expression, data, tmp_path_factory):
    passages = written(tmp_path_factory.mktemp("rows"), data)
    rows = RowFilter(passages).rows(read_where(expression))
    assert rows.dtype == np.int64
    assert rows.tolist() == [
        row for row, fields in enumerate(data) if meets(expression, fields_of_row(row, fields))
    ]


@pytest.mark.parametrize(
    ("expression", "rows"),
    [
        ({"country": "Chad"}, [0, 1]),
        ({"year": 2016}, [1, 2]),
        ({"year": "2016"}, [3]),
        ({"year": {"gte": 2016, "lt": 2018}}, [1, 2]),
        ({"country": {"in": ["Chad", "Mali"]}, "year": 2018}, [0]),
        ({"or": [{"year": 2018}, {"country": "Mali"}]}, [0, 2]),
        ({"year": {"ne": 2016}}, [0, 3]),
        ({"not": {"year": 2016}}, [0, 3, 4]),
        ({"not": {"country": {"ne": "Chad"}}}, [0, 1, 3, 4]),
        ({"country": {"gt": "Chad"}}, [2]),
        ({"ended": None}, [4]),
        ({"ended": {"ne": 1}}, [4]),
        ({"ended": {"exists": True}}, [4]),
        ({"year": {"exists": False}}, [4]),
        ({"not": {"year": {"exists": False}}}, [0, 1, 2, 3]),
        ({"country": {"prefix": "Ch"}}, [0, 1]),
        ({"year": {"prefix": "20"}}, [3]),
        ({"country": {"any": ["Chad", "Togo"]}}, [0, 1]),
        ({"country": {"all": ["Chad"]}}, [0, 1]),
        ({"country": {"all": ["Chad", "Togo"]}}, []),
        ({"$id": {"in": ["4", "0", 1]}}, [0, 4]),
        ({"$title": "é"}, [1]),
        ({"$title": {"prefix": "Z"}}, [2, 4]),
        ({"$title": {"gt": "Z\U0001f5ff"}}, [1, 4]),
        ({"$id": {"exists": False}}, []),
        ({"$id": {"lt": 3}}, []),
        ({"id": "0"}, []),
    ],
)
def test_what_filters_mean(expression, rows, tmp_path):
    data: list[dict[str, Any]] = [
        {"country": "Chad", "year": 2018},
        {"country": "Chad", "year": 2016},
        {"country": "Mali", "year": 2016.0},
        {"year": "2016"},
        {"ended": None},
    ]
    assert RowFilter(written(tmp_path, data)).rows(read_where(expression)).tolist() == rows


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ({}, "where: expected a mapping such as .* found an empty mapping"),
        (None, "where: expected a mapping .* found null"),
        ("Chad", "where: expected a mapping .* found the string 'Chad'"),
        ({3: 4}, r"where\[3\]: a field must be a string, found the number 3"),
        ({"year": {}}, r"where.year: expected a value or operators \(eq, ne, .* found {}"),
        ({"year": {"ge": 3}}, "where.year.ge: unknown operator 'ge': did you mean 'gte'"),
        ({"year": {"like": 3}}, "unknown operator 'like': expected one of eq, ne, lt"),
        ({"year": {"not": 3}}, r"where.year.not: .* stand around fields"),
        ({"year": {"lt": None}}, "where.year.lt: expected a number or a string, found null"),
        ({"year": {"gt": True}}, "where.year.gt: .* found the boolean true"),
        ({"year": float("nan")}, "where.year: expected .* a finite number.* the number nan"),
        ({"year": ["a"]}, r"where.year: .* found a list: write {in: \[...\]}, or {any: \[...\]}"),
        ({"tags": {"any": "a"}}, "where.tags.any: expected a list of values, found the string 'a'"),
        ({"tags": {"all": []}}, "where.tags.all: expected a list of values, found an empty list"),
        ({"tags": {"any": [{}]}}, r"where.tags.any\[0\]: expected a string, .* an empty mapping"),
        ({"tags": {"exists": 1}}, "where.tags.exists: expected true or false, found the number 1"),
        ({"path": {"prefix": 3}}, "where.path.prefix: expected a string, found the number 3"),
        ({"path": {"prefx": "a"}}, "unknown operator 'prefx': did you mean 'prefix'"),
        ({"year": {"in": []}}, "where.year.in: expected a list of values, found an empty list"),
        ({"year": {"in": "Chad"}}, "where.year.in: expected a list .* found the string 'Chad'"),
        ({"year": {"in": [1, [2]]}}, r"where.year.in\[1\]: expected a string, .* found a list"),
        ({"or": []}, "where.or: expected a list of filters, found an empty list"),
        ({"and": {"a": 1}}, "where.and: expected a list of filters, found a mapping"),
        ({"or": [{"a": 1}, 2]}, r"where.or\[1\]: expected a mapping .* found the number 2"),
        ({"not": ["a"]}, "where.not: expected a mapping"),
        ({"year": {1, 2}}, "where.year: expected a string, .* found set"),
    ],
)
def test_a_faulty_filter_is_refused_with_its_fault(expression, message):
    with pytest.raises(QuestionError, match=message):
        read_where(expression)


def test_all_faults_are_reported_together():
    expression = {"a": {"gr": 1}, "or": [{"b": []}, {"not": 3}], "c": {"lt": None, "in": []}}
    with pytest.raises(QuestionError) as raised:
        read_where(expression)
    paths = [line.partition(":")[0] for line in str(raised.value).splitlines()]
    assert paths == [
        "where.a.gr",
        "where.or[0].b",
        "where.or[1].not",
        "where.c.lt",
        "where.c.in",
    ]
    assert [fault.path for fault in faults_of(expression)][1] == ("or", 0, "b")
    assert faults_of({"a": 1}) == []


def test_a_filter_nested_too_deep_is_an_error_and_no_crash():
    expression: dict[str, Any] = {"a": 1}
    for _ in range(2000):
        expression = {"not": expression}
    with pytest.raises(QuestionError, match="nested deeper than 32 levels"):
        read_where(expression)
    with pytest.raises(QuestionError, match="where: "):
        where_from_json('{"not": ' * 100_000)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{country: Chad}", "cannot be read as JSON"),
        ('{"a": 1, "a": 2}', "the key 'a' is there twice"),
        ('["a"]', "expected a mapping"),
        ('{"a": {"ge": 2}}', "where.a.ge: unknown operator"),
        ('{"a": NaN}', "finite"),
    ],
)
def test_a_json_text_that_is_no_filter_is_refused(text, message):
    with pytest.raises(QuestionError, match=message):
        where_from_json(text)


def test_both_filters_must_hold():
    first, second = read_where({"a": 1}), read_where({"b": 2})
    assert both(first, None) == both(None, first) == first
    assert both(None, None) is None
    assert both(first, second) == read_where({"a": 1, "b": 2})


def test_filters_on_equal_values_of_other_types_differ(tmp_path):
    rows = RowFilter(written(tmp_path, [{"n": True}, {"n": 1}, {"n": 1.0}]))
    assert rows.rows(read_where({"n": 1})).tolist() == [1, 2]
    assert rows.rows(read_where({"n": True})).tolist() == [0]


def test_cached_rows_are_read_only_and_their_number_is_bounded(tmp_path):
    rows = RowFilter(written(tmp_path, [{"n": n} for n in range(20)]))
    first = rows.rows(read_where({"n": 0}))
    assert rows.rows(read_where({"n": 0})) is first
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 3
    for n in range(1, CACHED_FILTERS + 1):
        rows.rows(read_where({"n": n}))
    assert rows.rows(read_where({"n": 0})) is not first


def test_filtering_closed_passages_is_an_error(tmp_path):
    passages = written(tmp_path, [{"n": 1}])
    rows = RowFilter(passages)
    passages.close()
    with pytest.raises(StoreError, match="closed"):
        rows.rows(read_where({"n": 1}))


class Unfiltering:
    """A retriever without the capability `filter`; notes the depths of its searches."""

    def __init__(self, retriever: Any) -> None:
        self._retriever = retriever
        self.capabilities = retriever.capabilities - {"filter"}
        self.depths: list[tuple[int, int]] = []

    def search(self, questions: Sequence[str], k: int) -> Hits:
        self.depths.append((len(questions), k))
        hits: Hits = self._retriever.search(questions, k)
        return hits


def bm25() -> Any:
    component = registry().load("retriever", "bm25")
    return component(component.Config())


KINDS = {
    "exact": lambda: dense_part().build(),
    "bm25": bm25,
    "exact, unfiltering": lambda: Unfiltering(dense_part().build()),
    "bm25, unfiltering": lambda: Unfiltering(bm25()),
}
QUESTIONS = ["chad", "mali river", "word3 chad", "none of it"]


def memory_of(kind: str, folder: Path, data: Sequence[dict[str, Any]]) -> Memory:
    passages = written(folder, data)
    retriever = KINDS[kind]()
    inner = getattr(retriever, "_retriever", retriever)
    inner.add(np.arange(len(data)), list(passages))
    return Memory("v", passages, retriever)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(
    expression=filters,
    data=st.lists(metadata, min_size=1, max_size=40),
    k=st.integers(1, 12),
)
def test_a_filter_equals_filtering_the_whole_ranking(kind, expression, data, k, tmp_path_factory):
    memory = memory_of(kind, tmp_path_factory.mktemp("law"), data)
    hits = memory.hits(QUESTIONS, k, where=read_where(expression))
    whole = memory.hits(QUESTIONS, len(data))
    k = min(k, len(data))
    assert hits.rows.shape == (len(QUESTIONS), k)
    for rows, scores, all_rows, all_scores in zip(
        hits.rows, hits.scores, whole.rows, whole.scores, strict=True
    ):
        expected = [
            (row, score)
            for row, score in zip(all_rows.tolist(), all_scores.tolist(), strict=True)
            if row != MISSING_ROW and meets(expression, fields_of_row(row, data[row]))
        ][:k]
        expected += [(MISSING_ROW, -np.inf)] * (k - len(expected))
        assert list(zip(rows.tolist(), scores.tolist(), strict=True)) == expected


def test_a_retriever_that_cannot_filter_is_searched_deeper_if_needed(tmp_path):
    data = [{"n": row} for row in range(64)]
    memory = memory_of("exact, unfiltering", tmp_path, data)
    order = memory.retriever.search(["chad"], 64).rows[0].tolist()
    memory.retriever.depths.clear()
    last = read_where({"n": {"in": order[-2:]}})
    assert memory.hits(["chad"], 1, where=last).rows.tolist() == [[order[-2]]]
    assert memory.retriever.depths == [(1, 32), (1, 64)]
    memory.retriever.depths.clear()
    best = read_where({"n": {"in": order[:32]}})
    assert memory.hits(["chad"], 4, where=best).rows.tolist() == [order[:4]]
    assert memory.retriever.depths == [(1, 8)]


def test_a_filter_that_allows_nothing_searches_nothing(tmp_path):
    memory = memory_of("exact, unfiltering", tmp_path, [{"n": 1}] * 3)
    hits = memory.hits(QUESTIONS, 2, where=read_where({"n": 2}))
    assert (hits.rows == MISSING_ROW).all()
    assert np.isneginf(hits.scores).all()
    assert hits.rows.shape == (4, 2)
    assert memory.retriever.depths == []


def test_a_retriever_that_ignores_its_filter_is_refused(tmp_path):
    class Unrestricted(Unfiltering):
        def __init__(self, retriever: Any) -> None:
            super().__init__(retriever)
            self.capabilities = frozenset({"filter"})

        def search(self, questions: Sequence[str], k: int, *, allowed: object = None) -> Hits:
            return super().search(questions, k)

    memory = memory_of("exact", tmp_path, [{"n": n} for n in range(9)])
    broken = Memory("v", memory.passages, Unrestricted(memory.retriever), name="broken")
    with pytest.raises(
        ComponentError, match=r"'broken' .* gave row .* only rows that were allowed"
    ):
        broken.hits(["chad"], 9, where=read_where({"n": 4}))


def test_metadata_reads_as_written(tmp_path):
    data: list[dict[str, Any]] = [{}, {"a": [1, {"b": "]"}]}, {"a": "é\n,"}]
    batches = list(written(tmp_path, data).metadata())
    assert [fields for batch in batches for fields in batch] == json.loads(json.dumps(data))


def test_whole_numbers_that_python_does_not_print_are_refused():
    for expression in ({"a": 10**5000}, {"a": {"in": [1, 10**5000]}}, {"a": {"exists": 10**5000}}):
        with pytest.raises(QuestionError, match="a whole number of more than 4,200 digits"):
            read_where(expression)


def test_an_error_names_few_of_many_faults_and_no_name_whole():
    with pytest.raises(QuestionError) as error:
        read_where({"a" * 90_000: {"b" * 90_000: 1}, "c": {"in": [{}] * 90_000}})
    assert len(str(error.value)) < 5_000
    assert str(error.value).endswith("and 89,981 more faults")


def test_notes_name_few_of_many_unknown_fields(tmp_path):
    filters = RowFilter(written(tmp_path, [{"a": 1}]))
    notes = filters.notes(read_where({f"b{number}": 1 for number in range(500)}))
    assert notes[20] == "no passage has 480 more fields that the filter names"
    assert len(notes) == 22
