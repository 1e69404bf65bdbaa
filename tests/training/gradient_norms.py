"""Run `ragcore` and write down how long the gradient of each update is.

    python gradient_norms.py FILE train pipeline.yaml …

Adam divides a gradient by its own length, so that losses alone hardly tell one of the wrong length.
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
    """The norm over all weights at each step of any optimizer, as it goes into the step."""
    norms: list[float] = []

    def note(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        weights = [one for group in optimizer.param_groups for one in group["params"]]
        gradients = [one.grad for one in weights if one.grad is not None]
        norms.append(float(torch.nn.utils.get_total_norm(gradients)))

    hook = register_optimizer_step_pre_hook(note)
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
