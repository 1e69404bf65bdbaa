"""The settings of the runner `ray`; imports no Ray, so that they are checked without it."""

from __future__ import annotations

from pydantic import Field

from ragcore.registry.components import ComponentConfig

__all__ = ["RayConfig"]


class RayConfig(ComponentConfig):
    """Settings of `--on ray`."""

    address: str | None = Field(
        None,
        description="of the cluster; null takes RAY_ADDRESS, else the cluster of this machine, "
        "else starts one on it",
    )
    num_cpus: float = Field(1, ge=0, description="processors that Ray reserves for a worker")
    num_gpus: float = Field(0, ge=0, description="GPUs of a worker; a part of one may be shared")
    resources: dict[str, float] = Field(
        default_factory=dict, description="resources of your own that a worker needs"
    )
    workers: int | None = Field(
        None, gt=0, description="workers at the same time; null takes as many as there is room for"
    )
    retries: int = Field(
        3, ge=0, description="how often a part is tried again whose worker or node died"
    )
