"""What all components share: construction from a `Config`, and capabilities."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, ClassVar, Final, Literal, Protocol
from weakref import WeakKeyDictionary

__all__ = ["Capabilities", "Capability", "Component", "name_of", "remember_name"]


Capability = Literal[
    "add",
    "answerability",
    "cache",
    "cite",
    "compact",
    "documents",
    "exact",
    "filter",
    "index_training",
    "join",
    "merge",
    "mmap",
    "parts",
    "passages",
    "remote",
    "remove",
    "reuse",
    "scratch",
    "spawn_empty",
    "stream",
    "together",
    "tokenizer",
    "trainable",
    "uncased",
    "vectors",
    "where",
    "width",
    "words",
]
"""The capabilities that ragcore knows; `Component` says what each means."""

Capabilities = frozenset[Capability]


class Component(Protocol):
    """What all components share.

    The capabilities:

    - `add`: takes passages or vectors after the first build;
    - `answerability`: a scorer that tells how probable a passage has no answer
      (AnswerabilityScorer);
    - `cache`: a retriever that can take vectors of passages from the embedding cache (CacheUser);
    - `cite`: a generator with `together` that can ask for answers which name their passages;
    - `compact`: a retriever that can leave removed rows out of its files, and join their parts
      (CompactingRetriever);
    - `documents`: a corpus that tells which document each passage belongs to (DocumentCorpus);
    - `remove`: forgets rows;
    - `filter`: searches among `allowed` rows only;
    - `exact`: its search equals brute force;
    - `index_training`: a retriever whose index is trained, which can be done before it is built
      (IndexTrainer);
    - `join`: an index that can write several saved ones as one (JoiningIndex);
    - `merge`: a retriever that can write several saved ones as one (MergingRetriever);
    - `mmap`: reads its files memory-mapped;
    - `parts`: a corpus of which a part can be read alone (DividedCorpus);
    - `passages`: a retriever that reads the memory's passages (PassageReader);
    - `remote`: an index whose data lie in a database (RemoteData); its class declares it;
    - `reuse`: a generator that keeps what it computed of passages (PassageReuser);
    - `scratch`: a retriever or index that can save its progress on disk while it is built
      (ScratchUser);
    - `spawn_empty`: an index that can make an empty one with the same training (EmptySpawner);
    - `stream`: a generator of texts that yields a text as it is written (StreamingGenerator);
    - `together`: a generator that reads several passages in one prompt (TogetherReader);
    - `tokenizer`: an encoder or retriever that has a tokenizer of passages, or a corpus that needs
      one to split texts (TokenizedEncoder, TokenizedRetriever, TokenizerUser);
    - `trainable`: an encoder or generator whose weights can be trained, or a retriever whose scores
      carry a gradient (TrainableEncoder, TrainableGenerator, TrainableRetriever);
    - `uncased`: a generator whose text has lost its case;
    - `vectors`: an index that returns its vectors (VectorSource);
    - `where`: an index or retriever that can evaluate some filters itself, in place of a list of
      rows (FilteringIndex, FilteringRetriever);
    - `width`: an index that can be told for each search how many candidates to consider
      (GraphIndex);
    - `words`: a generator whose answers can be restricted to a passage's words (WordGenerator).
    """

    Config: ClassVar[type[Any]]

    @property
    def capabilities(self) -> Capabilities:
        """Say what it can do beyond the minimum; a class attribute is enough."""
        ...


_NAMES: Final[WeakKeyDictionary[Any, str]] = WeakKeyDictionary()


def remember_name(component: object, name: str) -> None:
    """Remember by which name a pipeline file calls a component, for messages."""
    # Not every object can be referred to weakly, and not every one is a key.
    with suppress(TypeError):
        _NAMES[component] = name


def name_of(component: object) -> str:
    """Return what a pipeline file calls a component; the name of its class where none does."""
    name = None
    with suppress(TypeError):
        name = _NAMES.get(component)
    return name or type(component).__name__
