"""llama.cpp's context: the sequences of its cache, whose they are, and the room that they take.

All sequences share the cells of one cache, so that a copy of a sequence takes none. The cache
begins small, and grows up to its limit before any row loses its sequence. Knows rows and
llama.cpp's context; knows nothing of log-probs. Of its users one works at a time (cache.py).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, Final

import llama_cpp
from torch import Tensor

from ragcore.errors import GeneratorError
from ragcore.process.fork import call_in_child
from ragcore_llamacpp.batches import Tokens, decode
from ragcore_llamacpp.branches import Branch
from ragcore_llamacpp.configs import LlamaCppConfig
from ragcore_llamacpp.library import Model

__all__ = ["MOST_SEQUENCES", "Sequences"]

MOST_SEQUENCES: Final = 256
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


class _Run:
    """Cells of the cache that were filled together; free when no sequence has them any more."""

    __slots__ = ("cells", "owners")

    def __init__(self, cells: int) -> None:
        self.cells = cells
        self.owners = 1


class Sequences:
    """The sequences of one model's context.

    Attributes:
        cells: how many tokens the cache has room for now.
        used: how many of them are taken.
        count: how many sequences it has.
    """

    def __init__(self, model: Model, config: LlamaCppConfig, threads: int) -> None:
        """Make a small context.

        Args:
            model: its weights.
            config: has the limits of the cache and of a run.
            threads: that compute.

        Raises:
            GeneratorError: llama.cpp refuses the settings, or memory is short.
        """
        self._model = model
        self._config = config
        self._threads = threads
        self._context: Any = None
        self._memory: Any = None
        self.release: Callable[[], object] = lambda: None
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
        """Free the context; it must be freed before the model's weights are."""
        if self._context is not None:
            self.forget_all()
            self._context = None
        self.release()

    def make_room(self, rows: Sequence[Branch], needs: Callable[[], tuple[int, int]]) -> bool:
        """Grow the cache or take the room of other rows; return False where that is too little.

        Args:
            rows: keep their sequences, and so do their prompts.
            needs: says how many cells and sequences are to be filled.
        """
        while True:
            cells, sequences = needs()
            enough_cells = self.used + cells <= self.cells
            enough_sequences = sequences <= len(self._free)
            if enough_cells and enough_sequences:
                self._use(rows)
                return True
            wanted = self.cells if enough_cells else self.used + cells
            taken = self.count - len(self._free)
            rows_wanted = self.count if enough_sequences else taken + sequences
            if self._grow(wanted, rows_wanted):
                continue
            used = {row.sequence for row in rows}
            used |= {row.prompt.sequence for row in rows if row.prompt is not None}
            others = [sequence for sequence in self._owners if sequence not in used]
            if not others:
                return False
            self.drop(others[0])

    def begin(self, prompt: Branch) -> None:
        """Reserve an empty sequence for a prompt."""
        self._own(prompt, self._free.pop(), [])

    def copy(self, source: Branch, row: Branch) -> None:
        """Let a row begin with all that another one has in the cache."""
        assert source.sequence is not None
        sequence = self._free.pop()
        llama_cpp.llama_memory_seq_cp(self._memory, source.sequence, sequence, -1, -1)
        runs = list(self._runs[source.sequence])
        for run in runs:
            run.owners += 1
        self._own(row, sequence, runs)

    def copy_if_free(self, source: Branch, row: Branch) -> None:
        """Let a row begin with what another one has in the cache, if a sequence is free."""
        if source.sequence is not None and self._free:
            self.copy(source, row)

    def fill(self, row: Branch, tokens: Sequence[int], first: int, batch: Tokens) -> None:
        """Add a row's next tokens to a batch; the logits after the last are wanted."""
        assert row.sequence is not None
        own = (row.sequence,)
        for number, token in enumerate(tokens, 1):
            batch.add(token, first + number - 1, own, number == len(tokens))
        self._runs[row.sequence].append(_Run(len(tokens)))
        self.used += len(tokens)

    def parts(self, batch: Tokens) -> list[slice]:
        """Cut a batch into what one run of the model takes."""
        return batch.parts(self._config.batch_tokens, self.count)

    def decode(self, batch: Tokens, part: slice, size: int) -> Tensor:
        """Run a part of a batch; return its logits [outputs, V], which the next run overwrites.

        Raises:
            GeneratorError: llama.cpp cannot compute it; what of it is in the cache is unknown.
        """
        code, logits = decode(self._context, batch, part, size)
        if code != 0:
            raise GeneratorError(
                f"llama.cpp could not compute {part.stop - part.start} tokens with model "
                f"{self._model.name!r} (code {code}): set a lower cache_tokens or batch_tokens if "
                "memory is short; its log, at level ERROR of ragcore_llamacpp, may say more"
            )
        return logits

    def drop(self, sequence: int) -> None:
        """Free a sequence; its row, if it still exists, is computed again when it is used."""
        row = self._owners.pop(sequence)()
        if row is not None:
            row.sequence = None
        llama_cpp.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        for run in self._runs.pop(sequence):
            run.owners -= 1
            if not run.owners:
                self.used -= run.cells
        self._free.append(sequence)

    def drop_unowned(self) -> None:
        """Free the sequences of rows that no longer exist."""
        for sequence in [number for number, owner in self._owners.items() if owner() is None]:
            self.drop(sequence)

    def forget_all(self) -> None:
        """Empty the cache, whatever is in it; all rows are computed again when they are used."""
        for owner in self._owners.values():
            row = owner()
            if row is not None:
                row.sequence = None
        llama_cpp.llama_memory_clear(self._memory, False)
        self._reset()

    def _grow(self, cells: int, sequences: int) -> bool:
        """Make a larger cache, which is empty, if its limits allow and it is not that large."""
        more_cells, more_sequences = self.cells, self.count
        while more_cells < min(cells, self._most_cells):
            more_cells = min(2 * more_cells, self._most_cells)
        while more_sequences < min(sequences, MOST_SEQUENCES):
            more_sequences *= 2
        if (more_cells, more_sequences) == (self.cells, self.count):
            return False
        cells, sequences = self.cells, self.count
        self.close()
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
        self.release = weakref.finalize(self, llama_cpp.llama_free, context)
        self._memory = llama_cpp.llama_get_memory(context)
        # llama.cpp rounds up; what is configured stays the limit.
        self.cells = cells
        self.count = sequences
        self._reset()
        return True

    def _reset(self) -> None:
        """Count an empty cache."""
        self._free = list(range(self.count))
        self._owners: dict[int, weakref.ref[Branch]] = {}  # the least recently used first
        self._runs: dict[int, list[_Run]] = {}
        self.used = 0

    def _own(self, row: Branch, sequence: int, runs: list[_Run]) -> None:
        row.sequence = sequence
        self._owners[sequence] = weakref.ref(row)
        self._runs[sequence] = runs

    def _use(self, rows: Sequence[Branch]) -> None:
        """Let these rows be the last to lose their sequences."""
        for row in rows:
            if row.sequence is not None:
                self._owners[row.sequence] = self._owners.pop(row.sequence)

    def _use_one_thread(self) -> None:
        if self._context is not None:
            llama_cpp.llama_set_n_threads(self._context, 1, 1)
