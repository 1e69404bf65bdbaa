"""Cut passages until a server reads the prompt; the question is never cut.

How long a prompt is in tokens a server tells, if it has a route for that, and else a guess from
its characters. Where the server still refuses it as too long, the passages are cut further. Knows
lengths and refusals; knows nothing of routes or of log-probs.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Final, TypeVar

from ragcore.contracts import Prompted
from ragcore.errors import QuestionError
from ragcore_openai.client import Ask
from ragcore_openai.failures import ServerError
from ragcore_openai.prompt_texts import PromptTexts, characters_of

__all__ = ["Count", "Fitting", "is_overflow"]

_LOG: Final = logging.getLogger("ragcore.openai")

_CHARACTERS_PER_TOKEN: Final = 3.0
"""A guess, on the safe side for languages with an alphabet."""

_FEW: Final = 32
"""A passage of fewer characters is left out."""

_KEPT: Final = 0.75
"""The part of the passages that is sent again after a refusal."""

_OVERFLOW: Final = re.compile(
    r"context_length_exceeded|exceed_context_size|context[ _-]?(?:length|size|window)"
    r"|(?:prompt|input|request)[^.]{0,60}too (?:long|large)|max_model_len|too many tokens"
    r"|string_above_max_length",
    re.IGNORECASE,
)

Count = Callable[[Ask, str], int]
"""Asks a server how many tokens a text is."""

R = TypeVar("R")


def is_overflow(error: ServerError) -> bool:
    """Return whether a server refused a prompt because it is too long."""
    return error.status in (400, 413, 422, 500) and _OVERFLOW.search(error.reply) is not None


class Fitting:
    """Cuts the passages of prompts; safe to use from several threads."""

    def __init__(
        self, model: str, texts: PromptTexts, limit: int | None, count: Count | None
    ) -> None:
        """Take what decides how long a prompt may be.

        Args:
            model: its name, for messages.
            texts: makes the prompts.
            limit: the most tokens; None for what the server does not refuse.
            count: counts tokens; None to guess from characters.
        """
        self._model = model
        self._texts = texts
        self._limit = limit
        self._count = count
        self._warned = False

    def send(self, ask: Ask, prompted: Prompted, send: Callable[[int | None], R]) -> R:
        """Call `send` with the room of the passages, until the server does not refuse the prompt.

        Args:
            ask: sends the requests that count.
            prompted: the question with its passages.
            send: sends a prompt whose passages have so many characters together, or all (None).

        Raises:
            QuestionError: the question does not fit even without its passages.
            ServerError: as `send`, unless the server refuses a prompt as too long.
        """
        room = self._room(ask, prompted)
        while True:
            try:
                return send(room)
            except ServerError as error:
                if not is_overflow(error):
                    raise
                longest = characters_of(prompted.passages)
                if longest == 0 or room == 0:
                    raise self._refused(prompted, str(error)) from None
                room = _smaller((longest if room is None else min(room, longest)) * _KEPT)
                self._warn(prompted)

    def _room(self, ask: Ask, prompted: Prompted) -> int | None:
        """Return how many characters of the passages fit, as far as is known before; None: all."""
        if self._limit is None or not prompted.passages:
            return None
        longest = characters_of(prompted.passages)
        room = longest
        length = self._length(ask, prompted, room)
        while length > self._limit and room:
            # At least one token less each time.
            tokens = length - self._limit
            room = _smaller(min(room - 1, room - tokens * max(1.0, room / length)))
            length = self._length(ask, prompted, room)
        if length > self._limit and self._count is not None:
            raise self._refused(
                prompted,
                f"it is {length} tokens long, with what the template adds, and max_input_tokens "
                f"is {self._limit}",
            )
        if room == longest:
            return None
        self._warn(prompted)
        return room

    def _length(self, ask: Ask, prompted: Prompted, room: int) -> int:
        """Return how many tokens a prompt has, or may have."""
        text = self._texts.text(prompted.question, prompted.passages, prompted.cite, room)
        if self._count is not None:
            return self._count(ask, text)
        return round(len(text) / _CHARACTERS_PER_TOKEN)

    def _refused(self, prompted: Prompted, reason: str) -> QuestionError:
        return QuestionError(
            f"the question does not fit the input of model {self._model!r} even without its "
            f"passages ({reason}): a question is never cut, so ask a shorter one (it begins "
            f"{prompted.question[:60]!r})"
        )

    def _warn(self, prompted: Prompted) -> None:
        if not self._warned:
            self._warned = True
            _LOG.warning(
                "a prompt with passage %r is longer than model %r reads: what is too long is cut, "
                "here and from now on; build the memory from shorter passages",
                prompted.passages[0].id,
                self._model,
            )


def _smaller(room: float) -> int:
    return int(room) if room >= _FEW else 0
