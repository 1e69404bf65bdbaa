"""A generator, which reads a question with a passage and models the tokens of an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ragcore.contracts.component import Component, name_of
from ragcore.errors import ComponentError
from ragcore.types import Passage, Word

if TYPE_CHECKING:
    import torch

__all__ = [
    "Generator",
    "PassageReuser",
    "Read",
    "State",
    "TogetherReader",
    "WordGenerator",
    "end_tokens",
    "needs_passages",
    "unknown_answer",
    "weights_dtype",
]


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
        arguments, for streaming: it returns the text that no further token changes. Where this
        method changes white space, the generator may have a method `decode_verbatim` with the same
        arguments, for stop strings: it returns the text as it was written, line breaks included.
        """
        ...

    def read(self, questions: Sequence[str], passages: Sequence[Passage | None]) -> Read:
        """Read P pairs, questions[i] with passages[i], in one pass of the encoder.

        None in place of a passage means the question alone. A long passage is truncated; the
        question never is. A generator that puts questions into a template may have a method
        `read_prompts(texts)`, for `rag.rewrite`: it reads texts as they are, with no passage.

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


class TogetherReader(Generator, Protocol):
    """A generator with the capability `together`: it reads several passages in one prompt.

    Without it, the passages are joined to one text, which `read` may cut at its end.
    """

    def read_together(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[Passage]],
        *,
        cite: bool = False,
    ) -> Read:
        """Read P prompts, questions[i] with all of passages[i], numbered from 1 in their order.

        No passages mean the question alone, as for `read`. Where a prompt is too long, every
        passage is cut to the same number of tokens, as far as it has so many; the question is not.

        Args:
            questions: of each prompt.
            passages: of each prompt.
            cite: whether to ask that an answer names its passages, such as `[1]`.

        Raises:
            QuestionError: a question alone is longer than the model's input.
            UnsupportedOperation: `cite`, and the generator cannot ask for that.
        """
        ...


class PassageReuser(Generator, Protocol):
    """A generator with the capability `reuse`: it keeps what it computed of passages it read.

    What it keeps is equal to what it would compute again.
    """

    def retain_passages(self, passages: Callable[[Sequence[str]], Mapping[str, Passage]]) -> None:
        """Drop from memory what was computed of passages that a memory no longer has.

        Called when a running pipeline has exchanged its memory and no request reads the old one
        any more, from any thread, while others read.

        Args:
            passages: returns the memory's passages by id, of those ids that it has. A passage
                whose title or text differs is another one.
        """
        ...


def end_tokens(generator: Generator) -> tuple[int, ...]:
    """Return all end tokens of a generator, `eos_token_id` first; that alone is the default."""
    return tuple(getattr(generator, "eos_token_ids", (generator.eos_token_id,)))


def needs_passages(generator: object) -> bool:
    """Return whether a generator answers from passages alone: its member `needs_passages`.

    Without the member it answers a question alone, too, which is closed book.

    Raises:
        ComponentError: the member is neither true nor false.
    """
    needs = getattr(generator, "needs_passages", False)
    if isinstance(needs, bool):
        return needs
    raise ComponentError(
        f"{name_of(generator)}.needs_passages is {needs!r}: expected True, where it has no answer "
        "to a question alone, or False"
    )


def unknown_answer(generator: object) -> str | None:
    """Return what a generator itself answers where a passage has no answer: its member `unknown`.

    It is the value of its setting `unknown`. None where it has no such answer, or does not say.

    Raises:
        ComponentError: the member is not text.
    """
    unknown = getattr(generator, "unknown", None)
    if unknown is None or isinstance(unknown, str):
        return unknown
    raise ComponentError(
        f"{name_of(generator)}.unknown is {unknown!r}: expected the answer that it gives where a "
        "passage has none, as text, or None"
    )


def weights_dtype(generator: object) -> str | None:
    """Return the name of the type of a generator's weights, its member `dtype`; None without one.

    Raises:
        ComponentError: the member is not text.
    """
    dtype = getattr(generator, "dtype", None)
    if dtype is None or isinstance(dtype, str):
        return dtype
    raise ComponentError(
        f"{name_of(generator)}.dtype is {dtype!r}: expected its name as text, such as "
        f"{'bfloat16'!r}, since answers repeat it in JSON"
    )
