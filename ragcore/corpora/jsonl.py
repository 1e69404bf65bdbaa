"""Passages from JSON lines."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field

from ragcore.corpora.fields import Keys, parts_of
from ragcore.corpora.lines import decoded, raw_lines
from ragcore.corpora.presets import PRESETS, PresetName, collection_in
from ragcore.corpora.ranges import DividedRows, ranges_of
from ragcore.corpora.rows import FilesConfig, Row, RowConfig, keys_of
from ragcore.corpora.shards import Shard, find_shards, packed, unpacked
from ragcore.corpora.structure import DocumentText
from ragcore.errors import CorpusError
from ragcore.types import Passage

__all__ = ["Jsonl", "passage_from_json"]

_FILES: Final = packed("*.jsonl", "*.ndjson")
_BLANK: Final = b" \t\r\n"


class Jsonl(DividedRows):
    """One JSON object per line: `{"id": "7", "title": "Chad", "text": "…", "year": 2018}`.

    `text` is required. Without `id`, the id is under the one of `ID_ALIASES` that the line has,
    such as BEIR's `_id`, and else the number of the line. Every other key becomes metadata, and so
    do the keys of a mapping `metadata`. Settings name other keys, and a preset those of a known
    collection. Empty lines are skipped. What all corpora of rows do: `RowCorpus`.
    """

    class Config(RowConfig, FilesConfig):
        """Settings of `{use: jsonl}`."""

        preset: PresetName | None = Field(
            None, description="the layout of a known collection; null takes the keys below"
        )

    def __init__(self, config: Config) -> None:
        super().__init__(config, keys_of(config, config.preset))
        self._config = config

    def rows(self) -> Iterator[Row]:
        """Yield the lines that are not empty."""
        shards = self._shards()
        if self._config.preset is None:
            self._check_no_collection(shards)
        for shard, within in ranges_of(shards, self._part):
            for number, line in raw_lines(shard.path, within=within):
                if line.strip(_BLANK):
                    yield Row(shard, number, line, within)

    def files(self) -> list[Path]:
        """Return the files that are read."""
        return [shard.path for shard in self._shards()]

    def _shards(self) -> list[Shard]:
        preset = self._config.preset
        preferred = () if preset is None else packed(*PRESETS[preset].files)
        return find_shards(self._config.path, _FILES, preferred)

    def _check_no_collection(self, shards: Sequence[Shard]) -> None:
        """Check that no folder has the files of a collection, which a preset tells apart.

        Raises:
            CorpusError: one has; its questions would become passages.
        """
        path = self._config.path
        named = {path} if isinstance(path, Path) else set(path)
        names: dict[Path, set[str]] = {}
        for file in (shard.path for shard in shards if shard.path not in named):
            names.setdefault(file.parent, set()).add(unpacked(file).name.lower())
        for folder, files in names.items():
            preset = collection_in(files)
            if preset is not None:
                raise CorpusError(
                    f"{folder}: it has the files of a collection of {preset.upper()}, whose "
                    f"questions would become passages: write preset: {preset}, or name the files "
                    "in a list"
                )

    def fields(self, row: Row, where: str) -> dict[str, Any]:
        """Read the object of a line."""
        line = decoded(row.content, where=where, is_first=row.is_first)
        try:
            return _object(line, where)
        except CorpusError as error:
            if self._config.preset == "msmarco" and "\t" in line:
                raise CorpusError(
                    f"{error}; MS MARCO's tables of tabs are read with "
                    "{use: dpr-tsv, preset: msmarco}"
                ) from None
            raise


def passage_from_json(
    line: str, number: int | str, where: str, *, id_key: str | Literal[False] | None = None
) -> Passage:
    """Read a passage from a line of JSON.

    Args:
        line: the line.
        number: the passage's id if the line has none; may be empty.
        where: file and line, for errors.
        id_key: the key of the id; where None it is `id`, or the one alias that the line has; False
            takes the number in any case.

    Raises:
        CorpusError: the line is no passage, or its id may be under several keys.
    """
    parts = parts_of(_object(line, where), Keys(id=id_key), where)
    content = parts.content
    text = content.text if isinstance(content, DocumentText) else content
    return Passage(parts.id or str(number), parts.title, text, parts.metadata)


def _object(line: str, where: str) -> dict[str, Any]:
    """Read the object that a line is.

    Raises:
        CorpusError: it is none.
    """
    try:
        fields = _DECODER.decode(line)
    except (ValueError, RecursionError) as error:
        raise CorpusError(
            f"{where}: not JSON ({error}): expected one object per line, such as "
            '{"id": "1", "title": "…", "text": "…"}'
        ) from None
    if not isinstance(fields, dict):
        raise CorpusError(
            f"{where}: found {type(fields).__name__}, expected an object with a key 'text'"
        )
    return fields


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON; write null")


def _finite(digits: str) -> float:
    """Return a number; metadata cannot hold what a float takes for infinite, such as 1e400."""
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits[:40]} is too large for a number; write a string or null")
    return number


# Made once: `json.loads` makes one for each line where constants are refused.
_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
