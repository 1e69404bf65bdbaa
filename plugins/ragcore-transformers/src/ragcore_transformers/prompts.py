"""Prompts of a causal language model: token ids of a question with a passage, and of answers.

A prompt is the template's text, or a chat in which that text is the user's message. What a passage,
a question or an answer says is always text: a special token that is spelled out in it is tokenized
letter by letter, and cannot end a turn or begin another.

Knows tokenizers and templates; knows nothing of models.
"""

from __future__ import annotations

import copy
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from jinja2.exceptions import TemplateError

from ragcore.errors import GeneratorError, QuestionError
from ragcore.types import Passage
from ragcore_transformers.tokenizing import shortened

__all__ = ["Chat", "Prompts"]

_MESSAGE: Final = "ragcore\ufff9message"
_REPLY: Final = "ragcore\ufff9reply"
"""Stand in a chat for what is said in it; no template strips, escapes or splits them."""


@dataclass(frozen=True, slots=True)
class Chat:
    """The text that a chat template puts around the user's message, and behind the reply.

    Attributes:
        before: up to the message.
        after: from the message to where the reply begins.
        end: what comes behind the reply.
    """

    before: str
    after: str
    end: str

    @classmethod
    def of(cls, model: str, tokenizer: Any, system: str | None) -> Chat:
        """The chat of a tokenizer that has a template.

        Raises:
            GeneratorError: the template refuses the messages, or does not repeat them.
        """
        opening = [] if system is None else [{"role": "system", "content": system}]
        messages = [*opening, {"role": "user", "content": _MESSAGE}]
        reply = {"role": "assistant", "content": _REPLY}
        try:
            asked = tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
            told = tokenizer.apply_chat_template([*messages, reply], tokenize=False)
        except (TemplateError, ValueError, TypeError) as fault:
            advice = "set chat: false" if system is None else "leave out system, or set chat: false"
            raise GeneratorError(
                f"the chat template of model {model!r} fails ({fault}): {advice}"
            ) from fault
        if asked.count(_MESSAGE) != 1 or told.count(_REPLY) != 1:
            raise GeneratorError(
                f"the chat template of model {model!r} does not write the user's message and the "
                "assistant's reply once each: set chat: false"
            )
        before, _, after = asked.partition(_MESSAGE)
        return cls(before, after, told.partition(_REPLY)[2])


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of a prompt: the template's own text, or what was put into one of its fields."""

    text: str
    trusted: bool


class Prompts:
    """Makes the prompts of one model; safe to use from several threads."""

    def __init__(
        self, model: str, tokenizer: Any, template: str, without_passage: str, chat: Chat | None
    ) -> None:
        """Settle what is the same in every prompt.

        Args:
            model: its name, for errors.
            tokenizer: a fast one; it is not changed.
            template: with {title}, {text} and {question}.
            without_passage: with {question}.
            chat: what stands around the filled template, if anything.
        """
        self._model = model
        self._template = template
        self._without_passage = without_passage
        self._chat = chat
        # Whether special tokens are found in a text is a switch inside the tokenizer. Two of them,
        # each with its own setting, need no lock.
        self._marked = tokenizer
        self._plain = copy.deepcopy(tokenizer)
        self._specials: dict[int, str] = {
            at: token.content
            for at, token in tokenizer.added_tokens_decoder.items()
            if token.special
        }
        self._opening = self._beginning() if chat is None else []

    def of(
        self, questions: Sequence[str], passages: Sequence[Passage | None], limit: int
    ) -> list[list[int]]:
        """The prompt of each pair, at most `limit` tokens long.

        Raises:
            QuestionError: a question does not fit even without its passage.
        """
        pieces = [
            self._alone(question)
            if passage is None
            else self._pieces(question, passage.title, passage.text)
            for question, passage in zip(questions, passages, strict=True)
        ]
        prompts = self._ids(pieces) if pieces else []
        for pair, ids in enumerate(prompts):
            if len(ids) > limit:
                prompts[pair] = self._shortened(questions[pair], passages[pair], limit)
        return prompts

    def continuations(self, answers: Sequence[str], prefix: str | None) -> list[list[int]]:
        """Ids that follow a prompt when it goes on with each of the answers, no end token.

        Args:
            answers: the answers.
            prefix: what stands between prompt and answer; None for a space, unless the prompt ends
                with white space or a special token, as the prompts of chats do.
        """
        tail = self._tail()
        if prefix is None:
            prefix = " " if tail and not tail[-1].isspace() else ""
        texts = [prefix + answer for answer in answers]
        # SentencePiece's tokenizers put a space before the first word that they see, whether or not
        # one is there: so an answer is tokenized behind what it follows.
        before = self._as_text([tail])[0] if tail else []
        together = self._as_text([tail + text for text in texts])
        return [
            whole[len(before) :] if whole[: len(before)] == before else alone
            for whole, alone in zip(together, self._as_text(texts), strict=True)
        ]

    def turn_end(self) -> int | None:
        """The special token that ends a chat's reply, if there is a chat and it does so."""
        if self._chat is None:
            return None
        ids = self._marked(self._chat.end.lstrip(), add_special_tokens=False).input_ids
        return int(ids[0]) if ids and ids[0] in self._specials else None

    def largest_id(self) -> int:
        """The largest id that prompts and answers can hold."""
        (empty,) = self._ids([self._pieces("", "", "")])
        texts = (at for at in self._plain.get_vocab().values() if at not in self._specials)
        return max(max(texts), *empty, 0)

    def _pieces(self, question: str, title: str, text: str) -> list[_Piece]:
        return self._filled(self._template, title=title, text=text, question=question)

    def _alone(self, question: str) -> list[_Piece]:
        return self._filled(self._without_passage, question=question)

    def _filled(self, template: str, **values: str) -> list[_Piece]:
        """The pieces of a template with its values, inside the chat if there is one."""
        found = [] if self._chat is None else [_Piece(self._chat.before, True)]
        for literal, name, _, _ in string.Formatter().parse(template):
            found.append(_Piece(literal, True))
            if name is not None:
                found.append(_Piece(values[name], False))
        if self._chat is not None:
            found.append(_Piece(self._chat.after, True))
        return found

    def _shortened(self, question: str, passage: Passage | None, limit: int) -> list[int]:
        empty = self._alone(question) if passage is None else self._pieces(question, "", "")
        (bare,) = self._ids([empty])
        if passage is None or len(bare) > limit:
            raise QuestionError(
                f"the question is {len(bare)} tokens long, with what the template adds, and model "
                f"{self._model!r} reads at most {limit}: a question is never cut, so ask a shorter "
                f"one (it begins {question[:60]!r})"
            )
        return shortened(
            passage,
            limit,
            lambda title, text: self._ids([self._pieces(question, title, text)])[0],
            self._ends,
        )

    def _ids(self, prompts: list[list[_Piece]]) -> list[list[int]]:
        texts = ["".join(piece.text for piece in pieces) for pieces in prompts]
        found = self._marked(
            texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        prompts_ids = []
        for pieces, text, ids, offsets in zip(
            prompts, texts, found.input_ids, found.offset_mapping, strict=True
        ):
            spans = [span for _, span in self._spelled(text, ids, offsets)]
            prompts_ids.append(
                self._opening + (self._disarmed(pieces) if _touch_fields(pieces, spans) else ids)
            )
        return prompts_ids

    def _disarmed(self, pieces: list[_Piece]) -> list[int]:
        """Ids in which special tokens are those of the template alone."""
        ids: list[int] = []
        text = ""
        for piece in pieces:
            begin = 0
            for at, (first, last) in self._specials_in(piece.text) if piece.trusted else ():
                ids += [*self._as_text([text + piece.text[begin:first]])[0], at]
                text, begin = "", last
            text += piece.text[begin:]
        return ids + self._as_text([text])[0]

    def _specials_in(self, text: str) -> list[tuple[int, tuple[int, int]]]:
        found = self._marked(text, add_special_tokens=False, return_offsets_mapping=True)
        return self._spelled(text, found.input_ids, found.offset_mapping)

    def _spelled(
        self, text: str, ids: list[int], offsets: list[tuple[int, int]]
    ) -> list[tuple[int, tuple[int, int]]]:
        """The special tokens that a text spells out, and where they stand in it.

        An unknown word is a special token too, but is not spelled as one.
        """
        return [
            (at, (first, last))
            for at, (first, last) in zip(ids, offsets, strict=True)
            if at in self._specials and self._specials[at] in text[first:last]
        ]

    def _as_text(self, texts: list[str]) -> list[list[int]]:
        """Ids of texts as texts: nothing is added, and nothing in them is a special token."""
        if not texts:
            return []
        ids: list[list[int]] = self._plain(
            texts, add_special_tokens=False, split_special_tokens=True, verbose=False
        ).input_ids
        return ids

    def _ends(self, text: str) -> list[int]:
        """Where each token of a text ends in it."""
        found = self._plain(
            text,
            add_special_tokens=False,
            split_special_tokens=True,
            return_offsets_mapping=True,
            verbose=False,
        )
        return [end for _, end in found.offset_mapping]

    def _beginning(self) -> list[int]:
        """What the tokenizer puts before a text; what it puts behind would end the prompt."""
        found = self._marked("a", return_special_tokens_mask=True)
        ids: list[int] = []
        for at, special in zip(found.input_ids, found.special_tokens_mask, strict=True):
            if not special:
                break
            ids.append(at)
        return ids

    def _tail(self) -> str:
        """The text at the end of every prompt, up to the last special token."""
        pieces = self._pieces("", "", "")
        tail = ""
        while pieces and pieces[-1].trusted:
            tail = pieces.pop().text + tail
        specials = self._specials_in(tail)
        if specials:
            return tail[specials[-1][1][1] :]
        # Behind a field stands what questions end with.
        return tail or "?"


def _touch_fields(pieces: list[_Piece], spans: list[tuple[int, int]]) -> bool:
    """Whether any of these spans of a prompt's text lies in what was put into a field."""
    end = 0
    for piece in pieces:
        begin, end = end, end + len(piece.text)
        if not piece.trusted and any(first < end and last > begin for first, last in spans):
            return True
    return False
