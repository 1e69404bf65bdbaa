"""The suite for generators: what is read, what is written, and the words between.

The laws of log-probabilities are in `log_probs.py`.
"""

from __future__ import annotations

import copy
from typing import Any, Final

import torch

from ragcore.errors import QuestionError
from ragcore.testing.log_probs import LogProbLaws
from ragcore.types import Passage, Word

__all__ = ["GeneratorSuite"]

MANY: Final = 4000
"""Words that are more than most models read."""


class GeneratorSuite(LogProbLaws):
    """The laws of `ragcore.contracts.Generator`.

    Attributes:
        answers: texts that the generator can write.
        close: how far log-probabilities may lie apart where only the way of computing differs.
    """

    def test_capabilities_are_ones_that_exist(self, component: Any) -> None:
        """`capabilities` is a frozenset of names that ragcore knows, or of quite other ones.

        To mend: write `capabilities = frozenset({"words"})`; look for a name misspelt.
        """
        self.declares_what_is_known(self.made(component))

    def test_its_numbers_fit(self, component: Any) -> None:
        """The end token, and the forced first one if any, are below `vocabulary_size`.

        To mend: V is the width of the model's output, which may exceed the tokenizer's length.
        """
        made = self.made(component)
        assert isinstance(made.device, torch.device), f"device is {made.device!r}"
        assert isinstance(made.vocabulary_size, int), f"V is {made.vocabulary_size!r}"
        assert 0 <= made.eos_token_id < made.vocabulary_size, f"end token {made.eos_token_id}"
        forced = made.forced_bos_token_id
        assert forced is None or 0 <= forced < made.vocabulary_size, f"first token {forced}"

    def test_answers_end_with_the_end_token(self, component: Any) -> None:
        """Target ids have the end token last and nowhere else, and none is out of range.

        To mend: append it where the tokenizer does not; leave the start token out.
        """
        made = self.made(component)
        assert made.encode_answers([]) == [], "no answers have targets"
        for answer, ids in zip(self.answers, made.encode_answers(self.answers), strict=True):
            assert ids[-1] == made.eos_token_id, f"{answer!r} became {ids}, without end token"
            assert made.eos_token_id not in ids[:-1], f"{answer!r} became {ids}, which ends twice"
            assert all(0 <= one < made.vocabulary_size for one in ids), f"{answer!r} became {ids}"

    def test_answers_come_back(self, component: Any) -> None:
        """What is encoded is decoded to the same text, but for case where that is declared.

        To mend: leave special tokens out of the text, and nothing else.
        """
        made = self.made(component)
        targets = made.encode_answers(self.answers)
        assert len(targets) == len(self.answers), f"{len(targets)} targets"
        for answer, ids in zip(self.answers, targets, strict=True):
            text = made.decode_tokens(ids)
            if "uncased" in made.capabilities:
                answer, text = answer.casefold(), text.casefold()
            assert text.split() == answer.split(), f"{answer!r} came back as {text!r}"

    def test_one_thing_is_read_for_each_pair(self, component: Any) -> None:
        """`len(read)` is P, of no pairs, too.

        To mend: give what `read` returns a `__len__`.
        """
        made = self.made(component)
        assert len(self.read(made)) == len(self.questions), "pairs were lost or added"
        assert len(made.read([], [])) == 0, "no pairs were read as some"

    def test_the_question_and_the_passage_matter(self, component: Any) -> None:
        """Another question, another passage, or none, gives other log-probabilities.

        To mend: look at what is put together for the encoder, pair by pair.
        """
        made = self.made(component)
        chad = Passage("1", "Chad", "N'Djamena is the capital.")
        kenya = Passage("2", "Kenya", "Nairobi is the capital.")
        pairs = [
            ("Who?", chad),
            ("Where?", chad),
            ("Who?", kenya),
            ("Who?", None),
            ("Where?", None),
        ]
        first = self.first_step(made, pairs)
        for one in range(len(pairs)):
            for other in range(one):
                assert not torch.allclose(first[one], first[other], rtol=0, atol=1e-7), (
                    f"{pairs[one]} and {pairs[other]} give the same log-probabilities"
                )

    def test_a_question_is_never_cut(self, component: Any) -> None:
        """With a passage of any length, the question's first and last words count.

        To mend: take what exceeds the input's length from the passage.
        """
        made = self.made(component)
        endless = Passage("1", "Long", "word " * MANY)
        asked = ["Who is it in Chad?", "Who is it in Mali?", "What is it in Chad?"]
        first = self.first_step(made, [(question, endless) for question in asked])
        for other in (1, 2):
            assert not torch.allclose(first[0], first[other], rtol=0, atol=1e-7), (
                f"behind a long passage {asked[0]!r} and {asked[other]!r} are the same"
            )

    def test_a_question_that_is_too_long_is_refused(self, component: Any) -> None:
        """A question is read to its last word, or is a `QuestionError`.

        To mend: raise `QuestionError` where the question alone exceeds the input's length.
        """
        made = self.made(component)
        asked = [f"{'very ' * MANY}{end}" for end in ("old?", "new?")]
        for passage in (None, Passage("1", "Chad", "N'Djamena")):
            try:
                first = self.first_step(made, [(question, passage) for question in asked])
            except QuestionError:
                continue
            assert not torch.allclose(first[0], first[1], rtol=0, atol=1e-7), (
                "a long question is cut without an error"
            )

    def test_what_is_handed_in_is_left_alone(self, component: Any) -> None:
        """Neither lists nor tensors that are handed in are changed.

        To mend: clone before you fill the padding in place.
        """
        made = self.made(component)
        questions, passages = list(self.questions), self.passages()
        targets, pairs = self.targets(made), torch.arange(len(questions))
        before = copy.deepcopy((questions, passages))
        ids, places = targets.clone(), pairs.clone()
        with torch.no_grad():
            read = made.read(questions, passages)
            made.score(read, pairs, targets)
            state = made.start(read, pairs)
            made.step(state, None)
            tokens = targets[:, 0].clone()
            made.step(state, tokens)
            chosen = pairs.flip(0)
            state.select(chosen)
        assert (questions, passages) == before, "read changed the lists that it was given"
        assert torch.equal(targets, ids), "score changed its targets"
        assert torch.equal(pairs, places), "pairs have changed"
        assert torch.equal(tokens, ids[:, 0]), "step changed its tokens"
        assert torch.equal(chosen, places.flip(0)), "select changed its rows"

    def test_words_are_those_of_the_text(self, component: Any) -> None:
        """Each `Word` lies in its text and is written by its tokens (capability `words`).

        To mend: see `ragcore.types.Word`; the tokens of a word that opens an answer, alone, decode
        to the text between its start and end.
        """
        made = self.made(component)
        self.needs(made, "words")
        found = made.encode_words(self.answers)
        assert len(found) == len(self.answers), f"words of {len(found)} texts"
        for text, words in zip(self.answers, found, strict=True):
            assert any(word.opens for word in words), f"no word opens an answer of {text!r}"
            for word in words:
                assert isinstance(word, Word), f"found {type(word).__name__}, not Word"
                assert 0 <= word.start < word.end <= len(text), f"{word} is not in {text!r}"
                assert word.tokens, f"{word} has no token"
                assert made.eos_token_id not in word.tokens, f"{word} has the end token"
                assert all(0 <= one < made.vocabulary_size for one in word.tokens), f"{word}"
                written, spelt = made.decode_tokens(word.tokens), text[word.start : word.end]
                if "uncased" in made.capabilities:
                    written, spelt = written.casefold(), spelt.casefold()
                assert not word.opens or written.split() == spelt.split(), (
                    f"{word} writes {written!r}, but the text has {spelt!r}"
                )

    def test_words_that_are_not_declared_are_refused(self, component: Any) -> None:
        """Without the capability `words`, `encode_words` raises `UnsupportedOperation`.

        To mend: `raise UnsupportedOperation.of("generator 'name'", "words")`.
        """
        made = self.made(component)
        self.lacks(made, "words")
        self.must_refuse(component, "encode_words(…)", lambda: made.encode_words(self.answers))
