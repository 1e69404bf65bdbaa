"""Wrong corpora, each `Counted` with one fault; `CorpusSuite` must catch them all."""

from __future__ import annotations

import datetime
import itertools
from pathlib import Path

import ragcore
from ragcore.types import Passage


class Counted:
    """A correct corpus: numbered passages."""

    class Config(ragcore.ComponentConfig):
        count: int = 30

    capabilities = frozenset()

    def __init__(self, config):
        self.config = config

    def passage(self, number: int) -> Passage:
        return Passage(
            str(number), f"Number {number}", f"This is number {number}.", {"number": number}
        )

    def __iter__(self):
        for number in range(self.config.count):
            yield self.passage(number)


class Divided(Counted):
    """Can be divided, and leaves out the passage at the end of each part."""

    caught_by = "test_parts_are_the_whole"
    capabilities = frozenset({"parts"})
    fingerprint = "counted"
    bounds = (0, 1)

    def part(self, number, of):
        part = type(self)(self.config)
        part.bounds = (number, of)
        return part

    def own(self, number: int) -> bool:
        at, of = self.bounds
        return self.config.count * at // of <= number < self.config.count * (at + 1) // of - 1

    def __iter__(self):
        for number in range(self.config.count):
            if self.own(number):
                yield self.passage(number)


class LosesTheRest(Divided):
    def own(self, number):
        at, of = self.bounds
        return number // (self.config.count // of or 1) == at


class TakesEachNth(Divided):
    def own(self, number):
        at, of = self.bounds
        return number % of == at


class NumbersEachPart(Divided):
    def __iter__(self):
        yield from map(self.passage, range(len(list(super().__iter__()))))


class BecomesAPart(Divided):
    caught_by = "test_a_part_leaves_the_corpus_as_it_was"

    def part(self, number, of):
        self.bounds = (number, of)
        return self


class NamesEachPart(Divided):
    caught_by = "test_parts_have_one_fingerprint"

    @property
    def fingerprint(self):
        return f"part {self.bounds}"


class OnceOnly(Counted):
    def __init__(self, config):
        super().__init__(config)
        self._stream = super().__iter__()

    def __iter__(self):
        return self._stream


class OnePlaceForAllIterations(Counted):
    def __iter__(self):
        self._at = 0
        while self._at < self.config.count:
            self._at += 1
            yield self.passage(self._at)


class GoesOnWhereItWasBrokenOff(Counted):
    _rest: list = ()

    def __iter__(self):
        left = list(self._rest) or list(range(self.config.count))
        while left:
            number = left.pop(0)
            self._rest = left
            yield self.passage(number)


class AnotherOrderEachTime(Counted):
    _times = itertools.count()

    def __iter__(self):
        turn = next(self._times)
        for number in range(self.config.count):
            yield self.passage((number + turn) % self.config.count)


class IdsTwice(Counted):
    def passage(self, number):
        return super().passage(number // 2)


class IdsAreNumbers(Counted):
    def passage(self, number):
        return Passage(number, "", f"Number {number}")


class IdsAreEmpty(Counted):
    def passage(self, number):
        return Passage("" if number == 3 else str(number), "", f"Number {number}")


class TextIsEmpty(Counted):
    def passage(self, number):
        return Passage(str(number), "", " \n" if number == 7 else f"Number {number}")


class TitleIsNone(Counted):
    def passage(self, number):
        return Passage(str(number), None, f"Number {number}")


class MetadataIsAList(Counted):
    def passage(self, number):
        return Passage(str(number), "", f"Number {number}", [number])


class GivesTexts(Counted):
    def passage(self, number):
        return f"Number {number}"


class NoPassage(Counted):
    def __iter__(self):
        return iter(())


class MakesAllAtOnce(Counted):
    def __iter__(self):
        return iter([self.passage(number) for number in range(self.config.count)])


class MakesAllBeforeTheFirst(Counted):
    def __iter__(self):
        passages = [self.passage(number) for number in range(self.config.count)]
        yield from passages


class KeepsWhatWentBy(Counted):
    def __iter__(self):
        self.yielded = []
        for number in range(self.config.count):
            self.yielded.append(self.passage(number))
            yield self.yielded[-1]


class CapabilitiesAreAList(Counted):
    capabilities = ["stream"]  # noqa: RUF012 (the fault)


class DatesInMetadata(Counted):
    caught_by = "test_metadata_can_be_written_as_json"

    def passage(self, number):
        day = datetime.date(2020, 1, 1 + number % 28)
        return Passage(str(number), "", f"Number {number}", {"day": day})


class NaNInMetadata(Counted):
    caught_by = "test_metadata_can_be_written_as_json"

    def passage(self, number):
        return Passage(str(number), "", f"Number {number}", {"price": float("nan")})


class TuplesInMetadata(Counted):
    caught_by = "test_metadata_can_be_written_as_json"

    def passage(self, number):
        return Passage(str(number), "", f"Number {number}", {"span": (0, number)})


class LoneSurrogates(Counted):
    caught_by = "test_metadata_can_be_written_as_json"

    def passage(self, number):
        return Passage(str(number), "", b"N\xfcmber".decode("utf-8", "surrogateescape"))


class OneDictForAll(Counted):
    caught_by = "test_passages_do_not_change_once_yielded"

    def __iter__(self):
        metadata = {}
        for number in range(self.config.count):
            metadata["number"] = number
            yield Passage(str(number), "", f"Number {number}", metadata)


class IdsStartAgain(Counted):
    caught_by = "test_ids_are_unique"

    class Config(ragcore.ComponentConfig):
        count: int = 2_500

    def passage(self, number):
        return Passage(str(number % 1_500), "", f"Number {number}")


class KeepsItsFile(Counted):
    caught_by = "test_files_are_closed"

    def __iter__(self):
        self._file = Path(__file__).open(encoding="utf-8")  # noqa: SIM115 (the fault)
        yield from super().__iter__()


class ClosesOnlyAtTheEnd(Counted):
    caught_by = "test_files_are_closed"

    def __iter__(self):
        self._file = Path(__file__).open(encoding="utf-8")  # noqa: SIM115 (the fault)
        yield from super().__iter__()
        self._file.close()


class LeavesItsFileToPython(Counted):
    caught_by = "test_files_are_closed"

    def __iter__(self):
        lines = open(__file__, encoding="utf-8")  # noqa: SIM115 (the fault)
        for number, _ in enumerate(itertools.islice(lines, self.config.count)):
            yield self.passage(number)


class TagsInTheOrderOfASet(Counted):
    caught_by = "test_another_process_gives_the_same"

    def passage(self, number):
        tags = list({f"tag-{tag}" for tag in range(8)})
        return Passage(str(number), "", f"Number {number}", {"tags": tags})
