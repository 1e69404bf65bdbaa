"""Prompts of a causal language model: token ids of a question with a passage, and of answers.

A prompt is the template's text, or a chat in which that text is the user's message. Passages,
questions and answers are always plain text: a special token that is spelled out in one is tokenized
letter by letter, and cannot end a turn or begin another.

Knows tokenizers and templates; knows nothing of models.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from jinja2.exceptions import TemplateError

from ragcore.errors import GeneratorError
from ragcore.types import Passage
from ragcore_transformers.chat_templates import closed, render
from ragcore_transformers.plain_tokens import PlainTokenizer
from ragcore_transformers.tokenizing import CutWarning, fit_passage

__all__ = ["Chat", "Prompts"]

_MESSAGE: Final = "ragcore\ufff9message"
_REPLY: Final = "ragcore\ufff9reply"
"""Placeholders for a chat's message and reply; no template strips, escapes or splits them."""


_ANOTHER_DAY: Final = date(1212, 12, 12)
"""Differs from every date of today in its day, month and year, or nearly so."""


@dataclass(frozen=True, slots=True)
class Chat:
    """The text that a chat template puts around the user's message, and after the reply.

    Attributes:
        before: up to the message.
        after: from the message to where the reply begins.
        end: what comes after the reply.
        dated: whether the template prints the date.
    """

    before: str
    after: str
    end: str
    dated: bool = False

    @classmethod
    def of(
        cls,
        model: str,
        tokenizer: Any,
        system: str | None,
        today: date,
        variables: Mapping[str, Any],
    ) -> Chat:
        """Read the chat's texts off a tokenizer's template.

        Args:
            model: its name, for errors.
            tokenizer: has the template.
            system: the system message; None for none.
            today: the date that the template prints, if it prints one.
            variables: more of the template's variables.

        Raises:
            GeneratorError: the template refuses the messages, or does not repeat them.
        """
        opening = [] if system is None else [{"role": "system", "content": system}]
        messages = [*opening, {"role": "user", "content": _MESSAGE}]
        reply = {"role": "assistant", "content": _REPLY}
        try:
            prompt = render(tokenizer, messages, today, variables, reply_follows=True)
            another_day = render(tokenizer, messages, _ANOTHER_DAY, variables, reply_follows=True)
            dialogue = render(tokenizer, [*messages, reply], today, variables)
        except (TemplateError, ValueError, TypeError) as fault:
            advice = "set chat: false" if system is None else "leave out system, or set chat: false"
            raise GeneratorError(
                f"the chat template of model {model!r} fails ({fault}): {advice}"
            ) from fault
        if prompt.count(_MESSAGE) != 1 or dialogue.count(_REPLY) != 1:
            raise GeneratorError(
                f"the chat template of model {model!r} does not write the user's message and the "
                "assistant's reply once each: set chat: false"
            )
        before, _, after = prompt.partition(_MESSAGE)
        end = dialogue.partition(_REPLY)[2]
        return cls(before, closed(after), end, dated=prompt != another_day)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of a prompt: the template's own text (trusted), or the value of a field."""

    text: str
    trusted: bool


class Prompts:
    """Makes the prompts of one model; safe to use from several threads."""

    def __init__(
        self, model: str, tokenizer: Any, template: str, without_passage: str, chat: Chat | None
    ) -> None:
        """Prepare what is the same in every prompt.

        Args:
            model: its name, for errors.
            tokenizer: a fast one; it is not changed.
            template: with {title}, {text} and {question}.
            without_passage: with {question}.
            chat: the texts around the filled template, if it is a chat.
        """
        self._model = model
        self._warn_of_cut = CutWarning(model)
        self._template = template
        self._without_passage = without_passage
        self._chat = chat
        self._marked = tokenizer
        self._plain = PlainTokenizer(tokenizer).around([], [])
        self._specials: dict[int, str] = {
            token_id: token.content
            for token_id, token in tokenizer.added_tokens_decoder.items()
            if token.special
        }
        self._opening = self._beginning() if chat is None else []

    def of(
        self, questions: Sequence[str], passages: Sequence[Passage | None], limit: int
    ) -> list[list[int]]:
        """Return the prompt of each pair, at most `limit` tokens long.

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
                self._warn_of_cut(passages[pair], len(ids), limit)
        return prompts

    def bare_lengths(self, questions: Sequence[str]) -> list[int]:
        """Return how many tokens the prompt of each question has with an empty passage."""
        prompts = [self._pieces(question, "", "") for question in questions]
        return [len(ids) for ids in self._ids(prompts)] if prompts else []

    def continuations(self, answers: Sequence[str], prefix: str | None) -> list[list[int]]:
        """Return the ids with which a prompt continues for each answer, without end token.

        Args:
            answers: the answers.
            prefix: text between prompt and answer; None for a space, unless the prompt ends with
                white space or a special token, as the prompts of chats do.
        """
        tail = self._tail()
        if prefix is None:
            prefix = " " if tail and not tail[-1].isspace() else ""
        texts = [prefix + answer for answer in answers]
        # SentencePiece's tokenizers put a space before the first word of any text: so an answer is
        # tokenized together with the text that it follows.
        before = self._as_text([tail])[0] if tail else []
        together = self._as_text([tail + text for text in texts])
        return [
            whole[len(before) :] if whole[: len(before)] == before else alone
            for whole, alone in zip(together, self._as_text(texts), strict=True)
        ]

    def turn_end(self) -> int | None:
        """Return the special token that ends a chat's reply; None if there is none."""
        if self._chat is None:
            return None
        ids = self._marked(self._chat.end.lstrip(), add_special_tokens=False).input_ids
        return int(ids[0]) if ids and ids[0] in self._specials else None

    def largest_id(self) -> int:
        """Return the largest id that prompts and answers can hold."""
        (empty,) = self._ids([self._pieces("", "", "")])
        vocabulary = self._marked.get_vocab().values()
        texts = (token_id for token_id in vocabulary if token_id not in self._specials)
        return int(max(max(texts), *empty, 0))

    def _pieces(self, question: str, title: str, text: str) -> list[_Piece]:
        return self._filled(self._template, title=title, text=text, question=question)

    def _alone(self, question: str) -> list[_Piece]:
        return self._filled(self._without_passage, question=question)

    def _filled(self, template: str, **values: str) -> list[_Piece]:
        """Return the pieces of a template with its values, inside the chat if there is one."""
        pieces = [] if self._chat is None else [_Piece(self._chat.before, True)]
        for literal, name, _, _ in string.Formatter().parse(template):
            pieces.append(_Piece(literal, True))
            if name is not None:
                pieces.append(_Piece(values[name], False))
        if self._chat is not None:
            pieces.append(_Piece(self._chat.after, True))
        return pieces

    def _shortened(self, question: str, passage: Passage | None, limit: int) -> list[int]:
        empty = self._alone(question) if passage is None else self._pieces(question, "", "")
        (bare,) = self._ids([empty])
        return fit_passage(
            self._model,
            question,
            passage,
            bare,
            limit,
            lambda title, text: self._ids([self._pieces(question, title, text)])[0],
            self._ends,
        )

    def _ids(self, prompts: list[list[_Piece]]) -> list[list[int]]:
        texts = ["".join(piece.text for piece in pieces) for pieces in prompts]
        encoded = self._marked(
            texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        prompts_ids = []
        for pieces, text, ids, offsets in zip(
            prompts, texts, encoded.input_ids, encoded.offset_mapping, strict=True
        ):
            spans = [span for _, span in self._spelled(text, ids, offsets)]
            prompts_ids.append(
                self._opening + (self._disarmed(pieces) if _touch_fields(pieces, spans) else ids)
            )
        return prompts_ids

    def _disarmed(self, pieces: list[_Piece]) -> list[int]:
        """Return ids in which only the template's special tokens are special."""
        ids: list[int] = []
        text = ""
        for piece in pieces:
            begin = 0
            specials = self._specials_in(piece.text) if piece.trusted else []
            for token_id, (first, last) in specials:
                ids += [*self._as_text([text + piece.text[begin:first]])[0], token_id]
                text, begin = "", last
            text += piece.text[begin:]
        return ids + self._as_text([text])[0]

    def _specials_in(self, text: str) -> list[tuple[int, tuple[int, int]]]:
        encoded = self._marked(text, add_special_tokens=False, return_offsets_mapping=True)
        return self._spelled(text, encoded.input_ids, encoded.offset_mapping)

    def _spelled(
        self, text: str, ids: list[int], offsets: list[tuple[int, int]]
    ) -> list[tuple[int, tuple[int, int]]]:
        """Return the special tokens that a text spells out, and their spans in it.

        An unknown word is a special token too, but is not spelled as one.
        """
        return [
            (token_id, (first, last))
            for token_id, (first, last) in zip(ids, offsets, strict=True)
            if token_id in self._specials and self._specials[token_id] in text[first:last]
        ]

    def _as_text(self, texts: list[str]) -> list[list[int]]:
        """Tokenize as plain text: nothing is added, and nothing is a special token."""
        return self._plain.ids(texts) if texts else []

    def _ends(self, text: str) -> list[int]:
        """Return the end of each token in a text."""
        return self._plain.ends(text)

    def _beginning(self) -> list[int]:
        """Return the tokens put before a text; those put after it would end the prompt."""
        encoded = self._marked("a", return_special_tokens_mask=True)
        ids: list[int] = []
        for token_id, special in zip(encoded.input_ids, encoded.special_tokens_mask, strict=True):
            if not special:
                break
            ids.append(token_id)
        return ids

    def _tail(self) -> str:
        """Return the text at the end of every prompt, from the last special token on."""
        pieces = self._pieces("", "", "")
        tail = ""
        while pieces and pieces[-1].trusted:
            tail = pieces.pop().text + tail
        specials = self._specials_in(tail)
        if specials:
            return tail[specials[-1][1][1] :]
        # A prompt that ends with a field ends as questions do.
        return tail or "?"


def _touch_fields(pieces: list[_Piece], spans: list[tuple[int, int]]) -> bool:
    """Return whether any of these spans of a prompt's text touches a field's value."""
    end = 0
    for piece in pieces:
        begin, end = end, end + len(piece.text)
        if not piece.trusted and any(first < end and last > begin for first, last in spans):
            return True
    return False
