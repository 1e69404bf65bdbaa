"""Laws of texts, for retrievers: titles, texts, long questions, unusual characters."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from ragcore.testing.data import World, passages
from ragcore.testing.hits import identical
from ragcore.testing.search_suite import SearchSuite
from ragcore.types import Passage

__all__ = ["TextLaws"]

_ODD: Final = (
    "two\u2028lines\u2029and\u0085more",
    "tabs\tand\r\nreturns\rand\x0bfeeds\x0c",
    "a\x00NUL and a\x1fseparator",
    "ﬁne ① Ⅷ ｗｉｄｅ ſharp",
    "\u0301\u0308 marks that stand alone",
    unicodedata.normalize("NFD", "Ångström café Übergröße"),
    '"quotes" \\back\\slashes {"json": [1]} ,;|',
    "\ufeff东京 نص עברית \u202eright\u202c 👩\u200d🚀 𝔘𝔫𝔦",
)


class TextLaws(SearchSuite):
    """Test what a retriever reads of passages and questions.

    Attributes:
        longest_question: a question of so many words is read to its last. Set it to what your
            model takes where that is less.
    """

    longest_question: ClassVar[int] = 300

    def test_a_title_alone_and_a_text_alone_find_their_passage(self, component: Any) -> None:
        """A passage comes first for its title alone and for its text alone (share: `recall`).

        Fix: search titles and texts; `f"{passage.title} {passage.text}"` is a beginning.
        """
        world = self.world()
        retriever = self.filled(component, world)
        for part in ("title", "text"):
            asked = [getattr(passage, part) for passage in world.items]
            hits = retriever.search(asked, 1)
            share = float(np.mean(hits.rows[:, 0] == world.rows))
            assert share >= self.recall, (
                f"{share:.0%} of passages come first for their own {part}: expected "
                f"{self.recall:.0%}"
            )

    def test_the_last_word_of_a_long_question_counts(self, component: Any) -> None:
        """Long questions that differ in their last word have different hits.

        Fix: read the whole question, or set `longest_question` to the words that your model takes.
        """
        world = self.world()
        retriever = self.filled(component, world)
        words = ("where is the capital of that land and which is its river " * 30).split()
        opening = " ".join(words[: self.longest_question - 1])
        # No sign follows a river's name in a passage, so that it is one word however texts are cut.
        rivers = [passage.text.split()[-4] for passage in world.items[:4]]
        hits = retriever.search([f"{opening} {river}" for river in rivers], self.k)
        for number in range(1, len(rivers)):
            same = np.array_equal(hits.rows[number], hits.rows[0]) and np.array_equal(
                hits.scores[number], hits.scores[0]
            )
            assert not same, (
                f"two questions of {self.longest_question} words, which end in {rivers[0]!r} "
                f"and {rivers[number]!r}, have the same hits and scores"
            )

    def test_unusual_texts_are_saved_and_found(self, component: Any, tmp_path: Path) -> None:
        """Passages with line separators, NUL, ligatures or combining marks are saved and found.

        Fix: write texts as JSON, or with their length; split files at "\\n" alone, since
        `str.splitlines` splits at U+2028 too, and open them as UTF-8 with `newline=""`.
        """
        # Two passages begin alike and differ after the unusual characters.
        plain = passages(2 * len(_ODD), seed=11)
        odd = [
            Passage(
                f"odd-{number} {text}",
                f"{plain[2 * (number // 2)].title} {text.split()[-1]}",
                f"{text} {passage.text}",
                {text: text},
            )
            for number, passage in enumerate(plain)
            for text in [_ODD[number // 2]]
        ]
        world = self.world()
        world = World(world.rows, [*odd, *world.items[len(odd) :]])
        retriever = self.filled(component, world)
        loaded = self.load(component, self.saved(retriever, tmp_path / "saved"))
        assert len(loaded) == len(world), f"of {len(world)} passages, {len(loaded)} are loaded"
        asked = self.asking(odd)
        best = retriever.search(asked, 1).rows[:, 0]
        share = float(np.mean(best == world.rows[: len(odd)]))
        assert share >= self.recall, f"{share:.0%} of passages with unusual texts come first"
        for number, text in enumerate(_ODD):
            assert best[2 * number] != best[2 * number + 1], (
                f"what comes after {text!r} in a text does not count"
            )
        for questions in (asked, list(_ODD)):
            expected = retriever.search(questions, self.k)
            identical(loaded.search(questions, self.k), expected, "unusual texts, loaded")
