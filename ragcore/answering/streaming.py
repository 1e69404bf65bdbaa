"""Turn the decided tokens of an answer into text that is final when it is sent.

Token by token, the text of an answer does not only grow: a character may span several tokens, and
a tokenizer may join words that it decoded apart before. A text that was sent cannot be taken back,
so each token brings the text that no later token can change, and the last one brings the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ragcore.contracts import Generator
from ragcore.types import Answer, Correction, Token

__all__ = ["TextStream", "common_prefix", "generated_prefix", "joined_tokens", "tokens_of"]

_INCOMPLETE = "\ufffd"
"""What decoders write for a character of which some bytes are still missing."""


class TextStream:
    """The text of one answer, in parts whose concatenation is the whole.

    Attributes:
        sent: the concatenation of the parts so far.
    """

    def __init__(self, prefix: Callable[[Sequence[int]], str]) -> None:
        """Begin with nothing sent.

        Args:
            prefix: the decided text of the first tokens of an answer.
        """
        self._prefix = prefix
        self.sent = ""

    def next(self, tokens: Sequence[int]) -> str:
        """Return the text that has been decided since the last call; `tokens` begin the answer."""
        text = self._prefix(tokens)
        if not text.startswith(self.sent):
            return ""
        part, self.sent = text[len(self.sent) :], text
        return part

    def rest(self, final: str, own: str) -> str:
        """Return the text that completes the answer.

        Args:
            final: the answer's text, spelled as a passage spells it.
            own: the same text as the generator spells it: it is completed instead where what was
                sent is spelled in another way than `final`.
        """
        whole = final if final.startswith(self.sent) else own
        part = whole[len(common_prefix([whole, self.sent])) :]
        self.sent += part
        return part


def generated_prefix(generator: Generator, tokens: Sequence[int]) -> str:
    """Decode the first tokens of an answer to the text that no further token changes.

    A generator whose text may change in more than its last, incomplete character has a method
    `decode_prefix`; see the contract.
    """
    decode = getattr(generator, "decode_prefix", generator.decode_tokens)
    text: str = decode(tokens)
    # White space at the end is stripped only where the answer ends there.
    return text.rstrip(_INCOMPLETE).rstrip()


def joined_tokens(tokens: Sequence[str]) -> str:
    """Join the texts of an answer's first tokens to the text that no further token changes."""
    # White space at its ends is not part of an answer.
    return "".join(tokens).rstrip(_INCOMPLETE).strip()


def tokens_of(answer: Answer) -> Iterator[Token | Correction]:
    """Yield an answer that is known whole as the tokens of a stream.

    An answer without tokens is one token. Where the tokens' texts do not join to the answer's, as
    those of some tokenizers, the last token has the whole text.
    """
    if not answer.tokens:
        yield Token(answer.text, None, ())
        return
    joins = joined_tokens(answer.tokens) == answer.text
    stream = TextStream(lambda ends: joined_tokens(answer.tokens[: len(ends)]) if joins else "")
    log_probs = answer.candidates[0].token_log_probs
    last = len(answer.tokens)
    for end, (log_prob, posterior) in enumerate(
        zip(log_probs, answer.token_posteriors, strict=True), 1
    ):
        text = stream.rest(answer.text, answer.text) if end == last else stream.next(range(end))
        yield Token(text, log_prob, posterior)


def common_prefix(texts: Sequence[str]) -> str:
    """Return what all of these texts begin with; nothing for none.

    >>> common_prefix(["Nairobi", "Naivasha"])
    'Nai'
    """
    if not texts:
        return ""
    # Whatever the first and the last in order share, those between them share too.
    first, last = min(texts), max(texts)
    length = 0
    while length < len(first) and first[length] == last[length : length + 1]:
        length += 1
    return first[:length]
