"""Laws of reading several passages in one prompt (capability `together`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor

from ragcore.errors import QuestionError
from ragcore.testing.log_probs import LogProbLaws
from ragcore.types import Passage

__all__ = ["TogetherLaws"]

_KENYA: Final = Passage("1", "Kenya", "Nairobi is the capital.")
_CHAD: Final = Passage("2", "Chad", "The red river.")
_LONG: Final = "word " * 4000


class TogetherLaws(LogProbLaws):
    """Test `read_together`; see `GeneratorSuite`."""

    def together(
        self,
        generator: Any,
        prompts: Sequence[tuple[str, Sequence[Passage]]],
        *,
        cite: bool = False,
    ) -> Tensor:
        """Return log p of the first token after each prompt, [P, V]."""
        questions, passages = map(list, zip(*prompts, strict=True))
        with torch.no_grad():
            read = generator.read_together(questions, passages, cite=cite)
            assert len(read) == len(prompts), f"{len(prompts)} prompts were read as {len(read)}"
            state = generator.start(read, torch.arange(len(prompts)))
            first: Tensor = generator.step(state, None).clone()  # [P, V]
        return first

    def test_one_passage_together_is_a_pair(self, component: Any) -> None:
        """With one passage, or none, `read_together` gives the log-probabilities of `read`.

        Fix: number passages only where there are several, or where they are to be cited.
        """
        generator = self.build(component)
        self.needs(generator, "together")
        pairs = [("Who?", _KENYA), ("Where?", None)]
        expected = self.first_step(generator, pairs)
        prompts = [(question, [passage] if passage else []) for question, passage in pairs]
        torch.testing.assert_close(
            self.together(generator, prompts), expected, atol=self.close, rtol=0
        )

    def test_all_passages_and_their_order_matter(self, component: Any) -> None:
        """Each passage of a prompt, their order and the question change the log-probabilities.

        Fix: put all passages into the prompt, in the order in which they are passed.
        """
        generator = self.build(component)
        self.needs(generator, "together")
        other = Passage("3", "Chad", "The red sea.")
        prompts = [
            ("Who?", [_KENYA, _CHAD]),
            ("Who?", [_CHAD, _KENYA]),
            ("Who?", [_KENYA, other]),
            ("Who?", [_KENYA]),
            ("Where?", [_KENYA, _CHAD]),
        ]
        first = self.together(generator, prompts)
        for left in range(len(prompts)):
            alone = self.together(generator, [prompts[left]])
            torch.testing.assert_close(alone[0], first[left], atol=self.close, rtol=0)
            for right in range(left):
                assert not torch.allclose(first[left], first[right], rtol=0, atol=1e-7), (
                    f"{prompts[left]} and {prompts[right]} give the same log-probabilities"
                )

    def test_long_passages_leave_room_for_all_and_the_question(self, component: Any) -> None:
        """Next to passages of any length each one's beginning, and the question, count.

        Fix: cut each passage to its share of the room, and the question never.
        """
        generator = self.build(component)
        self.needs(generator, "together")
        kenya, chad = (Passage("1", "", f"{name} {_LONG}") for name in ("Kenya", "Chad"))
        prompts = [
            ("Who is it in Chad?", [kenya, kenya]),
            ("Who is it in Mali?", [kenya, kenya]),
            ("What is it in Chad?", [kenya, kenya]),
            ("Who is it in Chad?", [chad, kenya]),
            ("Who is it in Chad?", [kenya, chad]),
        ]
        first = self.together(generator, prompts)
        for right in range(1, len(prompts)):
            assert not torch.allclose(first[0], first[right], rtol=0, atol=1e-7), (
                f"prompt {right} of long passages has the log-probabilities of prompt 0"
            )

    def test_an_endless_question_is_refused_next_to_passages(self, component: Any) -> None:
        """A question is read to its last word next to several passages, or raises `QuestionError`.

        Fix: raise `QuestionError` where the question alone exceeds the input's length.
        """
        generator = self.build(component)
        self.needs(generator, "together")
        prompts = [(f"{_LONG}{end}?", [_KENYA, _CHAD]) for end in ("old", "new")]
        try:
            first = self.together(generator, prompts)
        except QuestionError:
            return
        assert not torch.allclose(first[0], first[1], rtol=0, atol=1e-7), (
            "a long question is cut without an error"
        )

    def test_citing_is_asked_for(self, component: Any) -> None:
        """Asking for citations changes the prompt, also that of one passage (capability `cite`).

        Fix: write into the prompt that an answer names its passages, or do not declare `cite`.
        """
        generator = self.build(component)
        self.needs(generator, "cite")
        prompts = [("Who?", [_KENYA, _CHAD]), ("Who?", [_KENYA])]
        plain, cited = (self.together(generator, prompts, cite=cite) for cite in (False, True))
        for number in range(len(prompts)):
            assert not torch.allclose(plain[number], cited[number], rtol=0, atol=1e-7), (
                f"prompt {number} does not ask for citations"
            )
