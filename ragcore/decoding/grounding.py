"""Ground answers: only verbatim spans of the passages are allowed.

A `Grounding` is the constraint (rules.py) of one question. It lets the search continue only with
tokens that keep the answer a span of the text of one of the question's passages. It knows token
ids and character offsets: the generator says how it writes each word (`ragcore.types.Word`).

A prefix of an answer occurs at **places**: a passage, where the answer starts in it, the word that
is being written, and how many of its tokens are written. A token advances each place or eliminates
it. So a prefix's places follow from those of the prefix one token shorter, which the beam search
has already computed, and a step costs as much as there are places left.

Next tokens are masked and **not renormalised**: log p is that of the tokens under the model, as
without grounding. It stays comparable with `rag.log_prob` and `ragcore verify`, and a low one still
says that the model would rather have answered something else. The probabilities of all spans
together do not sum to 1. An abstention is no span and not searched for: the prior is conditioned
before the search (abstention.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from ragcore.types import Word

__all__ = ["Grounding"]


class _Place(NamedTuple):
    """Where in the passages a prefix of an answer may occur."""

    passage: int
    """Its position among the question's passages."""
    start: int
    """Character offset at which the answer starts."""
    word: Word
    written: int
    """How many of the word's tokens the prefix has."""

    @property
    def complete(self) -> bool:
        """Whether the prefix ends with the word, so that the answer may end here."""
        return self.written == len(self.word.tokens)


class Grounding:
    """Implements `ragcore.decoding.rules.Constraint` for one question's passages.

    Attributes:
        allows_text: whether a passage has a word, so that there is an answer but the empty one.
    """

    def __init__(
        self,
        passages: Sequence[Sequence[Word]],
        eos_token_id: int,
        *,
        forced_bos_token_id: int | None = None,
    ) -> None:
        """Prepare the places where answers may begin.

        Args:
            passages: the words of each passage's text, in any order. Without any word the answer
                can only be empty.
            eos_token_id: the token that ends an answer.
            forced_bos_token_id: a token that every answer begins with before its first word; where
                words begin with it, it is not expected twice.
        """
        self._eos = eos_token_id
        self._forced = forced_bos_token_id
        self._passages = len(passages)
        self._following: dict[tuple[int, int], list[Word]] = {}
        openings: list[_Place] = []
        for passage, words in enumerate(passages):
            for word in words:
                if word.opens:
                    openings.append(_Place(passage, word.start, self._unforced(word), 0))
                else:
                    self._following.setdefault((passage, word.start), []).append(word)
        self._places: dict[tuple[int, ...], list[_Place]] = {(): openings}
        self.allows_text = bool(openings)

    def allowed(self, prefix: tuple[int, ...]) -> frozenset[int]:
        """Return the tokens that may follow a prefix; none if no span begins with it."""
        if self._forced is not None:
            if prefix[:1] != (self._forced,):
                return frozenset() if prefix else frozenset({self._forced})
            prefix = prefix[1:]
        places = self._places_of(prefix)
        tokens = {word.tokens[written] for place in places for word, written in self._ahead(place)}
        # The empty answer is a span of any text; it is allowed only when there is no other.
        if not (prefix or tokens) or any(place.complete for place in places):
            tokens.add(self._eos)
        return frozenset(tokens)

    def spans(self, answer: Sequence[int]) -> list[tuple[tuple[int, int], ...]]:
        """Find where an answer occurs in each passage.

        Args:
            answer: its token ids, with or without the end token.

        Returns:
            For each passage, character offsets [start, end) in order. Where the length limit cut
            an answer inside a word, the span extends to the word's end.
        """
        places = self._places_of_answer(answer)
        # All places of a cut answer are inside a word. Of an answer that is not cut, such places
        # are longer words that merely begin like it.
        places = [place for place in places if place.complete] or places
        ends: dict[tuple[int, int], int] = {}
        for place in places:
            start = (place.passage, place.start)
            ends[start] = min(place.word.end, ends.get(start, place.word.end))
        return [
            tuple(sorted((start, end) for (other, start), end in ends.items() if other == passage))
            for passage in range(self._passages)
        ]

    def beginnings(self, prefix: Sequence[int]) -> list[tuple[int, int, int]]:
        """Find with which stretches of the passages an answer with this prefix may begin.

        Every answer that continues the prefix begins with the text of one of them.

        Args:
            prefix: token ids, with or without the end token.

        Returns:
            Passage and character offsets: [start, end), where `end` is that of the last word, also
            if it is not yet whole.
        """
        return [
            (place.passage, place.start, place.word.end) for place in self._places_of_answer(prefix)
        ]

    def _places_of_answer(self, answer: Sequence[int]) -> list[_Place]:
        """Return the places at which an answer's tokens occur; none for those of the empty one."""
        tokens = tuple(token for token in answer if token != self._eos)
        if self._forced is not None and tokens[:1] == (self._forced,):
            tokens = tokens[1:]
        return self._places_of(tokens) if tokens else []

    def _places_of(self, prefix: tuple[int, ...]) -> list[_Place]:
        """Return the places at which a prefix occurs, the forced token left out."""
        known = len(prefix)
        while (places := self._places.get(prefix[:known])) is None:
            known -= 1
        for length in range(known + 1, len(prefix) + 1):
            token = prefix[length - 1]
            places = [
                _Place(place.passage, place.start, word, written + 1)
                for place in places
                for word, written in self._ahead(place)
                if word.tokens[written] == token
            ]
            self._places[prefix[:length]] = places
        return places

    def _ahead(self, place: _Place) -> Iterator[tuple[Word, int]]:
        """Yield the words that may be continued here, and how many of their tokens are written."""
        if not place.complete:
            yield place.word, place.written
            return
        for word in self._following.get((place.passage, place.word.end), ()):
            yield word, 0

    def _unforced(self, word: Word) -> Word:
        """Return the word without the forced token that it may begin with."""
        if self._forced is not None and word.tokens[:1] == (self._forced,):
            return replace(word, tokens=word.tokens[1:])
        return word
