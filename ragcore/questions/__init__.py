"""Questions with what is right, from the files in which the field keeps them."""

from __future__ import annotations

from ragcore.questions.asked import Asked, Gold
from ragcore.questions.files import FORMATS, read_asked, spread_over

__all__ = ["FORMATS", "Asked", "Gold", "read_asked", "spread_over"]
