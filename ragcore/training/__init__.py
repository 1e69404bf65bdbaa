"""Fine-tune question encoder and generator together, through the marginal (paper, section 2.4)."""

from __future__ import annotations

from ragcore.training.events import DevScores, TrainingStep
from ragcore.training.trainer import Trained, train

__all__ = ["DevScores", "TrainingStep", "Trained", "train"]
