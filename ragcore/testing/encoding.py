"""Laws of encoders on many, long and odd texts, on changed passages, and on what a caller keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from ragcore.arrays import to_numpy, without_gradient
from ragcore.testing import data
from ragcore.testing.suite import SharedSuite
from ragcore.testing.texts import (
    NEARLY_ALIKE,
    ODD,
    SAME_ID,
    TITLES_AND_TEXTS,
    long_text,
    renamed,
    short_passages,
    words_read,
)
from ragcore.testing.threads import at_once
from ragcore.types import Passage

if TYPE_CHECKING:
    from ragcore.types import Vectors

__all__ = ["EncodingLaws"]

_APART: Final = 1e-6
"""The least difference of a component between vectors that differ."""


class EncodingLaws(SharedSuite):
    """Test how an encoder treats many texts, long ones, and other texts of a known id.

    See `EncoderSuite`, which has the attributes.
    """

    kind = "encoder"
    close: ClassVar[float] = 1e-4
    many: ClassVar[int] = 1300
    longest_text: ClassVar[int] = 300

    def passages(self) -> list[Passage]:
        """Return passages of different lengths, so that a batch has padding."""
        ordinary = data.passages(7, seed=1)
        longer = Passage(
            "long", "Long", " ".join(passage.text for passage in data.passages(4, seed=2))
        )
        return [*ordinary[:3], longer, Passage("short", "", "Chad"), *ordinary[3:]]

    def questions(self) -> list[str]:
        """Return questions of different lengths."""
        towns = [passage.title for passage in data.passages(5, seed=1)]
        return [*(f"Where is {town}?" for town in towns), "Who?", f"Which of {', '.join(towns)}?"]

    def of_passages(self, encoder: Any, texts: Sequence[Passage] | None = None) -> Vectors:
        """Encode passages to float32 [n, d]."""
        vectors: Vectors = encoder.encode_passages(self.passages() if texts is None else texts)
        return vectors

    def of_questions(self, encoder: Any, texts: Sequence[str] | None = None) -> Vectors:
        """Encode questions to float32 [B, d], without gradient."""
        with without_gradient():
            vectors = encoder.encode_questions(self.questions() if texts is None else texts)
        return to_numpy(vectors)

    def test_many_texts_have_the_vectors_of_few(self, component: Any) -> None:
        """In a batch of any size and order, each text has the vector that it has alone.

        Fix: write each block of a large batch to its own place, the last, shorter one too.
        """
        encoder = self.build(component)
        passages = short_passages(self.many)
        texts = [passage.text for passage in passages]
        sizes = [size for size in (64, 256, 300, self.many) if size <= self.many]
        singles = sorted({0, 31, 63, 64, 127, 255, 256, 299, 511, 512, 1023, 1024, self.many - 1})
        for what, encode, items in self._both(passages, texts):
            alone = {
                number: encode(encoder, [items[number]])[0]
                for number in singles
                if number < sizes[-1]
            }
            for size in sizes:
                vectors = encode(encoder, tuple(items[:size]))
                assert vectors.shape == (size, encoder.dim), f"{size} {what}s: {vectors.shape}"
                for number, vector in alone.items():
                    if number < size:
                        self._same(vectors[number], vector, f"{what} {number} of {size} and alone")
            # Some of them come twice.
            order = np.random.default_rng(7).integers(0, sizes[-1], 300)
            shuffled = encode(encoder, [items[number] for number in order])
            self._same(shuffled, vectors[order], f"{what}s in another order, some twice")

    def test_a_text_is_never_known_by_its_id(self, component: Any) -> None:
        """A passage's vector depends on its title and text, and not on its id.

        An update gives a known id another text.

        Fix: key caches by title and text, never by id or by title.
        """
        encoder = self.build(component)
        one_by_one = np.concatenate([self.of_passages(encoder, [passage]) for passage in SAME_ID])
        expected = self.of_passages(encoder, renamed(SAME_ID))
        self._same(one_by_one, expected, "passages of one id, one after another, and of new ids")
        self._same(self.of_passages(encoder, SAME_ID), expected, "passages of one id in one batch")
        self._apart(expected, "passages with the same title or the same text")

    def test_metadata_change_no_vector(self, component: Any) -> None:
        """A passage's vector does not depend on its metadata.

        The embedding cache keeps vectors by title and text.

        Fix: encode title and text alone; let the corpus write into the text what is to be found.
        """
        encoder = self.build(component)
        passages = self.passages()
        described = [
            replace(passage, metadata={"year": 2018, "section": f"Section {number}"})
            for number, passage in enumerate(passages)
        ]
        vectors = self.of_passages(encoder, passages)
        self._same(self.of_passages(encoder, described), vectors, "passages with metadata")

    def test_title_alone_and_text_alone_count(self, component: Any) -> None:
        """Passages with a title alone, a text alone or both have different vectors.

        Fix: encode the title also where there is no text, and the text where there is no title. An
        encoder that leaves titles out on purpose waives this law.
        """
        vectors = self.of_passages(self.build(component), TITLES_AND_TEXTS)
        assert np.isfinite(vectors).all(), "a passage without title or text is not finite"
        self._apart(vectors, "passages with a title alone, a text alone and both")

    def test_the_last_word_of_a_long_text_counts(self, component: Any) -> None:
        """Long passages and questions that differ in the last word have different vectors.

        They have `longest_text` words, or fewer if the encoder declares `max_input_tokens`.

        Fix: check what cuts texts: the tokenizer's own limit, or a limit in characters.
        """
        encoder = self.build(component)
        count = words_read(encoder, self.longest_text)
        texts = [long_text(count, last) for last in ("Chad", "Kenya", "Africa")]
        passages = [Passage(str(number), "", text) for number, text in enumerate(texts)]
        self._apart(self.of_passages(encoder, passages), f"passages of {count} words")
        self._apart(self.of_questions(encoder, texts), f"questions of {count} words")

    def test_odd_texts_change_no_other(self, component: Any) -> None:
        """Texts with line separators, zeros or other scripts have finite vectors, as if alone.

        What follows a line separator or a zero counts, too.

        Fix: pass texts on as a list; never join them to lines, and split at no separator.
        """
        encoder = self.build(component)
        passages = [Passage(f"odd-{n}", text[:20], text) for n, text in enumerate(ODD)]
        for what, encode, items in self._both(passages, ODD):
            vectors = encode(encoder, items)
            assert vectors.shape == (len(items), encoder.dim), f"odd {what}s: {vectors.shape}"
            assert np.isfinite(vectors).all(), f"an odd {what} has a vector that is not finite"
            for number, item in enumerate(items):
                self._same(
                    vectors[number], encode(encoder, [item])[0], f"{what} {ODD[number]!r} alone"
                )
        for texts in NEARLY_ALIKE:
            pair = [Passage(str(number), "", text) for number, text in enumerate(texts)]
            self._apart(self.of_passages(encoder, pair), f"passages {texts}")
            self._apart(self.of_questions(encoder, texts), f"questions {texts}")

    def test_lists_and_vectors_are_the_callers(self, component: Any) -> None:
        """A caller may change the list that it passed and the vectors that it received.

        Fix: keep no reference to either: no view of a reused buffer, no cache keyed by the list.
        """
        encoder = self.build(component)
        for what, encode, items in self._both(self.passages(), self.questions()):
            self._own(partial(encode, encoder), items, what)

    def test_threads_encode_other_texts(self, component: Any) -> None:
        """Passages and questions encoded at once have the vectors that they have alone.

        Fix: store nothing of a call in the object; lock a tokenizer that cannot be shared.
        """
        encoder, passages, questions = self.build(component), self.passages(), self.questions()
        of_passages, of_questions = self.of_passages(encoder), self.of_questions(encoder)

        # Threads share lists, too.
        parts = [(passages[start:], questions[start:]) for start in range(4)]

        def encode(thread: int) -> None:
            for turn in range(2):
                start = (thread + turn) % 4
                some_passages, some_questions = parts[start]
                vectors = self.of_passages(encoder, some_passages)
                self._same(vectors, of_passages[start:], "passages in a thread")
                vectors = self.of_questions(encoder, some_questions)
                self._same(vectors, of_questions[start:], "questions in a thread")

        at_once([partial(encode, thread) for thread in range(4)])

    def _both(
        self, passages: Sequence[Passage], questions: Sequence[str]
    ) -> list[tuple[str, Callable[[Any, Sequence[Any]], Vectors], Sequence[Any]]]:
        """Return what is encoded on each side: its name, how it is encoded, and the texts."""
        return [
            ("passage", self.of_passages, passages),
            ("question", self.of_questions, questions),
        ]

    def _own(
        self, encode: Callable[[Sequence[Any]], Vectors], items: Sequence[Any], what: str
    ) -> None:
        """Check that neither a changed list nor changed vectors reach what is encoded next."""
        expected = encode(list(items)).copy()
        caller = list(items)
        vectors = encode(caller)
        caller.reverse()
        self._same(encode(caller), expected[::-1], f"{what}s of a list that was reversed since")
        self._same(vectors, expected, f"{what} vectors after another call")
        caller.clear()
        assert len(encode(caller)) == 0, f"{what}s of a list that was cleared since have vectors"
        if vectors.flags.writeable:
            vectors.fill(0.0)
        self._same(encode(list(items)), expected, f"{what} vectors after the caller changed them")

    def _apart(self, vectors: Vectors, what: str) -> None:
        for right in range(len(vectors)):
            for left in range(right):
                gap = float(np.abs(vectors[left] - vectors[right]).max())
                assert gap > _APART, f"{what}: number {left} and number {right} have one vector"

    def _same(self, actual: Vectors, expected: Vectors, what: str) -> None:
        assert actual.shape == expected.shape, f"{what}: {actual.shape} and {expected.shape}"
        within = self.close * max(1.0, float(np.abs(expected).max(initial=0.0)))
        gap = float(np.abs(actual - expected).max(initial=0.0))
        assert gap <= within, f"{what}: vectors differ by up to {gap:.2g}"
