"""What is cited stands where the citation says."""

from __future__ import annotations

from pathlib import Path

import pytest
from ragcore_documents.corpus import Documents

from ragcore.passage import CitedSpan, Source

RST = """Manual
======

The valley
is green
and long.

:Lake: Chad

- one
- two
  zebra

Table
-----

=====  =====
name   value
=====  =====
river  Chari
=====  =====
"""
MARKDOWN = """---
title: Notes
---

# Notes

The valley
is green.

- one
- two zebra

| name | value |
| --- | --- |
| river | Chari |
"""


@pytest.mark.parametrize(("name", "text"), [("a.rst", RST), ("a.md", MARKDOWN), ("a.txt", RST)])
def test_a_cited_line_is_the_line_in_the_file(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    lines = text.split("\n")
    cited = set()
    for passage in Documents(Documents.Config(path=tmp_path)):
        assert Source.of(passage).line is not None
        for word in ("green", "zebra", "Chari"):
            start = passage.text.find(word)
            if start < 0:
                continue
            span = CitedSpan.of(passage, start, start + len(word))
            if span.line is not None:
                cited.add(word)
                assert word in lines[span.line - 1]
            if span.source is not None:
                assert text[slice(*span.source)] == word
    assert cited == (set() if name.endswith(".rst") else {"green", "zebra", "Chari"})
