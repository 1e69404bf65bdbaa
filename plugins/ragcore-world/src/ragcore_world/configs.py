"""The config of the encoder `world-vectors`; imports no numpy, so that a file is checked fast."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ragcore.contracts import Encoder
from ragcore.registry.components import ComponentConfig, ComponentSpec

__all__ = ["WorldVectorsConfig"]


class WorldVectorsConfig(ComponentConfig):
    """Settings of `{use: world-vectors}`."""

    encoder: ComponentSpec[Encoder] = Field(
        description="encodes questions, and passages that have no vector in this package"
    )
    questions: Literal["trained", "plain"] = Field(
        "trained",
        description="whether questions' vectors are moved by the map of this package, which was "
        "trained on questions about the Factbook; plain are the encoder's own",
    )
