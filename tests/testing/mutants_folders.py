"""Indexes and retrievers that are wrong in how they save, load or read texts, each in one way.

`caught_by` names the law that must catch it.
"""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import ClassVar

from ragcore.retrievers.flat import Exact
from ragcore.types import Passage
from tests.testing.mutants_retriever import Shared


class WritesItsPath(Exact):
    caught_by = "test_a_saved_folder_may_be_moved"

    def save(self, folder):
        super().save(folder)
        (folder / "about.json").write_text(json.dumps(str(folder.absolute())), encoding="utf-8")

    @classmethod
    def load(cls, folder, config, *, mmap=True):
        path = Path(json.loads((folder / "about.json").read_text(encoding="utf-8")))
        return super().load(path, config, mmap=mmap)


class PathInAscii(Exact):
    caught_by = "test_a_saved_folder_may_be_moved"

    @classmethod
    def load(cls, folder, config, *, mmap=True):
        str(folder).encode("ascii")
        return super().load(folder, config, mmap=mmap)


class OpensAtTheFirstSearch(Shared):
    caught_by = "test_a_saved_folder_may_be_moved"

    @classmethod
    def load(cls, folder, config, *, mmap=True):
        loaded = super().load(folder, config, mmap=mmap)
        loaded._later = folder
        return loaded

    def scores(self, question):
        if "_later" in self.__dict__:
            self.passages = Shared.load(self.__dict__.pop("_later"), self.config).passages
        return super().scores(question)


class LoadsAPathOnce(Shared):
    caught_by = "test_a_folder_may_be_used_again"
    _loaded: ClassVar[dict] = {}

    @classmethod
    def load(cls, folder, config, *, mmap=True):
        if folder not in cls._loaded:
            cls._loaded[folder] = super().load(folder, config, mmap=mmap)
        return cls._loaded[folder]


class WritesOnAfterSaving(Exact):
    caught_by = "test_a_saved_version_is_complete_at_once"
    _folder = None

    def save(self, folder):
        super().save(folder)
        self._folder = folder

    def remove(self, rows):
        super().remove(rows)
        if self._folder is not None:
            super().save(self._folder)


class SharesItsListWithTheCopy(Shared):
    caught_by = "test_a_saved_version_is_complete_at_once"
    _open: ClassVar[dict] = {}

    def save(self, folder):
        super().save(folder)
        self._open[folder] = self

    @classmethod
    def load(cls, folder, config, *, mmap=True):
        loaded = super().load(folder, config, mmap=mmap)
        original = cls._open.get(folder)
        if original is not None and len(original) == len(loaded):
            loaded._rows, loaded.passages = original._rows, original.passages
        return loaded


class IgnoresItsConfig(Shared):
    caught_by = "test_load_follows_its_config"

    def save(self, folder):
        super().save(folder)
        (folder / "config.json").write_text(self.config.model_dump_json())

    @classmethod
    def load(cls, folder, config, *, mmap=True):
        saved = cls.Config.model_validate_json((folder / "config.json").read_text())
        return super().load(folder, saved, mmap=mmap)


class IgnoresTitles(Shared):
    caught_by = "test_a_title_alone_and_a_text_alone_find_their_passage"

    def scores(self, question):
        asked = self.words(question)
        return [len(asked & self.words(p.text)) / (1 + len(asked)) for p in self.passages]


class IgnoresTexts(Shared):
    caught_by = "test_a_title_alone_and_a_text_alone_find_their_passage"

    def scores(self, question):
        asked = self.words(question)
        return [len(asked & self.words(p.title)) / (1 + len(asked)) for p in self.passages]


class CutsQuestions(Shared):
    caught_by = "test_the_last_word_of_a_long_question_counts"

    def scores(self, question):
        return super().scores(" ".join(question.split()[:64]))


class SplitsLinesAnywhere(Shared):
    caught_by = "test_unusual_texts_are_saved_and_found"

    @classmethod
    def load(cls, folder, config, *, mmap=True):
        text = (folder / "passages.jsonl").read_text(encoding="utf-8")
        loaded = cls(config)
        for row, fields in map(json.loads, text.splitlines()):
            loaded._rows.append(row)
            loaded.passages.append(Passage(**fields))
        return loaded


class NormalisesWhenSaved(Shared):
    caught_by = "test_unusual_texts_are_saved_and_found"

    @classmethod
    def load(cls, folder, config, *, mmap=True):
        loaded = super().load(folder, config, mmap=mmap)
        loaded.passages = [
            Passage(p.id, p.title, unicodedata.normalize("NFKC", p.text), p.metadata)
            for p in loaded.passages
        ]
        return loaded


class EndsTextsAtNul(Shared):
    caught_by = "test_unusual_texts_are_saved_and_found"

    def add(self, rows, passages):
        cut = [Passage(p.id, p.title, p.text.split("\0")[0], p.metadata) for p in passages]
        super().add(rows, cut)
