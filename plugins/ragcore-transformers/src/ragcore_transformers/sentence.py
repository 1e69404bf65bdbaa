"""The encoder `sentence-transformers`: any model of that library, as vectors of inner products.

Decides which text is encoded and how vectors are normalised; pooling is the model's own.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, cast

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer

from ragcore.corpora.tokenizer import PassageTokenizer
from ragcore.errors import PluginError, UnsupportedOperation
from ragcore.types import Passage
from ragcore_transformers.batching import encode_by_length
from ragcore_transformers.configs import SentenceConfig
from ragcore_transformers.loading import (
    cut_model_card,
    explained,
    pick_device,
    weights_digest,
    without_bars,
)
from ragcore_transformers.packed import unpack_model
from ragcore_transformers.plain import wide
from ragcore_transformers.plain_tokens import own_backend
from ragcore_transformers.precision import (
    Precision,
    chosen_dtype,
    described,
    prepare_both,
    trainable,
    with_chosen_dtype,
)
from ragcore_transformers.speed import encoder_lines
from ragcore_transformers.tokenizing import LengthCounter, passage_texts

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["SentenceTransformers"]


class SentenceTransformers:
    """See `ragcore.contracts.Encoder`.

    `model` is the library's own object, in eval mode until a trainer says otherwise.

    Raises:
        PluginError: the model cannot be loaded.
    """

    Config: ClassVar[type[SentenceConfig]] = SentenceConfig
    capabilities: frozenset[str] = frozenset({"tokenizer", "trainable"})

    def __init__(self, config: SentenceConfig) -> None:
        self.config = config
        model = self._load(config.model)
        question_model = (
            model if config.question_model is None else self._load(config.question_model)
        )
        prompts = model.prompts
        self._passages_trained = False
        tokenizer = getattr(model, "tokenizer", None)
        # The average of word vectors has another kind, and reads any length.
        counts = hasattr(tokenizer, "all_special_tokens")
        self._counter: Final = LengthCounter(tokenizer) if counts else None
        # Static embeddings have a tokenizer of the Rust library.
        self._fast: Final = isinstance(tokenizer, Tokenizer) or getattr(tokenizer, "is_fast", False)
        if not self._fast:
            self.capabilities = self.capabilities - {"tokenizer"}
        self._question_prompt = _prompt(config.question_prompt, prompts.get("query"))
        self._passage_prompt = _prompt(config.passage_prompt, prompts.get("document"))
        self._normalize: Final = _normalizes(config, model)
        self.dim: Final = _width(config, config.model, model)
        question_name = config.question_model or config.model
        if _width(config, question_name, question_model) != self.dim:
            raise PluginError(
                f"question_model {config.question_model!r} gives vectors of "
                f"{question_model.get_embedding_dimension()} dimensions and model "
                f"{config.model!r} of {self.dim}: they must be trained together"
            )
        # Of the weights as they are stored, whatever they are computed in.
        digest = weights_digest(model)
        questions, passages = prepare_both(
            config,
            (config.model, model, self._vectors),
            (question_name, question_model, self._vectors),
        )
        self.model: SentenceTransformer = passages.model
        self.question_model: SentenceTransformer = questions.model
        self._chosen: Final = chosen_dtype(config, passages)
        if questions.dtype == "int8":
            self.capabilities = self.capabilities - {"trainable"}
        self._questions, self._passages = questions, passages
        self.fingerprint: Final = self._describe(digest, passages)

    @cached_property
    def tokenizer(self) -> PassageTokenizer:
        """The tokenizer of passages, with prompt and template; see `TokenizedEncoder`.

        Raises:
            UnsupportedOperation: the model splits texts in another way.
        """
        if not self._fast:
            raise UnsupportedOperation.of("encoder 'sentence-transformers'", "tokenizer")
        around, limit = 0, self.model.max_seq_length
        if self._counter is None:
            backend = own_backend(self.model.tokenizer)
            limit = (self.model.tokenizer.truncation or {}).get("max_length")
        else:
            backend = self._counter.backend
            around = backend.num_special_tokens_to_add(is_pair=False)
        return PassageTokenizer(
            backend,
            limit=limit,
            around=around,
            prompt=self._passage_prompt,
            template=self.config.passage_template,
        )

    def chosen(self) -> dict[str, str]:
        """Return what a memory keeps of the passages' precision; see `with_chosen`."""
        return self._chosen

    @classmethod
    def with_chosen(cls, config: SentenceConfig, chosen: Mapping[str, str]) -> SentenceConfig:
        """Return the config for a memory that was built with `chosen`."""
        return with_chosen_dtype(config, chosen)

    def speed_report(self) -> list[str]:
        """Say which dtypes and kernels it uses, a line each."""
        return encoder_lines(
            self.config.dtype,
            (self._questions.dtype, self.question_model),
            (self._passages.dtype, self.model),
        )

    @property
    def max_input_tokens(self) -> int | None:
        """The most tokens of a text that are read; None where the models have no limit."""
        limits = [model.max_seq_length for model in (self.model, self.question_model)]
        return min((limit for limit in limits if limit is not None), default=None)

    def encode_passages(self, passages: Sequence[Passage]) -> npt.NDArray[np.float32]:
        """Return vectors d(z), float32 [n, d]; a passage without title is its text alone."""
        with torch.inference_mode():
            return self.encode_passages_with_grad(passages).cpu().numpy()

    def encode_passages_with_grad(self, passages: Sequence[Passage]) -> torch.Tensor:
        """Return vectors d(z), [n, d], on the model's device; see `TrainableEncoder`."""
        if not passages:
            return torch.zeros(0, self.dim, device=self.model.device)
        return self._encode(self.model, self._texts(passages), self._passage_prompt)

    def count_cut(self, passages: Sequence[Passage]) -> int:
        """Return how many passages have more tokens than the model reads."""
        limit = self.model.max_seq_length
        if limit is None or self._counter is None:
            return 0
        texts = [self._passage_prompt + text for text in self._texts(passages)]
        return self._counter.longer(int(limit), texts)

    def encode_questions(self, questions: Sequence[str]) -> torch.Tensor:
        """Return vectors q(x), float32 [B, d], on the model's device, with gradients if enabled."""
        if not questions:
            return torch.zeros(0, self.dim, device=self.question_model.device)
        return self._encode(self.question_model, list(questions), self._question_prompt)

    def trained_module(self) -> torch.nn.Module:
        """Return the model of questions, unpacked; from now on it has weights of its own.

        What `auto` made bfloat16 is as the checkpoint stores it again.
        """
        name = self.config.question_model or self.config.model
        self._questions = trainable(self._questions, lambda: self._load(name))
        if self._questions.model is self.model:
            self._questions = replace(self._questions, model=copy.deepcopy(self.model))
        self.question_model = self._questions.model
        return self.question_model

    def passage_module(self) -> torch.nn.Module:
        """Return the model of passages, unpacked; `save_trained` writes it too from now on.

        What `auto` made bfloat16 is as the checkpoint stores it again.
        """
        self._passages = trainable(self._passages, lambda: self._load(self.config.model))
        self.model = self._passages.model
        self._passages_trained = True
        return self.model

    def save_trained(self, folder: Path) -> dict[str, str]:
        """Write the model of questions, and that of passages if it was trained."""
        models = {"question_model": self.trained_module()}
        if self._passages_trained:
            models["model"] = self.model
        with without_bars():
            for name, model in models.items():
                cast(SentenceTransformer, model).save(
                    str(folder / name), create_model_card=False, safe_serialization=True
                )
        return {name: name for name in models}

    def _texts(self, passages: Sequence[Passage]) -> list[str]:
        return passage_texts(passages, self.config.passage_template)

    def _load(self, name: str) -> SentenceTransformer:
        with explained(name, PluginError) as source:
            model = SentenceTransformer(
                source,
                device=str(pick_device(self.config.device, PluginError)),
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
            ).eval()
        if self.config.normalize is False:
            for name_in_model, module in list(model.named_children()):
                if type(module).__name__ == "Normalize":
                    delattr(model, name_in_model)
        if self.config.max_tokens is not None:
            model.max_seq_length = self.config.max_tokens
        cut_model_card(model)
        # Makes the tokenizer's settings now, and not in one thread while another encodes.
        model.preprocess(["a"])
        return model

    def _encode(self, model: SentenceTransformer, texts: list[str], prompt: str) -> torch.Tensor:
        if torch.is_grad_enabled():
            # Packed layers have no gradients; from now on the model is the library's own.
            unpack_model(model)
        return self._vectors(model, texts, prompt)

    def _vectors(
        self, model: SentenceTransformer, texts: list[str], prompt: str = ""
    ) -> torch.Tensor:
        def encode(batch: list[str]) -> torch.Tensor:
            features = model.preprocess(batch, prompt=prompt or None)
            placed = {
                name: value.to(model.device) if isinstance(value, torch.Tensor) else value
                for name, value in features.items()
            }
            # Called as a module: the library's `encode` would drop the gradients.
            vectors = wide(model(placed)["sentence_embedding"])  # [batch, d]
            cut = self.dim < vectors.shape[1]
            # The first numbers of a vector of length 1 are shorter.
            if self.config.normalize or (cut and self._normalize):
                vectors = torch.nn.functional.normalize(vectors[:, : self.dim], dim=1)
            return vectors[:, : self.dim]

        return encode_by_length(
            texts,
            len,
            self.config.batch_size,
            encode,
            device=model.device,
            limit=model.max_seq_length,
        )

    def _describe(self, digest: str, passages: Precision) -> str:
        # The layers show whether the model itself normalises.
        layers = "+".join(type(module).__name__ for module in self.model)
        pooling = {
            str(module.pooling_mode) for module in self.model if hasattr(module, "pooling_mode")
        }
        return (
            f"sentence-transformers({layers},weights={digest},"
            f"pooling={'+'.join(sorted(pooling)) or 'none'},"
            f"normalize={'yes' if self.config.normalize else 'no'},"
            f"question={self._question_prompt!r},passage={self._passage_prompt!r},"
            f"template={self.config.passage_template!r},tokens={self.model.max_seq_length},"
            f"dim={self.dim}{described(passages)})"
        )


def _prompt(prompt: str | None, default: str | None) -> str:
    return (default or "") if prompt is None else prompt


def _normalizes(config: SentenceConfig, model: SentenceTransformer) -> bool:
    """Return whether vectors have length 1."""
    last = list(model.children())[-1:]
    own = any(type(module).__name__ == "Normalize" for module in last)
    return own if config.normalize is None else config.normalize


def _width(config: SentenceConfig, name: str, model: SentenceTransformer) -> int:
    """Return the length of a model's vectors, as far as they are used.

    Raises:
        PluginError: `truncate_dim` is more than the model has.
    """
    own = int(model.get_embedding_dimension() or 0)
    if config.truncate_dim is not None and config.truncate_dim > own:
        raise PluginError(
            f"truncate_dim is {config.truncate_dim} and model {name!r} gives vectors of {own} "
            "dimensions: choose a smaller number, or leave it out"
        )
    return config.truncate_dim or own
