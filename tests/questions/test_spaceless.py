"""BM25 and the questions agree on which scripts put no space between words."""

from __future__ import annotations

import re
import unicodedata

import pytest

from ragcore.questions.normalization import _SPACELESS


def test_scripts_without_spaces_are_those_of_the_retriever_bm25() -> None:
    """A plugin may not import the core's questions, so that the ranges are written twice."""
    analyser = pytest.importorskip("ragcore_bm25.analyser")
    ours, others = re.compile(f"[{_SPACELESS}]"), re.compile(f"[{analyser._UNSPACED}]")
    for code in range(0x110000):
        # BM25 reads compatibility forms, such as half-width kana, as what they stand for.
        character = unicodedata.normalize("NFKC", chr(code))
        if unicodedata.category(chr(code)) not in {"Cn", "Cs", "Co"} and len(character) == 1:
            assert bool(ours.match(character)) == bool(others.match(character)), hex(code)
