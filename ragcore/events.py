"""Define what a streamed answer is sent in: tokens, and corrections of their spelling.

They know nothing of the code that makes or reads them. `types.py` exports them.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Correction", "Token"]


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a streamed answer.

    Attributes:
        text: the text that is decided with this token, and that no later one changes; the texts of
            all tokens together are the answer's text. Empty where the token's own text is not
            decided yet, as that of a part of a character.
        log_prob: log p(y_i|x,y_<i), marginalised over the passages. None where the generator gives
            text alone; the whole answer is then sent as one token.
        posterior: p(z|x,y_<=i) for each retrieved passage, in the order of the evidence; sums to
            1. Empty where `log_prob` is None.
    """

    text: str
    log_prob: float | None
    posterior: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Correction:
    """The whole text of a streamed answer, where it is not what its tokens' texts say.

    An uncased generator's answer is spelled as in a passage, for which all of its tokens are
    needed, so that the beginning may have been sent in another spelling.

    Attributes:
        text: the answer's text, in place of all that was sent.
    """

    text: str
