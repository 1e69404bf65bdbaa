"""Read prompts so that a passage which was read before is not read again.

A causal model's keys and values of a prompt's first tokens do not depend on what follows, so those
of a passage serve every question, as long as the prompt has the passage before the question. What
is reused is decided by token ids alone: those that a stored passage and a prompt have in common.

Knows prompts, the cache and prefill.py; knows nothing of decoding.
"""

from __future__ import annotations

import hashlib
import math
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
import transformers

from ragcore.process.fork import new_lock
from ragcore.types import Passage
from ragcore_transformers.configs import CausalConfig, ReuseConfig
from ragcore_transformers.dtypes import dtype_name
from ragcore_transformers.ends import EndTokens
from ragcore_transformers.gaps import Gaps
from ragcore_transformers.prefill import Beginning, Prefill
from ragcore_transformers.probing import probe_ids
from ragcore_transformers.prompts import Prompts
from ragcore_transformers.reuse import PassageCache, ReuseCounts
from ragcore_transformers.reuse_files import StateFiles
from ragcore_transformers.reuse_folder import digest_of
from ragcore_transformers.shared_rows import SharedPrompts
from ragcore_transformers.states import common_length

__all__ = ["PassageReuse"]

_GIB: Final = 1 << 30

_DTYPES: Final = {"float16": torch.float16, "bfloat16": torch.bfloat16}

_FAULTS: Final = (RuntimeError, ValueError, TypeError, LookupError, AttributeError)

_PROBE: Final = Passage("", "ragcore", "ragcore")


_PROBED: Final = (24, 17)
"""Tokens of the prompts that are tried, of which this share is stored."""


class PassageReuse:
    """The passages that one generator has read; safe to use from several threads.

    Attributes:
        fault: why none is reused; None where they are.
        error: the largest difference of a log-prob, tried with short prompts, that comes from
            storing keys and values in another dtype; 0.0 where it is the model's own.
    """

    def __init__(
        self,
        config: CausalConfig,
        settings: ReuseConfig,
        model: Any,
        prompts: Prompts,
        limit: int,
        fault: str | None,
    ) -> None:
        """Begin with what is in the folder, if there is one.

        Args:
            config: the generator's.
            settings: its setting `reuse`.
            model: the checkpoint, with plain layers.
            prompts: makes the generator's prompts.
            limit: the most tokens of a prompt.
            fault: why rows of this model cannot share a prompt; None where they can.
        """
        self._model = model
        self._prompts = prompts
        self._limit = limit
        self._settings = settings
        self.dtype = _DTYPES.get(settings.dtype or "")
        self.error = 0.0
        self.fault = fault or _template_fault(config.template) or self._probe()
        files = None
        if settings.folder is not None and self.fault is None:
            files = StateFiles(
                Path(settings.folder), self._fingerprint(), int(settings.folder_max_gib * _GIB)
            )
        self._cache = PassageCache(int(settings.max_gib * _GIB), self.dtype, files)
        self._counts = ReuseCounts()
        self._lock = new_lock()

    def read(
        self, prefill: Prefill, prompts: list[list[int]], passages: Sequence[Passage | None]
    ) -> None:
        """Read all prompts; of those whose passage is known, what comes after it.

        A passage that several prompts have is read once, too.
        """
        epoch = _weights(self._model)
        self._cache.renew(epoch)
        first: dict[str, int] = {}
        whole: list[int] = []
        beginnings: list[Beginning] = []
        repeated: list[tuple[int, int]] = []
        for row, (ids, passage) in enumerate(zip(prompts, passages, strict=True)):
            if passage is None:
                whole.append(row)
                continue
            digest = digest_of(passage)
            if digest in first:
                repeated.append((row, first[digest]))
                continue
            states = self._cache.find(digest, passage)
            count = 0 if states is None else _reusable(states.token_ids, ids)
            if states is not None and count:
                beginnings.append(Beginning(row, states, count))
            else:
                first[digest] = row
                whole.append(row)
        prefill.whole(whole)
        shared = self._passage_lengths(list(first.values()), prompts, passages)
        for digest, row in first.items():
            passage, count = passages[row], shared[row]
            if passage is not None and count:
                self._cache.add(digest, passage, prefill.states(row, count), epoch)
        unlike: list[int] = []
        for row, source in repeated:
            states = prefill.states(source, shared[source])
            count = _reusable(states.token_ids, prompts[row])
            if count:
                beginnings.append(Beginning(row, states, count))
            else:
                unlike.append(row)
        prefill.whole(unlike)
        prefill.after(beginnings)
        self._count(prompts, beginnings, passages)

    def retain(self, passages: Callable[[Sequence[str]], Mapping[str, Passage]]) -> int:
        """Drop from memory what `passages` no longer has; see `PassageCache.retain`."""
        return self._cache.retain(passages)

    def counts(self) -> ReuseCounts:
        """Return how much was reused so far, and how much memory it takes."""
        with self._lock:
            counts = self._counts
        now = self._cache.counts()
        return replace(counts, passages=now.passages, bytes=now.bytes, dropped=now.dropped)

    def line(self) -> str:
        """Say what is reused, and how much so far."""
        if self.fault is not None:
            return f"passages are read for each question: {self.fault}"
        counts = self.counts()
        stored = dtype_name(self.dtype or self._model.dtype)
        error = f", which changes log-probs by {self.error:.1g}" if self.error else ""
        return (
            f"passages are read once: {counts.passages:,} in {counts.bytes / _GIB:.2f} of "
            f"{self._settings.max_gib:g} GiB as {stored}{error}; {counts.hits:,} hits, "
            f"{counts.misses:,} misses"
        )

    def _passage_lengths(
        self, rows: Sequence[int], prompts: list[list[int]], passages: Sequence[Passage | None]
    ) -> dict[int, int]:
        """Return of each row how many tokens of its prompt are there without the question, too.

        Where the question changes how the passage's end is tokenized, these tokens are left out.
        """
        bare = self._prompts.of([""] * len(rows), [passages[row] for row in rows], self._limit)
        lengths = {}
        for row, ids in zip(rows, bare, strict=True):
            count = common_length(prompts[row], ids)
            lengths[row] = min(count, len(prompts[row]) - 1)
        return lengths

    def _count(
        self,
        prompts: list[list[int]],
        beginnings: list[Beginning],
        passages: Sequence[Passage | None],
    ) -> None:
        reused = sum(each.count for each in beginnings)
        tokens = sum(map(len, prompts))
        pairs = sum(passage is not None for passage in passages)
        with self._lock:
            counts = self._counts
            self._counts = replace(
                counts,
                hits=counts.hits + len(beginnings),
                misses=counts.misses + pairs - len(beginnings),
                tokens_reused=counts.tokens_reused + reused,
                tokens_read=counts.tokens_read + tokens - reused,
            )

    def _fingerprint(self) -> str:
        """Return a digest of the weights, of the prompts' layout and of the stored dtype.

        Of prompts it takes one: what a template or a chat puts around a passage is in it.
        """
        model = self._model
        digest = hashlib.sha256(transformers.__version__.encode())
        digest.update(model.config.to_json_string(use_diff=False).encode())
        (ids,) = self._prompts.of([""], [_PROBE], self._limit)
        digest.update(f"{ids} {self._limit} {model.dtype} {self.dtype}".encode())
        for name, value in sorted(model.state_dict().items()):
            digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
            raw: Any = value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
            digest.update(raw)
        return digest.hexdigest()[:32]

    def _probe(self) -> str | None:
        """Say why this model's prompts cannot go on after stored tokens; None where they can.

        Two prompts are read whole and then, in one batch, after their beginnings, which are of
        unlike length; what follows them is compared with a plain forward pass.
        """
        model = self._model
        try:
            gaps, error = _gaps(model, None), 0.0
            if not gaps.exceeded and self.dtype is not None:
                error = _gaps(model, self.dtype).largest
        except _FAULTS as fault:
            return f"its forward pass fails after stored tokens ({fault})"
        if gaps.exceeded:
            return f"log-probs after stored tokens would be off by {gaps.largest:.2g}"
        if not math.isfinite(error):
            return f"its keys and values are no numbers of {self._settings.dtype}"
        self.error = error
        return None


@torch.inference_mode(False)
@torch.no_grad()
def _gaps(model: Any, dtype: torch.dtype | None) -> Gaps:
    """Return how far off log-probs are after beginnings that are stored in a dtype."""
    vocabulary = model.get_output_embeddings().weight.shape[0]
    ends = EndTokens(0)
    prompts = [probe_ids(1 + row, count, vocabulary) for row, count in enumerate(_PROBED)]
    whole = Prefill(model, prompts, 2, vocabulary, ends)
    whole.whole([0, 1])
    begun = Prefill(model, prompts, 2, vocabulary, ends)
    counts = [len(prompts[0]) // 2, len(prompts[1]) - 1]
    begun.after(
        [
            Beginning(row, whole.states(row, count).copied(dtype), count)
            for row, count in enumerate(counts)
        ]
    )
    tokens = torch.tensor(probe_ids(5, 2, vocabulary), device=model.device)
    rows = SharedPrompts.filled(model, begun, ends).start(torch.arange(2, device=model.device))
    steps = [rows.step(None), rows.step(tokens)]  # [2, V] each
    gaps = Gaps(model)
    for row, token in enumerate(tokens.tolist()):
        ids = torch.tensor([[*prompts[row], token]], device=model.device)
        logits = model(input_ids=ids, use_cache=False).logits[0, -2:]
        expected = logits.float().log_softmax(dim=-1)  # [2, V]
        gaps.follow(expected[0], expected[1])
        for number, step in enumerate(steps):
            gaps.compare(step[row], expected[number])
    return gaps


def _template_fault(template: str) -> str | None:
    """Say why no passage can be read once with a template; None where it can."""
    names = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    if names.index("question") < names.index("text"):
        return "the template has the question before the passage"
    return None


def _reusable(known: Sequence[int], prompt: Sequence[int]) -> int:
    """Return how many tokens of what is known a prompt begins with; 0 where they are too few.

    They differ where the passage was cut for a longer question. At least one token is left to run,
    since the log-probs after the last one are not stored.
    """
    count = min(common_length(known, prompt), len(prompt) - 1)
    return count if 2 * count >= len(known) else 0


def _weights(model: Any) -> tuple[tuple[int, int], ...]:
    """Return what changes when a model's weights do: where they are, and how often written to."""
    return tuple(
        (weight.data_ptr(), 0 if weight.is_inference() else weight._version)
        for weight in model.parameters()
    )
