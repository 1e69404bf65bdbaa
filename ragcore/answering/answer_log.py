"""Log each answer by its version, its passages and its times; no text of a question or an answer.

Questions are private: a log goes to more people than those who may read them.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Final

from ragcore.process.log_fields import fields
from ragcore.types import Answer

__all__ = ["log_answer"]

_LOG: Final = logging.getLogger("ragcore.requests")


def log_answer(answer: Answer) -> None:
    """Log an answer at level DEBUG."""
    if not _LOG.isEnabledFor(logging.DEBUG):
        return
    passages = [evidence.passage.id for evidence in answer.evidence]
    timings = answer.timings
    _LOG.debug(
        "answered a question of %d characters from version %r, passages %s, in %.3f s",
        len(answer.question),
        answer.memory,
        ", ".join(passages) or "none",
        timings.total if timings else 0.0,
        extra=fields(
            event="answer",
            version=answer.memory,
            passages=passages,
            question_characters=len(answer.question),
            answer_tokens=answer.token_count,
            log_prob=answer.log_prob,
            abstains=answer.abstains,
            timings=asdict(timings) if timings else None,
        ),
    )
