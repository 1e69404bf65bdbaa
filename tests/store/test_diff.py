"""Test changes: reading them, working them out, and what a version becomes by them."""

from __future__ import annotations

import json
from operator import attrgetter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragcore.errors import CorpusError, EmptyCorpusError
from ragcore.memory.passages import Passages, PassageWriter
from ragcore.store.diff import (
    Changes,
    changes_to,
    derive,
    differences,
    read_changes,
    write_changes,
)
from ragcore.types import Passage

OLD = [Passage(f"id{n}", f"t{n}", f"text {n}", {"n": [n]}) for n in range(5)]


@pytest.fixture
def passages(tmp_path: Path) -> Passages:
    return stored(tmp_path, OLD)


def stored(folder: Path, passages: list[Passage]) -> Passages:
    with PassageWriter(folder / "p.arrow") as writer:
        writer.write(passages)
    return Passages(folder / "p.arrow")


def written(folder: Path, *lines: object) -> Path:
    path = folder / "changes.jsonl"
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def test_changes_are_read_from_a_file(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {"id": "id9", "title": "new", "text": "text", "year": 2026},
        "",
        {"id": 7, "delete": True},
        {"id": "id1", "text": "changed"},
    )
    changes = read_changes(path)
    assert list(changes.upserts.values()) == [
        Passage("id9", "new", "text", {"year": 2026}),
        Passage("id1", "", "changed"),
    ]
    assert changes.deletions == {"7": f"{path}:3"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"changes\.jsonl:2: not JSON"),
        ('{"id": true, "delete": true}', "no 'id'"),
        ('{"text": "no id"}', r":2: no 'id': each line"),
        ('["id"]', r":2: no 'id'"),
        ('{"id": "x", "delete": false}', r":2: .*'delete': true, and nothing else"),
        ('{"id": "x", "delete": true, "text": "t"}', "nothing else"),
        ('{"id": "x"}', ":2: no key 'text'"),
        ('{"id": "a", "delete": true}', r":2: id 'a' was in line 1 already"),
    ],
)
def test_a_faulty_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        read_changes(written(tmp_path, {"id": "a", "text": "t"}, line))


def test_passages_that_stay_keep_their_order_and_new_ones_follow(passages: Passages) -> None:
    changed, new = Passage("id3", "t3", "changed"), Passage("id7", "", "new")
    changes = Changes({"id3": changed, "id1": OLD[1], "id7": new}, {"id0": "f:1"})
    derived = derive(passages, changes)
    assert derived.removed.tolist() == [0, 3]
    assert derived.added == [changed, new]
    assert derived.replaced == 1


@pytest.mark.parametrize(
    "other",
    [
        Passage("id1", "t1", "text 1", {"n": [2]}),
        Passage("id1", "t1", "text 1", {}),
        Passage("id1", "t", "text 1", {"n": [1]}),
        Passage("id1", "t1", "text", {"n": [1]}),
        Passage("id1", "t1", "text 1", {"n": [True]}),
    ],
)
def test_any_difference_is_a_change(passages: Passages, other: Passage) -> None:
    assert derive(passages, Changes({"id1": other}, {})).added == [other]


def test_metadata_with_equal_json_is_no_change(passages: Passages) -> None:
    same = Passage("id1", "t1", "text 1", {"n": (1,)})
    derived = derive(passages, Changes({"id1": same}, {}))
    assert (len(derived.removed), derived.added) == (0, [])


def test_an_unknown_id_cannot_be_deleted(passages: Passages) -> None:
    with pytest.raises(CorpusError, match=r"f:7: no passage has the id 'id9'"):
        derive(passages, Changes({}, {"id1": "f:6", "id9": "f:7"}))


def test_not_all_passages_can_be_deleted(passages: Passages) -> None:
    with pytest.raises(EmptyCorpusError, match="delete all 5 passages"):
        derive(passages, Changes({}, {f"id{n}": f"f:{n}" for n in range(5)}))


TEXTS = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["x", "y"]), min_size=1)


@given(TEXTS, TEXTS)
def test_changes_to_a_corpus_lead_to_its_passages(
    tmp_path_factory: pytest.TempPathFactory, old: dict[str, str], new: dict[str, str]
) -> None:
    before, after = (
        [Passage(name, "", text) for name, text in texts.items()] for texts in (old, new)
    )
    with stored(tmp_path_factory.mktemp("p"), before) as passages:
        derived = derive(passages, changes_to(passages, after))
    removed = set(derived.removed.tolist())
    reached = [passage for row, passage in enumerate(before) if row not in removed] + derived.added
    assert sorted(reached, key=attrgetter("id")) == sorted(after, key=attrgetter("id"))
    assert len(derived.added) == sum(old.get(name) != text for name, text in new.items())


def test_differences_are_by_id(tmp_path: Path, passages: Passages) -> None:
    (tmp_path / "new").mkdir()
    another = Passage("id9", "t", "text")
    retold = Passage("id3", "t3", "text 3", {"n": [4]})
    new = stored(tmp_path / "new", [OLD[4], another, OLD[0], retold])
    difference = differences(passages, new)
    assert difference.added == (another,)
    assert difference.removed == (OLD[1], OLD[2])
    assert difference.changed == ((OLD[3], retold),)
    assert differences(passages, passages).changed == ()


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
METADATA = st.dictionaries(TEXTS, st.none() | st.integers() | TEXTS, max_size=2)


@given(
    *[
        st.lists(
            st.builds(Passage, st.sampled_from("abcdef"), TEXTS, TEXTS, METADATA),
            min_size=1,
            unique_by=lambda passage: passage.id,
        )
        for _ in range(2)
    ]
)
def test_written_differences_lead_from_one_version_to_the_other(
    tmp_path_factory: pytest.TempPathFactory, old: list[Passage], new: list[Passage]
) -> None:
    folders = [tmp_path_factory.mktemp("version") for _ in range(2)]
    before, after = stored(folders[0], old), stored(folders[1], new)
    path = folders[0] / "changes.jsonl"
    write_changes(path, differences(before, after))
    derived = derive(before, read_changes(path))
    staying = [
        passage for row, passage in enumerate(old) if row not in set(derived.removed.tolist())
    ]
    by_id = {passage.id: passage for passage in [*staying, *derived.added]}
    assert by_id == {passage.id: passage for passage in new}
    assert len(staying) + len(derived.added) == len(new)
    alike = {passage.id for passage in old if passage in new}
    assert alike <= {passage.id for passage in staying}
