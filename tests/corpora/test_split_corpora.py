"""The setting `split` in corpora of rows and of text files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from ragcore.corpora import text_folder
from ragcore.corpora.dpr_tsv import DprTsv
from ragcore.corpora.jsonl import Jsonl
from ragcore.corpora.text_folder import TextFolder
from ragcore.errors import CorpusError
from ragcore.types import Source

TEXT = "Chad is a country. It has a lake.\n\nNiger is a country too. It has a river."


class Letters:
    """A tokenizer whose tokens are words, with room for eight with any title."""

    fingerprint = "words"

    def spans(self, texts: Any) -> list[Any]:
        return [
            np.array([match.span() for match in re.finditer(r"\S+", text)], np.int64).reshape(-1, 2)
            for text in texts
        ]

    def room(self, title: str) -> int:
        return 8


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "c.jsonl"
    rows = [{"id": "a", "title": "T", "text": TEXT, "year": 1}, {"text": "One. Two."}]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def jsonl(path: Path, **config: Any) -> Jsonl:
    return Jsonl(Jsonl.Config(path=path, **config))


def test_words_are_the_short_form(path: Path) -> None:
    assert list(jsonl(path, words=5)) == list(jsonl(path, split={"by": "words", "size": 5}))


def test_rows_are_split_by_sentences(path: Path) -> None:
    passages = list(jsonl(path, split={"by": "sentences", "size": 1}))
    assert [(each.id, each.title, each.text) for each in passages] == [
        ("a-1", "T", "Chad is a country."),
        ("a-2", "T", "It has a lake."),
        ("a-3", "T", "Niger is a country too."),
        ("a-4", "T", "It has a river."),
        ("2-1", "", "One."),
        ("2-2", "", "Two."),
    ]
    assert passages[0].metadata == {"year": 1}


def test_ids_of_content_survive_a_new_sentence(path: Path) -> None:
    options: dict[str, Any] = {"split": {"by": "sentences", "size": 1}, "ids": "content"}
    before = [each.id for each in jsonl(path, **options)]
    path.write_text(path.read_text().replace("Chad is", "New here. Chad is"))
    after = [each.id for each in jsonl(path, **options)]
    assert after[1:] == before
    assert after[0].startswith("a-")


def test_sections_of_kilt_are_told(tmp_path: Path) -> None:
    row = {
        "wikipedia_id": 1,
        "wikipedia_title": "A",
        "text": [
            "A\n",
            "Lead.\n",
            "Section::::Use.\n",
            "Used.\n",
            "Section::::Use.:Old.\n",
            "Old.",
        ],
    }
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps(row))
    passages = list(jsonl(path, preset="kilt", split={"by": "headings"}))
    assert [(Source.of(each).heading, each.text) for each in passages] == [
        (None, "Lead."),
        ("Use", "Use\n\nUsed."),
        ("Use > Old", "Old\n\nOld."),
    ]


def test_tables_are_split_too(tmp_path: Path) -> None:
    path = tmp_path / "c.tsv"
    path.write_text("7\tOne here. Two here.\n")
    config = DprTsv.Config(path=path, preset="msmarco", split={"by": "sentences", "size": 1})
    assert [each.id for each in DprTsv(config)] == ["7-1", "7-2"]


def test_files_of_text_are_cited_by_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n" + TEXT)
    config = TextFolder.Config(path=tmp_path, split={"by": "sentences", "size": 1})
    passages = list(TextFolder(config))
    assert [each.id for each in passages] == [f"a.txt-{number}" for number in (1, 2, 3, 4)]
    sources = [Source.of(each) for each in passages]
    assert [(each.path, each.line) for each in sources] == [("a.txt", n) for n in (2, 2, 4, 4)]
    assert all(not each.metadata for each in TextFolder(TextFolder.Config(path=tmp_path, words=5)))
    with pytest.raises(ValidationError, match="expected one of words and split"):
        TextFolder.Config(path=tmp_path, words=100, split={"by": "sentences"})
    with pytest.raises(ValidationError, match="use the corpus `documents`"):
        TextFolder.Config(path=tmp_path, split={"by": "headings"})


def test_a_file_that_cannot_be_split_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    with pytest.raises(CorpusError, match=r"a\.txt: split by tokens needs the tokenizer"):
        list(TextFolder(TextFolder.Config(path=tmp_path, split={"by": "tokens"})))
    monkeypatch.setattr(text_folder, "_LARGEST", 20)
    with pytest.raises(CorpusError, match=r"a\.txt: more than 20 characters: cut the file"):
        list(TextFolder(TextFolder.Config(path=tmp_path, split={"by": "sentences"})))
    assert len(list(TextFolder(TextFolder.Config(path=tmp_path, words=5)))) == 4


@pytest.mark.parametrize("corpus", [Jsonl, TextFolder])
def test_tokens_need_the_encoders_tokenizer(path: Path, corpus: Any) -> None:
    where = path if corpus is Jsonl else path.parent
    (path.parent / "a.txt").write_text(TEXT)
    config = corpus.Config(path=where, split={"by": "tokens"})
    assert "tokenizer" in corpus(config).capabilities
    assert "tokenizer" not in corpus(corpus.Config(path=where, words=3)).capabilities
    with pytest.raises(CorpusError, match="split by tokens needs the tokenizer"):
        list(corpus(config))
    if corpus is Jsonl:
        with pytest.raises(CorpusError, match=r"^split by tokens"):
            list(corpus(config))
    split = corpus(config)
    split.use_tokenizer(Letters())
    texts = [each.text for each in split]
    assert " ".join(texts).startswith("Chad is a country. It has a lake.")
    assert max(len(text.split()) for text in texts) <= 8
