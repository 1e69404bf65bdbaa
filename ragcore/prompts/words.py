"""How a tokenizer writes the words of a text in an answer, for grounded decoding.

An answer that is a span of a text is tokenized alone, and differently from the same stretch within
the text: byte-level pairs write "Paris" without the space that " Paris" carries, and a
Unigram model may write "Chad," as one token and "Chad" as another. So no offsets of the text's own
tokens are used. The text is cut where answers may begin and end, and each part is tokenized as it
would be in an answer: at its beginning, or behind another word.

That is exact for tokenizers that take one word at a time, split at white space, as nearly all do.
Words that it cannot write back are left out, and no answer holds them: unknown words, and special
tokens that a text spells out. Knows nothing of models or beams.
"""

from __future__ import annotations

import re
import unicodedata
import weakref
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from types import MethodType
from typing import Final, NamedTuple

from ragcore.prompts.tokens import any_of
from ragcore.types import Word

__all__ = ["WordEncoder"]

_EDGES: Final = 12
"""Word edges between the ends of an answer that both begins and ends inside one run of characters
without white space; a run of digits and commas has a few, a URL many."""

_LONGEST: Final = 200
"""The most characters of a part: nobody answers with a longer word."""

_REMEMBERED: Final = 100_000
"""Parts whose tokens are cached, over all texts; about 20 MB."""

_APOSTROPHES: Final = frozenset("'\u2019\uff07")
_HYPHENS: Final = frozenset("-\u2010\u2011\u05be")
"""Marks that join letters to one name: straight, typographic, full-width; Hebrew's hyphen too."""

_ELIDED: Final = re.compile(r"(?:[cdjlmnst]|[a-z]*qu|dell|nell|dall|sull|all|un)\Z")
"""What French and Italian write with an apostrophe before the next word: l'Italie, dell'Italia."""

_BEFORE: Final = "a"
"""A word to put before those that do not begin an answer."""


class _WordPart(NamedTuple):
    """A stretch of a text and how an answer spells it, white space before it included."""

    start: int
    end: int
    spelled: str
    opens: bool


class WordEncoder:
    """The words of texts, for one generator; safe to use from several threads.

    An answer begins and ends where a word does: not between two letters, digits or accents, and not
    inside a name at an apostrophe or hyphen (`_edges`). In scripts without spaces a whole run of
    letters counts as one word. White space within an answer may be written as in the text, or as
    one space.
    """

    def __init__(
        self,
        special: Mapping[str, int],
        encode: Callable[[Sequence[str]], list[list[int]]],
        bare: Callable[[str], list[int]] | None = None,
    ) -> None:
        """Prepare what is the same for all texts.

        Args:
            special: the tokenizer's special tokens and their ids.
            encode: the generator's `encode_answers`: ids of each answer, the end token last.
            bare: the tokenizer alone, where `encode` gives the same apart from special tokens
                around it, and this is faster.
        """
        # Weakly where it is the generator's method: the generator has this, and with a reference
        # back only the garbage collector would free its weights.
        self._encode: Callable[[], Callable[[Sequence[str]], list[list[int]]] | None] = (
            weakref.WeakMethod(encode) if isinstance(encode, MethodType) else lambda: encode
        )
        self._bare = bare
        self._special = frozenset(special.values())
        self._spelled = any_of(special)
        before = encode([_BEFORE])[0][:-1]
        # BART's tokenizer begins every answer with a special token. After it comes "a", or the
        # token of an unknown word.
        self._lead = [
            token
            for number, token in enumerate(before[:-1])
            if self._special.issuperset(before[: number + 1])
        ]
        self._before = before[len(self._lead) :]
        self._known: dict[str, tuple[int, ...]] = {}

    def __call__(self, texts: Sequence[str]) -> list[list[Word]]:
        """Return the words of each text, as `ragcore.contracts.Generator.encode_words` does."""
        parts = [list(_parts(text)) for text in texts]
        tokens = self._tokens({part.spelled for of_text in parts for part in of_text})
        return [list(_words(of_text, tokens)) for of_text in parts]

    def _tokens(self, spellings: set[str]) -> dict[str, tuple[int, ...]]:
        """Return the ids of each spelling in an answer; none where it cannot be written back."""
        tokens = {text: self._known[text] for text in spellings & self._known.keys()}
        new = [text for text in spellings if text not in tokens]
        answers = [_BEFORE + text if text[0].isspace() else text for text in new]
        for text, ids in zip(new, self._ids(answers), strict=True):
            tokens[text] = self._following(ids) if text[0].isspace() else self._first(ids)
            if self._spelled.search(text):
                tokens[text] = ()
        if len(self._known) + len(new) > _REMEMBERED:
            self._known = {}
        self._known.update((text, tokens[text]) for text in new)
        return tokens

    def _first(self, ids: list[int]) -> tuple[int, ...]:
        """Return the ids at the beginning of an answer; none if a part of it is lost."""
        return (*self._lead, *ids) if ids and self._special.isdisjoint(ids) else ()

    def _following(self, ids: list[int]) -> tuple[int, ...]:
        """Return the ids after the word before; none if a part of them is lost."""
        before = len(self._before)
        following = ids[before:]
        whole = ids[:before] == self._before and self._special.isdisjoint(following)
        return tuple(following) if whole else ()

    def _ids(self, answers: list[str]) -> list[list[int]]:
        """Return the ids of answers, without the special tokens around them."""
        if self._bare is not None:
            return [self._bare(answer) for answer in answers]
        lead = len(self._lead)
        encode = self._encode()
        if encode is None:
            raise ReferenceError(
                "the generator of these words no longer exists: keep it as long as they are used"
            )
        return [ids[lead:-1] for ids in encode(answers)] if answers else []


def _words(parts: Sequence[_WordPart], tokens: dict[str, tuple[int, ...]]) -> Iterator[Word]:
    """Yield the parts that can be written, each way of writing one once."""
    seen = set()
    for part in parts:
        word = Word(part.start, part.end, tokens[part.spelled], part.opens)
        if word.tokens and word not in seen:
            seen.add(word)
            yield word


def _parts(text: str) -> Iterator[_WordPart]:
    """Yield the parts of which answers may consist; see `ragcore.types.Word`."""
    before = None
    for run in re.finditer(r"\S+", text):
        begin, end = run.span()
        starts, stops = _edges(run.group())
        for start in starts:
            number = bisect_right(stops, start)
            for stop in {*stops[number : number + _EDGES], stops[-1]}:
                if stop - start <= _LONGEST:
                    yield _WordPart(
                        begin + start, begin + stop, text[begin + start : begin + stop], True
                    )
        if before is not None:
            for gap in {text[before:begin], " "}:
                for stop in stops:
                    if stop <= _LONGEST:
                        spelled = gap + text[begin : begin + stop]
                        yield _WordPart(before, begin + stop, spelled, False)
        before = end


@lru_cache(maxsize=1 << 16)
def _edges(run: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return where answers may begin and where they may end in a run without white space.

    A mark between two letters may join them. An apostrophe does (O'Brien, N'Djamena), but an answer
    may end before a possessive 's and begin after an elided word (l'Italie). A hyphen does where a
    part after it begins as a name does, not in lower case: Jean-Paul, Stratford-upon-Avon,
    COVID-19; but not French-born, 20-year or 1990-1995.
    """
    if run.isalnum():
        return (0,), (len(run),)
    in_word = [character.isalnum() or _is_accent(character) for character in run]
    edges = {
        edge
        for edge in range(1, len(run))
        if not (in_word[edge - 1] and in_word[edge]) and not _is_accent(run[edge])
    }
    starts, stops = {0, *edges}, {*edges, len(run)}
    name_follows = False
    # From the end, to know of each hyphen whether a name's part follows.
    for mark in range(len(run) - 2, 0, -1):
        if in_word[mark]:
            continue
        if not (in_word[mark - 1] and in_word[mark + 1]):
            name_follows = False
        elif run[mark] in _APOSTROPHES:
            first = _first_of_word(in_word, mark)
            possessive = run[mark + 1] in "sS" and not any(in_word[mark + 2 : mark + 3])
            # Not the n of rock'n'roll, which continues a word.
            continues = first > 0 and run[first - 1] in _APOSTROPHES
            elided = not continues and _ELIDED.match(run, first, mark) is not None
            stops -= {mark + 1} if possessive else {mark, mark + 1}
            starts -= {mark} if elided and not possessive else {mark, mark + 1}
        elif run[mark] in _HYPHENS:
            name_follows = name_follows or not run[mark + 1].islower()
            if name_follows and not run[mark - 1].isdigit():
                starts -= {mark, mark + 1}
                stops -= {mark, mark + 1}
        else:
            name_follows = False
    return tuple(sorted(starts)), tuple(sorted(stops))


def _first_of_word(in_word: Sequence[bool], end: int) -> int:
    """Return where the letters that end at `end` begin."""
    first = end
    while first and in_word[first - 1]:
        first -= 1
    return first


def _is_accent(character: str) -> bool:
    return unicodedata.category(character).startswith("M")
