"""The journal of an unfinished run: the predictions of each block of questions, in a file.

A block is written whole or not at all, so that a run that was killed continues after its last
block. Knows files of predictions; knows nothing of what makes them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from ragcore.disk.replacing import replacing
from ragcore.errors import ConfigError
from ragcore.evaluation.prediction import Prediction
from ragcore.evaluation.runs import read_predictions
from ragcore.evaluation.searching import BATCH

__all__ = ["BLOCK", "Block", "Journal", "blocks_of"]

_AGAIN: Final = "remove the file, and run the experiment again"
BLOCK: Final = 2 * BATCH
"""Questions of a block: whole batches of an evaluation, so that both search the same batches."""


class Block(NamedTuple):
    """Questions by their numbers, from 0: begin included, end not."""

    begin: int
    end: int

    def __str__(self) -> str:
        return f"questions {self.begin + 1} to {self.end}"

    @property
    def size(self) -> int:
        """How many questions it has."""
        return self.end - self.begin


def blocks_of(questions: int) -> Iterator[Block]:
    """Yield the blocks of so many questions."""
    for begin in range(0, questions, BLOCK):
        yield Block(begin, min(begin + BLOCK, questions))


@dataclass(frozen=True, slots=True)
class Journal:
    """The blocks of one run; the folder is made by the first one.

    Attributes:
        folder: of the run.
    """

    folder: Path

    def has(self, block: Block) -> bool:
        """Tell whether a block is done."""
        return self._path(block).is_file()

    def write(
        self, block: Block, predictions: Sequence[Prediction], settings: Sequence[str] = ()
    ) -> None:
        """Write the predictions of a block, so that they are there whole or not at all.

        Args:
            block: which one.
            predictions: one for each question.
            settings: as `Report.settings`.
        """
        path = self._path(block)
        path.parent.mkdir(parents=True, exist_ok=True)
        header = {"settings": list(settings), "questions": len(predictions)}
        with replacing(path) as file:
            for row in (header, *(prediction.to_dict() for prediction in predictions)):
                file.write((json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8"))

    def read(self, block: Block) -> tuple[list[Prediction], tuple[str, ...]]:
        """Read a block's predictions and settings.

        Raises:
            ConfigError: the file is missing or damaged; names file and line.
        """
        path = self._path(block)
        predictions = read_predictions(path, begin=2, advice=_AGAIN)
        with path.open(encoding="utf-8") as file:
            header = _header(file.readline(), path)
        if not len(predictions) == header["questions"] == block.size:
            raise ConfigError(
                f"{path}: {len(predictions)} predictions, expected {block.size}: {_AGAIN}"
            )
        return predictions, tuple(header["settings"])

    def remove(self) -> None:
        """Remove all blocks, once the run is complete."""
        if (self.folder / "blocks").exists():
            shutil.rmtree(self.folder / "blocks")

    def _path(self, block: Block) -> Path:
        return self.folder / "blocks" / f"{block.begin:07d}-{block.end:07d}.jsonl"


def _header(line: str, path: Path) -> dict[str, Any]:
    try:
        header = json.loads(line)
        settings, questions = header["settings"], header["questions"]
        if isinstance(questions, int) and all(isinstance(each, str) for each in settings):
            return {"settings": settings, "questions": questions}
    except (ValueError, TypeError, LookupError):
        pass
    raise ConfigError(f"{path}:1: the block is damaged: {_AGAIN}")
