"""Prompts of a causal language model: token ids of a question with a passage, and of answers.

A prompt is the template's text, or a chat in which that text is the user's message. Passages,
questions and answers are always plain text (`tokens.py`).

Knows templates and what a tokenizer does; knows nothing of models.
"""

from __future__ import annotations

import string
from collections.abc import Sequence

from ragcore.prompts.chat import Chat
from ragcore.prompts.fitting import CutWarning, fit_passage
from ragcore.prompts.tokens import Piece, PromptTokenizer
from ragcore.types import Passage

__all__ = ["Prompts"]


class Prompts:
    """Makes the prompts of one model; safe to use from several threads."""

    def __init__(
        self,
        model: str,
        tokenizer: PromptTokenizer,
        template: str,
        without_passage: str,
        chat: Chat | None,
    ) -> None:
        """Prepare what is the same in every prompt.

        Args:
            model: its name, for errors.
            tokenizer: the model's.
            template: with {title}, {text} and {question}.
            without_passage: with {question}.
            chat: the texts around the filled template, if it is a chat.
        """
        self._model = model
        self._warn_of_cut = CutWarning(model)
        self._template = template
        self._without_passage = without_passage
        self._chat = chat
        self._tokenizer = tokenizer
        self._opening = list(tokenizer.opening) if chat is None else []

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

    def of_texts(self, texts: Sequence[str], limit: int) -> list[list[int]]:
        """Return prompts that are these texts in place of a template, inside the chat if any.

        Raises:
            QuestionError: a text does not fit; none is cut.
        """
        prompts = self._ids([self._filled("{text}", text=text) for text in texts]) if texts else []
        for text, ids in zip(texts, prompts, strict=True):
            if len(ids) > limit:
                # Without a passage there is nothing to cut: this raises.
                fit_passage(
                    self._model, text, None, ids, limit, lambda *_: [], self._tokenizer.text_ends
                )
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
        specials = self._tokenizer.special_tokens_in(self._chat.end.lstrip())
        return specials[0].token_id if specials and specials[0].start == 0 else None

    def bare_ids(self) -> list[int]:
        """Return the prompt with empty fields: what every prompt with a passage holds."""
        return self._ids([self._pieces("", "", "")])[0]

    def _pieces(self, question: str, title: str, text: str) -> list[Piece]:
        return self._filled(self._template, title=title, text=text, question=question)

    def _alone(self, question: str) -> list[Piece]:
        return self._filled(self._without_passage, question=question)

    def _filled(self, template: str, **values: str) -> list[Piece]:
        """Return the pieces of a template with its values, inside the chat if there is one."""
        pieces = [] if self._chat is None else [Piece(self._chat.before, True)]
        for literal, name, _, _ in string.Formatter().parse(template):
            pieces.append(Piece(literal, True))
            if name is not None:
                pieces.append(Piece(values[name], False))
        if self._chat is not None:
            pieces.append(Piece(self._chat.after, True))
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
            self._tokenizer.text_ends,
        )

    def _ids(self, prompts: list[list[Piece]]) -> list[list[int]]:
        return [[*self._opening, *ids] for ids in self._tokenizer.prompt_ids(prompts)]

    def _as_text(self, texts: list[str]) -> list[list[int]]:
        """Tokenize as plain text: nothing is added, and nothing is a special token."""
        return self._tokenizer.text_ids(texts) if texts else []

    def _tail(self) -> str:
        """Return the text at the end of every prompt, from the last special token on."""
        pieces = self._pieces("", "", "")
        tail = ""
        while pieces and pieces[-1].trusted:
            tail = pieces.pop().text + tail
        specials = self._tokenizer.special_tokens_in(tail)
        if specials:
            return tail[specials[-1].end :]
        # A prompt that ends with a field ends as questions do.
        return tail or "?"
