"""Questions with what is right, from the files in which the field keeps them."""

from __future__ import annotations

from ragcore.questions.files import FORMATS, read_questions, spread_over
from ragcore.questions.labelled import Gold, LabelledQuestion

__all__ = ["FORMATS", "LabelledQuestion", "Gold", "read_questions", "spread_over"]
