"""The suite for passage stores: segments that are written once, read by position, and dropped."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from ragcore.contracts import PassageField, PassageRecord
from ragcore.errors import StoreCorruptError
from ragcore.testing.manners import MannerLaws

__all__ = ["PassagesSuite"]

_ALL: Final[tuple[PassageField, ...]] = ("id", "title", "text", "metadata")

_ODD: Final = (
    "",
    "\x00 NUL \x00",
    "tab\tline\nreturn\r\\N \\. \\x00",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 ﬁ Ǆ 東京 é é",
    '\'; drop table passages; -- %s {} "quoted"',
    "￿\ud7ff\ue000\u202e\u2028",
    "long " * 20_000,
)
"""Texts that a database may change, refuse or cut."""


class PassagesSuite(MannerLaws):
    """Test a component against `ragcore.contracts.PassageStore`.

    Each law makes segments under new names, and drops them.

    Attributes:
        count: passages in the largest segment.
    """

    kind = "passages"
    count: ClassVar[int] = 3000

    def exercise(self, component: Any, folder: Path) -> Mapping[str, Any]:
        """Write a segment and read it."""
        store = self.spec(component).build()
        with self.written(store, self.records()) as segment:
            taken = store.take(segment, range(10), _ALL)
        return {"fields": np.array(taken, str)}

    def records(self) -> list[PassageRecord]:
        """Return passages, some of them with odd texts, two with the same id."""
        usual = [
            PassageRecord(f"p{n}", f"title {n % 7}", f"text {n} " * (n % 50), f'{{"n": {n}}}')
            for n in range(self.count - len(_ODD) - 1)
        ]
        odd = [
            PassageRecord(f"odd {n} {text[:100]}", text, text, '{"odd": "\\u0000"}')
            for n, text in enumerate(_ODD)
        ]
        return [*odd, *usual, PassageRecord("p0", "", "the second of its id", "{}")]

    @contextmanager
    def written(self, store: Any, records: Sequence[PassageRecord]) -> Iterator[str]:
        """Write a segment in pieces; yield its name, and drop it at the end."""
        segment = f"law_{uuid.uuid4().hex}"
        try:
            store.prepare()
            store.begin(segment)
            for first in range(0, len(records), 1000):
                store.append(segment, first, records[first : first + 1000])
            store.finish(segment, len(records))
            yield segment
        finally:
            store.drop(segment)

    def test_capabilities_are_known(self, component: Any) -> None:
        """`capabilities` is a frozenset of names.

        Fix: write `capabilities = frozenset()`.
        """
        self.declares_what_is_known(self.spec(component).build())

    def test_the_location_is_named(self, component: Any) -> None:
        """`location` is a text in one line, for messages.

        Fix: name host and database, and neither user nor password.
        """
        location = self.spec(component).build().location
        assert isinstance(location, str), f"location is {location!r}"
        assert location.strip(), "location is empty"
        assert location.isprintable(), f"location is {location!r}, not a line of text"

    def test_the_identity_is_that_of_the_database(self, component: Any) -> None:
        """`identity` is a text, and another component of the same settings has the same.

        Fix: take what the database says of itself, not an address or what this process made.
        """
        store, other = self.spec(component).build(), self.spec(component).build()
        store.prepare()
        identity = store.identity
        assert isinstance(identity, str), f"identity is {identity!r}"
        assert identity, "identity is empty"
        assert other.identity == identity, f"identities are {identity!r} and {other.identity!r}"

    def test_all_texts_are_read_as_they_were_written(self, component: Any) -> None:
        """Every field of every passage is the same text, NUL and all other characters included.

        Fix: store UTF-8 bytes, where the database's type for texts refuses or changes some.
        """
        store, records = self.spec(component).build(), self.records()
        with self.written(store, records) as segment:
            for start in range(0, len(records), 1000):
                positions = range(start, min(start + 1000, len(records)))
                for position, taken in zip(
                    positions, store.take(segment, positions, _ALL), strict=True
                ):
                    _same(taken, records[position], position)

    def test_passages_are_taken_in_the_order_of_positions(self, component: Any) -> None:
        """Positions come in any order, some twice, and their passages in the same order.

        Fix: a database returns rows in any order: put them into that of the positions.
        """
        store, records = self.spec(component).build(), self.records()
        positions = [self.count - 1, 5, 999, 1000, 5, 0, 2001, 1]
        with self.written(store, records) as segment:
            taken = store.take(segment, positions, _ALL)
            assert len(taken) == len(positions), f"{len(taken)} of {len(positions)} passages"
            for position, fields in zip(positions, taken, strict=True):
                _same(fields, records[position], position)
            assert store.take(segment, [], _ALL) == [], "no positions have passages"

    def test_only_some_fields_are_taken(self, component: Any) -> None:
        """The fields that are asked for are returned, in their order.

        Fix: select the columns by `fields`.
        """
        store, records = self.spec(component).build(), self.records()
        with self.written(store, records) as segment:
            taken = store.take(segment, [7, 3], ("metadata", "id"))
        expected = [(records[position].metadata, records[position].id) for position in (7, 3)]
        assert [tuple(each) for each in taken] == expected, f"taken are {taken!r}"

    def test_a_position_outside_is_an_error(self, component: Any) -> None:
        """A position that a segment lacks raises `StoreCorruptError`.

        Fix: compare the number of rows with that of the positions.
        """
        store = self.spec(component).build()
        with self.written(store, self.records()[:20]) as segment:
            for positions in ([3, 20], range(10, 21)):
                _must_be_corrupt(
                    f"take of {positions}",
                    lambda positions=positions: store.take(segment, positions, ("id",)),
                )

    def test_passages_are_counted(self, component: Any) -> None:
        """`count` is the number of passages that were written.

        Fix: count what is there; do not return what `finish` was told.
        """
        store, records = self.spec(component).build(), self.records()
        for count in (1, 1001):
            with self.written(store, records[:count]) as segment:
                assert store.count(segment) == count, f"count is not {count}"

    def test_passages_are_found_by_their_ids(self, component: Any) -> None:
        """`find` returns the positions of all passages with the ids, ascending; unknown ids none.

        Fix: two passages may have the same id; compare whole ids, not words or prefixes.
        """
        store, records = self.spec(component).build(), self.records()
        ids = [records[2].id, "p0", "no such id", "P1", "p", records[1].id, ""]
        expected = [n for n, record in enumerate(records) if record.id in ids]
        with self.written(store, records) as segment:
            found = [int(position) for position in store.find(segment, ids)]
            assert found == expected, f"found are {found}, expected {expected}"
            assert list(store.find(segment, [])) == [], "no ids have positions"

    def test_an_append_that_is_tried_again_writes_nothing_twice(self, component: Any) -> None:
        """After a second `append` with the same `first` there is one passage at each position.

        Fix: delete what is there from `first` on, in the same transaction.
        """
        store, records = self.spec(component).build(), self.records()[:30]
        segment = f"law_{uuid.uuid4().hex}"
        try:
            store.prepare()
            store.begin(segment)
            store.append(segment, 0, records[:20])
            for _ in range(2):
                store.append(segment, 20, records[20:])
            store.finish(segment, 30)
            assert store.count(segment) == 30, f"{store.count(segment)} passages, expected 30"
            assert store.find(segment, [records[25].id]) == [25]
        finally:
            store.drop(segment)

    def test_begin_replaces_what_is_left(self, component: Any) -> None:
        """A segment that a killed program left is empty after `begin`.

        Fix: drop it before it is made.
        """
        store, records = self.spec(component).build(), self.records()
        with self.written(store, records[:40]) as segment:
            store.begin(segment)
            store.append(segment, 0, records[50:60])
            store.finish(segment, 10)
            assert store.count(segment) == 10, "what was there before is there still"
            assert store.take(segment, [0], ("id",))[0][0] == records[50].id

    def test_segments_are_apart(self, component: Any) -> None:
        """Two segments have their own passages, and dropping one leaves the other.

        Fix: make the segment's name part of the table's name, or of each row's key.
        """
        store, records = self.spec(component).build(), self.records()
        with self.written(store, records[:10]) as first:
            with self.written(store, records[10:40]) as second:
                assert (store.count(first), store.count(second)) == (10, 30)
                assert store.take(second, [0], ("id",))[0][0] == records[10].id
                assert store.find(first, [records[10].id]) == []
            assert store.count(first) == 10, "dropping the one changed the other"

    def test_a_dropped_segment_is_gone(self, component: Any) -> None:
        """After `drop`, all reading raises `StoreCorruptError`; dropping it again does nothing.

        Fix: translate the database's error for a missing table.
        """
        store = self.spec(component).build()
        with self.written(store, self.records()[:10]) as segment:
            store.take(segment, [0], ("id",))
        store.drop(segment)
        _must_be_corrupt("count", lambda: store.count(segment))
        _must_be_corrupt("take", lambda: store.take(segment, [0], _ALL))
        _must_be_corrupt("find", lambda: store.find(segment, ["p0"]))

    def test_an_unfinished_segment_can_be_dropped(self, component: Any) -> None:
        """`drop` removes what was begun or written in part.

        Fix: do not look for a mark that only `finish` sets.
        """
        store, segment = self.spec(component).build(), f"law_{uuid.uuid4().hex}"
        store.prepare()
        store.begin(segment)
        store.append(segment, 0, self.records()[:10])
        store.drop(segment)
        _must_be_corrupt("count", lambda: store.count(segment))

    def test_leases_come_and_go(self, component: Any) -> None:
        """A segment can be leased several times, and released as often; then it can be dropped.

        Fix: count the leases of a segment; a store without other readers has nothing to do.
        """
        store = self.spec(component).build()
        with self.written(store, self.records()[:10]) as segment:
            for _ in range(2):
                store.lease(segment)
            for _ in range(2):
                store.release(segment)
                assert store.count(segment) == 10, "the end of a lease changed the segment"
            assert store.drop(segment) is True, "a segment without a lease was not dropped"

    def test_another_program_reads_what_was_written(self, component: Any) -> None:
        """A second component of the same settings has the segments of the first.

        Fix: `finish` returns when everything is written; nothing stays in the object.
        """
        records = self.records()
        with self.written(self.spec(component).build(), records) as segment:
            other = self.spec(component).build()
            assert other.count(segment) == len(records)
            _same(other.take(segment, [9], _ALL)[0], records[9], 9)

    def test_threads_read_alike(self, component: Any) -> None:
        """Passages that several threads take are the same as in one.

        Fix: use a connection of its own for each call that runs, as a pool does.
        """
        store, records = self.spec(component).build(), self.records()

        def read(start: int) -> None:
            for position in range(start, self.count, 401):
                _same(store.take(segment, [position], _ALL)[0], records[position], position)

        with self.written(store, records) as segment, ThreadPoolExecutor(8) as threads:
            list(threads.map(read, range(16)))


def _same(taken: Sequence[str], record: PassageRecord, position: int) -> None:
    """Check that a passage is the one that was written."""
    for name, found, expected in zip(_ALL, taken, record, strict=True):
        assert found == expected, (
            f"{name} of the passage at {position} is {found[:80]!r}, written was {expected[:80]!r}"
        )


def _must_be_corrupt(what: str, call: Any) -> None:
    """Check that a call raises StoreCorruptError."""
    try:
        call()
    except StoreCorruptError:
        return
    except Exception as error:
        raise AssertionError(
            f"{what} raised {type(error).__name__} ({error}): expected StoreCorruptError"
        ) from error
    raise AssertionError(f"{what} was answered: expected StoreCorruptError")
