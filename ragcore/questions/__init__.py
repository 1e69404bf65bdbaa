"""Questions with their right answers, read from the file formats that data sets use."""

from __future__ import annotations

from ragcore.questions.files import FORMATS, read_questions, spread_over
from ragcore.questions.labelled import Gold, LabelledQuestion

__all__ = ["FORMATS", "LabelledQuestion", "Gold", "read_questions", "spread_over"]
