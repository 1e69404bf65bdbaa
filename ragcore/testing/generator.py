"""The suite for generators: what is read, what is written, and the words between.

The laws of log-probabilities are in `log_probs.py`, those of what was read and of searches in
`reads.py`, those of several passages in `together.py`, those of single tokens in `tokens.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from ragcore.contracts import end_tokens, needs_passages, unknown_answer, weights_dtype
from ragcore.errors import ComponentError, QuestionError
from ragcore.testing.manners import MannerLaws
from ragcore.testing.reads import ReadLaws
from ragcore.testing.together import TogetherLaws
from ragcore.testing.tokens import TokenLaws
from ragcore.testing.trained import resumed, saved
from ragcore.types import Passage, Word

__all__ = ["GeneratorSuite"]

MANY: Final = 4000
"""A number of words above the input length of most models."""


class GeneratorSuite(ReadLaws, TogetherLaws, TokenLaws, MannerLaws):
    """Test a component against `ragcore.contracts.Generator`.

    Attributes:
        answers: texts that the generator can write.
        answer_tokens: tokens of the longest answer that is decoded.
        many: pairs in the largest read.
        longest_text: words of a passage that the generator reads to its last word.
        close: the largest difference between log-probabilities where only the way of computing
            differs.
    """

    def exercise(self, component: Any, folder: Path) -> Mapping[str, Any]:
        """Build a generator, encode answers, read, score and step; save it if it is trainable."""
        generator = self.spec(component).build()
        targets = self.targets(generator)
        results: dict[str, Any] = {"targets": targets.numpy()}
        results["scores"] = self.score(generator, self.read(generator), [0, 1, 2], targets).cpu()
        if "words" in generator.capabilities:
            (words,) = generator.encode_words(self.answers[:1])
            results["words"] = [(word.start, word.end) for word in words]
        # Not under `no_grad`, which would restore a gradient mode that the generator changes.
        read = generator.read(list(self.questions), self.passages())
        state = generator.start(read, torch.arange(3))
        steps = [generator.step(state, None).clone()]
        state.select(torch.tensor([2, 0, 1]))
        steps.append(generator.step(state, self.drawn(generator, 3, 1)[:, 0]).clone())
        results["steps"] = torch.stack(steps).detach().cpu()
        if "trainable" in generator.capabilities:
            log_probs = generator.score(read, torch.arange(3), targets)
            results["with_gradient"] = log_probs.detach().cpu()
            saved(generator, folder)
            results |= self.revisit(component, folder)
        return results

    def revisit(self, component: Any, folder: Path) -> Mapping[str, Any]:
        """Load what `exercise` saved, if anything, and score."""
        generator = resumed(self.spec(component), folder)
        if generator is None:
            return {}
        read, targets = self.read(generator), self.targets(generator)
        return {"saved": self.score(generator, read, [0, 1, 2], targets).cpu()}

    def test_capabilities_are_known(self, component: Any) -> None:
        """`capabilities` is a frozenset of names, none of them a known one misspelt.

        Fix: write `capabilities = frozenset({"words"})`; check the spelling.
        """
        self.declares_what_is_known(self.build(component))

    def test_token_ids_are_in_the_vocabulary(self, component: Any) -> None:
        """The end token, and the forced first one if any, are below `vocabulary_size`.

        Fix: V is the width of the model's output, which may exceed the tokenizer's length.
        """
        generator = self.build(component)
        assert isinstance(generator.device, torch.device), f"device is {generator.device!r}"
        assert isinstance(generator.vocabulary_size, int), f"V is {generator.vocabulary_size!r}"
        assert 0 <= generator.eos_token_id < generator.vocabulary_size, (
            f"end token {generator.eos_token_id} is not below V = {generator.vocabulary_size}"
        )
        ends = end_tokens(generator)
        assert ends[0] == generator.eos_token_id, (
            f"end tokens {ends} do not begin with eos_token_id, {generator.eos_token_id}"
        )
        assert len(set(ends)) == len(ends), f"an end token repeats: {ends}"
        assert all(0 <= end < generator.vocabulary_size for end in ends), (
            f"end tokens {ends} are not all below V = {generator.vocabulary_size}"
        )
        forced = generator.forced_bos_token_id
        assert forced is None or 0 <= forced < generator.vocabulary_size, (
            f"forced first token {forced} is not below V = {generator.vocabulary_size}"
        )

    def test_the_type_of_weights_is_named_as_text(self, component: Any) -> None:
        """`dtype`, which a generator may have, is text such as "bfloat16": answers repeat it.

        Fix: write `str(model.dtype).removeprefix("torch.")`, or leave the member out.
        """
        try:
            dtype = weights_dtype(self.build(component))
        except ComponentError as fault:
            raise AssertionError(str(fault)) from fault
        assert dtype is None or dtype.isprintable(), f"dtype is {dtype!r}: expected a name"
        assert dtype != "", "dtype is empty: leave it out where it is not known"

    def test_what_it_answers_without_an_answer_is_an_answer(self, component: Any) -> None:
        """`unknown`, which a generator may have, has tokens; `needs_passages` is true or false.

        Fix: return the setting `unknown`; None where the generator has no such answer. Settings
        that contradict these members are refused.
        """
        generator = self.build(component)
        try:
            needs_passages(generator)
            unknown = unknown_answer(generator)
        except ComponentError as fault:
            raise AssertionError(str(fault)) from fault
        if unknown is not None:
            (ids,) = generator.encode_answers([unknown])
            assert len(ids) > 1, f"unknown is {unknown!r}, which has no token but the end token"

    def test_answers_end_with_the_end_token(self, component: Any) -> None:
        """Target ids are in range and have the end token last and nowhere else.

        Fix: append it where the tokenizer does not; leave the start token out.
        """
        generator = self.build(component)
        assert generator.encode_answers([]) == [], "encode_answers([]) is not empty"
        for answer, ids in zip(self.answers, generator.encode_answers(self.answers), strict=True):
            assert ids[-1] == generator.eos_token_id, (
                f"{answer!r} is encoded as {ids}, without end token"
            )
            assert not set(end_tokens(generator)) & set(ids[:-1]), (
                f"{answer!r} is encoded as {ids}, with an end token before the last"
            )
            assert all(0 <= token < generator.vocabulary_size for token in ids), (
                f"{answer!r} is encoded as {ids}: expected tokens below V"
            )

    def test_answers_survive_encoding_and_decoding(self, component: Any) -> None:
        """An encoded answer decodes to the same text; with `uncased`, up to case.

        Fix: leave special tokens out of the text, and nothing else.
        """
        generator = self.build(component)
        targets = generator.encode_answers(self.answers)
        assert len(targets) == len(self.answers), (
            f"{len(self.answers)} answers have {len(targets)} targets"
        )
        for answer, ids in zip(self.answers, targets, strict=True):
            text = generator.decode_tokens(ids)
            if "uncased" in generator.capabilities:
                answer, text = answer.casefold(), text.casefold()
            assert text.split() == answer.split(), f"{answer!r} decodes to {text!r}"

    def test_read_has_one_entry_a_pair(self, component: Any) -> None:
        """`len(read)` is P, the number of pairs, also where P is 0.

        Fix: give the object that `read` returns a `__len__`.
        """
        generator = self.build(component)
        assert len(self.read(generator)) == len(self.questions), "pairs were lost or added"
        assert len(generator.read([], [])) == 0, "reading no pairs gives pairs"

    def test_the_question_and_the_passage_matter(self, component: Any) -> None:
        """Another question, another passage, or none changes the log-probabilities.

        Fix: check the input that is built for the encoder, pair by pair.
        """
        generator = self.build(component)
        chad = Passage("1", "Chad", "N'Djamena is the capital.")
        kenya = Passage("2", "Kenya", "Nairobi is the capital.")
        pairs = [
            ("Who?", chad),
            ("Where?", chad),
            ("Who?", kenya),
            ("Who?", None),
            ("Where?", None),
        ]
        first = self.first_step(generator, pairs)
        for left in range(len(pairs)):
            for right in range(left):
                assert not torch.allclose(first[left], first[right], rtol=0, atol=1e-7), (
                    f"{pairs[left]} and {pairs[right]} give the same log-probabilities"
                )

    def test_a_question_is_never_cut(self, component: Any) -> None:
        """Next to a passage of any length, the question's first and last words count.

        Fix: shorten the passage where the input is too long.
        """
        generator = self.build(component)
        endless = Passage("1", "Long", "word " * MANY)
        questions = ["Who is it in Chad?", "Who is it in Mali?", "What is it in Chad?"]
        first = self.first_step(generator, [(question, endless) for question in questions])
        for right in (1, 2):
            assert not torch.allclose(first[0], first[right], rtol=0, atol=1e-7), (
                f"next to a long passage {questions[0]!r} and {questions[right]!r} are the same"
            )

    def test_a_question_that_is_too_long_is_refused(self, component: Any) -> None:
        """A question is read to its last word, or raises `QuestionError`.

        Fix: raise `QuestionError` where the question alone exceeds the input's length.
        """
        generator = self.build(component)
        questions = [f"{'very ' * MANY}{end}" for end in ("old?", "new?")]
        for passage in (None, Passage("1", "Chad", "N'Djamena")):
            try:
                first = self.first_step(generator, [(question, passage) for question in questions])
            except QuestionError:
                continue
            assert not torch.allclose(first[0], first[1], rtol=0, atol=1e-7), (
                "a long question is cut without an error"
            )

    def test_arguments_are_not_changed(self, component: Any) -> None:
        """No call changes the lists and tensors that it receives.

        Fix: clone before you fill the padding in place.
        """
        generator = self.build(component)
        questions, passages = list(self.questions), self.passages()
        targets, pairs = self.targets(generator), torch.arange(len(questions))
        before = copy.deepcopy((questions, passages))
        ids, positions = targets.clone(), pairs.clone()
        with torch.no_grad():
            read = generator.read(questions, passages)
            generator.score(read, pairs, targets)
            state = generator.start(read, pairs)
            generator.step(state, None)
            tokens = targets[:, 0].clone()
            generator.step(state, tokens)
            chosen = pairs.flip(0)
            state.select(chosen)
        assert (questions, passages) == before, "read changed a list that it received"
        assert torch.equal(targets, ids), "score changed its targets"
        assert torch.equal(pairs, positions), "a call changed pairs"
        assert torch.equal(tokens, ids[:, 0]), "step changed its tokens"
        assert torch.equal(chosen, positions.flip(0)), "select changed its rows"

    def test_words_match_the_text(self, component: Any) -> None:
        """Each `Word` lies in its text and is written by its tokens (capability `words`).

        Fix: see `ragcore.types.Word`; the tokens of a word that opens an answer, decoded alone, are
        the text between its start and end.
        """
        generator = self.build(component)
        self.needs(generator, "words")
        word_lists = generator.encode_words(self.answers)
        assert len(word_lists) == len(self.answers), (
            f"encode_words returned words of {len(word_lists)} texts, not {len(self.answers)}"
        )
        for text, words in zip(self.answers, word_lists, strict=True):
            assert any(word.opens for word in words), f"no word of {text!r} opens an answer"
            for word in words:
                assert isinstance(word, Word), f"a word is {type(word).__name__}, not Word"
                assert 0 <= word.start < word.end <= len(text), f"{word} is outside {text!r}"
                assert word.tokens, f"{word} has no token"
                assert not set(end_tokens(generator)) & set(word.tokens), f"{word} has an end token"
                assert all(0 <= token < generator.vocabulary_size for token in word.tokens), (
                    f"{word} has a token that is not below V = {generator.vocabulary_size}"
                )
                written, spelt = generator.decode_tokens(word.tokens), text[word.start : word.end]
                if "uncased" in generator.capabilities:
                    written, spelt = written.casefold(), spelt.casefold()
                assert not word.opens or written.split() == spelt.split(), (
                    f"{word} writes {written!r}, but the text has {spelt!r}"
                )

    def test_undeclared_words_are_refused(self, component: Any) -> None:
        """Without the capability `words`, `encode_words` raises `UnsupportedOperation`.

        Fix: `raise UnsupportedOperation.of("generator 'name'", "words")`.
        """
        generator = self.build(component)
        self.lacks(generator, "words")
        self.must_refuse(component, "encode_words(…)", lambda: generator.encode_words(self.answers))
