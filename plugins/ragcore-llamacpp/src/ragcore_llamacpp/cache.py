"""llama.cpp's cache of keys and values, in which rows that begin alike share what they have read.

A row (`Branch`) is a prompt and the tokens fed after it. While it has a sequence in the cache, only
new tokens are computed; where it has none, because others needed the room, the rest is computed
again. So a caller may keep more rows than the cache holds. The cache begins small, and grows up to
its limit before any row loses its sequence.

Knows tokens and llama.cpp's context; knows nothing of text, and not which rows belong together.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import llama_cpp
import torch
from torch import Tensor

from ragcore.errors import GeneratorError
from ragcore.process.fork import call_in_child, new_rlock
from ragcore_llamacpp.batches import Tokens, decode
from ragcore_llamacpp.configs import LlamaCppConfig
from ragcore_llamacpp.library import Model

__all__ = ["Branch", "Cache", "Prefix"]

_MOST_SEQUENCES: Final = 256
"""llama.cpp's own limit, LLAMA_MAX_SEQ."""

_FIRST_SEQUENCES: Final = 64
_FIRST_CELLS: Final = 2048
"""Sequences, and tokens, that the cache has room for at first. Each sequence may have a row of
logits, which takes 4 V bytes twice."""

_TYPES: Final = {
    "float32": llama_cpp.GGML_TYPE_F32,
    "float16": llama_cpp.GGML_TYPE_F16,
    "q8_0": llama_cpp.GGML_TYPE_Q8_0,
    "q4_0": llama_cpp.GGML_TYPE_Q4_0,
}

Prefix = tuple["Branch", tuple[int, ...]]
"""A prompt, and tokens after it."""


class Branch:
    """A row: a prompt and the tokens fed after it; in the cache or not.

    Attributes:
        tokens: of the prompt.
        prompt: the row that holds the prompt alone; None if it is this one.
        fed: the tokens fed after the prompt.
        sequence: its number in the cache, if it is there.
    """

    __slots__ = ("__weakref__", "fed", "prompt", "sequence", "tokens")

    def __init__(self, tokens: Sequence[int], prompt: Branch | None = None) -> None:
        self.tokens = tokens
        self.prompt = prompt
        self.fed: list[int] = []
        self.sequence: int | None = None

    def __len__(self) -> int:
        """Return how many tokens it stands for."""
        return len(self.tokens) + len(self.fed)


class _Run:
    """Cells of the cache that were filled together; free when no sequence has them any more."""

    __slots__ = ("cells", "owners")

    def __init__(self, cells: int) -> None:
        self.cells = cells
        self.owners = 1


class Cache:
    """The context of one model; safe to use from several threads, of which one computes.

    Attributes:
        cells: how many tokens it has room for now.
    """

    def __init__(self, model: Model, config: LlamaCppConfig, threads: int, size: int) -> None:
        """Make a small context.

        Args:
            model: its weights.
            config: has the limits of the cache and of a run.
            threads: that compute.
            size: V.

        Raises:
            GeneratorError: llama.cpp refuses the settings, or memory is short.
        """
        self._model = model
        self._config = config
        self._threads = threads
        self._size = size
        self._lock = new_rlock()
        self._context: Any = None
        self._memory: Any = None
        self._release: Callable[[], object] = lambda: None
        self._most_cells = config.cache_tokens
        if not self._open(min(_FIRST_CELLS, self._most_cells), _FIRST_SEQUENCES):
            raise GeneratorError(
                f"llama.cpp cannot make a cache for model {model.name!r}: memory is short, or it "
                f"cannot compute with cache_dtype {config.cache_dtype}; leave out cache_dtype, or "
                "set flash_attention: true, which the shorter types need"
            )
        # OpenMP's threads do not exist in a forked child.
        call_in_child(self._use_one_thread)

    def close(self) -> None:
        """Free the context and close the model, after what is being computed."""
        with self._lock:
            self._model.close()
            self._forget_all()
            self._context = None
            self._release()

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
            if not self._make_room(rows, lambda: _needs(rows, fed is not None)):
                return False
            log_probs[torch.tensor(numbers)] = self._extend(rows, tokens)
            return True

        with self._lock:
            self._begin()
            self._in_parts(len(branches), extend)
        return log_probs

    def fork(self, branch: Branch) -> Branch:
        """Return another row with the same tokens."""
        other = Branch(branch.tokens, branch.prompt or branch)
        other.fed = list(branch.fed)
        with self._lock:
            if branch.sequence is not None and self._free:
                self._copy(branch, other)
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
            nodes = _nodes(part)
            prompts = list(dict.fromkeys(prompt for prompt, _ in part))

            def needs() -> tuple[int, int]:
                cells, sequences = _needs(prompts, False)
                return cells + len(nodes), sequences + len(part)

            if not self._make_room(prompts, needs):
                return False
            self._read(prompts)
            self._score(part, nodes, consume)
            return True

        with self._lock:
            self._begin()
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
                self._copy(row.prompt, row)
                new = [*row.fed, token]
            self._fill(row, new, len(row) + 1 - len(new), batch)
        log_probs = self._run(batch)
        for row, token in zip(rows, tokens, strict=True):
            row.fed.append(token)
        return log_probs

    def _read(self, prompts: list[Branch]) -> Tensor:
        """Run those prompts that are not in the cache; return log-probs [those, V] after them."""
        batch = Tokens()
        for prompt in prompts:
            if prompt.sequence is None:
                self._own(prompt, self._free.pop(), [])
                self._fill(prompt, prompt.tokens, 0, batch)
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
            self._copy(prompt, row)
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
        for part in batch.parts(self._config.batch_tokens, self._sequences):
            consume(names[part], self._decode(batch, part).log_softmax(dim=-1))
        for row in rows:
            assert row.sequence is not None
            self._drop(row.sequence)

    def _fill(self, row: Branch, tokens: Sequence[int], first: int, batch: Tokens) -> None:
        """Add a row's next tokens to a batch; the logits after the last are wanted."""
        assert row.sequence is not None
        own = (row.sequence,)
        for number, token in enumerate(tokens, 1):
            batch.add(token, first + number - 1, own, number == len(tokens))
        self._runs[row.sequence].append(_Run(len(tokens)))
        self._used += len(tokens)

    def _run(self, batch: Tokens) -> Tensor:
        """Run a batch; return the log-probs [outputs, V]."""
        log_probs = [
            # The next run overwrites the logits.
            self._decode(batch, part).log_softmax(dim=-1)
            for part in batch.parts(self._config.batch_tokens, self._sequences)
        ]
        if len(log_probs) == 1:
            return log_probs[0]
        return torch.cat([torch.empty(0, self._size), *log_probs])

    def _decode(self, batch: Tokens, part: slice) -> Tensor:
        code, logits = decode(self._context, batch, part, self._size)
        if code != 0:
            # What of the batch is in the cache is unknown.
            self._forget_all()
            raise GeneratorError(
                f"llama.cpp could not compute {part.stop - part.start} tokens with model "
                f"{self._model.name!r} (code {code}): set a lower cache_tokens or batch_tokens if "
                "memory is short; its log, at level ERROR of ragcore_llamacpp, may say more"
            )
        return logits

    def _in_parts(self, count: int, run: Callable[[list[int]], bool]) -> None:
        """Run all numbers below `count`: together, or in halves where the cache lacks the room."""
        parts = [
            list(range(begin, min(begin + _MOST_SEQUENCES // 2, count)))
            for begin in range(0, count, _MOST_SEQUENCES // 2)
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

    def _make_room(self, rows: Sequence[Branch], needs: Callable[[], tuple[int, int]]) -> bool:
        """Grow the cache or take the room of other rows; return False where that is too little.

        Args:
            rows: keep their sequences, and so do their prompts.
            needs: says how many cells and sequences are to be filled.
        """
        while True:
            cells, sequences = needs()
            enough_cells = self._used + cells <= self.cells
            enough_sequences = sequences <= len(self._free)
            if enough_cells and enough_sequences:
                self._use(rows)
                return True
            wanted = self.cells if enough_cells else self._used + cells
            taken = self._sequences - len(self._free)
            rows_wanted = self._sequences if enough_sequences else taken + sequences
            if self._grow(wanted, rows_wanted):
                continue
            used = {row.sequence for row in rows}
            used |= {row.prompt.sequence for row in rows if row.prompt is not None}
            others = [sequence for sequence in self._owners if sequence not in used]
            if not others:
                return False
            self._drop(others[0])

    def _grow(self, cells: int, sequences: int) -> bool:
        """Make a larger cache, which is empty, if its limits allow and it is not that large."""
        more_cells, more_sequences = self.cells, self._sequences
        while more_cells < min(cells, self._most_cells):
            more_cells = min(2 * more_cells, self._most_cells)
        while more_sequences < min(sequences, _MOST_SEQUENCES):
            more_sequences *= 2
        if (more_cells, more_sequences) == (self.cells, self._sequences):
            return False
        cells, sequences = self.cells, self._sequences
        self._forget_all()
        self._context = None
        self._release()
        if self._open(more_cells, more_sequences):
            return True
        # Memory is short: what there was must do.
        self._most_cells = cells
        if not self._open(cells, sequences):
            raise GeneratorError(
                f"memory is too short for the cache of model {self._model.name!r}, {cells} tokens: "
                "lower the generator's cache_tokens"
            )
        return False

    def _open(self, cells: int, sequences: int) -> bool:
        """Make a context; return False where llama.cpp cannot."""
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx = cells
        settings.n_batch = settings.n_ubatch = self._config.batch_tokens
        settings.n_seq_max = settings.n_outputs_max = sequences
        settings.n_threads = settings.n_threads_batch = self._threads
        settings.type_k = settings.type_v = _TYPES[self._config.cache_dtype]
        flash = self._config.flash_attention
        settings.flash_attn_type = -1 if flash is None else int(flash)
        # All sequences share the cells: a copy of a sequence copies nothing.
        settings.kv_unified = True
        # A row may continue one that is shorter, before the window's end.
        settings.swa_full = True
        settings.no_perf = True
        context = llama_cpp.llama_init_from_model(self._model.weights, settings)
        if not context:
            return False
        self._context = context
        self._release = weakref.finalize(self, llama_cpp.llama_free, context)
        self._memory = llama_cpp.llama_get_memory(context)
        # llama.cpp rounds up; what is configured stays the limit.
        self.cells = cells
        self._sequences = sequences
        self._free = list(range(sequences))
        self._owners: dict[int, weakref.ref[Branch]] = {}  # the least recently used first
        self._runs: dict[int, list[_Run]] = {}
        self._used = 0
        return True

    def _begin(self) -> None:
        """Refuse a closed generator, and free the sequences of rows that no longer exist."""
        self._model.refuse_closed()
        for sequence in [number for number, owner in self._owners.items() if owner() is None]:
            self._drop(sequence)

    def _copy(self, source: Branch, row: Branch) -> None:
        """Let a row begin with all that another one has in the cache."""
        assert source.sequence is not None
        sequence = self._free.pop()
        llama_cpp.llama_memory_seq_cp(self._memory, source.sequence, sequence, -1, -1)
        runs = list(self._runs[source.sequence])
        for run in runs:
            run.owners += 1
        self._own(row, sequence, runs)

    def _own(self, row: Branch, sequence: int, runs: list[_Run]) -> None:
        row.sequence = sequence
        self._owners[sequence] = weakref.ref(row)
        self._runs[sequence] = runs

    def _drop(self, sequence: int) -> None:
        """Free a sequence; its row, if it still exists, is computed again when it is used."""
        row = self._owners.pop(sequence)()
        if row is not None:
            row.sequence = None
        llama_cpp.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        for run in self._runs.pop(sequence):
            run.owners -= 1
            if not run.owners:
                self._used -= run.cells
        self._free.append(sequence)

    def _use(self, rows: Sequence[Branch]) -> None:
        """Let these rows be the last to lose their sequences."""
        for row in rows:
            if row.sequence is not None:
                self._owners[row.sequence] = self._owners.pop(row.sequence)

    def _forget_all(self) -> None:
        for sequence in list(self._owners):
            self._drop(sequence)

    def _use_one_thread(self) -> None:
        if self._context is not None:
            llama_cpp.llama_set_n_threads(self._context, 1, 1)


def _needs(rows: Sequence[Branch], feeds: bool) -> tuple[int, int]:
    """Return how many cells and sequences rows need that are fed a token each, or none."""
    absent = [row for row in rows if row.sequence is None]
    prompts = {row.prompt for row in absent if row.prompt and row.prompt.sequence is None}
    cells = len(rows) if feeds else 0
    cells += sum(len(row.fed) if row.prompt else len(row.tokens) for row in absent)
    cells += sum(len(prompt.tokens) for prompt in prompts)
    return cells, len(absent) + len(prompts)


def _nodes(leaves: Sequence[Prefix]) -> dict[Prefix, list[int]]:
    """Return all beginnings of prefixes, the shortest first, and the leaves that begin so."""
    nodes: dict[Prefix, list[int]] = {}
    longest = max((len(tokens) for _, tokens in leaves), default=0)
    for depth in range(1, longest + 1):
        for number, (prompt, tokens) in enumerate(leaves):
            if len(tokens) >= depth:
                nodes.setdefault((prompt, tokens[:depth]), []).append(number)
    return nodes
