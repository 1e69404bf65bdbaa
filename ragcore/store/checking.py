"""Check the passages of a corpus while they are streamed.

Knows what every passage of a memory must have; knows nothing of how passages are stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b

from ragcore.errors import CorpusError
from ragcore.questions.texts import undecodable
from ragcore.types import Passage

__all__ = ["checked_passages"]


def checked_passages(corpus: Iterable[Passage], name: str | None = None) -> Iterator[Passage]:
    """Stream the passages of a corpus, each with an id, unique among them, and a text.

    Holds 16 bytes for each id.

    Args:
        corpus: from a plugin or a caller, so it may yield anything.
        name: under which it is registered, for errors.

    Raises:
        CorpusError: the corpus yields something else than passages, or is no iterable; or a passage
            without id or text, with one that is not Unicode, or with an id that an earlier one has.
    """
    label = "the corpus" if name is None else f"corpus {name!r}"
    seen: set[bytes] = set()
    for number, passage in enumerate(_iterator(corpus, label), start=1):
        _check_type(passage, number, label)
        if not passage.id or not passage.text.strip():
            lacking = "text" if passage.id else "id"
            raise CorpusError(
                f"passage {number} of the corpus (id {passage.id!r}, title {passage.title!r}) has "
                f"an empty {lacking}: give it one or leave the passage out"
            )
        for name in ("id", "title", "text"):
            fault = undecodable(getattr(passage, name))
            if fault is not None:
                raise CorpusError(
                    f"passage {number} of the corpus (id {passage.id!r}): its {name} {fault}"
                )
        digest = blake2b(passage.id.encode("utf-8"), digest_size=16).digest()
        if digest in seen:
            raise CorpusError(
                f"passage {number} of the corpus (title {passage.title!r}) has the id "
                f"{passage.id!r}, which an earlier passage has: ids must be unique"
            )
        seen.add(digest)
        yield passage


def _iterator(corpus: Iterable[Passage], label: str) -> Iterator[Passage]:
    """Return a corpus's iterator; Python's own error about a wrong one names no corpus.

    Raises:
        CorpusError: `__iter__` returns something else, such as a list.
    """
    method = getattr(type(corpus), "__iter__", None)
    if method is None:
        return iter(corpus)
    iterator = method(corpus)
    if not isinstance(iterator, Iterator):
        raise CorpusError(
            f"{label}: its __iter__ returned {_a_value(iterator)} where an iterator is expected: "
            "yield each passage, or return iter(...) of it"
        )
    return iterator


def _check_type(passage: object, number: int, label: str) -> None:
    """Check that a corpus yielded a passage, and that its fields have their types.

    Raises:
        CorpusError: it is something else.
    """
    if not isinstance(passage, Passage):
        raise CorpusError(
            f"{label} yielded {_a_value(passage)} where a ragcore.Passage is expected (item "
            f"{number}): yield Passage(id=…, title=…, text=…)"
        )
    for field in ("id", "title", "text"):
        value = getattr(passage, field)
        if not isinstance(value, str):
            raise CorpusError(
                f"{label} yielded a Passage whose {field} is {_a_value(value)} where text (str) is "
                f"expected (passage {number}, id {passage.id!r})"
            )
    if not isinstance(passage.metadata, Mapping):
        raise CorpusError(
            f"{label} yielded a Passage whose metadata is {_a_value(passage.metadata)} where a "
            f"mapping of names to values is expected (passage {number}, id {passage.id!r})"
        )


def _a_value(value: object) -> str:
    if value is None:
        return "None"
    kind = type(value).__name__
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"
