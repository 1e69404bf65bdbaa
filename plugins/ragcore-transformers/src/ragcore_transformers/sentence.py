"""The encoder `sentence-transformers`: any model of that library, as vectors of inner products.

Decides which text is encoded and how the vector is normalised; pooling is the model's own.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
import torch
from pydantic import Field, field_validator
from sentence_transformers import SentenceTransformer

from ragcore.errors import PluginError
from ragcore.parts import ModelName, PartConfig
from ragcore.types import Passage
from ragcore_transformers.batching import encode_by_length
from ragcore_transformers.loading import explained, pick_device, weights_digest

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["SentenceConfig", "SentenceTransformers"]


class SentenceConfig(PartConfig):
    """What YAML may say of `{use: sentence-transformers}`."""

    model: ModelName = Field(description="a folder, a name on a hub, or one that a plugin ships")
    passage_template: str = Field(
        "{title}. {text}", description="what is encoded of a passage that has a title"
    )
    question_prompt: str | None = Field(
        None, description="put before each question; null for the model's own"
    )
    passage_prompt: str | None = Field(
        None, description="put before each passage; null for the model's own"
    )
    normalize: bool | None = Field(
        None, description="scale vectors to length 1, or never; null to do as the model does"
    )
    max_tokens: int | None = Field(
        None, gt=0, description="longer texts are cut; null for the model's limit"
    )
    batch_size: int = Field(32, gt=0, description="texts in one run of the model")
    device: str = Field("auto", description="cpu, cuda, …, or auto")

    @field_validator("passage_template")
    @classmethod
    def _check_template(cls, template: str) -> str:
        fields = [
            (name, bool(spec or conversion))
            for _, name, spec, conversion in string.Formatter().parse(template)
            if name is not None
        ]
        if ("text", False) not in fields or not set(fields) <= {("text", False), ("title", False)}:
            raise ValueError(
                f"passage_template {template!r} must hold {{text}}, may hold {{title}}, and no "
                "other field"
            )
        return template


class SentenceTransformers:
    """See `ragcore.contracts.Encoder`.

    `model` is the library's own object, in eval mode until a trainer says otherwise.

    Raises:
        PluginError: the model cannot be loaded.
    """

    Config: ClassVar[type[SentenceConfig]] = SentenceConfig
    capabilities: ClassVar[frozenset[str]] = frozenset({"trainable"})

    def __init__(self, config: SentenceConfig) -> None:
        self.config = config
        device = pick_device(config.device, PluginError)
        with explained(config.model, PluginError):
            self.model = SentenceTransformer(
                config.model,
                device=str(device),
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
            ).eval()
        if config.normalize is False:
            for name, module in list(self.model.named_children()):
                if type(module).__name__ == "Normalize":
                    delattr(self.model, name)
        if config.max_tokens is not None:
            self.model.max_seq_length = config.max_tokens
        own = self.model.prompts
        self._question_prompt = _chosen(config.question_prompt, own.get("query"))
        self._passage_prompt = _chosen(config.passage_prompt, own.get("document"))
        self.dim: Final = int(self.model.get_embedding_dimension() or 0)
        self.fingerprint: Final = self._describe()

    def encode_passages(self, passages: Sequence[Passage]) -> npt.NDArray[np.float32]:
        """Vectors d(z), float32 [n, d]; a passage without title is its text alone."""
        if not passages:
            return np.zeros((0, self.dim), np.float32)
        texts = [
            self.config.passage_template.format(title=passage.title, text=passage.text)
            if passage.title
            else passage.text
            for passage in passages
        ]
        with torch.inference_mode():
            return self._encode(texts, self._passage_prompt).cpu().numpy()

    def encode_questions(self, questions: Sequence[str]) -> torch.Tensor:
        """Vectors q(x), float32 [B, d], on the model's device; see the contract for gradients."""
        if not questions:
            return torch.zeros(0, self.dim, device=self.model.device)
        return self._encode(list(questions), self._question_prompt)

    def _encode(self, texts: list[str], prompt: str) -> torch.Tensor:
        def encode(batch: list[str]) -> torch.Tensor:
            features = self.model.preprocess(batch, prompt=prompt or None)
            placed = {
                name: value.to(self.model.device) if isinstance(value, torch.Tensor) else value
                for name, value in features.items()
            }
            # Called as a module: the library's `encode` would drop the gradients.
            vectors: torch.Tensor = self.model(placed)["sentence_embedding"].float()
            if self.config.normalize:
                vectors = torch.nn.functional.normalize(vectors, dim=1)
            return vectors

        return encode_by_length(texts, len, self.config.batch_size, encode)

    def _describe(self) -> str:
        # These show whether the model itself normalises.
        layers = "+".join(type(module).__name__ for module in self.model)
        pooling = {
            str(module.pooling_mode) for module in self.model if hasattr(module, "pooling_mode")
        }
        return (
            f"sentence-transformers({layers},weights={weights_digest(self.model)},"
            f"pooling={'+'.join(sorted(pooling)) or 'none'},"
            f"normalize={'yes' if self.config.normalize else 'no'},"
            f"question={self._question_prompt!r},passage={self._passage_prompt!r},"
            f"template={self.config.passage_template!r},tokens={self.model.max_seq_length},"
            f"dim={self.dim})"
        )


def _chosen(prompt: str | None, own: str | None) -> str:
    return (own or "") if prompt is None else prompt
