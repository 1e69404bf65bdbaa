"""Try a loaded model's decoding once, against its plain forward pass, before a question is asked.

Caches differ by architecture: one that is not read as the model means it gives wrong answers that
look like any other, or an error deep inside the model. Two steps of rows with inputs of unlike
length, one of them doubled and reordered, find both.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor

from ragcore.errors import GeneratorError
from ragcore_transformers.copied_rows import CopiedPrompts
from ragcore_transformers.ends import EndTokens
from ragcore_transformers.gaps import Gaps

__all__ = ["probe_copied", "probe_ids", "probe_steps", "understood"]

_FAULTS: Final = (
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    ArithmeticError,
)

_ADVICE: Final = (
    "choose a model of another architecture, such as BART, T5, Llama, Qwen, Mistral or GPT-2"
)


@contextmanager
def understood(name: str, model: Any) -> Iterator[None]:
    """Turn what a model of an unknown architecture raises into one error.

    Raises:
        GeneratorError: the block raised something that is not ragcore's own error.
    """
    try:
        yield
    except _FAULTS as fault:
        reason = str(fault).strip().partition("\n")[0] or type(fault).__name__
        raise GeneratorError(
            f"model {name!r} ({type(model).__name__}) cannot be decoded here: "
            f"{type(fault).__name__}: {reason}; {_ADVICE}"
        ) from fault


def probe_ids(first: int, count: int, vocabulary: int) -> list[int]:
    """Return `count` token ids, different for each `first`."""
    return [(first + 7 * number) % vocabulary for number in range(count)]


@torch.inference_mode(False)
@torch.no_grad()
def probe_steps(
    name: str,
    model: Any,
    start: Callable[[Tensor], Any],
    step: Callable[[Any, Tensor | None], Tensor],
    score: Callable[[Tensor, Tensor], Tensor],
    plain: Callable[[int, list[int]], Tensor],
    vocabulary: int,
) -> None:
    """Compare two steps of decoder rows, and the scores of their tokens, with plain forward passes.

    Args:
        name: the model's, for the error.
        model: a checkpoint of Hugging Face's.
        start: begins rows for pairs int64 [M]; there are two pairs at least, of unlike length.
        step: feeds one token to each row (None: nothing yet); returns log p [M, V].
        score: gives log p [M, T] of targets [M, T] of pairs [M]. It differs from the steps' where
            tokens attend to later ones, too.
        plain: gives log p [V] of the token after a pair and some tokens, by one forward pass.
        vocabulary: V.

    Raises:
        GeneratorError: the numbers differ, or the model raises an error.
    """
    gaps = Gaps(model)

    @functools.cache
    def passed(pair: int, *tokens: int) -> Tensor:
        # Most are compared with a step and with a score.
        return plain(pair, list(tokens))

    with understood(name, model):
        pairs = [0, 1, 0]
        fed: list[list[int]] = [[], [], []]
        state = start(torch.tensor(pairs))
        log_p = step(state, None)
        for number in range(3):
            for row, pair in enumerate(pairs):
                gaps.compare(log_p[row], passed(pair, *fed[row]))
            if number == 2:
                break
            # One row is dropped and another doubled, as by a beam search.
            chosen = [1, 2, 1] if number == 0 else [2, 0, 1]
            state.select(torch.tensor(chosen))
            pairs = [pairs[row] for row in chosen]
            tokens = probe_ids(3 + number, 3, vocabulary)
            fed = [[*fed[row], token] for row, token in zip(chosen, tokens, strict=True)]
            log_p = step(state, torch.tensor(tokens))
        scored = score(torch.tensor(pairs), torch.tensor(fed))  # [M, T]
        for row, pair in enumerate(pairs):
            after = passed(pair)
            for number, token in enumerate(fed[row]):
                # Where tokens attend to later ones, scores differ from steps.
                gaps.compare(scored[row, number, None], after[token, None])
                before, after = after, passed(pair, *fed[row][: number + 1])
                gaps.follow(before, after)
    if gaps.exceeded:
        raise GeneratorError(
            f"model {name!r} ({type(model).__name__}) would be decoded wrongly: its "
            f"{'log-probs' if gaps.fine else 'probabilities'}, step by step or for a whole answer, "
            f"are off by {gaps.largest:.2g} from those of its plain forward pass; {_ADVICE}"
        )


def probe_copied(name: str, model: Any, cache_name: str, vocabulary: int) -> bool:
    """Compare rows that have a cache each with a plain forward pass.

    Returns:
        Whether the model must be told positions; see `CopiedPrompts.positioned`.

    Raises:
        GeneratorError: see `probe_steps`.
    """
    try:
        _probe_copied(name, model, cache_name, vocabulary, positioned=False)
    except GeneratorError as fault:
        if "position_ids" not in inspect.signature(model.forward).parameters:
            raise
        try:
            _probe_copied(name, model, cache_name, vocabulary, positioned=True)
        except GeneratorError:
            raise fault from None
        return True
    return False


def _probe_copied(
    name: str, model: Any, cache_name: str, vocabulary: int, *, positioned: bool
) -> None:
    prompts = [probe_ids(1, 3, vocabulary), probe_ids(2, 6, vocabulary)]
    device = model.device

    def start(pairs: Tensor) -> Any:
        read = CopiedPrompts.of(
            model, cache_name, prompts, 2, vocabulary, EndTokens(0), positioned=positioned
        )
        return read.start(pairs.to(device))

    def passed(pair: int, fed: list[int]) -> Tensor:
        whole = torch.tensor([prompts[pair] + fed], device=device)
        logits = model(input_ids=whole, use_cache=False).logits[0]
        log_p: Tensor = logits.float().log_softmax(dim=-1)  # [tokens, V]
        return log_p

    def plain(pair: int, fed: list[int]) -> Tensor:
        return passed(pair, fed)[-1]

    def score(pairs: Tensor, targets: Tensor) -> Tensor:
        rows = []
        for pair, target in zip(pairs.tolist(), targets.tolist(), strict=True):
            log_p = passed(pair, target)[len(prompts[pair]) - 1 : -1]  # [T, V]
            rows.append(log_p.gather(1, torch.tensor(target, device=device)[:, None])[:, 0])
        return torch.stack(rows)

    def step(state: Any, tokens: Tensor | None) -> Tensor:
        log_p: Tensor = state.step(None if tokens is None else tokens.to(device))
        return log_p

    probe_steps(name, model, start, step, score, plain, vocabulary)
