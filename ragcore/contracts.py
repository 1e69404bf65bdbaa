"""The contracts: what a component of each kind must do. Shapes are part of the contract.

B questions, n passages, k passages asked for, d dimensions, P (question, passage) pairs, M decoder
rows, T target tokens, V vocabulary. Arrays handed in are never changed.

Every component is made as `Component(config)` from an instance of its own `Config`, declares in
`capabilities` what it can do beyond the minimum, and raises `UnsupportedOperation` for the rest.
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

    Capabilities in use: `add` (after the first build), `remove`, `filter` (search with `allowed`),
    `exact` (search equals brute force), `mmap`, `passages` (a retriever that reads the memory's
    passages: see PassageReader), `scratch` (a retriever or an index that can keep on disk what
    it works out while it is built: see ScratchUser), `spawn_empty` (an index that can be followed
    by another of the same training: see EmptySpawner), `trainable` (an encoder or generator whose
    weights can be trained, a retriever whose scores carry a gradient: see TrainableEncoder,
    TrainableGenerator, TrainableRetriever), `uncased` (a generator whose text has lost its
    case), `vectors` (an index that gives its vectors back: see VectorSource), `words` (a
    generator that can be kept to a passage's words).
    """

    Config: ClassVar[type[Any]]

    @property
    def capabilities(self) -> Capabilities:
        """What it can do beyond the minimum; a class attribute will do."""
        ...


@runtime_checkable
class Corpus(Component, Protocol):
    """Where passages come from. Iterating streams them; each iteration begins anew."""

    def __iter__(self) -> Iterator[Passage]:
        """The passages, ids unique, text not empty. Raises `CorpusError` with file and line."""
        ...


@runtime_checkable
class Encoder(Component, Protocol):
    """Texts to vectors, so that the inner product of question and passage is the score."""

    @property
    def dim(self) -> int:
        """d, the length of every vector."""
        ...

    @property
    def fingerprint(self) -> str:
        """Names what the passages' vectors depend on: model, revision, pooling, prefix, d."""
        ...

    def encode_passages(self, passages: Sequence[Passage]) -> Vectors:
        """Vectors d(z), float32 [n, d]."""
        ...

    def encode_questions(self, questions: Sequence[str]) -> torch.Tensor:
        """Vectors q(x), float32 [B, d]; with gradient where the caller has gradients enabled."""
        ...


@runtime_checkable
class Index(Component, Protocol):
    """Vectors to rows, by inner product. Made as `Index(config, dim=d)`."""

    def __len__(self) -> int:
        """How many rows it holds."""
        ...

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """Add vectors [n, d] under rows [n]; a row that is already there is an error."""
        ...

    def search(self, queries: Vectors, k: int, *, allowed: Rows | None = None) -> Hits:
        """The k rows of highest inner product for each of queries [B, d], ties by row.

        `allowed` (capability `filter`) restricts the search to these rows.
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
        """What `save` wrote; `config` may say other search-time settings than at build time."""
        ...


class VectorSource(Index, Protocol):
    """What an index with the capability `vectors` has besides the contract's methods."""

    def vectors(self, rows: Rows) -> Vectors:
        """The vectors of rows [n], float32 [n, d], bit for bit as they were added."""
        ...


class EmptySpawner(Index, Protocol):
    """What an index with the capability `spawn_empty` has besides the contract's methods."""

    def spawn_empty(self) -> Index:
        """An empty index with the same training, so that a vector scores in it as in this one."""
        ...


@runtime_checkable
class Retriever(Component, Protocol):
    """Questions to rows. A dense one is an encoder and an index; BM25 stands on its own."""

    @property
    def fingerprint(self) -> str:
        """What must agree between building and asking: the encoder's, or the analyser's."""
        ...

    def __len__(self) -> int:
        """How many rows it holds."""
        ...

    def add(self, rows: Rows, passages: Sequence[Passage]) -> None:
        """Add passages under rows [n]; called batch by batch while a memory is built."""
        ...

    def search(self, questions: Sequence[str], k: int, *, allowed: Rows | None = None) -> Hits:
        """The k best rows of each question, [B, k]; scores serve as logits of p(z|x)."""
        ...

    def remove(self, rows: Rows) -> None:
        """Forget rows (capability `remove`)."""
        ...

    def save(self, folder: Path) -> None:
        """Write everything into an existing empty folder, subfolders allowed."""
        ...

    @classmethod
    def load(cls, folder: Path, config: Any, *, mmap: bool = True) -> Retriever:
        """What `save` wrote, read-only."""
        ...


class ScratchUser(Protocol):
    """What a retriever or index with the capability `scratch` has besides the contract's methods.

    The folder is its own until it is saved or given up. What it finds there it, or an equal one,
    wrote before it was killed.
    """

    def use_scratch(self, folder: Path) -> int:
        """Keep there what is costly or large; called once, before the first `add`.

        Returns:
            For how many passages nothing need be worked out again, if they are added as before.
        """
        ...


class PassageSource(Protocol):
    """Where a retriever reads passages, as a memory has them."""

    def take(self, rows: Sequence[int]) -> list[Passage]:
        """The passages of rows, in the order asked for."""
        ...


@runtime_checkable
class PassageReader(Retriever, Protocol):
    """What a retriever with the capability `passages` has besides the contract's methods."""

    def use_passages(self, passages: PassageSource) -> None:
        """Read passages from here; called once, before the first search."""
        ...


@runtime_checkable
class Scorer(Component, Protocol):
    """Scores questions with passages, each pair for itself, as a cross-encoder does."""

    def score(self, questions: Sequence[str], passages: Sequence[Passage]) -> Scores:
        """Scores of P pairs, questions[i] with passages[i], float32 [P]; finite, higher is better.

        They serve as logits of p(z|x).
        """
        ...


class Read(Protocol):
    """What a generator keeps of the pairs that it has read, such as encoder states."""

    def __len__(self) -> int:
        """P, the number of pairs."""
        ...


class State(Protocol):
    """Decoder rows under way, with their caches."""

    def select(self, rows: torch.Tensor) -> None:
        """Keep rows [M'] int64, in this order; one may appear more than once."""
        ...


@runtime_checkable
class Generator(Component, Protocol):
    """p_θ(y_i | x, z, y_<i): reads a question with one passage, gives next-token log-probs.

    Targets are token ids without the start token and with the end token. Every method that gives
    log-probs gives a normalised distribution over the vocabulary, float32.
    """

    @property
    def device(self) -> torch.device:
        """Where it computes; pairs and tokens are best handed in there."""
        ...

    @property
    def vocabulary_size(self) -> int:
        """V, the width of `step`'s rows."""
        ...

    @property
    def eos_token_id(self) -> int:
        """The token that ends an answer."""
        ...

    @property
    def forced_bos_token_id(self) -> int | None:
        """A token that every answer must begin with (BART's checkpoints have one), or None."""
        ...

    def encode_answers(self, answers: Sequence[str]) -> list[list[int]]:
        """Target ids of each answer, the end token last."""
        ...

    def decode_tokens(self, token_ids: Sequence[int]) -> str:
        """The text of target ids, without special tokens."""
        ...

    def read(self, questions: Sequence[str], passages: Sequence[Passage | None]) -> Read:
        """Read P pairs, questions[i] with passages[i]; None stands for no passage at all.

        One encoder pass over all pairs. The question is never cut: a long passage is.

        Raises:
            QuestionError: a question alone is longer than the model's input.
        """
        ...

    def score(self, read: Read, pairs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Teacher-forced log p(y_i|x,z,y_<i), float32 [M, T]; differentiable.

        Args:
            read: what `read` gave.
            pairs: int64 [M], the pair that each row reads.
            targets: int64 [M, T], ended by the end token and padded with -1; 0.0 where padded.
        """
        ...

    def start(self, read: Read, pairs: torch.Tensor) -> State:
        """Decoder rows for pairs [M], nothing decoded yet."""
        ...

    def step(self, state: State, tokens: torch.Tensor | None) -> torch.Tensor:
        """Feed one token to each row, int64 [M] (None at the first step); next log p [M, V].

        What it gave may be overwritten by the step after the next.
        """
        ...


class WordGenerator(Generator, Protocol):
    """A generator with the capability `words`: its answers can be kept to passages' words."""

    def encode_words(self, texts: Sequence[str]) -> list[list[Word]]:
        """Return how each text's words are written in an answer."""
        ...


class Trainable(Protocol):
    """What an encoder or a generator with the capability `trainable` has besides its contract."""

    def trained_module(self) -> torch.nn.Module:
        """The weights that training changes, as they are used: the same object at every call.

        Of an encoder the question side alone, so that passages' vectors stay as they are (paper,
        section 2.4); where both sides share their weights, they are parted by the first call.
        """
        ...

    def save_trained(self, folder: Path) -> dict[str, str]:
        """Write the weights, and all that loading them takes, into an existing empty folder.

        Returns:
            What its config says from now on: {key: a path inside `folder`, "." for itself}.
        """
        ...


@runtime_checkable
class TrainableEncoder(Trainable, Encoder, Protocol):
    """An encoder with the capability `trainable`."""

    def passage_module(self) -> torch.nn.Module:
        """The weights that passages are encoded with, for a trainer that refreshes the index."""
        ...

    def encode_passages_with_grad(self, passages: Sequence[Passage]) -> torch.Tensor:
        """As `encode_passages`, as a tensor, with gradient where the caller has gradients on."""
        ...


@runtime_checkable
class TrainableGenerator(Trainable, Generator, Protocol):
    """A generator with the capability `trainable`."""

    def score_all(self, read: Read, pairs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """log p(v|x,z,y_<i) for every token v of the vocabulary, [M, T, V]; differentiable.

        As `score`, which is this at the targets; what stands where a target is padded is of no
        meaning. Label smoothing needs it.
        """
        ...


class TrainableRetriever(Retriever, Protocol):
    """What a retriever with the capability `trainable` has besides the contract's methods."""

    def trained_encoder(self) -> TrainableEncoder:
        """What encodes the questions."""
        ...

    def use_encoder(self, encoder: TrainableEncoder) -> None:
        """Encode questions with this from now on; its vectors must fit the passages'."""
        ...

    def search_with_grad(self, questions: Sequence[str], k: int) -> tuple[Hits, torch.Tensor]:
        """As `search`, with the scores of the same hits once more, computed with gradient.

        Returns:
            The hits, and d(z)ᵀq(x) of each from the stored vectors, [B, k]; -inf where a hit is
            missing.
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
"""The protocols that extend a contract, and the capability that promises each."""

E = TypeVar("E")


def supports(component: Any, extension: type[E]) -> TypeGuard[E]:
    """Return whether a component declares the capability that an extension belongs to.

    Args:
        component: of any kind.
        extension: one of the protocols above that extend a contract, such as `VectorSource`.
    """
    return _EXTENSIONS[extension] in component.capabilities
