"""Wrong corpora, each `Counted` with one fault; `CorpusSuite` must catch them all."""

from __future__ import annotations

import itertools

import ragcore
from ragcore.types import Passage


class Counted:
    """A right one: passages that are numbered."""

    class Config(ragcore.ComponentConfig):
        count: int = 30

    capabilities = frozenset()

    def __init__(self, config):
        self.config = config

    def passage(self, at: int) -> Passage:
        return Passage(str(at), f"Number {at}", f"This is number {at}.", {"number": at})

    def __iter__(self):
        for at in range(self.config.count):
            yield self.passage(at)


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
            at = left.pop(0)
            self._rest = left
            yield self.passage(at)


class AnotherOrderEachTime(Counted):
    _times = itertools.count()

    def __iter__(self):
        turn = next(self._times)
        for at in range(self.config.count):
            yield self.passage((at + turn) % self.config.count)


class IdsTwice(Counted):
    def passage(self, at):
        return super().passage(at // 2)


class IdsAreNumbers(Counted):
    def passage(self, at):
        return Passage(at, "", f"Number {at}")


class IdsAreEmpty(Counted):
    def passage(self, at):
        return Passage("" if at == 3 else str(at), "", f"Number {at}")


class TextIsEmpty(Counted):
    def passage(self, at):
        return Passage(str(at), "", " \n" if at == 7 else f"Number {at}")


class TitleIsNone(Counted):
    def passage(self, at):
        return Passage(str(at), None, f"Number {at}")


class MetadataIsAList(Counted):
    def passage(self, at):
        return Passage(str(at), "", f"Number {at}", [at])


class GivesTexts(Counted):
    def passage(self, at):
        return f"Number {at}"


class NoPassage(Counted):
    def __iter__(self):
        return iter(())


class MakesAllAtOnce(Counted):
    def __iter__(self):
        return iter([self.passage(at) for at in range(self.config.count)])


class MakesAllBeforeTheFirst(Counted):
    def __iter__(self):
        made = [self.passage(at) for at in range(self.config.count)]
        yield from made


class KeepsWhatWentBy(Counted):
    def __iter__(self):
        self.kept = []
        for at in range(self.config.count):
            self.kept.append(self.passage(at))
            yield self.kept[-1]


class CapabilitiesAreAList(Counted):
    capabilities = ["stream"]  # noqa: RUF012 (the fault)
