"""The core's corpora that read lines, under the names that they had when they were one file."""

from __future__ import annotations

from ragcore.corpora.dpr_tsv import DprTsv
from ragcore.corpora.fields import ID_ALIASES
from ragcore.corpora.jsonl import Jsonl, passage_from_json
from ragcore.corpora.lines import lines_of
from ragcore.corpora.text_folder import TextFolder

__all__ = ["ID_ALIASES", "DprTsv", "Jsonl", "TextFolder", "lines_of", "passage_from_json"]
