"""The suite for generators of the tier `text`: what is written for a prompt.

The laws of scores and of tops, which the other tiers give too, are in `text_scores.py`. Imports no
torch: such a generator may be a server's client.
"""

from __future__ import annotations

import unittest
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from ragcore.contracts import Completion, Prompted, Writing, tier_of
from ragcore.testing.manners import MannerLaws
from ragcore.testing.suite import SharedSuite
from ragcore.testing.texts import ODD, long_text
from ragcore.testing.threads import at_once
from ragcore.tiers import TIERS, Meter, Tier
from ragcore.types import Passage

__all__ = ["TextGeneratorSuite"]


class TextGeneratorSuite(SharedSuite, MannerLaws):
    """Test a component against `ragcore.contracts.TextGenerator`.

    Attributes:
        prompts: what it reads: questions with one passage each, and without any.
        longest: tokens of the longest text that is written.
        repeats: whether the same request has the same text each time, at temperature 0 and by a
            seed. A server that computes in batches of other requests may not.
        longest_question: words of a question above the model's input; None for one without end.
    """

    kind = "generator"
    tier: ClassVar[Tier] = "text"
    prompts: ClassVar[Sequence[Prompted]] = (
        Prompted(
            "who wrote the book", (Passage("1", "The book", "It was written by a young man."),)
        ),
        Prompted("where is the river", (Passage("2", "A river", "The river is in the north."),)),
        Prompted("what is the name of the city"),
        Prompted("who wrote the book", (Passage("3", "A house", "The old house was sold."),)),
    )
    longest: ClassVar[int] = 6
    repeats: ClassVar[bool] = True
    longest_question: ClassVar[int | None] = None

    def exercise(self, component: Any, folder: Path) -> Mapping[str, Any]:
        """Build a generator, and write."""
        self.needs_repeats()
        generator = self.spec(component).build()
        return {"texts": [[each.text for each in texts] for texts in self.written(generator)]}

    def needs_repeats(self) -> None:
        """Skip the law where the same request may have another text."""
        if not self.repeats:
            raise unittest.SkipTest("its texts differ from time to time")

    def written(
        self, generator: Any, prompts: Sequence[Prompted] | None = None, **writing: Any
    ) -> list[list[Completion]]:
        """Write for prompts; for those of the suite where None."""
        prompts = self.prompts if prompts is None else prompts
        settings = Writing(**{"max_new_tokens": self.longest, "seed": 3, **writing})
        completions: list[list[Completion]] = generator.write(
            prompts, settings, [Meter() for _ in prompts]
        )
        return completions

    def texts(
        self, generator: Any, prompts: Sequence[Prompted] | None = None, **writing: Any
    ) -> list[str]:
        """Return the first text of each prompt."""
        return [texts[0].text for texts in self.written(generator, prompts, **writing)]

    def test_capabilities_are_known(self, component: Any) -> None:
        """`capabilities` is a frozenset of names, none of them a known one misspelt.

        Fix: write `capabilities = frozenset()`.
        """
        self.declares_what_is_known(self.build(component))

    def test_the_tier_is_declared(self, component: Any) -> None:
        """`tier` is known once the generator is constructed, and gives what the suite tests.

        Fix: write `tier = "text"`, or set it in the constructor by what the server gives; test it
        with the suite of that tier.
        """
        tier = tier_of(self.build(component))
        assert tier in TIERS, f"tier is {tier!r}"
        # Who gives more gives texts, too.
        wanted = {self.tier} if self.tier != "text" else {"score", "top", "text"}
        assert tier in wanted, f"tier is {tier!r}: this is the suite of {self.tier!r}"

    def test_each_prompt_has_its_texts(self, component: Any) -> None:
        """`write` returns a list for each prompt, in their order, with one text or more.

        Fix: collect what parallel requests return by the number of the prompt, not as it comes.
        """
        generator = self.build(component)
        written = self.written(generator)
        assert len(written) == len(self.prompts), f"{len(written)} lists for {len(self.prompts)}"
        assert all(written), "a prompt has no text"
        assert all(isinstance(each, Completion) for texts in written for each in texts)
        assert generator.write([], Writing(self.longest), []) == [], "no prompt has texts"

    def test_a_text_does_not_depend_on_its_neighbours(self, component: Any) -> None:
        """A prompt has the same text in another order of prompts, and alone.

        Fix: send each prompt as a request of its own; keep nothing from one to the next.
        """
        self.needs_repeats()
        generator = self.build(component)
        texts = self.texts(generator)
        backwards = self.texts(generator, self.prompts[::-1])
        assert backwards[::-1] == texts, "in another order the texts are others"
        alone = [self.texts(generator, [prompt])[0] for prompt in self.prompts]
        assert alone == texts, "a prompt alone has another text"

    def test_texts_are_answers_alone(self, component: Any) -> None:
        """A text has no white space at its ends, and none of the prompt before it.

        Fix: strip the text; cut the prompt off where the server repeats it.
        """
        generator = self.build(component)
        for prompt, text in zip(self.prompts, self.texts(generator), strict=True):
            assert text == text.strip(), f"white space at the ends of {text!r}"
            repeated = [prompt.question, *(passage.text for passage in prompt.passages)]
            assert not any(text.startswith(each) for each in repeated), f"{text!r} has the prompt"

    def test_a_shorter_limit_has_the_beginning_of_the_text(self, component: Any) -> None:
        """With fewer `max_new_tokens` the text is the same, but cut, and not `finished`.

        Fix: pass the limit to the server, and `finished` by its reason to stop.
        """
        self.needs_repeats()
        generator = self.build(component)
        longer = self.written(generator)
        for (long, *_), (short, *_) in zip(
            longer, self.written(generator, max_new_tokens=1), strict=True
        ):
            begun = short.text.rstrip("\ufffd").rstrip()
            assert long.text.startswith(begun), f"{short.text!r} does not begin {long.text!r}"
            if begun != long.text:
                assert not short.finished, f"{short.text!r} was cut, and is finished"
            elif not short.finished:
                assert long.finished, f"{long.text!r} is as long with a limit of one token"

    def test_draws_are_as_many_as_asked_for_and_follow_their_seed(self, component: Any) -> None:
        """With a temperature there are `count` texts, the same ones by the same seed.

        Fix: ask for several choices, or send several requests with seeds derived from `seed`.
        """
        generator = self.build(component)
        written = self.written(generator, count=3, temperature=1.0)
        assert all(len(texts) == 3 for texts in written), f"{[*map(len, written)]} texts, not 3"
        self.needs_repeats()
        again = self.written(generator, count=3, temperature=1.0)
        assert again == written, "the same seed has other texts"

    def test_each_prompt_may_have_a_seed_of_its_own(self, component: Any) -> None:
        """With `seeds`, the text of prompts[i] is drawn by seeds[i], as it is by that `seed` alone.

        Fix: write each prompt as `writing.of_prompt(i)` says.
        """
        self.needs_repeats()
        generator = self.build(component)
        prompts, seeds = [self.prompts[0]] * 4, (5, 6, 7, 5)
        texts = self.texts(generator, prompts, temperature=1.0, seed=None, seeds=seeds)
        for text, seed in zip(texts, seeds, strict=True):
            (alone,) = self.texts(generator, prompts[:1], temperature=1.0, seed=seed)
            assert text == alone, f"seed {seed} of `seeds` has {text!r}, and as `seed` {alone!r}"

    def test_the_parts_of_a_stream_are_the_text(self, component: Any) -> None:
        """With the capability `stream`, `write_parts` ends with the text that `write` returns.

        Fix: return what is settled of a text alone, and the whole one at the end.
        """
        generator = self.build(component)
        self.needs(generator, "stream")
        self.needs_repeats()
        for prompt, (whole, *_) in zip(self.prompts, self.written(generator), strict=True):
            meter = Meter()
            *parts, last = generator.write_parts(prompt, Writing(self.longest, seed=3), meter)
            # Part of a character, at which a text was cut, need not be sent.
            text = last.text.rstrip("\ufffd")
            assert (text, last.finished) == (whole.text.rstrip("\ufffd"), whole.finished)
            assert all(whole.text.startswith(part.text) for part in parts), (
                f"{[part.text for part in parts]} do not begin {whole.text!r}"
            )
            assert meter.usage().requests >= 1, "the request is not counted"

    def test_a_text_ends_before_a_stop(self, component: Any) -> None:
        """A text in `stop` is not written, nor what follows.

        Fix: pass `stop` to the server, and cut the text there where the server leaves it.
        """
        self.needs_repeats()
        generator = self.build(component)
        for prompt, text in zip(self.prompts, self.texts(generator), strict=True):
            middle = text[len(text) // 2 :][:1]
            # What stands for a part of a character is no text that the server knows.
            if middle.strip("\ufffd").strip():
                (stopped,) = self.texts(generator, [prompt], stop=(middle,))
                assert stopped == text[: text.index(middle)].strip(), (
                    f"{stopped!r} is not {text!r} before {middle!r}"
                )

    def test_any_text_can_be_read(self, component: Any) -> None:
        """Odd characters and what looks like markup are read in questions and passages.

        Fix: pass texts as they are; encode JSON with its library; a template is no format string.
        """
        generator = self.build(component)
        prompts = [
            *(Prompted(text) for text in ODD[:4]),
            *(Prompted("who", (Passage("odd", text, text),)) for text in ODD),
        ]
        assert len(self.written(generator, prompts, max_new_tokens=1)) == len(prompts)

    def test_several_passages_can_be_read_in_one_prompt(self, component: Any) -> None:
        """A prompt may have several passages, and may ask for citations.

        Fix: number the passages of a prompt from 1, in their order.
        """
        generator = self.build(component)
        several = tuple(passage for prompt in self.prompts for passage in prompt.passages)
        for cite in (False, True):
            (texts,) = self.written(generator, [Prompted("who wrote the book", several, cite)])
            assert texts, "a prompt of several passages has no text"

    def test_a_long_passage_is_cut(self, component: Any) -> None:
        """A passage above the model's input is cut, and the answer is written all the same.

        Fix: count tokens before sending, or cut more where the server says it is too long.
        """
        generator = self.build(component)
        passage = Passage("long", "A long one", long_text(4000, "end"))
        assert self.written(generator, [Prompted("who wrote the book", (passage,))])

    def test_a_question_above_the_input_is_refused(self, component: Any) -> None:
        """A question that does not fit is a QuestionError: it is never cut.

        Fix: raise QuestionError where nothing of the passage is left to cut.
        """
        if self.longest_question is None:
            raise unittest.SkipTest("its input has no end: set longest_question")
        generator = self.build(component)
        prompts = [Prompted(long_text(self.longest_question, "end"))]
        self.must_fail("a question that is too long", lambda: self.texts(generator, prompts))

    def test_what_is_counted_is_added_to_the_prompts_own_meter(self, component: Any) -> None:
        """A generator that sends requests counts them for the question that they are of.

        Fix: call `meters[i].add(…)` for each reply to prompts[i].
        """
        generator = self.build(component)
        meters = [Meter() for _ in self.prompts]
        generator.write(self.prompts, Writing(self.longest), meters)
        counts = [meter.usage().requests for meter in meters]
        assert all(counts) or not any(counts), f"requests {counts}: some prompts have none"
        shared = Meter()
        generator.write(self.prompts, Writing(self.longest), [shared] * len(self.prompts))
        least = sum(bool(count) for count in counts)
        assert shared.usage().requests >= least, "a request is not counted"

    def test_threads_write_at_the_same_time(self, component: Any) -> None:
        """Calls from several threads have the texts that each alone has.

        Fix: keep no state of a call in the generator; open a connection for each thread.
        """
        self.needs_repeats()
        generator = self.build(component)
        texts = self.texts(generator)
        failed: list[str] = []

        def again(number: int) -> None:
            (text,) = self.texts(generator, [self.prompts[number]])
            if text != texts[number]:
                failed.append(f"{text!r} is not {texts[number]!r}")

        at_once([partial(again, number) for number in range(len(self.prompts))])
        assert not failed, failed[0]
