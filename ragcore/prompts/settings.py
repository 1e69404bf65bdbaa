"""The settings of prompts that all causal generators share, and the check of their templates.

Knows what YAML may say. Imports nothing heavy, so that a pipeline file is checked fast.
"""

from __future__ import annotations

import datetime
import string
from collections.abc import Sequence
from typing import Any, Final

from pydantic import Field, field_validator

from ragcore.registry.components import ComponentConfig, ModelName

__all__ = ["PromptConfig", "check_template"]

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


class PromptConfig(ComponentConfig):
    """Settings of a causal generator's prompts and answers."""

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
    template_of_passages: str = Field(
        "Answer the question from the passages, in as few words as possible.\n\n"
        "{text}\n\nQuestion: {question}\nAnswer:",
        description="the same for several passages in one prompt, which are numbered",
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

    @field_validator("template_of_passages")
    @classmethod
    def _check_of_passages(cls, template: str) -> str:
        return check_template(template, ("text", "question"))


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
