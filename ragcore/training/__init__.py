"""Fine-tune question encoder and generator together, through the marginal (paper, section 2.4).

Raises:
    TrainingError: torch is not installed.
"""

from __future__ import annotations

from ragcore.errors import TrainingError
from ragcore.registry.installation import missing_package
from ragcore.training.events import DevScores, TrainingStep

try:
    from ragcore.training.trainer import Trained, train
except ModuleNotFoundError as missing:
    if missing.name != "torch":
        raise
    raise TrainingError(f"training needs torch: {missing_package(missing, 'train')}") from None

__all__ = ["DevScores", "TrainingStep", "Trained", "train"]
