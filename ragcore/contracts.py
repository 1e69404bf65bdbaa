"""Define the contracts: what a component of each kind must do. Shapes are part of the contract.

B questions, n passages, k passages per question, d dimensions, P (question, passage) pairs, M
decoder rows, T target tokens, V vocabulary. A component never changes the arrays it is passed.

Every component is constructed as `Component(config)` from an instance of its own `Config`, declares
in `capabilities` what it can do beyond the minimum, and raises `UnsupportedOperation` for the rest.
A plugin need not inherit from these classes: having the methods is enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Final,
    Literal,
    Protocol,
    TypeGuard,
    TypeVar,
    runtime_checkable,
)

from ragcore.types import Hits, Passage, Word

if TYPE_CHECKING:
    import torch

    from ragcore.types import Rows, Scores, Vectors


__all__ = [
    "Capability",
    "Capabilities",
    "Component",
    "Corpus",
    "Encoder",
    "Generator",
    "Index",
    "PassageReader",
    "PassageSource",
    "Read",
    "Retriever",
    "Scorer",
    "ScratchUser",
    "State",
    "EmptySpawner",
    "Trainable",
    "TrainableEncoder",
    "TrainableGenerator",
    "TrainableRetriever",
    "VectorSource",
    "WordGenerator",
    "end_tokens",
    "supports",
]

Capability = Literal[
    "add",
    "exact",
    "filter",
    "mmap",
    "passages",
    "remove",
    "scratch",
    "spawn_empty",
    "trainable",
    "uncased",
    "vectors",
    "words",
]
"""The capabilities that ragcore knows; `Component` says what each means."""

Capabilities = frozenset[Capability]


class Component(Protocol):
    """What all components share.

    The capabilities:

    - `add`: takes passages or vectors after the first build;
    - `remove`: forgets rows;
    - `filter`: searches among `allowed` rows only;
    - `exact`: its search equals brute force;
    - `mmap`: reads its files memory-mapped;
    - `passages`: a retriever that reads the memory's passages (PassageReader);
    - `scratch`: a retriever or index that can save its progress on disk while it is built
      (ScratchUser);
    - `spawn_empty`: an index that can make an empty one with the same training (EmptySpawner);
    - `trainable`: an encoder or generator whose weights can be trained, or a retriever whose scores
      carry a gradient (TrainableEncoder, TrainableGenerator, TrainableRetriever);
    - `uncased`: a generator whose text has lost its case;
    - `vectors`: an index that returns its vectors (VectorSource);
    - `words`: a generator whose answers can be restricted to a passage's words (WordGenerator).
    """

    Config: ClassVar[type[Any]]

    @property
    def capabilities(self) -> Capabilities:
        """Say what it can do beyond the minimum; a class attribute is enough."""
        ...


@runtime_checkable
class Corpus(Component, Protocol):
    """A source of passages. Iterating streams them; each iteration starts from the beginning."""

    def __iter__(self) -> Iterator[Passage]:
        """Yield the passages; ids are unique, texts not empty.

        Raises:
            CorpusError: a passage cannot be read or used; names file and line.
        """
        ...


@runtime_checkable
class Encoder(Component, Protocol):
    """Maps texts to vectors whose inner product is the score (paper, section 2.2)."""

    @property
    def dim(self) -> int:
        """Return d, the length of every vector."""
        ...

    @property
    def fingerprint(self) -> str:
        """Name what the passages' vectors depend on: model, revision, pooling, prefix, d."""
        ...

    def encode_passages(self, passages: Sequence[Passage]) -> Vectors:
        """Encode n passages as vectors d(z), float32 [n, d]."""
        ...

    def encode_questions(self, questions: Sequence[str]) -> torch.Tensor:
        """Encode B questions as vectors q(x), float32 [B, d].

        They carry a gradient where the caller has gradients enabled.
        """
        ...


@runtime_checkable
class Index(Component, Protocol):
    """Finds rows by inner product with their vectors. Constructed as `Index(config, dim=d)`."""

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """Add vectors [n, d] under rows [n]; adding a row twice is an error."""
        ...

    def search(self, queries: Vectors, k: int, *, allowed: Rows | None = None) -> Hits:
        """Find the k rows of highest inner product for each query.

        Args:
            queries: float32 [B, d].
            k: hits per query.
            allowed: int64, the only rows to search (capability `filter`).

        Returns:
            Hits [B, k]; rows of equal score are in ascending order.
        """
        ...

    def remove(self, rows: Rows) -> None:
        """Forget rows (capability `remove`)."""
        ...

    def save(self, folder: Path) -> None:
        """Write everything into an existing empty folder."""
        ...

    @classmethod
    def load(cls, folder: Path, config: Any, *, mmap: bool = True) -> Index:
        """Load what `save` wrote; `config` may change settings that only searching depends on."""
        ...


class VectorSource(Index, Protocol):
    """An index with the capability `vectors`."""

    def vectors(self, rows: Rows) -> Vectors:
        """Return the vectors of rows [n], float32 [n, d], bit for bit as they were added."""
        ...


class EmptySpawner(Index, Protocol):
    """An index with the capability `spawn_empty`."""

    def spawn_empty(self) -> Index:
        """Make an empty index with the same training: a vector has the same score in both."""
        ...


@runtime_checkable
class Retriever(Component, Protocol):
    """Finds rows for questions. A dense one has an encoder and an index; BM25 needs neither."""

    @property
    def fingerprint(self) -> str:
        """Name what must be the same when building and when searching: encoder or analyser."""
        ...

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def add(self, rows: Rows, passages: Sequence[Passage]) -> None:
        """Add n passages under rows [n]; called batch by batch while a memory is built."""
        ...

    def search(self, questions: Sequence[str], k: int, *, allowed: Rows | None = None) -> Hits:
        """Find the k best rows for each of B questions.

        Args:
            questions: B questions.
            k: hits per question.
            allowed: int64, the only rows to search (capability `filter`).

        Returns:
            Hits [B, k]; their scores are the logits of p(z|x).
        """
        ...

    def remove(self, rows: Rows) -> None:
        """Forget rows (capability `remove`)."""
        ...

    def save(self, folder: Path) -> None:
        """Write everything into an existing empty folder, subfolders allowed."""
        ...

    @classmethod
    def load(cls, folder: Path, config: Any, *, mmap: bool = True) -> Retriever:
        """Load what `save` wrote, for searching only."""
        ...


class ScratchUser(Protocol):
    """A retriever or index with the capability `scratch`.

    Nothing else uses the folder until the component is saved or discarded. Files that it finds
    there were written by itself, or by an equal component, before an interruption.
    """

    def use_scratch(self, folder: Path) -> int:
        """Keep costly or large intermediate results here; called once, before the first `add`.

        Returns:
            How many passages need no work again, if they are added in the same order as before.
        """
        ...


class PassageSource(Protocol):
    """A memory's passages, for a retriever that reads them."""

    def take(self, rows: Sequence[int]) -> list[Passage]:
        """Return the passages of these rows, in the same order."""
        ...


@runtime_checkable
class PassageReader(Retriever, Protocol):
    """A retriever with the capability `passages`."""

    def use_passages(self, passages: PassageSource) -> None:
        """Read passages from this source; called once, before the first search."""
        ...


@runtime_checkable
class Scorer(Component, Protocol):
    """Scores pairs of question and passage, each independently, as a cross-encoder does."""

    def score(self, questions: Sequence[str], passages: Sequence[Passage]) -> Scores:
        """Score P pairs, questions[i] with passages[i].

        Returns:
            float32 [P], finite, higher is better: logits of p(z|x).
        """
        ...


class Read(Protocol):
    """A generator's result of reading P pairs, such as encoder states."""

    def __len__(self) -> int:
        """Return P, the number of pairs."""
        ...


class State(Protocol):
    """M decoder rows being decoded, with their caches."""

    def select(self, rows: torch.Tensor) -> None:
        """Keep rows [M'] int64, in this order; a row may appear more than once."""
        ...


@runtime_checkable
class Generator(Component, Protocol):
    """Models p_θ(y_i|x,z,y_<i): reads a question with one passage, returns log-probs of tokens.

    Targets are token ids without the start token and with the end token. Log-probs are float32 and
    normalised over the vocabulary.
    """

    @property
    def device(self) -> torch.device:
        """Return the device it computes on; pairs and tokens are best passed on it."""
        ...

    @property
    def vocabulary_size(self) -> int:
        """Return V, the width of `step`'s rows."""
        ...

    @property
    def eos_token_id(self) -> int:
        """Return the token that ends an answer.

        A model that has several end tokens names all of them in `eos_token_ids`, a sequence of
        distinct ids with this one first; `end_tokens` gives the default. An answer ends by any of
        them: `step`, `score` and `score_all` return for this token the log of the sum of all their
        probabilities, and -inf for the others, which no target holds.
        """
        ...

    @property
    def forced_bos_token_id(self) -> int | None:
        """Return the token that every answer must begin with, as BART's do; None for no token."""
        ...

    def encode_answers(self, answers: Sequence[str]) -> list[list[int]]:
        """Encode each answer as target ids, the end token last."""
        ...

    def decode_tokens(self, token_ids: Sequence[int]) -> str:
        """Decode target ids to text, without special tokens.

        Where an answer's text so far may change by further tokens in more than its last character,
        as that of word pieces, the generator may have a method `decode_prefix` with the same
        arguments, for streaming: it returns the text that no further token changes.
        """
        ...

    def read(self, questions: Sequence[str], passages: Sequence[Passage | None]) -> Read:
        """Read P pairs, questions[i] with passages[i], in one pass of the encoder.

        None in place of a passage means the question alone. A long passage is truncated; the
        question never is.

        Raises:
            QuestionError: a question alone is longer than the model's input.
        """
        ...

    def score(self, read: Read, pairs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Score targets by teacher forcing; differentiable.

        Args:
            read: the result of `read`.
            pairs: int64 [M], the pair that each row reads.
            targets: int64 [M, T], ending with the end token and padded with -1.

        Returns:
            log p(y_i|x,z,y_<i), float32 [M, T]; 0.0 where the target is padded.
        """
        ...

    def start(self, read: Read, pairs: torch.Tensor) -> State:
        """Make decoder rows for pairs [M], with nothing decoded yet."""
        ...

    def step(self, state: State, tokens: torch.Tensor | None) -> torch.Tensor:
        """Feed one token to each row and return the log-probs of the next.

        Args:
            state: the M decoder rows; changed in place.
            tokens: int64 [M]; None at the first step.

        Returns:
            log p(y_i|x,z,y_<i), float32 [M, V]. The step after the next may overwrite it.
        """
        ...


class WordGenerator(Generator, Protocol):
    """A generator with the capability `words`: its answers can be restricted to passages' words."""

    def encode_words(self, texts: Sequence[str]) -> list[list[Word]]:
        """Return how each text's words are written in an answer."""
        ...


class Trainable(Protocol):
    """What an encoder or a generator with the capability `trainable` adds to its contract."""

    def trained_module(self) -> torch.nn.Module:
        """Return the module whose weights training changes: the same object at every call.

        For an encoder this is the question side alone, so that passages' vectors stay as they are
        (paper, section 2.4). Where both sides share weights, the first call gives the question
        side a copy of its own.
        """
        ...

    def save_trained(self, folder: Path) -> dict[str, str]:
        """Write the weights, and everything needed to load them, into an existing empty folder.

        Returns:
            The config keys that load them: {key: a path inside `folder`, "." for `folder`}.
        """
        ...


@runtime_checkable
class TrainableEncoder(Trainable, Encoder, Protocol):
    """An encoder with the capability `trainable`."""

    def passage_module(self) -> torch.nn.Module:
        """Return the module that encodes passages, for a trainer that refreshes the index."""
        ...

    def encode_passages_with_grad(self, passages: Sequence[Passage]) -> torch.Tensor:
        """Encode n passages as a tensor [n, d], with gradient where the caller has it enabled."""
        ...


@runtime_checkable
class TrainableGenerator(Trainable, Generator, Protocol):
    """A generator with the capability `trainable`."""

    def score_all(self, read: Read, pairs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Score every token of the vocabulary at each target position; differentiable.

        Label smoothing needs it. Arguments as `score`, which returns these values at the targets.

        Returns:
            log p(v|x,z,y_<i), float32 [M, T, V]; undefined where a target is padded.
        """
        ...


class TrainableRetriever(Retriever, Protocol):
    """A retriever with the capability `trainable`."""

    def trained_encoder(self) -> TrainableEncoder:
        """Return the encoder of the questions."""
        ...

    def use_encoder(self, encoder: TrainableEncoder) -> None:
        """Encode questions with this encoder from now on; its vectors must fit the passages'."""
        ...

    def search_with_grad(self, questions: Sequence[str], k: int) -> tuple[Hits, torch.Tensor]:
        """Search, and compute the scores of the hits once more, with gradient.

        Returns:
            Hits [B, k], as `search` finds them, and their scores d(z)ᵀq(x) from the stored vectors,
            [B, k] with gradient; -inf where a hit is missing.
        """
        ...


_EXTENSIONS: Final[dict[type[Any], Capability]] = {
    EmptySpawner: "spawn_empty",
    PassageReader: "passages",
    ScratchUser: "scratch",
    TrainableEncoder: "trainable",
    TrainableGenerator: "trainable",
    TrainableRetriever: "trainable",
    VectorSource: "vectors",
    WordGenerator: "words",
}
"""Each protocol that extends a contract, with the capability that promises it."""


def end_tokens(generator: Generator) -> tuple[int, ...]:
    """Return all end tokens of a generator, `eos_token_id` first; that alone is the default."""
    return tuple(getattr(generator, "eos_token_ids", (generator.eos_token_id,)))


E = TypeVar("E")


def supports(component: Any, extension: type[E]) -> TypeGuard[E]:
    """Return whether a component declares the capability that an extension belongs to.

    Args:
        component: of any kind.
        extension: one of the protocols above that extend a contract, such as `VectorSource`.
    """
    return _EXTENSIONS[extension] in component.capabilities
