"""The config of the encoder `static`; imports no library of models, so a file is checked fast."""

from __future__ import annotations

import string

from pydantic import Field, field_validator

from ragcore.registry.components import ComponentConfig, ModelName

__all__ = ["StaticConfig"]


class StaticConfig(ComponentConfig):
    """Settings of `{use: static}`."""

    model: ModelName = Field(description="a folder, a name on a hub, or one that a plugin ships")
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
    truncate_dim: int | None = Field(
        None, gt=0, description="use the first components of each vector; null for all"
    )
    max_tokens: int | None = Field(
        None, gt=0, description="longer texts are cut; null to read all of a text"
    )

    @field_validator("passage_template")
    @classmethod
    def _check_template(cls, template: str) -> str:
        fields = [
            (name, spec, conversion)
            for _, name, spec, conversion in string.Formatter().parse(template)
            if name is not None
        ]
        names = [name for name, _, _ in fields]
        plain = all(not spec and not conversion for _, spec, conversion in fields)
        if not plain or "text" not in names or not set(names) <= {"text", "title"}:
            raise ValueError(
                f"{template!r} must have the field {{text}}, may have {{title}}, and can have no "
                "other; write a brace of the text itself as {{ or }}"
            )
        return template
