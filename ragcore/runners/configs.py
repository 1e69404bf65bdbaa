"""The settings of the core's runner; imports nothing heavy."""

from __future__ import annotations

from pydantic import Field

from ragcore.registry.components import ComponentConfig

__all__ = ["ProcessesConfig"]


class ProcessesConfig(ComponentConfig):
    """Settings of `--on processes`."""

    workers: int | None = Field(
        None, gt=0, description="processes at the same time; null takes one a processor"
    )
