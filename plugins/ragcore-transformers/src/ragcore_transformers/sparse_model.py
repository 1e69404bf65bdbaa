"""A `SparseEncoder` of sentence-transformers: the weights of a vocabulary's terms for each text.

Decides which text is encoded and how many terms it keeps. Models: SPLADE (Formal et al. 2021), ones
whose questions need no forward pass but a weight for each token (Geng et al. 2024), and any other
of the library's. Knows nothing of rows, postings or memories.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import torch
from sentence_transformers import SparseEncoder
from sentence_transformers.sparse_encoder.modules import (
    Router,
    SparseAutoEncoder,
    SparseStaticEmbedding,
)

from ragcore.contracts import ANY_LENGTH
from ragcore.corpora.tokenizer import PassageTokenizer
from ragcore.errors import PluginError, UnsupportedOperation
from ragcore.process.fork import new_lock
from ragcore.types import Passage
from ragcore_transformers.batching import batches_by_length
from ragcore_transformers.configs import SparseConfig
from ragcore_transformers.loading import (
    cut_model_card,
    explained,
    pick_device,
    refuse_random,
    weights_digest,
)
from ragcore_transformers.precision import described, prepare
from ragcore_transformers.speed import encoder_lines
from ragcore_transformers.tokenizing import LengthCounter, passage_texts

if TYPE_CHECKING:
    import numpy.typing as npt

    from ragcore.types import Scores

__all__ = ["SparseModel", "SparseRows"]

_SIMILARITIES: Final = ("dot", "cosine")


@dataclass(frozen=True, slots=True)
class SparseRows:
    """Sparse vectors of n texts, with P numbers that are not 0.

    Attributes:
        terms: int32 [P], the numbers of terms, text after text, ascending in each.
        weights: float32 [P].
        lengths: int64 [n], how many terms each text has.
    """

    terms: npt.NDArray[np.int32]
    weights: Scores
    lengths: npt.NDArray[np.int64]

    def __iter__(self) -> Iterator[tuple[npt.NDArray[np.int32], Scores]]:
        """Yield each text's terms and weights."""
        ends = np.cumsum(self.lengths)
        for begin, end in zip(ends - self.lengths, ends, strict=True):
            yield self.terms[begin:end], self.weights[begin:end]


class SparseModel:
    """Encodes questions and passages; retrievers of an equal config share it, as encoders are.

    `model` is the library's own object. Several threads may use it and take turns.

    Raises:
        PluginError: the model cannot be loaded, or compares texts by another measure than inner
            product or cosine.
    """

    Config: ClassVar[type[SparseConfig]] = SparseConfig
    capabilities: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config: SparseConfig) -> None:
        self.config = config
        with explained(config.model, PluginError, config.revision) as source:
            model = self._load(source)
            digest = weights_digest(model)
            if any(isinstance(module, SparseAutoEncoder) for module in model.modules()):
                refuse_random(config.model, model, lambda: self._load(source), "SparseEncoder")
        self._similarity: Final = str(model.similarity_fn_name)
        if self._similarity not in _SIMILARITIES:
            raise PluginError(
                f"model {config.model!r} compares texts by {self._similarity}: retriever 'sparse' "
                f"takes models that do so by {' or '.join(_SIMILARITIES)}"
            )
        prompts = model.prompts
        self._question_prompt = _prompt(config.question_prompt, prompts.get("query"))
        self._passage_prompt = _prompt(config.passage_prompt, prompts.get("document"))
        self._max_terms: Final = config.max_active_dims or model.max_active_dims
        self._max_question_terms: Final = config.question_max_active_dims or model.max_active_dims
        # A call changes the tokenizer's padding and truncation, which two threads would share.
        self._lock = new_lock()
        precision = prepare((config.model, model, self._probe), config.dtype)
        self.model: SparseEncoder = precision.model
        self._dtype: Final = precision.dtype
        self.dim: Final = self._dense(self.model.encode_document, ["a"], "", None).shape[1]
        layers = "+".join(type(module).__name__ for module in _passage_modules(self.model))
        self.fingerprint: Final = (
            f"sparse({layers},weights={digest},similarity={self._similarity},"
            f"passage={self._passage_prompt!r},template={config.passage_template!r},"
            f"tokens={self._limit},terms={self._max_terms},dim={self.dim}{described(precision)})"
        )

    @cached_property
    def tokenizer(self) -> PassageTokenizer:
        """The tokenizer of passages, with prompt and template; see `TokenizedRetriever`.

        Raises:
            UnsupportedOperation: it has no fast form.
        """
        counter = self._counter
        if counter is None or counter.backend is None:
            raise UnsupportedOperation.of("retriever 'sparse'", "tokenizer")
        return PassageTokenizer(
            counter.backend,
            limit=self._limit,
            around=self._around,
            prompt=self._passage_prompt,
            template=self.config.passage_template,
        )

    def encode_passages(self, passages: Sequence[Passage]) -> SparseRows:
        """Return the terms of n passages; a passage without title is its text alone."""
        return self._encode(
            self.model.encode_document,
            self._texts(passages),
            self._passage_prompt,
            self._max_terms,
        )

    def encode_questions(self, questions: Sequence[str]) -> SparseRows:
        """Return the terms of questions."""
        return self._encode(
            self.model.encode_query,
            list(questions),
            self._question_prompt,
            self._max_question_terms,
        )

    def count_cut(self, passages: Sequence[Passage]) -> int:
        """Return how many passages have more tokens than the model reads."""
        if self._limit is None or self._counter is None:
            return 0
        texts = [self._passage_prompt + text for text in self._texts(passages)]
        # The counter counts the tokens around a text, also where the model reads none.
        return self._counter.longer(self._limit + self._added - self._around, texts)

    def speed_report(self) -> list[str]:
        """Say which dtype and kernels it uses, a line each."""
        part = (self._dtype, self.model)
        return encoder_lines(self.config.dtype, part, part)

    @cached_property
    def _counter(self) -> LengthCounter | None:
        tokenizer = getattr(_passage_modules(self.model)[0], "tokenizer", None)
        return LengthCounter(tokenizer) if hasattr(tokenizer, "all_special_tokens") else None

    @cached_property
    def _limit(self) -> int | None:
        """The most tokens of a passage that are read; None for any number."""
        first: Any = _passage_modules(self.model)[0]
        limit = getattr(first, "max_seq_length", None)
        if isinstance(first, SparseStaticEmbedding):
            tokenizer: Any = first.tokenizer
            limit = tokenizer.model_max_length
        return None if limit is None or limit >= ANY_LENGTH else int(limit)

    @cached_property
    def _added(self) -> int:
        """How many tokens the tokenizer puts around a text, if it is asked to."""
        if self._counter is None or self._counter.backend is None:
            return 0
        return int(self._counter.backend.num_special_tokens_to_add(is_pair=False))

    @property
    def _around(self) -> int:
        """How many tokens are around a text that the model reads."""
        is_static = isinstance(_passage_modules(self.model)[0], SparseStaticEmbedding)
        return 0 if is_static else self._added

    def _load(self, source: str) -> SparseEncoder:
        config = self.config
        model = SparseEncoder(
            source,
            device=str(pick_device(config.device, PluginError)),
            trust_remote_code=False,
            revision=config.revision,
            model_kwargs={"use_safetensors": True},
        ).eval()
        if config.max_tokens is not None:
            for first in _first_modules(model):
                first.max_seq_length = config.max_tokens
                if isinstance(first, SparseStaticEmbedding):
                    tokenizer: Any = first.tokenizer
                    tokenizer.model_max_length = config.max_tokens
        cut_model_card(model)
        return model

    def _texts(self, passages: Sequence[Passage]) -> list[str]:
        return passage_texts(passages, self.config.passage_template)

    def _probe(self, model: SparseEncoder, texts: list[str]) -> torch.Tensor:
        """Return dense vectors by the ways of passages and of questions, [2n, d]."""
        encoders = model.encode_document, model.encode_query
        return torch.cat([self._dense(encode, texts, "", None) for encode in encoders])

    def _encode(
        self, encode: Callable[..., Any], texts: list[str], prompt: str, most: int | None
    ) -> SparseRows:
        """Return the terms of texts.

        Raises:
            PluginError: the model gives a number that is not finite.
        """
        if not texts:
            return SparseRows(np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(0, np.int64))
        rows: list[tuple[npt.NDArray[np.int32], Scores]] = [(None, None)] * len(texts)  # type: ignore[list-item]
        batches = batches_by_length(
            [len(text) for text in texts],
            self.config.batch_size,
            device=self.model.device,
            limit=self._limit,
        )
        for numbers in batches:
            vectors = self._dense(encode, [texts[number] for number in numbers], prompt, most)
            if self._similarity == "cosine":
                vectors = torch.nn.functional.normalize(vectors, dim=1)
            if not torch.isfinite(vectors).all():
                raise PluginError(
                    f"model {self.config.model!r} gave a weight that is NaN or infinite: expected "
                    "finite numbers"
                )
            owners, terms = (part.cpu().numpy() for part in vectors.nonzero(as_tuple=True))
            weights = vectors[vectors != 0].cpu().numpy()
            cuts = np.searchsorted(owners, np.arange(1, len(numbers)))
            parts = zip(
                np.split(terms.astype(np.int32), cuts), np.split(weights, cuts), strict=True
            )
            for number, part in zip(numbers, parts, strict=True):
                rows[number] = part
        return SparseRows(
            np.concatenate([terms for terms, _ in rows]),
            np.concatenate([weights for _, weights in rows]),
            np.array([len(terms) for terms, _ in rows], np.int64),
        )

    def _dense(
        self, encode: Callable[..., Any], texts: list[str], prompt: str, most: int | None
    ) -> torch.Tensor:
        """Return the vectors of one batch, float32 [n, d]."""
        with self._lock:
            vectors: torch.Tensor = encode(
                texts,
                prompt=prompt,
                batch_size=len(texts),
                show_progress_bar=False,
                convert_to_sparse_tensor=False,
                max_active_dims=most,
            )
        return vectors.float()


def _prompt(prompt: str | None, default: str | None) -> str:
    return (default or "") if prompt is None else prompt


def _first_modules(model: SparseEncoder) -> list[Any]:
    """Return the modules that read texts: one, or one for each way through a `Router`."""
    first = model[0]
    if not isinstance(first, Router):
        return [first]
    ways: dict[str, Any] = dict(first.sub_modules.items())
    # A module can be part of several ways.
    return list({id(way[0]): way[0] for way in ways.values()}.values())


def _passage_modules(model: SparseEncoder) -> list[Any]:
    """Return the modules that a passage passes, in order."""
    first, *others = model.children()
    if isinstance(first, Router):
        ways: dict[str | None, Any] = dict(first.sub_modules.items())
        name = "document" if "document" in ways else first.default_route
        return [*ways[name], *others]
    return [first, *others]
