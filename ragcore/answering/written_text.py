"""A text that a generator is writing, as the tokens of a stream.

Knows texts that grow; knows nothing of prompts or answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from collections.abc import Generator as Generator_
from contextlib import closing

from ragcore.contracts import Completion
from ragcore.errors import GeneratorError
from ragcore.process.cancellation import interruptible
from ragcore.types import Correction, Token

__all__ = ["WrittenText"]


class WrittenText:
    """A text, in parts whose concatenation is the whole.

    Attributes:
        seconds: how long it was waited for; the caller's code between two parts does not count.
    """

    def __init__(
        self, parts: Generator_[Completion, None, None], check: Callable[[], None]
    ) -> None:
        """Begin with nothing sent.

        Args:
            parts: the text so far, whenever it has grown; see `StreamingGenerator.write_parts`.
            check: raises where the request should not go on.
        """
        self._parts = parts
        self._check = check
        self._sent = ""
        self._whole: Completion | None = None
        self.seconds = 0.0

    @property
    def whole(self) -> Completion:
        """The whole text, once it is written.

        Raises:
            GeneratorError: there was no part.
        """
        if self._whole is None:
            raise GeneratorError("`write_parts` yielded no text: expected one or more parts")
        return self._whole

    def tokens(self) -> Iterator[Token]:
        """Yield what each part adds to the text, without log p; the request ends with this."""
        with closing(self._parts):
            while True:
                began = time.perf_counter()
                self._check()
                with interruptible(self._check):
                    part = next(self._parts, None)
                self.seconds += time.perf_counter() - began
                if part is None:
                    return
                self._whole = part
                if part.text != self._sent and part.text.startswith(self._sent):
                    added, self._sent = part.text[len(self._sent) :], part.text
                    yield Token(added, None, ())

    def rest(self, text: str) -> Iterator[Token | Correction]:
        """Yield what completes the text that was sent to that of the answer, or corrects it."""
        if text.startswith(self._sent):
            if text != self._sent or not text:
                yield Token(text[len(self._sent) :], None, ())
        else:
            yield Correction(text)
