"""The suite for corpora."""

from __future__ import annotations

import gc
import itertools
import unittest
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from ragcore.testing.suite import Suite
from ragcore.types import Passage

__all__ = ["CorpusSuite"]

ENOUGH: Final = 8
"""Passages that a corpus must have for a law to tell whether they are streamed."""


class CorpusSuite(Suite):
    """The laws of `ragcore.contracts.Corpus`.

    Attributes:
        first: how many passages the laws look at, of a corpus that has more.
    """

    kind = "corpus"
    first: ClassVar[int] = 1000

    def made(self, component: Any) -> Any:
        """The corpus."""
        return self.part(component).build()

    def passages(self, made: Any) -> list[Passage]:
        """Its first passages."""
        return list(itertools.islice(made, self.first))

    def test_capabilities_are_ones_that_exist(self, component: Any) -> None:
        """`capabilities` is a frozenset of names.

        To mend: write `capabilities = frozenset()`.
        """
        self.declares_what_is_known(self.made(component))

    def test_it_gives_passages(self, component: Any) -> None:
        """There is a passage, and all are `ragcore.types.Passage`, of texts and a mapping.

        To mend: `yield Passage(id, title, text, metadata)`, with `str(id)`.
        """
        found = self.passages(self.made(component))
        assert found, "there is no passage"
        for one in found:
            assert isinstance(one, Passage), f"found {type(one).__name__}, not Passage"
            for name in ("id", "title", "text"):
                value = getattr(one, name)
                assert isinstance(value, str), f"{name} of passage {one.id!r} is {value!r}"
            assert isinstance(one.metadata, Mapping), f"metadata of {one.id!r} is {one.metadata!r}"
            assert all(isinstance(key, str) for key in one.metadata), f"a key of {one.id!r}'s"

    def test_texts_are_not_empty(self, component: Any) -> None:
        """Each passage has words.

        To mend: leave out what has none, or raise `CorpusError` with file and line.
        """
        empty = [one.id for one in self.passages(self.made(component)) if not one.text.strip()]
        assert not empty, f"passages {empty[:5]} have no text"

    def test_ids_are_unique(self, component: Any) -> None:
        """No two passages have the same id, and none is empty.

        To mend: number the parts of a text that is split.
        """
        ids = [one.id for one in self.passages(self.made(component))]
        assert all(ids), "an id is empty"
        twice = sorted({one for one in ids if ids.count(one) > 1})
        assert not twice, f"ids {twice[:5]} are there twice"

    def test_iterating_begins_anew(self, component: Any) -> None:
        """A second iteration gives the same passages in the same order.

        To mend: open the file within `__iter__`, not in `__init__`, and sort what has no order.
        """
        made = self.made(component)
        first = self.passages(made)
        assert self.passages(made) == first, "a second iteration gives something else"
        assert self.passages(self.made(component)) == first, "another of its settings does"

    def test_two_iterations_do_not_disturb_each_other(self, component: Any) -> None:
        """Two that go on side by side give the same passages.

        To mend: keep where you are in the iterator (in local variables of a generator), not in
        the corpus.
        """
        made = self.made(component)
        pairs = list(itertools.islice(zip(iter(made), iter(made), strict=False), self.first))
        assert pairs, "there is no passage"
        assert all(one == other for one, other in pairs), "one iteration moves the other on"
        assert len(pairs) == len(self.passages(made)), "one iteration shortens the other"

    def test_a_broken_off_iteration_changes_nothing(self, component: Any) -> None:
        """After one that stops at the first passage, the next begins at the first.

        To mend: see above.
        """
        made = self.made(component)
        first = next(iter(made))
        assert self.passages(made)[:1] == [first], "the next iteration begins elsewhere"

    def test_it_streams(self, component: Any) -> None:
        """When the first passage comes, the others are not made yet.

        To mend: `yield` each passage as it is read, and keep no list of them.
        """
        made = self.made(component)
        count = len(self.passages(made))
        if count < ENOUGH:
            raise unittest.SkipTest(f"it has {count} passages: {ENOUGH} are needed to tell")
        made = self.made(component)
        before = _alive()
        stream = iter(made)
        first = next(stream)
        held = _alive() - before
        assert held <= max(1, count // 2), f"at the first passage, {first.id!r}, {held} are made"
        for _ in itertools.islice(stream, count // 2):
            pass
        held = _alive() - before
        assert held <= max(4, count // 4), f"of passages that went by, {held} are kept"


def _alive() -> int:
    return sum(type(one) is Passage for one in gc.get_objects())
