"""The generator for decoder-only models: GPT, Llama, Qwen, Mistral, Bloom and their like.

The prompt holds one passage and the question; the answer is what the model continues it with.
Turns (question, passage) into prompts and the model's logits into normalised log-probabilities.
Knows nothing of retrieval, priors or beams.

    prompts.py        token ids of prompts and answers
    shared_rows.py    decoding over prompts that were read once
    copied_rows.py    the same for models whose rows cannot share a prompt
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ragcore.errors import GeneratorError
from ragcore.types import Passage, Word
from ragcore_transformers.caching import cache_name
from ragcore_transformers.causal_loading import load_causal
from ragcore_transformers.configs import CausalConfig
from ragcore_transformers.copied_rows import CopiedPrompts, CopiedRows
from ragcore_transformers.loading import pick_device, save_model
from ragcore_transformers.plain import wide
from ragcore_transformers.prompts import Chat, Prompts
from ragcore_transformers.shared_rows import SharedPrompts, SharedRows, sharing_fault
from ragcore_transformers.tokenizing import plain_text
from ragcore_transformers.words import WordEncoder

__all__ = ["Causal"]

_LOG: Final = logging.getLogger(__name__)

_DEFAULT_LIMIT: Final = 2048
"""Tokens of a prompt for models without a limit of their own."""

_ANSWER_ROOM: Final = 128
"""Positions that are kept free for the answer where the model has a limit."""


@dataclass(frozen=True, slots=True)
class _Read:
    """The prompts of P pairs, and what the model keeps of them unless gradients are wanted."""

    prompts: list[list[int]]
    held: SharedPrompts | CopiedPrompts | None

    def __len__(self) -> int:
        return len(self.prompts)


@dataclass(slots=True)
class _State:
    """Decoder rows, the device that their caller is on, and how far they have come."""

    rows: SharedRows | CopiedRows
    device: torch.device
    length: int
    """Of the longest prompt and what was fed behind it."""

    def select(self, rows: Tensor) -> None:
        """Keep rows [M'] int64, in this order; one may appear more than once."""
        self.rows.select(rows.to(self.rows.pairs.device))


class Causal:
    """See `ragcore.contracts.Generator`.

    With gradients disabled `read` runs the prompts, and what comes after does not again. With
    gradients enabled it only tokenizes them: `score` then is one plain forward pass over prompt
    and target, differentiable. Log-probabilities come back on the device of the `pairs` that were
    handed in. `model` and `tokenizer` are Hugging Face's own; the model is in eval mode until a
    trainer says otherwise.

    Raises:
        GeneratorError: the model cannot be loaded, or its tokenizer does not fit it.
    """

    Config: ClassVar[type[CausalConfig]] = CausalConfig
    capabilities: frozenset[str] = frozenset({"trainable", "words"})
    forced_bos_token_id: int | None = None

    def __init__(self, config: CausalConfig) -> None:
        self.config = config
        self.device = pick_device(config.device, GeneratorError)
        self.model, self.tokenizer = load_causal(config.model, getattr(torch, config.dtype))
        self.model = self.model.to(self.device).eval()
        self.vocabulary_size: int = self.model.get_output_embeddings().weight.shape[0]
        self._prompts = Prompts(
            config.model,
            self.tokenizer,
            config.template,
            config.template_without_passage,
            self._chat(),
        )
        self.eos_token_id: int = self._end()
        self._refuse_misfit()
        self._words = WordEncoder(self.tokenizer, self.encode_answers)
        self._positions = _positions(self.model.config)
        self.max_input_tokens: int = self._input_limit()
        self._cache_name = cache_name(self.model)
        fault = sharing_fault(self.model)
        self.shares_prompts = fault is None
        if fault is not None:
            _LOG.warning(
                "model %r (%s) decodes with a cache for each beam and passage, which is slower and "
                "equally right: %s",
                config.model,
                type(self.model).__name__,
                fault,
            )

    def encode_answers(self, answers: Sequence[str]) -> list[list[int]]:
        """Target ids of each answer as it follows a prompt, the end token last."""
        found = self._prompts.continuations(answers, self.config.answer_prefix)
        end = self.eos_token_id
        return [[*(at for at in ids if at != end), end] for ids in found]

    def decode_tokens(self, token_ids: Sequence[int]) -> str:
        """The text of target ids, without special tokens, single-spaced."""
        return plain_text(self.tokenizer, [at for at in token_ids if at != self.eos_token_id])

    def encode_words(self, texts: Sequence[str]) -> list[list[Word]]:
        """How each text's words are written in an answer."""
        return self._words(texts)

    def read(self, questions: Sequence[str], passages: Sequence[Passage | None]) -> _Read:
        """Read P pairs, in batches of similar length; see the contract.

        Raises:
            QuestionError: a question does not fit the input even without its passage.
        """
        prompts = self._prompts.of(questions, passages, self.max_input_tokens)
        return _Read(prompts, None if torch.is_grad_enabled() else self._run(prompts))

    def score(self, read: _Read, pairs: Tensor, targets: Tensor) -> Tensor:
        """Teacher-forced log-probabilities of targets, float32 [M, T], 0.0 where padded.

        With gradients disabled every distinct prefix is fed once, over what was read.
        """
        chosen = pairs.tolist()
        self._refuse_overlong(self._longest(read, chosen) + targets.shape[1])
        if isinstance(read.held, SharedPrompts) and not torch.is_grad_enabled():
            own, goal = pairs.to(self.device), targets.to(self.device)
            # What is held is of the weights' precision, whatever matrices are multiplied in.
            with torch.autocast(self.device.type, enabled=False):
                return read.held.score(own, goal, self.config.batch_size).to(pairs.device)
        rows = [
            self._plain(
                [read.prompts[pair] for pair in chosen[begin : begin + self.config.batch_size]],
                targets[begin : begin + self.config.batch_size].to(self.device),
            )
            for begin in range(0, len(chosen), self.config.batch_size)
        ]
        found = torch.cat(rows) if rows else torch.zeros(targets.shape)
        return found.to(pairs.device)

    def score_all(self, read: _Read, pairs: Tensor, targets: Tensor) -> Tensor:
        """Teacher-forced log-probabilities of all tokens, [M, T, V]; see `TrainableGenerator`."""
        chosen = pairs.tolist()
        self._refuse_overlong(self._longest(read, chosen) + targets.shape[1])
        prompts = [read.prompts[pair] for pair in chosen]
        return self._logits(prompts, targets.to(self.device)).log_softmax(dim=2).to(pairs.device)

    def trained_module(self) -> torch.nn.Module:
        """The whole model."""
        module: torch.nn.Module = self.model
        return module

    def save_trained(self, folder: Path) -> dict[str, str]:
        """Write the model as safetensors, and its tokenizer."""
        return save_model(self.model, self.tokenizer, folder)

    # What is made in the caller's inference mode could not be written to outside it.
    @torch.inference_mode(False)
    @torch.no_grad()
    def start(self, read: _Read, pairs: Tensor) -> _State:
        """Decoder rows for pairs [M], nothing decoded yet."""
        held = self._run(read.prompts) if read.held is None else read.held
        length = self._longest(read, pairs.tolist())
        return _State(held.start(pairs.to(self.device)), pairs.device, length)

    @torch.inference_mode(False)
    @torch.no_grad()
    def step(self, state: _State, tokens: Tensor | None) -> Tensor:
        """Feed one token to each row (None: nothing yet); next log p, float32 [M, V]."""
        if not len(state.rows):
            return torch.zeros(0, self.vocabulary_size, device=state.device)
        if tokens is not None:
            state.length += 1
            self._refuse_overlong(state.length)
            tokens = tokens.to(self.device)
        return state.rows.step(tokens).to(state.device)

    def _run(self, prompts: list[list[int]]) -> SharedPrompts | CopiedPrompts:
        size, vocabulary = self.config.batch_size, self.vocabulary_size
        with torch.autocast(self.device.type, enabled=False):
            if self.shares_prompts:
                return SharedPrompts.of(self.model, prompts, size, vocabulary)
            return CopiedPrompts.of(self.model, self._cache_name, prompts, size, vocabulary)

    def _plain(self, prompts: list[list[int]], targets: Tensor) -> Tensor:
        """Log-probs [m, T] of targets by one forward pass over prompt and target."""
        logits = self._logits(prompts, targets)
        chosen = logits.gather(2, targets.clamp(min=0)[:, :, None])[:, :, 0]
        log_probs: Tensor = chosen - logits.logsumexp(dim=2)
        return log_probs.masked_fill(targets < 0, 0.0)

    def _logits(self, prompts: list[list[int]], targets: Tensor) -> Tensor:
        """What the model says at the targets' places, [m, T, V]."""
        rows = [
            torch.tensor([*prompt, *(at for at in target[:-1] if at >= 0)])
            for prompt, target in zip(prompts, targets.tolist(), strict=True)
        ]
        # Padding stands behind what counts, where no causal model looks.
        ids = pad_sequence(rows, batch_first=True).to(self.device)
        before = torch.tensor([len(prompt) - 1 for prompt in prompts], device=self.device)
        kept = ids.shape[1] - int(before.min())
        logits = self.model(input_ids=ids, use_cache=False, logits_to_keep=kept).logits
        first = ids.shape[1] - logits.shape[1]
        places = torch.arange(targets.shape[1], device=self.device)
        # Behind a short row's end the last place is taken, and then masked.
        at = (before[:, None] + places - first).clamp(max=logits.shape[1] - 1)
        found: Tensor = logits.gather(1, at[:, :, None].expand(-1, -1, logits.shape[2]))
        return wide(found)

    def _chat(self) -> Chat | None:
        config, has = self.config, bool(self.tokenizer.chat_template)
        wanted = has if config.chat is None else config.chat
        if wanted and not has:
            raise GeneratorError(
                f"chat is true but the tokenizer of model {config.model!r} has no chat template: "
                "leave chat out, and write what the model expects in template"
            )
        if not wanted and config.system is not None:
            raise GeneratorError(
                f"system is set but model {config.model!r} is not asked by a chat template: write "
                "the message in template"
            )
        return Chat.of(config.model, self.tokenizer, config.system) if wanted else None

    def _end(self) -> int:
        """The end token: the one asked for, or what ends a chat's reply, or the model's first."""
        asked = self.config.end_token
        if asked is not None:
            ids: list[int] = self.tokenizer(asked, add_special_tokens=False).input_ids
            if len(ids) != 1:
                raise GeneratorError(
                    f"end_token {asked!r} is {len(ids)} tokens for model {self.config.model!r}: "
                    "name a single one"
                )
            return ids[0]
        turn_end = self._prompts.turn_end()
        if turn_end is not None:
            return turn_end
        for place in (self.model.generation_config, self.model.config, self.tokenizer):
            found = getattr(place, "eos_token_id", None)
            if found is not None:
                return int(found[0] if isinstance(found, list | tuple) else found)
        raise GeneratorError(
            f"model {self.config.model!r} says no eos_token_id: add it to its config.json or "
            "generation_config.json, or set end_token"
        )

    def _refuse_misfit(self) -> None:
        # Special tokens that nothing writes do not count: Hugging Face adds some to GGUF files.
        most = 1 + max(self.eos_token_id, self._prompts.largest_id())
        if most > self.vocabulary_size:
            raise GeneratorError(
                f"model {self.config.model!r}: its tokenizer has {most} tokens but the model has "
                f"{self.vocabulary_size}: use the tokenizer that the model was trained with, or "
                "resize the model's embeddings and train them"
            )

    def _input_limit(self) -> int:
        asked, positions = self.config.max_input_tokens, self._positions
        if positions is None:
            return asked or _DEFAULT_LIMIT
        if asked is not None and asked >= positions:
            raise GeneratorError(
                f"max_input_tokens is {asked} but model {self.config.model!r} has positions for "
                f"{positions}, the answer's included: lower it, or leave it out"
            )
        return asked or positions - min(_ANSWER_ROOM, positions // 2)

    def _longest(self, read: _Read, pairs: list[int]) -> int:
        return max((len(read.prompts[pair]) for pair in set(pairs)), default=0)

    def _refuse_overlong(self, length: int) -> None:
        if self._positions is not None and length > self._positions:
            raise GeneratorError(
                f"prompt and answer of {length} tokens are longer than the {self._positions} "
                f"positions of model {self.config.model!r}: lower rag.max_new_tokens, or the "
                "generator's max_input_tokens"
            )


def _positions(config: Any) -> int | None:
    """How many tokens the model can number, or None where it does not count them."""
    about = config.get_text_config(decoder=True)
    limit: int | None = getattr(about, "max_position_embeddings", None)
    rope = getattr(about, "rope_parameters", None) or {}
    # Behind this length these turn all positions differently, also those in a cache.
    if limit is not None and rope.get("rope_type") in {"dynamic", "longrope"}:
        original = rope.get("original_max_position_embeddings")
        limit = min(limit, original) if original else limit
    return limit
