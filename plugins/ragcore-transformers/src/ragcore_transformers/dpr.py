"""The encoder `dpr`: two BERTs, one for questions and one for passages, as in the paper.

Karpukhin et al. (2020), section 3: q(x) and d(z) are the models' pooled outputs, and a passage is
read as the pair of its title and its text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import torch
from transformers import AutoTokenizer, DPRContextEncoder, DPRQuestionEncoder

from ragcore.corpora.tokenizer import PassageTokenizer
from ragcore.errors import PluginError, UnsupportedOperation
from ragcore.types import Passage
from ragcore_transformers.batching import encode_by_length
from ragcore_transformers.configs import DprConfig
from ragcore_transformers.loading import (
    explained,
    pick_device,
    refuse_incomplete,
    save_model,
    weights_digest,
)
from ragcore_transformers.packed import unpack_model
from ragcore_transformers.plain import wide
from ragcore_transformers.precision import (
    chosen_dtype,
    described,
    prepare_both,
    trainable,
    with_chosen_dtype,
)
from ragcore_transformers.speed import encoder_lines
from ragcore_transformers.tokenizing import LengthCounter

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Dpr"]


class Dpr:
    """See `ragcore.contracts.Encoder`; the models are in eval mode until a trainer says otherwise.

    Raises:
        PluginError: a model cannot be loaded, or the two do not give vectors of one length.
    """

    Config: ClassVar[type[DprConfig]] = DprConfig
    capabilities: frozenset[str] = frozenset({"tokenizer", "trainable"})

    def __init__(self, config: DprConfig) -> None:
        self.config = config
        self.device = pick_device(config.device, PluginError)
        self.question_tokenizer, question_model = self._load(
            config.question_model, DPRQuestionEncoder
        )
        self.passage_tokenizer, passage_model = self._load(config.passage_model, DPRContextEncoder)
        self.dim: Final = _width(passage_model)
        if _width(question_model) != self.dim:
            raise PluginError(
                f"question_model {config.question_model!r} gives vectors of "
                f"{_width(question_model)} dimensions and passage_model "
                f"{config.passage_model!r} of {self.dim}: they must be trained together"
            )
        self._counter: Final = LengthCounter(self.passage_tokenizer)
        if self._counter.backend is None:
            self.capabilities = self.capabilities - {"tokenizer"}
        self.max_input_tokens: Final = config.max_tokens
        self._passages_trained = False
        # Of the weights as they are stored, whatever they are computed in.
        digest = weights_digest(passage_model)
        questions, passages = prepare_both(
            config,
            (config.passage_model, passage_model, partial(self._run, self.passage_tokenizer)),
            (config.question_model, question_model, partial(self._run, self.question_tokenizer)),
        )
        self.question_model, self.passage_model = questions.model, passages.model
        self._chosen: Final = chosen_dtype(config, passages)
        if questions.dtype == "int8":
            self.capabilities = self.capabilities - {"trainable"}
        self._questions, self._passages = questions, passages
        # Not the question encoder's weights: it is fine-tuned over fixed vectors (paper, 2.4).
        self.fingerprint: Final = (
            f"dpr(passages={digest},tokens={config.max_tokens},dim={self.dim}{described(passages)})"
        )

    @cached_property
    def tokenizer(self) -> PassageTokenizer:
        """The tokenizer of passages, each a pair of title and text; see `TokenizedEncoder`.

        Raises:
            UnsupportedOperation: it has no fast form, and so tells no offsets.
        """
        backend = self._counter.backend
        if backend is None:
            raise UnsupportedOperation.of("encoder 'dpr'", "tokenizer")
        return PassageTokenizer(
            backend,
            limit=self.config.max_tokens,
            around=backend.num_special_tokens_to_add(is_pair=True),
        )

    def chosen(self) -> dict[str, str]:
        """Return what a memory keeps of the passages' precision; see `with_chosen`."""
        return self._chosen

    @classmethod
    def with_chosen(cls, config: DprConfig, chosen: Mapping[str, str]) -> DprConfig:
        """Return the config for a memory that was built with `chosen`."""
        return with_chosen_dtype(config, chosen)

    def speed_report(self) -> list[str]:
        """Say which dtypes and kernels it uses, a line each."""
        return encoder_lines(
            self.config.dtype,
            (self._questions.dtype, self.question_model),
            (self._passages.dtype, self.passage_model),
        )

    def encode_passages(self, passages: Sequence[Passage]) -> npt.NDArray[np.float32]:
        """Return vectors d(z), float32 [n, d]."""
        with torch.inference_mode():
            return self.encode_passages_with_grad(passages).cpu().numpy()

    def encode_passages_with_grad(self, passages: Sequence[Passage]) -> torch.Tensor:
        """Return vectors d(z), [n, d], on the model's device; see `TrainableEncoder`."""
        if not passages:
            return torch.zeros(0, self.dim, device=self.device)
        self._unpack_for_gradients(self.passage_model)

        def encode(batch: list[Passage]) -> torch.Tensor:
            titles = [passage.title for passage in batch]
            texts = [passage.text for passage in batch]
            return self._run(self.passage_tokenizer, self.passage_model, titles, texts)

        return encode_by_length(
            passages,
            lambda passage: len(passage.title) + len(passage.text),
            self.config.batch_size,
            encode,
            device=self.device,
            limit=self.config.max_tokens,
        )

    def count_cut(self, passages: Sequence[Passage]) -> int:
        """Return how many passages have more tokens than `max_tokens`, their titles included."""
        titles = [passage.title for passage in passages]
        texts = [passage.text for passage in passages]
        return self._counter.longer(self.config.max_tokens, titles, texts)

    def encode_questions(self, questions: Sequence[str]) -> torch.Tensor:
        """Return vectors q(x), float32 [B, d], on the model's device, with gradients if enabled."""
        if not questions:
            return torch.zeros(0, self.dim, device=self.device)
        self._unpack_for_gradients(self.question_model)
        return encode_by_length(
            questions,
            len,
            self.config.batch_size,
            lambda batch: self._run(self.question_tokenizer, self.question_model, batch),
            device=self.device,
            limit=self.config.max_tokens,
        )

    def trained_module(self) -> torch.nn.Module:
        """Return the question encoder, unpacked; what `auto` made bfloat16 is as stored again."""
        name = self.config.question_model
        self._questions = trainable(
            self._questions, lambda: self._load(name, DPRQuestionEncoder)[1]
        )
        self.question_model = self._questions.model
        module: torch.nn.Module = self.question_model
        return module

    def passage_module(self) -> torch.nn.Module:
        """Return the passage encoder, unpacked; `save_trained` writes it too from now on.

        What `auto` made bfloat16 is as the checkpoint stores it again.
        """
        name = self.config.passage_model
        self._passages = trainable(self._passages, lambda: self._load(name, DPRContextEncoder)[1])
        self.passage_model = self._passages.model
        self._passages_trained = True
        module: torch.nn.Module = self.passage_model
        return module

    def save_trained(self, folder: Path) -> dict[str, str]:
        """Write the question encoder, and the passage encoder if it was trained."""
        models = {"question_model": (self.trained_module(), self.question_tokenizer)}
        if self._passages_trained:
            models["passage_model"] = (self.passage_model, self.passage_tokenizer)
        for name, (model, tokenizer) in models.items():
            save_model(model, tokenizer, folder / name)
        return {name: name for name in models}

    @staticmethod
    def _unpack_for_gradients(model: Any) -> None:
        # Packed layers have none; from now on the model is the checkpoint's own.
        if torch.is_grad_enabled():
            unpack_model(model)

    def _run(self, tokenizer: Any, model: Any, *texts: list[str]) -> torch.Tensor:
        inputs = self._inputs(tokenizer, *texts).to(self.device)
        return wide(model(**inputs).pooler_output)  # [batch, d]

    def _inputs(self, tokenizer: Any, *texts: list[str]) -> Any:
        """Tokenize; the settings are the same in every call, since all threads share them."""
        return tokenizer(
            *texts,
            padding=True,
            truncation=True,
            max_length=self.config.max_tokens,
            return_tensors="pt",
        )

    def _load(self, name: str, kind: Any) -> tuple[Any, Any]:
        with explained(name, PluginError) as source:
            tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
            model, report = kind.from_pretrained(
                source, use_safetensors=True, output_loading_info=True
            )
        # A question encoder loaded as a passage encoder would otherwise be random.
        refuse_incomplete(name, model, report, PluginError)
        # Makes the tokenizer's settings now, and not in one thread while another encodes.
        self._inputs(tokenizer, [""])
        return tokenizer, model.to(self.device).eval()


def _width(model: Any) -> int:
    config = model.config
    return int(config.projection_dim or config.hidden_size)
