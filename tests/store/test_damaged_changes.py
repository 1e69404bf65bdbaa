"""A damaged file of changes is a CorpusError, and leaves the store as it was."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragcore.build import build_memory, update_memory
from ragcore.errors import CorpusError
from ragcore.store.diff import read_changes
from ragcore.store.store import Store
from tests.cli.test_memory import pipeline  # noqa: F401 (a fixture)
from tests.questions.test_damaged import junk

GOOD = (
    '{"id": "p1", "title": "t", "text": "word", "metadata": {"a": [1, "é"]}}\n'
    '{"id": "p2", "delete": true}\n{"id": 7, "text": "w", "n": 1}\n'
)


@settings(max_examples=150)
@given(data=st.data())
def test_flipped_cut_and_inserted_bytes(data, tmp_path_factory: pytest.TempPathFactory) -> None:
    text = GOOD.encode()
    position = data.draw(st.integers(0, len(text) - 1))
    inserted = data.draw(st.binary(max_size=3) | st.sampled_from([b"[", b"{", b'"', b"\\ud800"]))
    removed = data.draw(st.integers(0, 3) | st.just(len(text)))
    folder = tmp_path_factory.mktemp("damaged")
    for name, whole in (("c.jsonl", text), ("c.jsonl.gz", gzip.compress(text))):
        path, cut = folder / name, min(position, len(whole) - 1)
        path.write_bytes(whole[:cut] + inserted + whole[cut + removed :])
        message = f"{path}:"
        try:
            read_changes(path)
        except CorpusError as error:
            message = str(error)
        assert f"{path}:" in message


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    record=st.dictionaries(
        st.sampled_from(["id", "title", "text", "metadata", "delete", "n"]), junk, max_size=6
    )
)
def test_an_update_from_any_record_works_or_is_refused(pipeline: Path, record: dict) -> None:  # noqa: F811
    store = Store(pipeline.parent / "stores" / "s")
    if not store.versions():
        build_memory(pipeline, version="one")
    before = store.current()
    path = pipeline.parent / "changes.jsonl"
    path.write_text(json.dumps({"id": "x", "text": "w", **record}), encoding="utf-8")
    version = f"v{len(store.versions())}"
    try:
        info = update_memory(pipeline, path, version=version)
    except CorpusError:
        expected = before
    else:
        # A record that only repeats what is there makes no version.
        expected = before if info.nothing_changed else version
    assert store.current() == expected
    assert store.verify().name == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"id": "a", "text": "b"}\n{"id": true, "delete": true}\n', ":2: no 'id'"),
        ('{"id": "", "delete": true}', ":1: no 'id'"),
        ('{"id": "\\ud800", "delete": true}', ":1: the id is not text"),
        ('{"id": "\\ud800", "text": "x"}', ":1: the id is not text"),
        ('{"id": "a", "delete": false}', ":1: found"),
        ("[" * 100_000, ":1: not JSON"),
        ('\n\n{"id": "a"', ":3: not JSON"),
        ('{"id": "a", "text": 7}', ":1: text is int"),
        ('{"id": "a", "text": "b", "metadata": 7}', ":1: metadata is int"),
    ],
)
def test_damage_is_named_with_its_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CorpusError) as caught:
        read_changes(path)
    assert message in str(caught.value)


@pytest.mark.parametrize("path", ["a\0b", "n" * 300, ".", "\ud800"])
def test_a_path_that_nothing_can_have_is_a_corpus_error(path: str) -> None:
    with pytest.raises(CorpusError):
        read_changes(Path(path))


@pytest.mark.parametrize("field", ["id", "title", "text"])
def test_a_lone_surrogate_is_refused_before_anything_is_encoded(
    field: str,
    pipeline: Path,  # noqa: F811
) -> None:
    row = {"id": "a", "title": "t", "text": "w", field: "x\ud800"}
    (pipeline.parent / "passages.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(CorpusError, match=f"the {field} is not text: character 2"):
        build_memory(pipeline, version="one")


@pytest.mark.parametrize(("depth", "refused"), [(60, False), (70, True), (900, True)])
def test_metadata_may_not_be_nested_too_deep_to_be_read(
    depth: int,
    refused: bool,
    pipeline: Path,  # noqa: F811
) -> None:
    nested = "[" * depth + '"[[[{{{\\"[[["' + "]" * depth
    brackets = "[" * 200
    row = f'{{"id": "a", "text": "w", "n": {nested}, "plain": "{brackets}"}}\n'
    (pipeline.parent / "passages.jsonl").write_text(row)
    if refused:
        with pytest.raises(CorpusError, match="nested more than 64 levels deep"):
            build_memory(pipeline, version="one")
    else:
        assert build_memory(pipeline, version="one").passages == 1
