"""The config of the encoder `static`; imports no library of models, so a file is checked fast."""

from __future__ import annotations

from pydantic import Field, field_validator

from ragcore.corpora.templates import PASSAGE_TEMPLATE, checked_template
from ragcore.registry.components import ComponentConfig, ModelName

__all__ = ["StaticConfig"]


class StaticConfig(ComponentConfig):
    """Settings of `{use: static}`."""

    model: ModelName = Field(description="a folder, a name on a hub, or one that a plugin ships")
    passage_template: str = Field(
        PASSAGE_TEMPLATE, description="the text that is encoded of a passage with a title"
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

    _check_template = field_validator("passage_template")(checked_template)
