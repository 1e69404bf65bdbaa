"""The configs of this package's components.

Knows what YAML may say of each component. Imports neither torch nor transformers, so that a
pipeline file is checked without them.
"""

from __future__ import annotations

import string
from typing import Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from ragcore.prompts.settings import PromptConfig, check_template
from ragcore.registry.components import ComponentConfig, ConfigPath, ModelName

__all__ = [
    "AnswerabilityConfig",
    "CausalConfig",
    "CrossEncoderConfig",
    "DprConfig",
    "ExtractiveConfig",
    "LateInteractionConfig",
    "PlacementConfig",
    "ReuseConfig",
    "SentenceConfig",
    "Seq2SeqConfig",
    "SparseConfig",
]


EncoderDtype = Literal["checkpoint", "float32", "bfloat16", "int8"]

_DTYPE: Final = (
    "of the weights: checkpoint is as they are stored; int8 is for a CPU and cannot be trained; "
    "auto is bfloat16 where that is faster here and gives much the same vectors, else checkpoint"
)
_PASSAGE_DTYPE: Final = (
    "the same for passages alone; null for that of the memory in use, and for dtype when a memory "
    "is built"
)


class PlacementConfig(ComponentConfig):
    """Settings of all generators here: precision of the weights, and where they are."""

    model: ModelName
    device: str = Field("auto", description="cpu, cuda, …, or auto")
    dtype: str = "float32"
    device_map: Literal["auto"] | None = Field(
        None,
        description="auto spreads layers over all GPUs, then memory, then offload_folder, by "
        "accelerate; null for one device",
    )
    max_memory: dict[str, str] = Field(
        default_factory=dict,
        description="the most that device_map puts on each device, as {'0': 20GiB, cpu: 60GiB}",
    )
    offload_folder: ConfigPath | None = Field(
        None, description="where device_map writes layers that fit nowhere else"
    )
    bitsandbytes: Literal["int8", "nf4"] | None = Field(
        None, description="quantises linear layers on a GPU with CUDA: 8 bits, or 4; null for not"
    )

    @model_validator(mode="after")
    def _check_placement(self) -> Self:
        if self.device_map is None and (self.max_memory or self.offload_folder is not None):
            raise ValueError("max_memory and offload_folder are device_map's: set device_map: auto")
        if self.device_map is not None and self.device != "auto":
            raise ValueError("device_map chooses devices: leave device out")
        placed = "device_map" if self.device_map is not None else "bitsandbytes"
        if (self.device_map or self.bitsandbytes) and self.dtype in ("auto", "int8"):
            raise ValueError(
                f"dtype {self.dtype} is for weights on one device, and {placed} is set: name "
                "float32, bfloat16 or float16"
            )
        return self


class Seq2SeqConfig(PlacementConfig):
    """Settings of `{use: bart}`, `{use: t5}` and `{use: seq2seq}`."""

    model: ModelName = Field(description="a folder or a name on a hub; safetensors only")
    template: str = Field(
        "{title} / {text} // {question}",
        description="the encoder's input; without a passage it is the question alone",
    )
    template_of_passages: str = Field(
        "{text} // {question}",
        description="the same for several passages in one input, which are numbered",
    )
    max_input_tokens: int | None = Field(
        None,
        gt=0,
        description="a longer passage is cut; null for the model's limit, at most 4096",
    )
    src_lang: str | None = Field(
        None,
        min_length=1,
        description="language of questions and passages, for multilingual models, as en_XX or "
        "eng_Latn; null for the tokenizer's own",
    )
    tgt_lang: str | None = Field(
        None,
        min_length=1,
        description="language of answers, likewise; null for the checkpoint's own, or src_lang",
    )
    dtype: Literal["float32", "bfloat16", "float16", "int8", "auto"] = Field(
        "float32",
        description="of the weights; float16 is for a GPU and int8 for a CPU, and neither can be "
        "trained; auto is bfloat16 "
        "where that is faster and computes the same. Log-probabilities are always float32",
    )
    batch_size: int = Field(16, gt=0, description="pairs in one run of the encoder")

    @field_validator("template")
    @classmethod
    def _check_template(cls, template: str) -> str:
        return check_template(template, ("text", "question"), ("title",))

    @field_validator("template_of_passages")
    @classmethod
    def _check_of_passages(cls, template: str) -> str:
        return check_template(template, ("text", "question"))


class _SpanReaderConfig(PlacementConfig):
    """Settings of what reads with a model for extractive question answering."""

    title: bool = Field(
        True, description="whether a passage is read as `title / text`; an answer lies in the text"
    )
    longest: int = Field(30, gt=0, description="the most tokens of an answer")
    max_input_tokens: int | None = Field(
        None,
        gt=0,
        description="a longer passage is cut; null for the model's limit, at most 4096",
    )
    batch_size: int = Field(16, gt=0, description="pairs in one run of the encoder")


class ExtractiveConfig(_SpanReaderConfig):
    """Settings of `{use: extractive}`."""

    model: ModelName = Field(
        description="a model for extractive question answering: a folder, a name on a hub, or one "
        "that a plugin ships; safetensors only"
    )
    unknown: str | None = Field(
        "unknown",
        min_length=1,
        description="the answer that the span at [CLS] stands for: the passage has none; null for "
        "models that were trained to answer always",
    )
    floor: float = Field(
        1e-4,
        gt=0,
        lt=1,
        description="the probability of all texts that are no span, so that each has a log p",
    )
    dtype: Literal["float32", "bfloat16", "float16", "int8", "auto"] = Field(
        "float32",
        description="of the weights; float16 is for a GPU and int8 for a CPU, and neither can be "
        "trained; auto is bfloat16 where that is faster and computes the same. Log-probabilities "
        "are always float32",
    )


class AnswerabilityConfig(_SpanReaderConfig):
    """Settings of `{use: answerability}`."""

    model: ModelName = Field(
        description="a model for extractive question answering that was trained on questions "
        "without an answer, too: a folder, a name on a hub, or one that a plugin ships"
    )
    dtype: Literal["float32", "bfloat16", "float16", "int8", "auto"] = Field(
        "float32",
        description="of the weights; float16 is for a GPU and int8 for a CPU; auto is bfloat16 "
        "where that is faster and computes the same",
    )


class ReuseConfig(ComponentConfig):
    """Settings of `causal`'s section `reuse`: what is kept of passages that were read."""

    max_gib: float = Field(
        default=1.0,
        gt=0,
        allow_inf_nan=False,
        description="how much memory keys and values of passages may take, in GiB",
    )
    folder: ConfigPath | None = Field(
        default=None, description="where they are kept on disk as well; null for memory alone"
    )
    folder_max_gib: float = Field(
        default=10.0,
        gt=0,
        allow_inf_nan=False,
        description="how large the folder may become, in GiB",
    )
    dtype: Literal["float16", "bfloat16"] | None = Field(
        default=None,
        description="of what is kept; null for the model's own, which changes no answer",
    )


class CausalConfig(PromptConfig, PlacementConfig):
    """Settings of `{use: causal}`."""

    dtype: Literal["float32", "bfloat16", "float16", "auto"] = Field(
        "float32",
        description="of the weights; float16 is for a GPU and cannot be trained; auto is bfloat16 "
        "where that is faster and computes the same. "
        "Log-probabilities are always float32",
    )
    batch_size: int = Field(16, gt=0, description="prompts in one run of the model")
    reuse: ReuseConfig | None = Field(
        ReuseConfig(),
        description="passages that were read are not read again for another question; null to "
        "read all of a prompt",
    )


class SentenceConfig(ComponentConfig):
    """Settings of `{use: sentence-transformers}`."""

    model: ModelName = Field(description="a folder, a name on a hub, or one that a plugin ships")
    question_model: ModelName | None = Field(
        None, description="encodes questions, if it was trained apart; null for `model`"
    )
    passage_template: str = Field(
        "{title}. {text}", description="the text that is encoded of a passage with a title"
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
    truncate_dim: int | None = Field(
        None,
        gt=0,
        description="use the first numbers of each vector alone, for models trained so "
        "(Matryoshka); null for the model's own",
    )
    batch_size: int = Field(32, gt=0, description="the most texts in one run of the model")
    device: str = Field("auto", description="cpu, cuda, …, or auto")
    dtype: EncoderDtype | Literal["auto"] = Field("checkpoint", description=_DTYPE)
    passage_dtype: EncoderDtype | None = Field(None, description=_PASSAGE_DTYPE)

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


class DprConfig(ComponentConfig):
    """Settings of `{use: dpr}`."""

    question_model: ModelName = Field(description="a DPRQuestionEncoder: a folder, or a hub's name")
    passage_model: ModelName = Field(description="a DPRContextEncoder: a folder, or a hub's name")
    max_tokens: int = Field(256, gt=0, description="longer questions and passages are cut")
    batch_size: int = Field(32, gt=0, description="the most texts in one run of a model")
    device: str = Field("auto", description="cpu, cuda, …, or auto")
    dtype: EncoderDtype | Literal["auto"] = Field("checkpoint", description=_DTYPE)
    passage_dtype: EncoderDtype | None = Field(None, description=_PASSAGE_DTYPE)


class SparseConfig(ComponentConfig):
    """Settings of `{use: sparse}`."""

    model: ModelName = Field(description="a folder, or a name on a hub; safetensors only")
    revision: str | None = Field(
        None,
        min_length=1,
        description="a branch, a tag or a commit of a model on a hub; null for the latest",
    )
    passage_template: str = Field(
        "{title}. {text}", description="the text that is encoded of a passage with a title"
    )
    question_prompt: str | None = Field(
        None, description="put before each question; null for the model's own"
    )
    passage_prompt: str | None = Field(
        None, description="put before each passage; null for the model's own"
    )
    max_active_dims: int | None = Field(
        None, gt=0, description="the most terms of a passage, the heaviest; null for the model's"
    )
    question_max_active_dims: int | None = Field(
        None, gt=0, description="the most terms of a question, the heaviest; null for the model's"
    )
    max_tokens: int | None = Field(
        None, gt=0, description="longer texts are cut; null for the model's limit"
    )
    batch_size: int = Field(32, gt=0, description="the most texts in one run of the model")
    device: str = Field("auto", description="cpu, cuda, …, or auto")
    dtype: Literal["checkpoint", "float32", "bfloat16"] = Field(
        "checkpoint", description="of the weights: checkpoint is as they are stored"
    )

    @field_validator("passage_template")
    @classmethod
    def _check_template(cls, template: str) -> str:
        return check_template(template, ("text",), ("title",))


class CrossEncoderConfig(ComponentConfig):
    """Settings of `{use: cross-encoder}`."""

    model: ModelName = Field(description="a folder, a name on a hub, or one that a plugin ships")
    passage_template: str = Field(
        "{title}. {text}", description="the text that is read of a passage with a title"
    )
    max_tokens: int | None = Field(
        None, gt=0, description="longer pairs are cut; null for the model's limit"
    )
    batch_size: int = Field(32, gt=0, description="pairs in one run of the model")
    device: str = Field("auto", description="cpu, cuda, …, or auto")

    @field_validator("passage_template")
    @classmethod
    def _check_template(cls, template: str) -> str:
        return check_template(template, ("text",), ("title",))


class LateInteractionConfig(ComponentConfig):
    """Settings of `{use: late-interaction}`."""

    model: ModelName = Field(description="a folder, or a name on a hub; safetensors only")
    revision: str | None = Field(
        None,
        min_length=1,
        description="a branch, a tag or a commit of a model on a hub; null for the latest",
    )
    passage_template: str = Field(
        "{title}. {text}", description="the text that is read of a passage with a title"
    )
    batch_size: int = Field(32, gt=0, description="the most texts in one run of the model")
    device: str = Field("auto", description="cpu, cuda, …, or auto")

    @field_validator("passage_template")
    @classmethod
    def _check_template(cls, template: str) -> str:
        return check_template(template, ("text",), ("title",))
