"""Laws of what a generator has read and decoded: selections, searches, later reads, threads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from ragcore.testing.log_probs import LogProbLaws
from ragcore.testing.texts import SAME_ID, long_text, renamed, short_passages, words_read
from ragcore.testing.threads import at_once
from ragcore.types import Passage

__all__ = ["ReadLaws"]

_ROWS = 24


class ReadLaws(LogProbLaws):
    """Test what stays of a `Read` and a `State` whatever else happens; see `GeneratorSuite`."""

    many: ClassVar[int] = 40
    answer_tokens: ClassVar[int] = 48
    longest_text: ClassVar[int] = 60

    def test_rows_can_be_selected_again(self, component: Any) -> None:
        """Rows can be selected twice in a row, after steps and before the first one.

        Fix: apply each selection to the state at once, or chain them: `rows = rows[chosen]`.
        """
        generator = self.build(component)
        read, pairs = self.read(generator), torch.tensor([0, 1, 2, 1])
        first, second = torch.tensor([3, 1, 0, 2, 0]), torch.tensor([2, 2, 1, 4])
        rows = first[second]
        before, after = self.drawn(generator, 4, 2), self.drawn(generator, 4, 3).flip(0)
        for length in (0, 1, 2):
            with torch.no_grad():
                state = generator.start(read, pairs)
                if length:
                    self.steps(generator, state, before[:, : length - 1])
                state.select(first)
                state.select(second)
                fed = torch.cat([before[rows, :length], after], dim=1)
                columns = [None, *fed.T][length:]
                log_probs = [generator.step(state, column).clone() for column in columns]
                expected = self.steps(generator, generator.start(read, pairs[rows]), fed)
            self._same(
                torch.stack(log_probs, dim=1),
                expected[:, length:],
                f"rows selected twice after {length} steps, and a new state of those rows",
            )

    def test_a_long_search_equals_score(self, component: Any) -> None:
        """Many rows, reordered, doubled and pruned at each of many steps, have `score`'s numbers.

        The answers have `answer_tokens` tokens, the end token included.

        Fix: let caches grow with steps and rows; count positions for each row.
        """
        generator, draws = self.build(component), torch.Generator().manual_seed(5)
        read = self.read(generator)
        pairs = torch.arange(len(self.questions)).repeat(_ROWS)[:_ROWS]
        tokens = torch.zeros(_ROWS, 0, dtype=torch.long)
        stepped = torch.zeros(_ROWS, 0)
        with torch.no_grad():
            state = generator.start(read, pairs)
            for length in range(self.answer_tokens):
                log_probs = generator.step(state, tokens[:, -1] if length else None)
                last = length == self.answer_tokens - 1
                drawn = self.drawn(generator, len(pairs), length + 1)[:, -1]
                column = torch.full_like(drawn, generator.eos_token_id) if last else drawn
                stepped = torch.cat([stepped, log_probs.gather(1, column[:, None])], dim=1)
                tokens = torch.cat([tokens, column[:, None]], dim=1)
                count = _ROWS - 5 + length % 8
                rows = torch.randint(0, len(pairs), (count,), generator=draws)
                if not last:
                    state.select(rows)
                    pairs, tokens, stepped = pairs[rows], tokens[rows], stepped[rows]
            expected = generator.score(read, pairs, tokens)
            # Two rows that differ in the last token alone.
            two = torch.tensor(sorted(set(self.drawn(generator, 1, 8)[0].tolist()))[:2])
            both = tokens[:1, : self.answer_tokens - 2].expand(2, -1)
            both = torch.cat([both, two[:, None]], dim=1)
            state = generator.start(read, torch.zeros(2, dtype=torch.long))
            following = self.steps(generator, state, both)[:, -1]
        self._same(stepped, expected, f"{self.answer_tokens} steps, and scored")
        assert not torch.allclose(following[0], following[1], rtol=0, atol=1e-7), (
            f"after {self.answer_tokens - 2} tokens the next one makes no difference"
        )

    def test_a_read_outlives_later_reads(self, component: Any) -> None:
        """A `Read`, and a state of it, give the same results after other pairs were read.

        Fix: keep what was read in the `Read` that you return, not in the generator.
        """
        generator, targets = self.build(component), self.targets(self.build(component))
        read, tokens = self.read(generator), self.drawn(generator, 3, 2)
        expected = self.score(generator, read, [0, 1, 2], targets)
        with torch.no_grad():
            rows = self.steps(generator, generator.start(read, torch.arange(3)), tokens)
            state = generator.start(read, torch.arange(3))
            generator.step(state, None)
            later = generator.read(list(self.questions)[::-1], self.passages())
            generator.score(later, torch.arange(3), targets)
            self.steps(generator, generator.start(later, torch.arange(3)), tokens)
            for step, column in enumerate(tokens.T, start=1):
                self._same(generator.step(state, column), rows[:, step], "begun before, stepped")
            again = self.steps(generator, generator.start(read, torch.arange(3)), tokens)
        self._same(again, rows, "started after a later read")
        self._same(
            self.score(generator, read, [0, 1, 2], targets), expected, "scored after a later read"
        )

    def test_a_caller_may_change_what_it_passed(self, component: Any) -> None:
        """Lists that a caller changes after a call change no later result.

        Fix: copy in `read` what a later call needs, and return new lists from `encode_answers`.
        """
        generator, targets = self.build(component), self.targets(self.build(component))
        tokens, numbers = self.drawn(generator, 3, 3), torch.arange(3)
        expected = self.score(generator, self.read(generator), [0, 1, 2], targets)
        rows = self.steps(generator, generator.start(self.read(generator), numbers), tokens)
        questions, passages = list(self.questions), self.passages()
        with torch.no_grad():
            read = generator.read(questions, passages)
        questions.reverse()
        passages.clear()
        questions.clear()
        self._same(
            self.score(generator, read, [0, 1, 2], targets), expected, "lists cleared after read"
        )
        again = self.steps(generator, generator.start(read, numbers), tokens)
        self._same(again, rows, "started after the lists were cleared")
        for ids in generator.encode_answers(self.answers):
            ids.clear()
        assert torch.equal(self.targets(generator), targets), (
            "encode_answers returned lists that it uses again"
        )

    def test_a_text_is_never_known_by_its_id(self, component: Any) -> None:
        """What is read of a passage depends on its title and text, and not on its id.

        An update gives a known id another text.

        Fix: key caches by question, title and text.
        """
        generator, question = self.build(component), self.questions[0]
        expected = self.first_step(generator, [(question, passage) for passage in renamed(SAME_ID)])
        together = self.first_step(generator, [(question, passage) for passage in SAME_ID])
        self._same(together, expected, "passages of one id and of new ids")
        for number, passage in enumerate(SAME_ID):
            alone = self.first_step(generator, [(question, passage)])
            self._same(alone[0], expected[number], "passages of one id, read one by one")
        assert not torch.allclose(expected[0], expected[1], rtol=0, atol=1e-7), (
            "passages with another text give the same log-probabilities"
        )

    def test_a_passage_that_fits_is_read_to_its_end(self, component: Any) -> None:
        """Passages that differ in the last word have different log-probabilities.

        They have `longest_text` words, or fewer if the generator declares `max_input_tokens`.

        Fix: cut a passage only where the input is too long, and by tokens, not characters.
        """
        generator, lasts = self.build(component), ("Chad", "Kenya", "Africa")
        count = words_read(generator, self.longest_text)
        passages = [Passage("1", "", long_text(count, last)) for last in lasts]
        # A word's own question tells passages apart where words are compared.
        first = [
            self.first_step(generator, [(question, passage) for passage in passages])
            for question in (self.questions[1], *lasts)
        ]
        for left, right in ((0, 1), (0, 2), (1, 2)):
            assert not all(
                torch.allclose(rows[left], rows[right], rtol=0, atol=1e-7) for rows in first
            ), f"of a passage of {count} words the last one is ignored"

    def test_many_pairs_have_the_numbers_of_few(self, component: Any) -> None:
        """In one read of many pairs, each has the log-probabilities that it has alone.

        Fix: mask the padding; restore the order in which pairs were passed.
        """
        generator = self.build(component)
        passages: list[Passage | None] = [*short_passages(self.many)]
        passages[1::6] = [None] * len(passages[1::6])
        pairs = [
            (f"{self.questions[number % len(self.questions)]} {number}", passage)
            for number, passage in enumerate(passages)
        ]
        together = self.first_step(generator, pairs)
        for number in {0, 1, 7, 8, 15, 16, 31, 32, self.many - 1}:
            if number < self.many:
                alone = self.first_step(generator, [pairs[number]])
                self._same(alone[0], together[number], f"pair {number} of {self.many}, and alone")

    def test_threads_read_and_decode_alike(self, component: Any) -> None:
        """Different pairs read and decoded at once have the numbers that they have alone.

        Fix: store nothing of a call in the object; lock a tokenizer that cannot be shared.
        """
        generator, targets = self.build(component), self.targets(self.build(component))
        tokens = self.drawn(generator, 3, 4)
        orders = [[0, 1, 2], [2, 1, 0], [1, 2, 2], [0, 0, 1]]
        expected = [self._decoded(generator, order, tokens, targets) for order in orders]

        def decode(order: Sequence[int], alone: tuple[Tensor, Tensor]) -> None:
            scores, rows = self._decoded(generator, order, tokens, targets)
            self._same(scores, alone[0], "scored in a thread, and alone")
            self._same(rows, alone[1], "decoded in a thread, and alone")

        at_once(
            [partial(decode, order, alone) for order, alone in zip(orders, expected, strict=True)]
        )

    def _decoded(
        self, generator: Any, order: Sequence[int], tokens: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Read pairs in some order; return scores [3, T] and log p of steps [3, T, V] of rows."""
        passages, numbers = self.passages(), [2 - pair for pair in order]
        with torch.no_grad():
            read = generator.read(
                [self.questions[pair] for pair in order], [passages[pair] for pair in order]
            )
            rows = self.steps(generator, generator.start(read, torch.tensor(numbers)), tokens)
        return self.score(generator, read, numbers, targets), rows
