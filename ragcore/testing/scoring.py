"""Laws of scorers on many, long and odd pairs, on changed passages, and on what a caller keeps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ragcore.errors import QuestionError
from ragcore.testing import data
from ragcore.testing.suite import SharedSuite
from ragcore.testing.texts import (
    NEARLY_ALIKE,
    ODD,
    SAME_ID,
    TITLES_AND_TEXTS,
    last_words,
    long_text,
    renamed,
    short_passages,
    words_read,
)
from ragcore.testing.threads import at_once
from ragcore.types import Passage

if TYPE_CHECKING:
    from ragcore.types import Scores

__all__ = ["ScoringLaws"]


class ScoringLaws(SharedSuite):
    """Test how a scorer treats many pairs, long ones, and other texts of a known id.

    See `ScorerSuite`, which has the attributes.
    """

    kind = "scorer"
    questions: ClassVar[Sequence[str]] = (
        "What is the capital of Kenya?",
        "Who?",
        "Where does the red river of that land meet the sea?",
    )
    close: ClassVar[float] = 1e-4
    many: ClassVar[int] = 300
    longest_text: ClassVar[int] = 300

    def pairs(self) -> tuple[list[str], list[Passage]]:
        """Return every question with every passage, 39 pairs; passages differ in length."""
        short = Passage("short", "", "Nairobi")
        passages = [*data.passages(12, seed=1), short]
        count = len(self.questions)
        repeated = [passage for passage in passages for _ in range(count)]
        return list(self.questions) * len(passages), repeated

    def long_questions(self, words: int) -> list[str]:
        """Return three questions of so many words that differ in the last one."""
        return [long_text(words, last) for last in ("Chad", "Kenya", "Africa")]

    def scores(self, scorer: Any, questions: Sequence[str], passages: Sequence[Passage]) -> Scores:
        """Score pairs, and check that scores are float32 [P] and finite."""
        scores: Scores = scorer.score(questions, passages)
        assert isinstance(scores, np.ndarray), (
            f"score returned {type(scores).__name__}, not an array"
        )
        assert scores.dtype == np.float32, f"scores are {scores.dtype}: expected float32"
        assert scores.shape == (len(questions),), (
            f"{len(questions)} pairs have scores of shape {scores.shape}"
        )
        assert np.isfinite(scores).all(), "a score is not finite"
        return scores

    def test_many_pairs_have_the_scores_of_few(self, component: Any) -> None:
        """In a batch of any size and order, each pair has the score that it has alone.

        Fix: write each block of a large batch to its own place, the last, shorter one too.
        """
        scorer, count = self.build(component), self.many
        passages = short_passages(count)
        questions = [self.questions[number % len(self.questions)] for number in range(count)]
        scores = self.scores(scorer, tuple(questions), tuple(passages))
        for number in sorted({0, 31, 32, 63, 64, 127, 128, 255, 256, count - 1}):
            if number < count:
                alone = self.scores(scorer, [questions[number]], [passages[number]])
                self._same(scores[number : number + 1], alone, f"pair {number} of {count}, alone")
        for size in (64, 128, 256):
            fewer = self.scores(scorer, questions[:size], passages[:size])
            self._same(fewer, scores[:size], f"the first {size} of {count} pairs")
        # Some of them come twice.
        order = np.random.default_rng(7).integers(0, count, count)
        shuffled = self.scores(
            scorer, [questions[number] for number in order], [passages[number] for number in order]
        )
        self._same(shuffled, scores[order], f"{count} pairs in another order, some twice")

    def test_a_text_is_never_known_by_its_id(self, component: Any) -> None:
        """A score depends on the question, the title and the text, and not on the passage's id.

        An update gives a known id another text.

        Fix: key caches by question, title and text.
        """
        scorer, question = self.build(component), self.questions[0]
        expected = self.scores(scorer, [question] * len(SAME_ID), renamed(SAME_ID))
        together = self.scores(scorer, [question] * len(SAME_ID), SAME_ID)
        self._same(together, expected, "passages of one id and of new ids")
        for number, passage in enumerate(SAME_ID):
            alone = self.scores(scorer, [question], [passage])
            self._same(alone, expected[number : number + 1], "passages of one id, one by one")

    def test_title_alone_and_text_alone_count(self, component: Any) -> None:
        """Passages that differ in the title or the text alone do not all have the same score.

        Fix: read the title also where there is no text, and the text where there is no title. A
        scorer that leaves titles out on purpose waives this law.
        """
        scorer, (title, other_title, text, other_text, _) = self.build(component), TITLES_AND_TEXTS
        for what, left, right in (
            ("a title alone", title, other_title),
            ("a text alone", text, other_text),
            ("the same title", SAME_ID[0], SAME_ID[1]),
            ("the same text", SAME_ID[1], SAME_ID[2]),
        ):
            assert self._apart(scorer, [left, right]), (
                f"passages with {what} score the same, whatever else they have"
            )

    def test_the_last_word_of_a_long_text_counts(self, component: Any) -> None:
        """Long passages, and long questions, that differ in the last word score differently.

        They have `longest_text` words, or fewer if the scorer declares `max_input_tokens`.
        The last word itself is one of the questions.

        Fix: check what cuts texts: the tokenizer's own limit, or a limit in characters.
        """
        scorer = self.build(component)
        count = words_read(scorer, self.longest_text)
        passages = [Passage(last, "", long_text(count, last)) for last in ("Kenya", "zebra")]
        assert self._apart(scorer, passages), (
            f"passages of {count} words score the same, whatever the last one is"
        )
        questions, short = self.long_questions(count), Passage("short", "", "Chad")
        assert np.ptp(self.scores(scorer, questions, [short] * len(questions))) > 0, (
            f"questions of {count} words score the same, whatever the last one is"
        )

    def test_odd_texts_change_no_other(self, component: Any) -> None:
        """Passages with line separators, zeros or other scripts score as they do alone.

        What follows a line separator or a zero counts, too.

        Fix: pass texts on as a list; never join them to lines, and split at no separator.
        """
        scorer, question = self.build(component), self.questions[0]
        passages = [Passage(f"odd-{n}", text[:20], text) for n, text in enumerate(ODD)]
        scores = self.scores(scorer, [question] * len(passages), passages)
        for number, passage in enumerate(passages):
            alone = self.scores(scorer, [question], [passage])
            self._same(scores[number : number + 1], alone, f"passage {ODD[number]!r} alone")
        # A question without a word.
        self.scores(scorer, ["?!"] * len(passages), passages)
        for texts in NEARLY_ALIKE:
            pair = [Passage(str(number), "", text) for number, text in enumerate(texts)]
            assert self._apart(scorer, pair), f"passages {texts} score the same"

    def test_odd_questions_have_a_score(self, component: Any) -> None:
        """Questions without words, or in other scripts, have a finite score or are refused.

        In a batch they change no other score.

        Fix: divide by no number of words without a check; raise `QuestionError` for a question
        that cannot be read.
        """
        scorer, (questions, passages) = self.build(component), self.pairs()
        expected = self.scores(scorer, questions[:3], passages[:3])
        for odd in ("?!", "", " ", *ODD):
            try:
                scores = self.scores(scorer, [*questions[:3], odd], passages[:4])
            except QuestionError:
                continue
            self._same(scores[:3], expected, f"pairs in one call with the question {odd!r}")

    def test_lists_and_scores_are_the_callers(self, component: Any) -> None:
        """A caller may change the lists that it passed and the scores that it received.

        Fix: keep no reference to either: no view of a reused buffer, no cache keyed by a list.
        """
        scorer, (questions, passages) = self.build(component), self.pairs()
        expected = self.scores(scorer, list(questions), list(passages)).copy()
        scores = self.scores(scorer, questions, passages)
        questions.reverse()
        passages.reverse()
        self._same(self.scores(scorer, questions, passages), expected[::-1], "lists reversed since")
        self._same(scores, expected, "scores after another call")
        if scores.flags.writeable:
            scores.fill(0.0)
        again = self.scores(scorer, questions[::-1], passages[::-1])
        self._same(again, expected, "scores after the caller changed those it received")
        questions.clear()
        passages.clear()
        self.scores(scorer, questions, passages)

    def test_threads_score_other_pairs(self, component: Any) -> None:
        """Different pairs scored at once have the scores that they have alone.

        Fix: store nothing of a call in the object; lock a tokenizer that cannot be shared.
        """
        scorer, (questions, passages) = self.build(component), self.pairs()
        expected = self.scores(scorer, questions, passages)

        # Threads share lists, too.
        parts = [slice(start, None, 2) for start in range(4)]
        lists = [(questions[part], passages[part]) for part in parts]

        def score(thread: int) -> None:
            for turn in range(2):
                number = (thread + turn) % 4
                self._same(
                    self.scores(scorer, *lists[number]), expected[parts[number]], "in a thread"
                )

        at_once([partial(score, thread) for thread in range(4)])

    def _apart(self, scorer: Any, passages: Sequence[Passage]) -> bool:
        """Return whether some question, or a passage's last word, tells these passages apart."""
        count, asked = len(passages), [*self.questions, *last_words(passages)]
        scores = [self.scores(scorer, [question] * count, passages) for question in asked]
        return any(np.ptp(row) > 0 for row in scores)

    def _same(self, actual: Scores, expected: Scores, what: str) -> None:
        within = self.close * max(1.0, float(np.abs(expected).max(initial=0.0)))
        gap = float(np.abs(actual - expected).max(initial=0.0))
        assert gap <= within, f"{what}: scores differ by up to {gap:.2g}"
