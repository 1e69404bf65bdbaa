"""Run `ragcore` and record the gradient norm of each update.

    python gradient_norms.py FILE train pipeline.yaml …

Adam divides a gradient by its own norm, so that losses alone hardly show a wrong norm.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from ragcore.cli import main


@contextmanager
def gradient_norms() -> Iterator[list[float]]:
    """Record the norm over all weights at each step of any optimizer, as it enters the step."""
    norms: list[float] = []

    def record(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        norms.append(float(torch.nn.utils.get_total_norm(gradients)))

    hook = register_optimizer_step_pre_hook(record)
    try:
        yield norms
    finally:
        hook.remove()


if __name__ == "__main__":
    with gradient_norms() as norms:
        code = main(sys.argv[2:])
    if os.environ.get("RANK", "0") == "0":
        Path(sys.argv[1]).write_text(json.dumps(norms), encoding="utf-8")
    sys.exit(code)
