"""Test the file of terms: any strings come back, and no step of reading is long."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ragcore_bm25 import vocabulary
from ragcore_bm25.vocabulary import Vocabulary, read_terms, write_terms

ODD = ['", "', "\\", '\\"', ", ", '"', '\\", "', "é\n\0", "[", "]", "", " ", "x" * 300, "東京"]


@pytest.fixture(params=[1, 7, 64, 1 << 15], ids=lambda size: f"pieces of {size}")
def piece(request, monkeypatch) -> None:
    monkeypatch.setattr(vocabulary, "_PIECE", request.param)
    monkeypatch.setattr(vocabulary, "_TERMS", request.param)
    monkeypatch.setattr(vocabulary, "_PART", request.param)


@pytest.mark.usefixtures("piece")
@pytest.mark.parametrize("terms", [[], ["a"], ODD, [str(number) for number in range(1000)]])
def test_terms_are_read_with_the_numbers_that_they_were_written_in(tmp_path, terms):
    path = tmp_path / "terms.json"
    write_terms(path, terms)
    read = read_terms(path)
    assert list(read) == terms
    assert [read.get(term) for term in terms] == list(range(len(terms)))
    assert len(read) == len(terms)
    assert read.get("absent") is None


@pytest.mark.usefixtures("piece")
def test_the_file_is_one_json_array_as_earlier_releases_read_and_wrote_it(tmp_path):
    path = tmp_path / "terms.json"
    write_terms(path, ODD)
    assert path.read_text(encoding="utf-8") == json.dumps(ODD, ensure_ascii=False)
    path.write_text(json.dumps(ODD, indent=1), encoding="ascii")
    assert list(read_terms(path)) == ODD


@given(st.lists(st.text(alphabet='", \\a\n'), unique=True), st.integers(1, 9))
def test_no_text_of_a_term_is_taken_for_a_boundary(terms, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vocabulary, "_PIECE", size)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "terms.json")
            path.write_text(json.dumps(terms), encoding="ascii")
            assert list(read_terms(path)) == terms


def test_no_piece_and_no_part_is_large(tmp_path):
    terms = [f"term{number}" for number in range(200_000)]
    path = tmp_path / "terms.json"
    write_terms(path, terms)
    pieces = list(vocabulary._pieces(path.read_bytes()[1:-1]))
    assert max(map(len, pieces)) <= 1 << 15
    read = read_terms(path)
    assert max(map(len, read._parts)) <= 80_000
    assert read.get("term199999") == 199_999


@pytest.mark.parametrize("text", ["", "{}", '"a"', '["a", "b"', '["a", 1]', '["a" "b"]', "[[]]"])
def test_what_is_no_array_of_strings_is_refused(tmp_path, text):
    path: Path = tmp_path / "terms.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"expected|Expecting|delimiter"):
        read_terms(path)


def test_new_terms_get_the_next_numbers_behind_those_that_were_read(tmp_path):
    path = tmp_path / "terms.json"
    write_terms(path, ["a", "b"])
    read = read_terms(path)
    assert [read.add(term) for term in ("b", "c", "a", "d", "c")] == [1, 2, 0, 3, 2]
    assert list(read) == ["a", "b", "c", "d"]
    assert list(Vocabulary(read)) == ["a", "b", "c", "d"]
