"""Log-probs of rows that begin alike and share what they have read.

A row (branches.py) is a prompt and the tokens fed after it. While it has a sequence in llama.cpp's
cache, only new tokens are computed; where it has none, because others needed the room, the rest is
computed again. So a caller may keep more rows than the cache holds.

    branches.py   rows, and the tree of their beginnings
    sequences.py  which of them are in the cache

Knows tokens; knows nothing of text, and not which rows belong together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from ragcore.errors import GeneratorError
from ragcore.process.fork import new_rlock
from ragcore_llamacpp.batches import Tokens
from ragcore_llamacpp.branches import Branch, Prefix, nodes_of, room_for
from ragcore_llamacpp.configs import LlamaCppConfig
from ragcore_llamacpp.library import Model
from ragcore_llamacpp.sequences import MOST_SEQUENCES, Sequences

__all__ = ["Cache"]


class Cache:
    """The rows of one model; safe to use from several threads, of which one computes."""

    def __init__(self, model: Model, config: LlamaCppConfig, threads: int, size: int) -> None:
        """Make a small cache.

        Args:
            model: its weights.
            config: has the limits of the cache and of a run.
            threads: that compute.
            size: V.

        Raises:
            GeneratorError: llama.cpp refuses the settings, or memory is short.
        """
        self._model = model
        self._size = size
        self._lock = new_rlock()
        self.sequences = Sequences(model, config, threads)

    @property
    def cells(self) -> int:
        """Return how many tokens it has room for now."""
        return self.sequences.cells

    def close(self) -> None:
        """Free the cache and close the model, after what is being computed."""
        with self._lock:
            # llama.cpp's context reads the model while it is freed.
            self.sequences.close()
            self._model.close()

    def extend(self, branches: Sequence[Branch], fed: Sequence[int] | None) -> Tensor:
        """Feed one token to each row, or run new prompts, and return log-probs of the next token.

        Args:
            branches: M different rows; changed in place.
            fed: M tokens for rows that have a prompt; None to run rows that are prompts.

        Returns:
            float32 [M, V].

        Raises:
            GeneratorError: a row alone is longer than the cache, or the generator is closed.
        """
        log_probs = torch.empty(len(branches), self._size)

        def extend(numbers: list[int]) -> bool:
            rows = [branches[number] for number in numbers]
            tokens = None if fed is None else [fed[number] for number in numbers]
            if not self.sequences.make_room(rows, lambda: room_for(rows, fed is not None)):
                return False
            log_probs[torch.tensor(numbers)] = self._extend(rows, tokens)
            return True

        with self._computing():
            self._in_parts(len(branches), extend)
        return log_probs

    def fork(self, branch: Branch) -> Branch:
        """Return another row with the same tokens."""
        other = Branch(branch.tokens, branch.prompt or branch)
        other.fed = list(branch.fed)
        with self._lock:
            self.sequences.copy_if_free(branch, other)
        return other

    def score(
        self, prefixes: Iterable[Prefix], consume: Callable[[list[Prefix], Tensor], None]
    ) -> None:
        """Compute log-probs after all beginnings of prefixes, each beginning once.

        Args:
            prefixes: prompts with the tokens after them; those without any have no result.
            consume: called with n beginnings and their log-probs float32 [n, V].

        Raises:
            GeneratorError: a prefix alone is longer than the cache, or the generator is closed.
        """
        leaves = [prefix for prefix in dict.fromkeys(prefixes) if prefix[1]]

        def score(numbers: list[int]) -> bool:
            part = [leaves[number] for number in numbers]
            nodes = nodes_of(part)
            prompts = list(dict.fromkeys(prompt for prompt, _ in part))

            def needs() -> tuple[int, int]:
                cells, sequences = room_for(prompts, False)
                return cells + len(nodes), sequences + len(part)

            if not self.sequences.make_room(prompts, needs):
                return False
            self._read(prompts)
            self._score(part, nodes, consume)
            return True

        with self._computing():
            self._in_parts(len(leaves), score)

    def _extend(self, rows: list[Branch], tokens: list[int] | None) -> Tensor:
        """Feed rows for which there is room; see `extend`."""
        if tokens is None:
            return self._read(rows)
        absent = [row for row in rows if row.sequence is None]
        self._read(list(dict.fromkeys(row.prompt for row in absent if row.prompt is not None)))
        batch = Tokens()
        for row, token in zip(rows, tokens, strict=True):
            new = [token]
            if row.sequence is None:
                assert row.prompt is not None
                self.sequences.copy(row.prompt, row)
                new = [*row.fed, token]
            self.sequences.fill(row, new, len(row) + 1 - len(new), batch)
        log_probs = self._run(batch)
        for row, token in zip(rows, tokens, strict=True):
            row.fed.append(token)
        return log_probs

    def _read(self, prompts: list[Branch]) -> Tensor:
        """Run those prompts that are not in the cache; return log-probs [those, V] after them."""
        batch = Tokens()
        for prompt in prompts:
            if prompt.sequence is None:
                self.sequences.begin(prompt)
                self.sequences.fill(prompt, prompt.tokens, 0, batch)
        return self._run(batch)

    def _score(
        self,
        leaves: list[Prefix],
        nodes: dict[Prefix, list[int]],
        consume: Callable[[list[Prefix], Tensor], None],
    ) -> None:
        """Feed the nodes of a tree whose prompts are in the cache, and free them again."""
        rows = []
        for prompt, _ in leaves:
            row = Branch(prompt.tokens, prompt)
            self.sequences.copy(prompt, row)
            rows.append(row)
        batch = Tokens()
        for (prompt, tokens), numbers in nodes.items():
            sequences = [row.sequence for row in (rows[number] for number in numbers)]
            batch.add(
                tokens[-1],
                len(prompt.tokens) + len(tokens) - 1,
                [sequence for sequence in sequences if sequence is not None],
                True,
            )
        names = list(nodes)
        for part in self.sequences.parts(batch):
            consume(names[part], self.sequences.decode(batch, part, self._size).log_softmax(dim=-1))
        for row in rows:
            assert row.sequence is not None
            self.sequences.drop(row.sequence)

    def _run(self, batch: Tokens) -> Tensor:
        """Run a batch; return the log-probs [outputs, V]."""
        log_probs = [
            # The next run overwrites the logits.
            self.sequences.decode(batch, part, self._size).log_softmax(dim=-1)
            for part in self.sequences.parts(batch)
        ]
        if len(log_probs) == 1:
            return log_probs[0]
        return torch.cat([torch.empty(0, self._size), *log_probs])

    def _in_parts(self, count: int, run: Callable[[list[int]], bool]) -> None:
        """Run all numbers below `count`: together, or in halves where the cache lacks the room."""
        parts = [
            list(range(begin, min(begin + MOST_SEQUENCES // 2, count)))
            for begin in range(0, count, MOST_SEQUENCES // 2)
        ]
        while parts:
            part = parts.pop(0)
            if run(part):
                continue
            if len(part) == 1:
                raise GeneratorError(
                    f"a prompt and its answer are longer than the cache of {self.cells} tokens: "
                    "raise the generator's cache_tokens, or lower its max_input_tokens"
                )
            middle = len(part) // 2
            parts[:0] = [part[:middle], part[middle:]]

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """Let one thread at a time compute, with the sequences of rows that exist.

        Raises:
            GeneratorError: the generator is closed.
        """
        with self._lock:
            self._model.refuse_closed()
            self.sequences.drop_unowned()
            try:
                yield
            except BaseException:
                # Ctrl-C, too, may leave tokens in the cache that no row counts, or the reverse.
                self.sequences.forget_all()
                raise
