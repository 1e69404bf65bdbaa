"""Questions with what is right, from the files in which the field keeps them."""

from __future__ import annotations

from ragcore.questions.files import FORMATS, read_asked, spread_over
from ragcore.questions.labelled import Asked, Gold

__all__ = ["FORMATS", "Asked", "Gold", "read_asked", "spread_over"]
