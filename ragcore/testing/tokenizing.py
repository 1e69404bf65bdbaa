"""Laws of encoders with a tokenizer, and the tokenizer that corpora under test split texts by."""

from __future__ import annotations

import pickle
import re
import unittest
from collections.abc import Iterator, Sequence
from itertools import product
from string import ascii_lowercase, digits
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ragcore.contracts import ANY_LENGTH, TokenizerUser, supports
from ragcore.testing.encoding import EncodingLaws
from ragcore.testing.texts import ODD, long_text
from ragcore.types import Passage

if TYPE_CHECKING:
    from ragcore.contracts import TextTokenizer
    from ragcore.registry.components import ComponentSpec
    from ragcore.types import Spans

__all__ = ["TokenizerLaws", "WordTokenizer", "built_corpus", "check_tokenizer"]

_WORDS: Final = ("the", "capital", "of", "Chad", "is", "a", "country", "Nairobi", "Kenya", "Africa")
_TITLES: Final = ("", "Chad", "The capital of Kenya, Nairobi", "Lake Chad: Africa's fourth (2018).")
_LONGEST: Final = 4096
"""Tokens of a text up to which laws fill an encoder's room."""


class WordTokenizer:
    """A `TextTokenizer` of words between white space, for corpora that need one.

    Args:
        limit: the most words of title and text together.
    """

    fingerprint: Final = "words"

    def __init__(self, limit: int = 100) -> None:
        self._limit = limit

    def spans(self, texts: Sequence[str]) -> list[Spans]:
        """Return the offsets of words, int64 [t, 2]."""
        return [
            np.array([word.span() for word in re.finditer(r"\S+", text)], np.int64).reshape(-1, 2)
            for text in texts
        ]

    def room(self, title: str) -> int:
        """Return how many words of text fit with a title."""
        return max(0, self._limit - len(title.split()))


def built_corpus(spec: ComponentSpec[Any]) -> Any:
    """Build a corpus; one that splits texts by tokens is passed a tokenizer, as by a build."""
    corpus = spec.build()
    if supports(corpus, TokenizerUser):
        corpus.use_tokenizer(WordTokenizer())
    return corpus


class TokenizerLaws(EncodingLaws):
    """Test the tokenizer of an encoder that declares `tokenizer`; see `EncoderSuite`."""

    def test_tokens_lie_in_their_text(self, component: Any) -> None:
        """`tokenizer.spans` has an array int64 [t, 2] for each text; offsets lie in it and ascend.

        They are the same in any batch, and have every letter of plain English.

        Fix: return offsets of characters, not of bytes; without those of [CLS] and the like.
        """
        tokenizer = self._tokenizer(component)
        check_tokenizer(tokenizer)
        texts = [passage.text for passage in self.passages()]
        for text, spans in zip(texts, tokenizer.spans(texts), strict=True):
            (alone,) = tokenizer.spans([text])
            assert np.array_equal(alone, spans), f"{text!r} has other tokens in a batch"
            inside = np.zeros(len(text), bool)
            for start, end in spans:
                inside[start:end] = True
            outside = [letter for letter, has in zip(text, inside, strict=True) if not has]
            assert not "".join(outside).strip(), f"no token has {outside} of {text!r}"

    def test_a_text_that_fills_the_room_is_read_whole(self, component: Any) -> None:
        """The last of `tokenizer.room(title)` tokens of a text changes the passage's vector.

        Fix: subtract the tokens of the title, of a prompt, of the template, and special ones.
        """
        encoder, tokenizer = self.build(component), self._tokenizer(component)
        filled = False
        for title in _TITLES:
            room = tokenizer.room(title)
            assert isinstance(room, int), f"room({title!r}) is {room!r}"
            assert room >= 0, f"room({title!r}) is {room}: expected 0 where there is none"
            texts = _filling(tokenizer, room) if 1 < room <= _LONGEST else []
            if len(texts) > 1:
                filled = True
                vectors = self.of_passages(encoder, [Passage("1", title, text) for text in texts])
                assert np.ptp(vectors, axis=0).max() > 1e-6, (
                    f"room({title!r}) is {room}, and the last word of {texts[0][:40]!r}…, which "
                    "has so many tokens, changes no vector"
                )
        if not filled and tokenizer.room("") != ANY_LENGTH:
            raise unittest.SkipTest("no text of plain English fills its room")

    def test_a_tokenizer_can_be_pickled(self, component: Any) -> None:
        """A pickled tokenizer counts alike, since a corpus passes it to its processes.

        Fix: keep the vocabulary in it, and neither a lock nor the encoder.
        """
        tokenizer = self._tokenizer(component)
        loaded = pickle.loads(pickle.dumps(tokenizer))
        texts = [passage.text for passage in self.passages()]
        for own, other in zip(tokenizer.spans(texts), loaded.spans(texts), strict=True):
            assert np.array_equal(own, other), "a pickled tokenizer has other tokens"
        for title in _TITLES:
            assert tokenizer.room(title) == loaded.room(title), "a pickled one has another room"
        assert tokenizer.fingerprint == loaded.fingerprint, "a pickled one has another fingerprint"

    def test_a_tokenizers_fingerprint_is_stable(self, component: Any) -> None:
        """The tokenizer of an equal encoder has the same fingerprint, also after use.

        Fix: derive it from vocabulary and settings, not from the object.
        """
        tokenizer = self._tokenizer(component)
        before = tokenizer.fingerprint
        assert isinstance(before, str), f"the fingerprint is {before!r}"
        assert before, "the fingerprint is empty"
        tokenizer.spans(list(_TITLES))
        other = self.spec(component).build().tokenizer.fingerprint
        assert tokenizer.fingerprint == other == before, "a second one has another fingerprint"

    def test_counting_tokens_changes_no_vector(self, component: Any) -> None:
        """An encoder cuts and pads as before once its tokenizer was used.

        Fix: turn truncation off in a copy of the encoder's own tokenizer.
        """
        encoder, tokenizer = self.spec(component).build(), self._tokenizer(component)
        long = Passage("long", "Long", long_text(2 * _LONGEST, "Chad"))
        passages = [*self.passages(), long]
        before = self.of_passages(encoder, passages)
        tokenizer = encoder.tokenizer
        (spans,) = tokenizer.spans([long.text])
        assert len(spans) >= 2 * _LONGEST, f"a text of {2 * _LONGEST} words has {len(spans)} tokens"
        tokenizer.room("Long")
        self._same(self.of_passages(encoder, passages), before, "after tokens were counted")

    def _tokenizer(self, component: Any) -> TextTokenizer:
        encoder = self.build(component)
        self.needs(encoder, "tokenizer")
        tokenizer: TextTokenizer = encoder.tokenizer
        return tokenizer


def check_tokenizer(tokenizer: TextTokenizer) -> None:
    """Check the arrays that a tokenizer returns, for odd texts too."""
    assert not tokenizer.spans([]), "there are tokens though there is no text"
    texts = ["", *ODD, "the capital of Chad"]
    for text, spans in zip(texts, tokenizer.spans(texts), strict=True):
        assert isinstance(spans, np.ndarray), f"spans are {type(spans).__name__}, not an array"
        assert spans.dtype == np.int64, f"spans are {spans.dtype}: expected int64"
        assert spans.shape == (len(spans), 2), f"{spans.shape}, not [t, 2]"
        assert (spans[:, 0] <= spans[:, 1]).all(), f"a token of {text!r} ends before it starts"
        assert (np.diff(spans, axis=0) >= 0).all(), f"the tokens of {text!r} do not ascend"
        assert ((spans >= 0) & (spans <= len(text))).all(), f"a token lies outside {text!r}"


def _filling(tokenizer: TextTokenizer, room: int) -> list[str]:
    """Return texts of exactly `room` tokens that differ in the last word; few or none if it fails.

    Args:
        tokenizer: counts them.
        room: 2 or more.
    """
    words = [_WORDS[number % len(_WORDS)] for number in range(room)]
    ends = np.cumsum([len(word) + 1 for word in words])
    (spans,) = tokenizer.spans([" ".join(words)])
    fits = int(np.searchsorted(ends, spans[min(room, len(spans)) - 1, 1]))
    best: list[str] = []
    for count in range(max(0, fits - 6), fits + 1):
        begin = words[:count]
        texts = [" ".join([*begin, last]) for last in _last_words()]
        counts = [len(spans) for spans in tokenizer.spans(texts)]
        full = [text for text, tokens in zip(texts, counts, strict=True) if tokens == room]
        best = max(best, full[:8], key=len)
    return best


def _last_words() -> Iterator[str]:
    """Yield words of one token or several, whatever the vocabulary."""
    yield from (*_WORDS, *ascii_lowercase, *digits)
    yield from ("".join(letters) for letters in product("aeio", "nrst", "aeio"))
