"""The suite for corpora: passages, their ids, iterating over them, and their documents."""

from __future__ import annotations

import gc
import itertools
import json
import unittest
import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from ragcore.testing.corpus_files import FileLaws
from ragcore.testing.documents import DocumentLaws
from ragcore.testing.parts import PartLaws
from ragcore.testing.surroundings import open_files
from ragcore.testing.tokenizing import WordTokenizer, built_corpus
from ragcore.types import Passage

__all__ = ["CorpusSuite"]

ENOUGH: Final = 8
"""Passages that a corpus must have to test whether they are streamed."""


class CorpusSuite(DocumentLaws, PartLaws, FileLaws):
    """Test a component against `ragcore.contracts.Corpus`.

    Attributes:
        first: how many passages the laws read from a corpus that has more.
        many: how many of them the law of ids reads.
        wrong_line: a line, without its line break, that the corpus must refuse in its file.
    """

    kind = "corpus"
    many: ClassVar[int] = 20_000

    def build(self, component: Any) -> Any:
        """Build the corpus."""
        return built_corpus(self.spec(component))

    def passages(self, corpus: Any) -> list[Passage]:
        """Return the first passages of a corpus."""
        return list(itertools.islice(corpus, self.first))

    def exercise(self, component: Any, folder: Path) -> Mapping[str, Any]:
        """Read the first passages."""
        first = self.passages(self.build(component))
        fields = {
            name: [getattr(passage, name) for passage in first] for name in ("id", "title", "text")
        }
        fields["metadata"] = [_json(passage.metadata) for passage in first]
        return {name: np.array(values, str) for name, values in fields.items()}

    def test_capabilities_are_known(self, component: Any) -> None:
        """`capabilities` is a frozenset of names.

        Fix: write `capabilities = frozenset()`.
        """
        self.declares_what_is_known(self.build(component))

    def test_it_yields_passages(self, component: Any) -> None:
        """There is a passage, and all are `ragcore.types.Passage`, of strings and a mapping.

        Fix: `yield Passage(id, title, text, metadata)`, with `str(id)`.
        """
        passages = self.passages(self.build(component))
        assert passages, "there is no passage"
        for passage in passages:
            assert isinstance(passage, Passage), f"an item is {type(passage).__name__}, not Passage"
            for name in ("id", "title", "text"):
                value = getattr(passage, name)
                assert isinstance(value, str), f"{name} of passage {passage.id!r} is {value!r}"
            metadata = passage.metadata
            assert isinstance(metadata, Mapping), f"metadata of {passage.id!r} is {metadata!r}"
            keys = list(metadata)
            assert all(isinstance(key, str) for key in keys), (
                f"metadata of {passage.id!r} has the keys {keys!r}: expected strings"
            )

    def test_passages_fit_the_tokenizer(self, component: Any) -> None:
        """No text has more tokens than there is room for next to its title (`tokenizer`).

        Fix: ask the tokenizer that `use_tokenizer` passes for `room(title)`, and for the `spans`
        of each piece.
        """
        corpus, tokenizer = self.spec(component).build(), WordTokenizer(12)
        self.needs(corpus, "tokenizer")
        corpus.use_tokenizer(tokenizer)
        for passage in self.passages(corpus):
            (spans,) = tokenizer.spans([passage.text])
            room = tokenizer.room(passage.title)
            assert len(spans) <= max(1, room), (
                f"passage {passage.id!r} has {len(spans)} tokens: with its title there is room "
                f"for {room}"
            )

    def test_texts_are_not_empty(self, component: Any) -> None:
        """Each passage has text other than white space.

        Fix: leave out passages without text, or raise `CorpusError` with file and line.
        """
        passages = self.passages(self.build(component))
        empty = [passage.id for passage in passages if not passage.text.strip()]
        assert not empty, f"passages {empty[:5]} have no text"

    def test_ids_are_unique(self, component: Any) -> None:
        """No two of the first `many` passages have the same id, and no id is empty.

        Fix: number the pieces of a text that is split. Let no counter start again.
        """
        ids = [passage.id for passage in itertools.islice(self.build(component), self.many)]
        assert all(ids), "an id is empty"
        twice = sorted(name for name, count in Counter(ids).items() if count > 1)
        assert not twice, f"ids {twice[:5]} occur more than once"

    def test_metadata_can_be_written_as_json(self, component: Any) -> None:
        """Metadata are the same after `json.dumps` and `json.loads`, and all texts are UTF-8.

        Fix: write a date as `date.isoformat()`, a tuple or set as a sorted list, NaN as None; open
        files with `errors="replace"`, not "surrogateescape".
        """
        for passage in self.passages(self.build(component)):
            metadata = dict(passage.metadata)
            try:
                again = json.loads(json.dumps(metadata, allow_nan=False))
            except (TypeError, ValueError) as error:
                raise AssertionError(f"metadata of {passage.id!r} are no JSON: {error}") from None
            assert again == metadata, (
                f"metadata of {passage.id!r} are {again!r} after JSON: they were {metadata!r}"
            )
            try:
                "".join([passage.id, passage.title, passage.text, _json(metadata)]).encode()
            except UnicodeEncodeError as error:
                raise AssertionError(f"passage {passage.id!r} is not UTF-8: {error}") from None

    def test_passages_do_not_change_once_yielded(self, component: Any) -> None:
        """A passage that a caller keeps is the same after the iteration, its metadata too.

        Fix: make a new dict for each passage; one that is filled again each time is shared by all.
        """
        passages, before = [], []
        for passage in itertools.islice(self.build(component), self.first):
            passages.append(passage)
            before.append((passage.id, passage.title, passage.text, _json(passage.metadata)))
        for passage, fields in zip(passages, before, strict=True):
            after = (passage.id, passage.title, passage.text, _json(passage.metadata))
            assert after == fields, f"passage {fields} became {after} when others were read"

    def test_files_are_closed(self, component: Any) -> None:
        """After an iteration, whole or broken off, no file is open, and Python warns of none.

        Fix: open files in `__iter__`, in a `with` around the loop that yields.
        """
        # The first iteration may import something that keeps a file open.
        self.passages(self.build(component))
        before = open_files()
        corpus = self.build(component)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always", ResourceWarning)
            for what, count in (("a whole iteration", self.first), ("one broken off", 1)):
                stream = iter(corpus)
                for _ in itertools.islice(stream, count):
                    pass
                del stream
                gc.collect()
                left = open_files() - before
                assert not left, f"after {what}, {len(left)} files stay open"
        unclosed = [str(warning.message) for warning in warned if _of_a_file(warning)]
        assert not unclosed, f"Python closed a file itself: {unclosed[0]}"

    def test_each_iteration_starts_at_the_beginning(self, component: Any) -> None:
        """A second iteration yields the same passages in the same order.

        Fix: open the file in `__iter__`, not in `__init__`, and sort what has no order of its own.
        """
        corpus = self.build(component)
        first = self.passages(corpus)
        assert self.passages(corpus) == first, "a second iteration yields other passages"
        assert self.passages(self.build(component)) == first, (
            "a second corpus of the same settings yields other passages"
        )

    def test_iterations_are_independent(self, component: Any) -> None:
        """Two iterations that run in turns yield the same passages.

        Fix: keep the position in the iterator (in local variables of a generator), not in the
        corpus.
        """
        corpus = self.build(component)
        pairs = list(itertools.islice(zip(iter(corpus), iter(corpus), strict=False), self.first))
        assert pairs, "there is no passage"
        assert all(left == right for left, right in pairs), "one iteration advances the other"
        assert len(pairs) == len(self.passages(corpus)), "one iteration shortens the other"

    def test_an_interrupted_iteration_changes_nothing(self, component: Any) -> None:
        """After an iteration that stops early, the next starts at the first passage.

        Fix: keep the position in the iterator, not in the corpus.
        """
        corpus = self.build(component)
        first = next(iter(corpus))
        assert self.passages(corpus)[:1] == [first], "the next iteration starts elsewhere"

    def test_passages_are_streamed(self, component: Any) -> None:
        """The first passage is yielded before the others are created.

        Fix: `yield` each passage as it is read, and store no list of them.
        """
        corpus = self.build(component)
        count = len(self.passages(corpus))
        if count < ENOUGH:
            raise unittest.SkipTest(f"it has {count} passages: the law needs {ENOUGH}")
        corpus = self.build(component)
        before = _alive()
        stream = iter(corpus)
        first = next(stream)
        alive = _alive() - before
        assert alive <= max(1, count // 2), f"at the first passage, {first.id!r}, {alive} exist"
        for _ in itertools.islice(stream, count // 2):
            pass
        alive = _alive() - before
        assert alive <= max(4, count // 4), f"of the passages yielded, {alive} stay in memory"


def _json(metadata: Mapping[str, Any]) -> str:
    """Return metadata as JSON, with what JSON does not know as text."""
    return json.dumps(dict(metadata), ensure_ascii=False, default=str)


def _of_a_file(warning: warnings.WarningMessage) -> bool:
    return issubclass(warning.category, ResourceWarning) and "unclosed file" in str(warning.message)


def _alive() -> int:
    """Count the passages in memory."""
    return sum(type(value) is Passage for value in gc.get_objects())
