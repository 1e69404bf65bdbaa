"""The plugin `ray`: names the runner and its config."""

from __future__ import annotations

from ragcore import Components, Target, hookimpl


@hookimpl
def ragcore_runners() -> Components:
    """Name the runner `ray`."""
    return {"ray": Target("ragcore_ray.runner:Ray", config="ragcore_ray.config:RayConfig")}
