"""Read the pairs that several systems need once, in one pass of the generator's encoder.

Knows pairs and generators; knows nothing of files, processes or experiments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from ragcore.answering.evidence import Retrieved
from ragcore.contracts import Generator, Read, State
from ragcore.types import Passage

if TYPE_CHECKING:
    import torch

__all__ = ["Batch", "Pair", "batches", "pairs_of", "read_batch"]

Pair: TypeAlias = tuple[str, Passage | None]
"""A question and the passage that is read with it; None for the question alone."""

_Key: TypeAlias = tuple[str, ...]


def pairs_of(retrieved: Retrieved) -> list[Pair]:
    """List the pairs that a generator reads for a question."""
    passages: list[Passage | None] = [*retrieved.passages] or [None]
    return [(retrieved.question, passage) for passage in passages]


@dataclass(frozen=True, slots=True)
class Batch:
    """Questions whose pairs are read together.

    Attributes:
        begin: number of the first question.
        end: number after the last one.
        systems: those that answer them from these pairs, by number.
        pairs: all that they read, each once.
    """

    begin: int
    end: int
    systems: tuple[int, ...]
    pairs: tuple[Pair, ...]


def batches(systems: Sequence[Sequence[Retrieved]], most: int) -> Iterator[Batch]:
    """Put questions into batches, so that none has more than so many different pairs.

    Args:
        systems: of each system what it retrieved for each question, the same questions for all.
        most: how many pairs at most; where one question's pairs of all systems are more, its
            systems are put into several batches. A system's pairs of one question stay together.
    """
    everyone = tuple(range(len(systems)))
    count = len(systems[0]) if systems else 0
    begin, union = 0, dict[_Key, Pair]()
    for number in range(count):
        added = _union(systems[system][number] for system in everyone)
        if union and len(union | added) > most:
            yield Batch(begin, number, everyone, tuple(union.values()))
            begin, union = number, {}
        if len(added) > most:
            yield from _split(systems, number, most)
            begin = number + 1
        else:
            union |= added
    if union:
        yield Batch(begin, count, everyone, tuple(union.values()))


def _split(systems: Sequence[Sequence[Retrieved]], number: int, most: int) -> Iterator[Batch]:
    """Yield batches of one question, each of some of the systems."""
    members: list[int] = []
    union: dict[_Key, Pair] = {}
    for system, questions in enumerate(systems):
        added = _union([questions[number]])
        if members and len(union | added) > most:
            yield Batch(number, number + 1, tuple(members), tuple(union.values()))
            members, union = [], {}
        members.append(system)
        union |= added
    yield Batch(number, number + 1, tuple(members), tuple(union.values()))


def _union(retrieved: Iterator[Retrieved] | Sequence[Retrieved]) -> dict[_Key, Pair]:
    """Return different pairs by what tells them apart."""
    return {_key(*pair): pair for question in retrieved for pair in pairs_of(question)}


def _key(question: str, passage: Passage | None) -> _Key:
    if passage is None:
        return (question,)
    # Two memories may have another passage under an id.
    return question, passage.id, passage.title, passage.text, repr(passage.metadata)


def read_batch(generator: Generator, batch: Batch) -> Generator:
    """Read a batch's pairs in one pass of the encoder.

    Returns:
        The generator, whose `read` takes these pairs from the pass. It never changes, and is as
        safe to use from several threads as the generator itself.
    """
    import torch

    questions = [question for question, _ in batch.pairs]
    with torch.inference_mode():
        read = generator.read(questions, [passage for _, passage in batch.pairs])
    rows = {_key(*pair): row for row, pair in enumerate(batch.pairs)}
    return cast(Generator, _ReadGenerator(generator, read, rows))


@dataclass(frozen=True, slots=True)
class _View:
    """Some pairs of a pass.

    Attributes:
        read: the pass.
        rows: int64 [P], where each of the pairs is in it.
    """

    read: Read
    rows: torch.Tensor

    def __len__(self) -> int:
        return len(self.rows)


class _ReadGenerator:
    """A generator that has read already; all but reading is the generator's own."""

    def __init__(self, generator: Generator, read: Read, rows: Mapping[_Key, int]) -> None:
        self._generator = generator
        self._read = read
        self._rows = rows

    def __getattr__(self, name: str) -> Any:
        """Return a member of the generator: those of the contract, and those that it adds."""
        member = getattr(self._generator, name)
        if name == "score_all":
            return lambda read, pairs, targets: member(read.read, read.rows[pairs], targets)
        return member

    def read(self, questions: Sequence[str], passages: Sequence[Passage | None]) -> _View:
        """Return a view of pairs of the pass."""
        import torch

        rows = [self._rows[_key(*pair)] for pair in zip(questions, passages, strict=True)]
        device = self._generator.device
        return _View(self._read, torch.tensor(rows, dtype=torch.int64, device=device))

    def start(self, read: _View, pairs: torch.Tensor) -> State:
        """Make decoder rows for pairs [M] of a view."""
        return self._generator.start(read.read, read.rows[pairs])

    def score(self, read: _View, pairs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Score targets [M, T] of pairs [M] of a view; see `Generator.score`."""
        return self._generator.score(read.read, read.rows[pairs], targets)
