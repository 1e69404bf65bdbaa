"""Vary how a question is typed: asked politely or in passing, in lower case, with a slip.

Knows nothing of what is asked. Questions come from `questions.py` in some wordings a kind; this
makes hundreds of them.
"""

from __future__ import annotations

import random
import string

__all__ = ["in_passing", "roughen", "slip"]

BEFORE = (
    "Can you tell me {q}",
    "Could you tell me {q}",
    "Do you happen to know {q}",
    "Please tell me {q}",
    "I would like to know {q}",
    "I'd like to know {q}",
    "I need to know {q}",
    "I was wondering {q}",
    "Any idea {q}",
    "Tell me {q}",
    "I forgot {q}",
    "My question is {q}",
    "Remind me {q}",
    "Help me out, {q}",
)
"""What goes before an indirect question: one that begins with its question word."""

AROUND = (
    "Hi, {q}",
    "Hello! {q}",
    "Quick question: {q}",
    "Ok so {q}",
    "So, {q}",
    "{q} Thanks.",
    "{q} Please answer briefly.",
    "For a quiz: {q}",
    "For my homework, {q}",
    "Just curious: {q}",
    "{q} I keep forgetting.",
    "{q} Please.",
    "Question: {q}",
    "{q} Does anyone know?",
    "Right now, {q}",
    "As of today, {q}",
)
"""What goes around any question."""

AUXILIARIES = ("is", "are", "was", "were")
NEIGHBOURS = {
    "q": "wa", "w": "qes", "e": "wrd", "r": "etf", "t": "ryg", "y": "tuh", "u": "yij", "i": "uok",
    "o": "ipl", "p": "ol", "a": "qsz", "s": "awdx", "d": "sefc", "f": "drgv", "g": "fthb",
    "h": "gyjn", "j": "hukm", "k": "jil", "l": "kop", "z": "asx", "x": "zsdc", "c": "xdfv",
    "v": "cfgb", "b": "vghn", "n": "bhjm", "m": "njk",
}  # fmt: skip
"""The keys next to each on a keyboard."""


def roughen(question: str, rng: random.Random) -> str:
    """Type a question as people do: sometimes carelessly, sometimes with words around it."""
    question = question[0].upper() + question[1:]
    if rng.random() < 0.25:
        question = in_passing(question, rng)
    if rng.random() < 0.25:
        question = question.rstrip("?.!")
    if rng.random() < 0.12:
        question = slip(question, rng)
    return question.lower() if rng.random() < 0.3 else question


def in_passing(question: str, rng: random.Random) -> str:
    """Put words around a question; turn "Who is X?" into "Can you tell me who X is?"."""
    words = question.split()
    is_indirect = words[0].lower() in ("who", "what", "which", "when", "where", "how")
    if is_indirect and rng.random() < 0.6:
        lowered = question[0].lower() + question[1:].rstrip("?.!")
        parts = lowered.split()
        if len(parts) > 3 and parts[1] in AUXILIARIES and rng.random() < 0.6:
            lowered = " ".join([parts[0], *parts[2:], parts[1]])
        return rng.choice(BEFORE).format(q=lowered) + rng.choice(("?", ".", ""))
    around = rng.choice(AROUND)
    lowered = question[0].lower() + question[1:]
    return around.format(q=question if around.startswith("{q}") else lowered)


def slip(question: str, rng: random.Random) -> str:
    """Misspell a word of four letters or more: one too many, too few, wrong, or two exchanged."""
    words = question.split()
    long_ones = [i for i, word in enumerate(words) if sum(map(str.isalpha, word)) >= 4]
    if not long_ones:
        return question
    i = rng.choice(long_ones)
    words[i] = _misspelt(words[i], rng)
    return " ".join(words)


def _misspelt(word: str, rng: random.Random) -> str:
    letters = [i for i, letter in enumerate(word) if letter in string.ascii_letters]
    i = rng.choice(letters[1:] or letters)
    kind = rng.randrange(5)
    if kind == 0:
        return word[:i] + word[i + 1 :]
    if kind == 1:
        return word[:i] + word[i] + word[i:]
    if kind == 2 and i > 0:
        return word[: i - 1] + word[i] + word[i - 1] + word[i + 1 :]
    near = rng.choice(NEIGHBOURS.get(word[i].lower(), "e"))
    return word[:i] + near + word[i + (kind == 3) :]
