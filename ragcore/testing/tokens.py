"""Laws of single tokens: ends, repetitions, unlikely and forced ones, and the text they write."""

from __future__ import annotations

import unicodedata
from typing import Any, Final

import torch
from torch import Tensor

from ragcore.answering.streaming import generated_prefix
from ragcore.contracts import end_tokens
from ragcore.testing.log_probs import LogProbLaws
from ragcore.testing.trained import scaled

__all__ = ["TokenLaws"]

_UNLIKELY: Final = -11.5
"""log 1e-5: with more probability than that, several tokens may well have the same."""

_OTHER_SCRIPTS: Final = "Zürich, São Tomé e\u0301 東京 😀 "
"""Characters of two to four bytes, one beyond Unicode's first plane, and a combining accent."""


class TokenLaws(LogProbLaws):
    """Test the log-probabilities of special cases of tokens; see `GeneratorSuite`."""

    def test_the_end_token_is_scored_like_any_other(self, component: Any) -> None:
        """The end token's score is its log-probability, at the first position too.

        Fix: find padding by -1, never by the tokenizer's pad token, which often is the end token.
        """
        generator = self.build(component)
        end, drawn = generator.eos_token_id, self.drawn(generator, 3, 2)
        targets = torch.full((3, 3), -1)
        for row in range(3):
            targets[row, :row] = drawn[row, :row]
            targets[row, row] = end
        self._scored_as_stepped(generator, targets, "targets of 1, 2 and 3 tokens")
        with torch.no_grad():
            state = generator.start(self.read(generator), torch.arange(3))
            ends = self.steps(generator, state, drawn)[:, :, end]
        assert bool(ends.isfinite().all()), "no answer can end: the end token is impossible"

    def test_repeated_tokens_are_scored_in_their_place(self, component: Any) -> None:
        """Each occurrence of a token, and of a whole target, has a score of its own.

        Fix: index scores by position, never by the token.
        """
        generator = self.build(component)
        end = generator.eos_token_id
        one, other = sorted(set(self.drawn(generator, 1, 8)[0].tolist()))[:2]
        rows = [[one] * 5, [one, other] * 2 + [one], [other, one, one, other, one], [one] * 5]
        targets = torch.tensor([[*row, end] for row in rows])
        self._scored_as_stepped(generator, targets, "targets with repeated tokens")

    def test_unlikely_tokens_are_told_apart(self, component: Any) -> None:
        """Tokens with a probability below 1e-7 keep their own log-probability.

        If the generator is trainable, all weights are doubled twice to make such tokens.

        Fix: use `log_softmax`, and no `clamp`, no `+ 1e-7`, no `log` of a probability.
        """
        generator = self.build(component)
        possible = self._told_apart(generator)
        if "trainable" in generator.capabilities:
            generator = self.spec(component).build()
            scaled(generator.trained_module(), 4.0)
            assert torch.equal(self._told_apart(generator), possible), (
                "with larger weights, tokens that were unlikely became impossible"
            )

    def test_a_forced_first_token_is_possible(self, component: Any) -> None:
        """`forced_bos_token_id` has a probability at the first step, and begins every target.

        Fix: declare the token that the model was trained to begin with, or None.
        """
        generator = self.build(component)
        forced = generator.forced_bos_token_id
        if forced is None:
            return
        with torch.no_grad():
            state = generator.start(self.read(generator), torch.arange(len(self.questions)))
            first = generator.step(state, None)[:, forced]
        assert bool(first.isfinite().all()), f"the forced first token {forced} is impossible"
        for answer, ids in zip(self.answers, generator.encode_answers(self.answers), strict=True):
            assert ids[0] == forced, f"{answer!r} is encoded as {ids}, which begins not {forced}"

    def test_words_in_other_scripts_keep_their_places(self, component: Any) -> None:
        """`start` and `end` of a `Word` count characters, whatever their bytes (`words`).

        Fix: Python's string indices; convert a tokenizer's offsets in bytes or UTF-16.
        """
        generator = self.build(component)
        self.needs(generator, "words")
        for answer in self.answers:
            text = f"{_OTHER_SCRIPTS}{answer} {_OTHER_SCRIPTS}"
            (words,) = generator.encode_words([text])
            begin = len(_OTHER_SCRIPTS)
            assert any(word.opens and word.start == begin for word in words), (
                f"no word opens an answer at {begin} of {text!r}, where {answer!r} begins"
            )
            for word in words:
                assert 0 <= word.start < word.end <= len(text), f"{word} is outside {text!r}"
                spelt, written = text[word.start : word.end], generator.decode_tokens(word.tokens)
                assert not word.opens or _plain(written) == _plain(spelt), (
                    f"{word} writes {written!r}, but the text has {spelt!r}"
                )

    def test_words_that_follow_each_other_write_the_text(self, component: Any) -> None:
        """A word that opens an answer and those after it write the text, spaces too (`words`).

        Each begins where the former one ends, also where a word occurs twice.

        Fix: take a word's tokens with the space before it, and its offset from where it is.
        """
        generator = self.build(component)
        self.needs(generator, "words")
        for answer in self.answers:
            text = self._twice(generator, answer)
            (words,) = generator.encode_words([text])
            again = text.rindex(answer)
            assert any(word.opens and word.start == again for word in words), (
                f"no word opens an answer at {again} of {text!r}, where {answer!r} occurs last"
            )
            tokens: list[int] = []
            end = 0
            while end < len(text):
                following = [
                    word for word in words if word.opens == (end == 0) and word.start == end
                ]
                assert following, f"in {text!r} no word follows what ends at {end}"
                word = min(following, key=lambda word: word.end)
                tokens += word.tokens
                end = word.end
            written = _spaced(generator.decode_tokens(tokens))
            assert written == _spaced(text), f"the words of {text!r} write {written!r}"

    def test_streamed_text_is_final(self, component: Any) -> None:
        """What is streamed of an answer's first tokens begins the text of the whole answer.

        Fix: where a further token changes the text before it, as it does in word pieces, define
        `decode_prefix`: the text of the first tokens that no further token changes.
        """
        generator = self.build(component)
        end, streamed = generator.eos_token_id, False
        rows = [*self.drawn(generator, 24, 24).tolist(), *generator.encode_answers(self.answers)]
        for tokens in (row if row[-1] == end else [*row, end] for row in rows):
            final = generator.decode_tokens(tokens)
            for length in range(len(tokens)):
                text = generated_prefix(generator, tokens[:length])
                assert final.startswith(text), (
                    f"of {final!r}, {text!r} was streamed after {length} tokens"
                )
                streamed = streamed or bool(text)
        assert streamed, "nothing is streamed before the end of an answer"

    def test_text_as_written_differs_in_white_space_alone(self, component: Any) -> None:
        """`decode_verbatim`, where there is one, writes the answer but for white space.

        Fix: leave out of it what `decode_tokens` leaves out, and change no white space.
        """
        generator = self.build(component)
        if not hasattr(generator, "decode_verbatim"):
            return
        rows = [*self.drawn(generator, 24, 24).tolist(), *generator.encode_answers(self.answers)]
        for tokens in rows:
            verbatim, text = generator.decode_verbatim(tokens), generator.decode_tokens(tokens)
            assert verbatim.split() == text.split(), (
                f"{verbatim!r} is not {text!r} with other white space"
            )

    def _twice(self, generator: Any, answer: str) -> str:
        """Return an answer twice, with a space between, or once if it can write no such text."""
        text = f"{answer} {answer}"
        (tokens,) = generator.encode_answers([text])
        if not all(0 <= token < generator.vocabulary_size for token in tokens):
            return answer
        return text if _spaced(generator.decode_tokens(tokens)) == _spaced(text) else answer

    def _scored_as_stepped(self, generator: Any, targets: Tensor, what: str) -> None:
        """Check that `score` and steps agree on targets [M, T], ended rows left alone."""
        read, pairs = self.read(generator), torch.arange(len(targets)) % len(self.questions)
        # What is fed after a row's end does not matter.
        fed = targets[:, :-1].masked_fill(targets[:, :-1] < 0, int(targets[0, 0]))
        rows = self.steps(generator, generator.start(read, pairs), fed)  # [M, T, V]
        stepped = rows.gather(2, targets.clamp(min=0)[:, :, None])[:, :, 0]
        expected = stepped.masked_fill(targets < 0, 0.0)
        scores = self.score(generator, read, pairs.tolist(), targets)
        self._same(scores, expected, f"{what}, scored and step by step")

    def _told_apart(self, generator: Any) -> Tensor:
        """Check that not all of the least likely tokens share a number; return which exist, [V]."""
        read, numbers = self.read(generator), list(range(len(self.questions)))
        tokens = self.drawn(generator, len(numbers), 2)
        rows = self.steps(generator, generator.start(read, torch.tensor(numbers)), tokens)
        rows = rows.flatten(0, 1)  # [rows, V]
        possible = rows.isfinite().any(dim=0)  # [V]
        least = max(3, len(possible) // 10)
        unlikely = rows[:, possible].sort(dim=1).values[:, :least]
        spread = unlikely.amax(dim=1) - unlikely.amin(dim=1)
        clipped = float(unlikely.amax()) < _UNLIKELY and float(spread.median()) <= self.close
        assert not clipped, (
            f"the {least} least likely tokens all have log-probability {float(unlikely[0, 0]):.3g}"
        )
        ids = rows[0].masked_fill(~possible, torch.inf).argsort()[:least]
        scores = self.score(generator, read, [0] * len(ids), ids[:, None])
        alike = float(scores.max() - scores.min()) <= self.close
        assert not (alike and float(scores.max()) < _UNLIKELY), (
            f"`score` gives the {least} least likely tokens {float(scores[0, 0]):.3g} alike"
        )
        ends = torch.tensor(end_tokens(generator)[1:], dtype=torch.long)
        assert not bool(possible[ends].any()), "an end token but the first has a probability"
        return possible


def _spaced(text: str) -> str:
    """Leave out case, accents and compatibility forms, but not the spaces between words."""
    return " ".join(_plain(word) for word in text.split())


def _plain(text: str) -> str:
    """Leave out what a tokenizer may: case, accents, compatibility forms and white space."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    return "".join(one for one in letters if not unicodedata.combining(one) and not one.isspace())
