"""Wrong passage stores, each `Shelf` with one fault; `PassagesSuite` must catch them all."""

from __future__ import annotations

import threading
from typing import ClassVar

import ragcore
from ragcore.contracts import PassageRecord
from ragcore.errors import StoreCorruptError


class Shelf:
    """A correct passage store: the segments are in the memory of this process."""

    class Config(ragcore.ComponentConfig):
        pass

    capabilities = frozenset()
    location = "a shelf"
    identity = "the shelf of this process"
    segments: ClassVar[dict[str, dict[int, PassageRecord]]] = {}

    def __init__(self, config):
        self.config = config

    def prepare(self):
        pass

    def lease(self, segment):
        pass

    def release(self, segment):
        pass

    def begin(self, segment):
        self.segments[segment] = {}

    def append(self, segment, first, records):
        rows = self.segments[segment]
        for position in [each for each in rows if each >= first]:
            del rows[position]
        rows |= dict(enumerate(records, first))

    def finish(self, segment, count):
        pass

    def count(self, segment):
        return len(self.rows(segment))

    def take(self, segment, positions, fields):
        rows = self.rows(segment)
        missing = [position for position in positions if position not in rows]
        if missing:
            raise StoreCorruptError(f"{segment} lacks {missing}")
        return [tuple(getattr(rows[each], field) for field in fields) for each in positions]

    def find(self, segment, ids):
        return sorted(each for each, record in self.rows(segment).items() if record.id in ids)

    def drop(self, segment):
        self.segments.pop(segment, None)
        return True

    def rows(self, segment):
        if segment not in self.segments:
            raise StoreCorruptError(f"{segment} is missing")
        return self.segments[segment]


class WithoutNul(Shelf):
    def append(self, segment, first, records):
        cut = [PassageRecord(*(text.replace("\0", "") for text in record)) for record in records]
        super().append(segment, first, cut)


class CutTexts(Shelf):
    def append(self, segment, first, records):
        super().append(segment, first, [each._replace(text=each.text[:65_536]) for each in records])


class StrippedTexts(Shelf):
    def append(self, segment, first, records):
        super().append(
            segment, first, [each._replace(title=each.title.strip()) for each in records]
        )


class InTheOrderOfRows(Shelf):
    def take(self, segment, positions, fields):
        return super().take(segment, sorted(positions), fields)


class EachOnce(Shelf):
    def take(self, segment, positions, fields):
        return super().take(segment, list(dict.fromkeys(positions)), fields)


class AllFields(Shelf):
    def take(self, segment, positions, fields):
        return super().take(segment, positions, ("id", "title", "text", "metadata"))


class FieldsInTheirOwnOrder(Shelf):
    def take(self, segment, positions, fields):
        known = [field for field in ("id", "title", "text", "metadata") if field in fields]
        return super().take(segment, positions, known)


class LeavesOutWhatIsMissing(Shelf):
    def take(self, segment, positions, fields):
        return super().take(segment, [n for n in positions if n in self.rows(segment)], fields)


class NoneForNoPositions(Shelf):
    def take(self, segment, positions, fields):
        return super().take(segment, positions, fields) or None


class CountsAlways(Shelf):
    def count(self, segment):
        return len(self.segments.get(segment, {}))


class CountsWhatWasPromised(Shelf):
    counts: ClassVar[dict[str, int]] = {}

    def finish(self, segment, count):
        self.counts[segment] = max(count, self.counts.get(segment, 0))

    def count(self, segment):
        self.rows(segment)
        return self.counts[segment]


class FindsOneOfAnId(Shelf):
    def find(self, segment, ids):
        by_id = {record.id: each for each, record in self.rows(segment).items()}
        return sorted(by_id[each] for each in set(ids) & by_id.keys())


class FindsInTheOrderOfIds(Shelf):
    def find(self, segment, ids):
        rows = self.rows(segment).items()
        return [each for id_ in ids for each, record in rows if record.id == id_]


class FindsByPrefix(Shelf):
    def find(self, segment, ids):
        rows = self.rows(segment).items()
        return [
            each
            for each, record in rows
            if any(id_ and record.id[: len(id_)] == id_ for id_ in ids)
        ]


class FindsInAnyCase(Shelf):
    def find(self, segment, ids):
        wanted = {each.lower() for each in ids}
        return [each for each, record in self.rows(segment).items() if record.id.lower() in wanted]


class AppendsAtTheEnd(Shelf):
    def append(self, segment, first, records):
        rows = self.segments[segment]
        rows |= dict(enumerate(records, len(rows)))


class BeginsOnWhatIsLeft(Shelf):
    def begin(self, segment):
        self.segments.setdefault(segment, {})

    def append(self, segment, first, records):
        self.segments[segment] |= dict(enumerate(records, first))


class OneSegment(Shelf):
    def begin(self, segment):
        self.segments[segment] = self.segments.setdefault("all", {})

    def append(self, segment, first, records):
        self.segments["all"] |= dict(enumerate(records, first))


class KeepsWhatIsDropped(Shelf):
    def drop(self, segment):
        return True


class DropsOnce(Shelf):
    def drop(self, segment):
        del self.segments[segment]
        return True


class DropsOnlyWhatIsFinished(Shelf):
    finished: ClassVar[set[str]] = set()

    def finish(self, segment, count):
        self.finished.add(segment)

    def drop(self, segment):
        return super().drop(segment) if segment in self.finished else True


class ForgetsAtTheEnd(Shelf):
    def __init__(self, config):
        super().__init__(config)
        self.segments = {}


class SharedCursor(Shelf):
    """What a thread asks for is answered to another that asks meanwhile."""

    turn = threading.Barrier(2)

    def take(self, segment, positions, fields):
        self.asked = positions
        if len(positions) == 1:
            try:
                self.turn.wait(timeout=0.05)
            except threading.BrokenBarrierError:
                self.turn.reset()
        return super().take(segment, self.asked, fields)


class OddLocation(Shelf):
    location = "a\nshelf"


class LeasesForEver(Shelf):
    leased: ClassVar[set[str]] = set()

    def lease(self, segment):
        self.leased.add(segment)

    def drop(self, segment):
        return segment not in self.leased and super().drop(segment)


class NewIdentity(Shelf):
    @property
    def identity(self):
        return str(id(self))


class OddCapabilities(Shelf):
    capabilities = ["filter"]  # noqa: RUF012
