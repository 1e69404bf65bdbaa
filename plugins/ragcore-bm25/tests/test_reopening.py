"""A memory opened with another formula or weight of titles answers as one that was built so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from ragcore_bm25 import retriever as module
from ragcore_bm25.config import Bm25Config, Variant
from ragcore_bm25.retriever import Bm25

from ragcore.errors import MemoryMismatchError
from ragcore.types import Passage

PASSAGES = [
    Passage("0", "Chad", "the capital is N'Djamena, on the river Chari"),
    Passage("1", "Capital of Mali", "Bamako lies on the river Niger"),
    Passage("2", "Chad Chad Chad", "a lake and a river, a lake"),
    Passage("3", "", "Chad capital capital capital"),
    Passage("4", "River", "the of and"),
    Passage("5", "Niger", "Niamey lies on the river Niger; the Niger is long"),
]
QUESTIONS = ["capital of Chad", "river Niger", "lake", "Mali", "unknown"]
SETTINGS: list[dict[str, Any]] = [
    {"k1": 0.5, "b": 0.2},
    {"k1": 1.2000004},
    {"title_weight": 0},
    {"title_weight": 4},
    {"title_weight": 300, "b": 1.0},
    *({"variant": variant, "delta": 0.7, "epsilon": 0.3} for variant in get_args(Variant)),
]


def built(passages: list[Passage], **settings: Any) -> Bm25:
    retriever = Bm25(Bm25Config(**settings))
    retriever.add(np.array([int(passage.id) for passage in passages]), passages)
    return retriever


def same(loaded: Bm25, built_so: Bm25) -> None:
    for k in (1, 3, 10):
        hits, expected = loaded.search(QUESTIONS, k), built_so.search(QUESTIONS, k)
        assert np.array_equal(hits.rows, expected.rows)
        assert np.array_equal(hits.scores, expected.scores)


def second_layout(folder: Path, passages: list[Passage], **settings: Any) -> str:
    """Write a memory as the releases did that weighed titles when a passage was added."""
    config = Bm25Config(**settings)
    old = Bm25(config)
    fingerprint = f"bm25({old._formula},title={config.title_weight},{old._analyser.fingerprint})"
    old._stored_weight, old._recorded = config.title_weight, fingerprint
    old.add(np.array([int(passage.id) for passage in passages]), passages)
    folder.mkdir()
    old.save(folder)
    about = {"format": 2, "fingerprint": fingerprint, "passages": len(passages)}
    (folder / "bm25.json").write_text(json.dumps(about))
    return fingerprint


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_other_settings_answer_as_if_it_had_been_built_with_them(
    tmp_path: Path, settings: dict[str, Any], mmap: bool
) -> None:
    built(PASSAGES).save(tmp_path)
    expected = built(PASSAGES, **settings)
    loaded = Bm25.load(tmp_path, Bm25Config(**settings), mmap=mmap)
    assert loaded.fingerprint == expected.fingerprint == built(PASSAGES).fingerprint
    same(loaded, expected)
    # What is saved then is of the new settings, and opens with the old ones as well.
    (tmp_path / "later").mkdir()
    loaded.save(tmp_path / "later")
    same(Bm25.load(tmp_path / "later", Bm25Config(**settings), mmap=mmap), expected)
    same(Bm25.load(tmp_path / "later", Bm25Config(), mmap=mmap), built(PASSAGES))


def test_passages_are_added_and_removed_with_other_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Few terms may wait, so that passages are counted in several parts.
    monkeypatch.setattr(module, "_WAITING", 5)
    settings = {"title_weight": 0, "k1": 2.0}
    built(PASSAGES[:3], title_weight=3).save(tmp_path)
    loaded = Bm25.load(tmp_path, Bm25Config(**settings))
    loaded.remove(np.array([1]))
    same(loaded, built([PASSAGES[0], PASSAGES[2]], **settings))
    loaded.add(np.array([3, 4, 5]), PASSAGES[3:])
    same(loaded, built([PASSAGES[0], *PASSAGES[2:]], **settings))


def test_scores_are_mapped_where_nothing_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built(PASSAGES, k1=0.9, title_weight=2).save(tmp_path)
    expected = built(PASSAGES, k1=0.9, title_weight=2).search(QUESTIONS, 3)
    monkeypatch.setattr(module, "build_postings", None)
    loaded = Bm25.load(tmp_path, Bm25Config(k1=0.9, title_weight=2))
    assert np.array_equal(loaded.search(QUESTIONS, 3).scores, expected.scores)


@pytest.mark.parametrize("weight", [0, 1, 3])
def test_a_memory_whose_titles_were_weighed_opens_with_their_weight(
    tmp_path: Path, weight: int
) -> None:
    fingerprint = second_layout(tmp_path / "old", PASSAGES[:4], title_weight=weight)
    for settings in ({}, {"k1": 1.2000004}, {"k1": 0.4, "variant": "bm25l"}):
        settings = {**settings, "title_weight": weight}
        loaded = Bm25.load(tmp_path / "old", Bm25Config(**settings))
        assert loaded.fingerprint == fingerprint
        same(loaded, built(PASSAGES[:4], **settings))
        # It stays a memory of its release when it is updated.
        loaded.add(np.array([4, 5]), PASSAGES[4:])
        same(loaded, built(PASSAGES, **settings))
        later = tmp_path / f"later-{settings.get('k1')}"
        later.mkdir()
        loaded.save(later)
        again = Bm25.load(later, Bm25Config(title_weight=weight))
        assert again.fingerprint == fingerprint
        same(again, built(PASSAGES, title_weight=weight))
    with pytest.raises(MemoryMismatchError, match=rf"titles {weight} times.*title_weight: 7"):
        Bm25.load(tmp_path / "old", Bm25Config(title_weight=7))
    with pytest.raises(MemoryMismatchError, match="stemmer=none"):
        Bm25.load(tmp_path / "old", Bm25Config(title_weight=weight, stemmer=None))
