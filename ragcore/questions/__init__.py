"""Questions with their right answers, read from the file formats that data sets use."""

from __future__ import annotations

from ragcore.questions.files import spread_over
from ragcore.questions.labelled import Gold, LabelledQuestion
from ragcore.questions.sources import FORMATS, questions_digest, read_questions

__all__ = [
    "FORMATS",
    "LabelledQuestion",
    "Gold",
    "questions_digest",
    "read_questions",
    "spread_over",
]
