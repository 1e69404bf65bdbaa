"""The configs of this package's components, and the check of their templates.

Knows what YAML may say of each component. Imports neither torch nor transformers, so that a
pipeline file is checked without them.
"""

from __future__ import annotations

import datetime
import string
from collections.abc import Sequence
from typing import Any, Final, Literal

from pydantic import Field, field_validator

from ragcore.registry.components import ComponentConfig, ConfigPath, ModelName

__all__ = [
    "CausalConfig",
    "CrossEncoderConfig",
    "DprConfig",
    "LateInteractionConfig",
    "ReuseConfig",
    "SentenceConfig",
    "Seq2SeqConfig",
    "SparseConfig",
    "check_template",
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

_RESERVED: Final = frozenset(
    {
        "add_generation_prompt",
        "chat_template",
        "continue_final_message",
        "conversation",
        "documents",
        "max_length",
        "messages",
        "padding",
        "return_assistant_tokens_mask",
        "return_dict",
        "return_tensors",
        "strftime_now",
        "tokenize",
        "tokenizer_kwargs",
        "tools",
        "truncation",
    }
)
"""Arguments of Hugging Face's `apply_chat_template`, and what is made of the setting `date`."""


class Seq2SeqConfig(ComponentConfig):
    """Settings of `{use: bart}`, `{use: t5}` and `{use: seq2seq}`."""

    model: ModelName = Field(description="a folder or a name on a hub; safetensors only")
    template: str = Field(
        "{title} / {text} // {question}",
        description="the encoder's input; without a passage it is the question alone",
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
    device: str = Field("auto", description="cpu, cuda, …, or auto")
    dtype: Literal["float32", "bfloat16", "int8", "auto"] = Field(
        "float32",
        description="of the weights; int8 is for a CPU and cannot be trained; auto is bfloat16 "
        "where that is faster and computes the same. Log-probabilities are always float32",
    )
    batch_size: int = Field(16, gt=0, description="pairs in one run of the encoder")

    @field_validator("template")
    @classmethod
    def _check_template(cls, template: str) -> str:
        return check_template(template, ("text", "question"), ("title",))


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


class CausalConfig(ComponentConfig):
    """Settings of `{use: causal}`."""

    model: ModelName = Field(description="a folder, a name on a hub, or a .gguf file")
    template: str = Field(
        "Answer the question from the passage, in as few words as possible.\n\n"
        "Passage: {title}. {text}\n\nQuestion: {question}\nAnswer:",
        description="the prompt, or in a chat the user's message",
    )
    template_without_passage: str = Field(
        "Answer the question in as few words as possible.\n\nQuestion: {question}\nAnswer:",
        description="the same for a question without a passage",
    )
    chat: bool | None = Field(
        None,
        description="whether the prompt is a chat; null where the tokenizer has a chat template",
    )
    system: str | None = Field(None, description="a chat's system message; null for none")
    date: datetime.date | None = Field(
        None,
        description="the date that a chat template prints, as 2026-01-31; null for the day of "
        "loading",
    )
    chat_template_kwargs: dict[str, bool | int | float | str] = Field(
        default_factory=dict,
        description="variables of the chat template, such as enable_thinking; thinking is off "
        "where it is not turned on, and never part of an answer",
    )
    answer_prefix: str | None = Field(
        None,
        description="text between prompt and answer; null for a space where the prompt ends with a "
        "character that is not white space",
    )
    end_token: str | None = Field(
        None, description="the token that ends an answer; null for the model's own"
    )
    max_input_tokens: int | None = Field(
        None,
        gt=0,
        description="a longer passage is cut; null for the model's positions less 128 (or less "
        "half of them) for the answer",
    )
    device: str = Field("auto", description="cpu, cuda, …, or auto")
    dtype: Literal["float32", "bfloat16", "auto"] = Field(
        "float32",
        description="of the weights; auto is bfloat16 where that is faster and computes the same. "
        "Log-probabilities are always float32",
    )
    batch_size: int = Field(16, gt=0, description="prompts in one run of the model")
    reuse: ReuseConfig | None = Field(
        ReuseConfig(),
        description="passages that were read are not read again for another question; null to "
        "read all of a prompt",
    )

    @field_validator("template")
    @classmethod
    def _check_template(cls, template: str) -> str:
        return check_template(template, ("text", "question"), ("title",))

    @field_validator("chat_template_kwargs")
    @classmethod
    def _check_variables(cls, variables: dict[str, Any]) -> dict[str, Any]:
        reserved = sorted(_RESERVED & variables.keys())
        if reserved:
            raise ValueError(
                f"{', '.join(reserved)}: set by ragcore or no variable of a template; leave out"
            )
        return variables

    @field_validator("template_without_passage")
    @classmethod
    def _check_without_passage(cls, template: str) -> str:
        return check_template(template, ("question",))


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


def check_template(template: str, once: Sequence[str], at_most_once: Sequence[str] = ()) -> str:
    """Return the template if it has these plain fields and no other.

    Args:
        template: text with fields such as {title}.
        once: fields that it must hold, each once.
        at_most_once: fields that it may hold.

    Raises:
        ValueError: it cannot be filled; for a validator of a config.
    """
    fields = [
        (name, spec, conversion)
        for _, name, spec, conversion in string.Formatter().parse(template)
        if name is not None
    ]
    names = [name for name, _, _ in fields]
    plain = all(not spec and not conversion for _, spec, conversion in fields)
    fits = all(names.count(name) == 1 for name in once) and all(
        names.count(name) <= 1 for name in at_most_once
    )
    if not (fits and plain and set(names) <= {*once, *at_most_once}):
        needed = " and ".join(f"{{{name}}}" for name in once)
        allowed = "".join(f", {{{name}}} at most once" for name in at_most_once)
        raise ValueError(
            f"template {template!r} must hold {needed} once{' each' if len(once) > 1 else ''}"
            f"{allowed}, and no other field; write a brace of the text itself as {{{{ or }}}}"
        )
    return template
