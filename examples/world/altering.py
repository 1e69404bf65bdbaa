"""Alter a question so that its passage no longer answers it, as SQuAD 2.0's writers did by hand.

Names, numbers and opposites are exchanged, within the question alone: the passage stays on the
topic and keeps a tempting answer. Knows nothing of where questions come from.
"""

from __future__ import annotations

import random
import re

from items import occurs

__all__ = ["altered_question"]

_PAIRS = (
    "first last", "largest smallest", "biggest smallest", "highest lowest", "before after",
    "north south", "east west", "northern southern", "eastern western", "most least",
    "more fewer", "increase decrease", "increased decreased", "won lost", "win lose",
    "early late", "earliest latest", "beginning end", "began ended", "start stop",
    "started stopped", "oldest youngest", "older younger", "longest shortest", "long short",
    "upper lower", "above below", "inside outside", "male female", "men women", "man woman",
    "father mother", "son daughter", "brother sister", "king queen", "married divorced",
    "born buried", "friend enemy", "allies enemies", "summer winter", "hot cold", "good bad",
    "best worst", "strong weak", "rich poor", "high low", "old new", "open closed",
    "support oppose", "supported opposed", "accepted rejected", "allowed forbidden", "buy sell",
    "bought sold", "gained lost", "arrive leave", "arrived left", "rise fall", "rose fell",
    "maximum minimum", "major minor", "public private", "legal illegal", "inner outer",
    "teacher student", "buyer seller", "import export", "hardware software", "land sea",
    "day night", "morning evening", "spring autumn", "ancient modern", "majority minority",
    "attack defend", "build destroy", "built destroyed", "created destroyed", "founded dissolved",
    "left right",
)  # fmt: skip
_OPPOSITES = {
    word: other
    for pair in _PAIRS
    for word, other in (tuple(pair.split()), tuple(reversed(pair.split())))
}
_QUESTION_WORDS = frozenset(
    ("what", "who", "when", "where", "which", "how", "why", "in", "on", "at", "the", "of", "for")
)
_NAME = re.compile(r"\b[A-Z][\w'-]+(?: (?:of |the )?[A-Z][\w'-]+)*")


def altered_question(question: str, text: str, names: list[str], rng: random.Random) -> str | None:
    """Exchange a name, a number or a word for its opposite; None where the question has none.

    Args:
        question: one that `text` answers.
        text: the passage; what is put in is not in it.
        names: to take another name from, best from the same topic.
        rng: draws.
    """
    ways = [_other_word, _other_name, _other_number, _negated]
    rng.shuffle(ways)
    for way in ways[:3]:
        altered = way(question, text, names, rng)
        if altered is not None and altered != question:
            return altered
    return None


def _other_word(question: str, text: str, names: list[str], rng: random.Random) -> str | None:
    words = question.split(" ")
    exchangeable = [i for i, word in enumerate(words) if word.lower().strip("?,.") in _OPPOSITES]
    if not exchangeable:
        return None
    i = rng.choice(exchangeable)
    bare = words[i].strip("?,.")
    words[i] = words[i].replace(bare, _OPPOSITES[bare.lower()])
    return " ".join(words)


def _other_name(question: str, text: str, names: list[str], rng: random.Random) -> str | None:
    spans = [
        match
        for match in _NAME.finditer(question)
        if match[0].lower() not in _QUESTION_WORDS and match.start() > 0
    ]
    others = [name for name in rng.sample(names, min(8, len(names))) if not occurs(name, text)]
    if not spans or not others:
        return None
    span = rng.choice(spans)
    other = next((name for name in others if name not in question), None)
    return question[: span.start()] + other + question[span.end() :] if other else None


def _other_number(question: str, text: str, names: list[str], rng: random.Random) -> str | None:
    numbers = list(re.finditer(r"\d+", question))
    if not numbers:
        return None
    number = rng.choice(numbers)
    value = int(number[0])
    other = str(max(1, value + rng.choice((-1, 1)) * rng.randint(1, 40)))
    if other == number[0] or other in text:
        return None
    return question[: number.start()] + other + question[number.end() :]


def _negated(question: str, text: str, names: list[str], rng: random.Random) -> str | None:
    words = question.split()
    for auxiliary in ("did", "is", "was", "were", "are", "does", "do", "can", "could", "has"):
        if auxiliary in words[:-2]:
            # "what did the king build" becomes "what did the never king build" at worst: a reader
            # has to see the negation, wherever it stands.
            after = words.index(auxiliary) + (2 if auxiliary in ("did", "does", "do") else 1)
            return " ".join([*words[:after], rng.choice(("not", "never")), *words[after:]])
    return None
