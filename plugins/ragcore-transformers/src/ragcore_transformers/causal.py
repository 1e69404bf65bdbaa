"""The generator for decoder-only models: GPT, Llama, Qwen, Mistral, Bloom and their like.

The prompt holds one passage and the question; the answer is the model's continuation.
Turns (question, passage) into prompts and the model's logits into normalised log-probabilities.
Knows nothing of retrieval, priors or beams.

    prompts.py        token ids of prompts and answers, by `ragcore.prompts`
    passage_reuse.py  prompts whose passage was read before
    shared_rows.py    decoding over prompts that are read once
    copied_rows.py    the same for models whose rows cannot share a prompt
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import ClassVar, Final

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ragcore.errors import GeneratorError, UnsupportedOperation
from ragcore.prompts.chat import chat_of
from ragcore.prompts.fitting import question_fault
from ragcore.prompts.thinking import Thinking
from ragcore.types import Passage, Word
from ragcore_transformers.caching import cache_name
from ragcore_transformers.causal_loading import gguf_file, load_causal, position_limit
from ragcore_transformers.causal_settings import end_token, input_limit, rendering
from ragcore_transformers.checkpoints import refuse_overflow
from ragcore_transformers.configs import CausalConfig
from ragcore_transformers.copied_rows import CopiedPrompts, CopiedRows
from ragcore_transformers.dtypes import GeneratorDtype, dtype_name
from ragcore_transformers.ends import EndTokens, named_ids
from ragcore_transformers.loading import pick_device, save_model
from ragcore_transformers.packed import pack_model
from ragcore_transformers.passage_reuse import PassageReuse
from ragcore_transformers.placement import is_plain, placed, several_devices
from ragcore_transformers.plain import wide
from ragcore_transformers.prefill import Prefill
from ragcore_transformers.probing import probe_copied, probe_ids, understood
from ragcore_transformers.prompts import Prompts
from ragcore_transformers.reuse import ReuseCounts
from ragcore_transformers.shared_rows import SharedPrompts, SharedRows, sharing_fault
from ragcore_transformers.speed import dtype_line, kernel_lines
from ragcore_transformers.tokenizing import (
    plain_text,
    settled_text,
    verbatim_text,
)
from ragcore_transformers.words import WordEncoder

__all__ = ["Causal"]

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Read:
    """The prompts of P pairs, and their caches unless gradients are enabled."""

    prompts: list[list[int]]
    cached: SharedPrompts | CopiedPrompts | None

    def __len__(self) -> int:
        return len(self.prompts)


@dataclass(slots=True)
class _State:
    """Decoder rows, the caller's device, and the length so far."""

    rows: SharedRows | CopiedRows
    device: torch.device
    length: int
    """Tokens of the longest prompt and of what was fed after it."""

    def select(self, rows: Tensor) -> None:
        """Keep rows [M'] int64, in this order; one may appear more than once."""
        self.rows.select(rows.to(self.rows.pairs.device))


class Causal:
    """See `ragcore.contracts.Generator`.

    With gradients disabled `read` runs the prompts once, for all later calls. With gradients
    enabled it only tokenizes them: `score` then is one plain forward pass over prompt and target,
    differentiable. Log-probabilities come back on the device of the argument `pairs`. `model` and
    `tokenizer` are Hugging Face's own; the model is in eval mode until a trainer changes that.

    Raises:
        GeneratorError: the model cannot be loaded, or its tokenizer does not fit it.
    """

    Config: ClassVar[type[CausalConfig]] = CausalConfig
    capabilities: frozenset[str] = frozenset({"cite", "together", "trainable", "words"})
    forced_bos_token_id: int | None = None

    def __init__(self, config: CausalConfig) -> None:
        self.config = config
        device = pick_device(config.device, GeneratorError)
        model, self.tokenizer = load_causal(config)
        self.model = placed(config, model, device).eval()
        self.device: torch.device = self.model.device
        plain = is_plain(self.model)
        if gguf_file(config.model) is not None or not plain or config.dtype == "float16":
            # Hugging Face cannot save a model that was read from a GGUF file.
            self.capabilities = self.capabilities - {"trainable"}
        with understood(config.model, self.model):
            self.vocabulary_size: int = self.model.get_output_embeddings().weight.shape[0]
        self._today = config.date or date.today()
        chat = chat_of(config, rendering(config, self.tokenizer), self._today)
        self._dated = chat is not None and chat.dated
        self._prompts = Prompts(
            config.model,
            self.tokenizer,
            config.template,
            config.template_without_passage,
            chat,
            config.template_of_passages,
        )
        self._thinking = Thinking(self.tokenizer.get_vocab())
        self._ends = self._end_tokens()
        self.eos_token_id: int = self._ends.first
        self.eos_token_ids: tuple[int, ...] = self._ends.ids
        self._refuse_misfit()
        self._words = WordEncoder(self.tokenizer, self.encode_answers)
        self._positions = position_limit(self.model.config)
        self.max_input_tokens: int = input_limit(config, self._positions)
        self._cache_name = cache_name(self.model)
        auto = config.dtype == "auto"
        self._dtype = GeneratorDtype(
            config.model, self.model, self._probe_pass, lambda: load_causal(config)[0], auto=auto
        )
        with understood(config.model, self.model):
            refuse_overflow(config.model, self.model, self._probe_pass)
            fault = several_devices(self.model) or sharing_fault(self.model)
        self.shares_prompts = fault is None
        self._positioned = False
        if fault is not None:
            self._positioned = probe_copied(
                config.model, self.model, self._cache_name, self.vocabulary_size
            )
            _LOG.warning(
                "model %r (%s) decodes with a cache for each beam and passage, which is slower but "
                "equally correct: %s",
                config.model,
                type(self.model).__name__,
                fault,
            )
        self._reuse = self._passage_reuse(fault)
        if self._reuse is not None and self._reuse.fault is None:
            self.capabilities = self.capabilities | {"reuse"}
        if plain:
            pack_model(self.model, self._probe_pass)

    @property
    def dtype(self) -> str:
        """Return the dtype of the weights, as in YAML; that which was chosen where it says auto."""
        return self.config.bitsandbytes or dtype_name(self.model.dtype)

    def speed_report(self) -> list[str]:
        """Say which dtype and kernels it uses, and why, a line each."""
        reuse = [] if self._reuse is None else [self._reuse.line()]
        return [dtype_line(self.dtype, self._dtype.choice), *kernel_lines(self.model), *reuse]

    def reuse_counts(self) -> ReuseCounts | None:
        """Return how many passages were not read again; None where all of a prompt is read."""
        return None if self._reuse is None or self._reuse.fault else self._reuse.counts()

    def retain_passages(self, passages: Callable[[Sequence[str]], Mapping[str, Passage]]) -> None:
        """Drop what is kept in memory of passages that a memory no longer has; see the contract.

        Raises:
            UnsupportedOperation: no passages are kept.
        """
        if self._reuse is None or self._reuse.fault is not None:
            raise UnsupportedOperation.of("generator 'causal'", "reuse")
        self._reuse.retain(passages)

    def encode_answers(self, answers: Sequence[str]) -> list[list[int]]:
        """Return the target ids of each answer as it follows a prompt, the end token last."""
        continuations = self._prompts.continuations(answers, self.config.answer_prefix)
        ends = self._ends.ids
        return [[*(token for token in ids if token not in ends), ends[0]] for ids in continuations]

    def decode_tokens(self, token_ids: Sequence[int]) -> str:
        """Return the text of target ids, single-spaced, without special tokens and thinking."""
        tokens = [token for token in token_ids if token not in self._ends.ids]
        text = plain_text(self.tokenizer, self._thinking.without_tokens(tokens))
        return self._thinking.without_text(text)

    def decode_verbatim(self, token_ids: Sequence[int]) -> str:
        """Return the text of target ids without thinking, line breaks included."""
        tokens = [token for token in token_ids if token not in self._ends.ids]
        text = verbatim_text(self.tokenizer, self._thinking.without_tokens(tokens))
        return self._thinking.outside(text)

    def decode_prefix(self, token_ids: Sequence[int]) -> str:
        """Return the text of an answer's first tokens that no further token changes."""
        tokens = [token for token in token_ids if token not in self._ends.ids]
        text = settled_text(self.tokenizer, self._thinking.without_tokens(tokens))
        return self._thinking.settled(text)

    def encode_words(self, texts: Sequence[str]) -> list[list[Word]]:
        """Return how each text's words are written in an answer."""
        return self._words(texts)

    def read(self, questions: Sequence[str], passages: Sequence[Passage | None]) -> _Read:
        """Read P pairs, in batches of similar length; see the contract.

        Raises:
            QuestionError: a question does not fit the input even without its passage.
        """
        self._dtype.unpack_for_gradients()
        prompts = self._prompts.of(questions, passages, self.max_input_tokens)
        if torch.is_grad_enabled():
            return _Read(prompts, None)
        return _Read(prompts, self._run(prompts, passages))

    def read_together(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[Passage]],
        *,
        cite: bool = False,
    ) -> _Read:
        """Read P prompts of several passages each; see the contract.

        Raises:
            QuestionError: a question does not fit the input even without its passages.
        """
        self._dtype.unpack_for_gradients()
        prompts = self._prompts.together(questions, passages, self.max_input_tokens, cite=cite)
        if torch.is_grad_enabled():
            return _Read(prompts, None)
        return _Read(prompts, self._run(prompts))

    def read_prompts(self, texts: Sequence[str]) -> _Read:
        """Read texts as prompts, without the template of a question; see the contract.

        Raises:
            QuestionError: a text does not fit the input.
        """
        self._dtype.unpack_for_gradients()
        prompts = self._prompts.of_texts(texts, self.max_input_tokens)
        if torch.is_grad_enabled():
            return _Read(prompts, None)
        return _Read(prompts, self._run(prompts, [None] * len(prompts)))

    def score(self, read: _Read, pairs: Tensor, targets: Tensor) -> Tensor:
        """Return teacher-forced log-probabilities of targets, float32 [M, T], 0.0 where padded.

        With gradients disabled every distinct prefix is fed once, after the prompts' caches.
        """
        numbers, size = pairs.tolist(), self.config.batch_size
        self._dtype.unpack_for_gradients()
        self._refuse_overlong(self._longest(read, numbers) + targets.shape[1])
        if isinstance(read.cached, SharedPrompts) and not torch.is_grad_enabled():
            # The caches have the weights' precision, also inside a caller's autocast.
            with torch.autocast(self.device.type, enabled=False):
                log_p = read.cached.score(pairs.to(self.device), targets.to(self.device), size)
            return log_p.to(pairs.device)
        rows = [
            self._plain(
                [read.prompts[pair] for pair in numbers[begin : begin + size]],
                targets[begin : begin + size].to(self.device),
            )
            for begin in range(0, len(numbers), size)
        ]  # [batch, T] each
        log_p = torch.cat(rows) if rows else torch.zeros(targets.shape)
        return log_p.to(pairs.device)

    def score_all(self, read: _Read, pairs: Tensor, targets: Tensor) -> Tensor:
        """Return teacher-forced log-probabilities of all tokens, [M, T, V]; see the contract."""
        numbers = pairs.tolist()
        self._dtype.unpack_for_gradients()
        self._refuse_overlong(self._longest(read, numbers) + targets.shape[1])
        prompts = [read.prompts[pair] for pair in numbers]
        logits = self._logits(prompts, targets.to(self.device))  # [M, T, V]
        return self._ends.merged(logits.log_softmax(dim=2)).to(pairs.device)

    def length_faults(
        self, questions: Sequence[str], targets: Sequence[Sequence[int]]
    ) -> list[str | None]:
        """Say of each question and target why the model cannot hold them; None where it can.

        A passage may fill the prompt up to `max_input_tokens`, so a target must fit after that.
        """
        room = None if self._positions is None else self._positions - self.max_input_tokens
        faults: list[str | None] = []
        lengths = self._prompts.bare_lengths(questions)
        for length, target in zip(lengths, targets, strict=True):
            fault = question_fault(length, self.max_input_tokens)
            if fault is None and room is not None and len(target) > room:
                fault = (
                    f"the answer is {len(target)} tokens long, its end included, and {room} of the "
                    f"model's {self._positions} positions are left after a prompt of the "
                    f"generator's max_input_tokens, {self.max_input_tokens}"
                )
            faults.append(fault)
        return faults

    def trained_module(self) -> torch.nn.Module:
        """Return the whole model, its layers unpacked; what auto made bfloat16 is float32 again."""
        self._dtype.make_trainable()
        module: torch.nn.Module = self.model
        return module

    def save_trained(self, folder: Path) -> dict[str, str]:
        """Write the model as safetensors, and its tokenizer; return what the config must say."""
        return {
            **save_model(self.trained_module(), self.tokenizer, folder),
            **self.settings_of_today(),
        }

    def settings_of_today(self) -> dict[str, str]:
        """Return the settings that repeat today's prompts on another day: `date`, if it matters."""
        return {"date": self._today.isoformat()} if self._dated else {}

    # Tensors made in the caller's inference mode could not be written to outside it.
    @torch.inference_mode(False)
    @torch.no_grad()
    def start(self, read: _Read, pairs: Tensor) -> _State:
        """Begin decoder rows for pairs [M], nothing decoded yet."""
        cached = self._run(read.prompts) if read.cached is None else read.cached
        length = self._longest(read, pairs.tolist())
        # A copy: the caller may use its tensor for the next call.
        own = pairs.to(self.device, copy=True)
        return _State(cached.start(own), pairs.device, length)

    @torch.inference_mode(False)
    @torch.no_grad()
    def step(self, state: _State, tokens: Tensor | None) -> Tensor:
        """Feed one token to each row (None: nothing yet); return the next log p, float32 [M, V]."""
        if not len(state.rows):
            return torch.zeros(0, self.vocabulary_size, device=state.device)
        if tokens is not None:
            state.length += 1
            self._refuse_overlong(state.length)
            tokens = tokens.to(self.device)
        return state.rows.step(tokens).to(state.device)

    def _run(
        self, prompts: list[list[int]], passages: Sequence[Passage | None] = ()
    ) -> SharedPrompts | CopiedPrompts:
        """Read prompts of passages; without these, all of each prompt."""
        size, vocabulary = self.config.batch_size, self.vocabulary_size
        reuse = self._reuse
        with torch.autocast(self.device.type, enabled=False):
            # In training mode parts of the states are dropped at random.
            if passages and reuse is not None and not reuse.fault and not self.model.training:
                prefill = Prefill(self.model, prompts, size, vocabulary, self._ends)
                reuse.read(prefill, prompts, passages)
                return SharedPrompts.filled(self.model, prefill, self._ends)
            if self.shares_prompts:
                return SharedPrompts.of(self.model, prompts, size, vocabulary, self._ends)
            return CopiedPrompts.of(
                self.model,
                self._cache_name,
                prompts,
                size,
                vocabulary,
                self._ends,
                positioned=self._positioned,
            )

    def _passage_reuse(self, fault: str | None) -> PassageReuse | None:
        """Return what reads passages once; None where it is turned off.

        Args:
            fault: why rows cannot share a prompt, if they cannot.
        """
        config, limit = self.config, self.max_input_tokens
        if config.reuse is None:
            return None
        with torch.autocast(self.device.type, enabled=False):
            return PassageReuse(config, config.reuse, self.model, self._prompts, limit, fault)

    def _probe_pass(self) -> Tensor:
        """Return log p [24, V] after the tokens of a short prompt, by one forward pass."""
        count = min(24, self._positions or 24)
        ids = torch.tensor([probe_ids(1, count, self.vocabulary_size)], device=self.device)
        logits: Tensor = self.model(input_ids=ids, use_cache=False).logits[0]
        return logits.float().log_softmax(dim=-1)

    def _plain(self, prompts: list[list[int]], targets: Tensor) -> Tensor:
        """Return log-probs [m, T] of targets by one forward pass over prompt and target."""
        logits = self._ends.merged(self._logits(prompts, targets))  # [m, T, V]
        chosen = logits.gather(2, targets.clamp(min=0)[:, :, None])[:, :, 0]  # [m, T]
        log_probs: Tensor = chosen - logits.logsumexp(dim=2)
        return log_probs.masked_fill(targets < 0, 0.0)

    def _logits(self, prompts: list[list[int]], targets: Tensor) -> Tensor:
        """Return the model's logits at the targets' positions, [m, T, V]."""
        rows = [
            torch.tensor([*prompt, *(token for token in target[:-1] if token >= 0)])
            for prompt, target in zip(prompts, targets.tolist(), strict=True)
        ]
        # Padding comes last, where no token of a causal model attends to it.
        ids = pad_sequence(rows, batch_first=True).to(self.device)  # [m, S]
        before = torch.tensor([len(prompt) - 1 for prompt in prompts], device=self.device)  # [m]
        count = ids.shape[1] - int(before.min())
        logits = self.model(input_ids=ids, use_cache=False, logits_to_keep=count).logits
        first = ids.shape[1] - logits.shape[1]
        steps = torch.arange(targets.shape[1], device=self.device)  # [T]
        # After a short row's end the last position is taken, and masked by the caller.
        positions = (before[:, None] + steps - first).clamp(max=logits.shape[1] - 1)  # [m, T]
        at_targets: Tensor = logits.gather(
            1, positions[:, :, None].expand(-1, -1, logits.shape[2])
        )  # [m, T, V]
        return wide(at_targets)

    def _end_tokens(self) -> EndTokens:
        """Return the tokens that end an answer: that of the targets, and all of the model's."""
        model = self.model
        named = named_ids("eos_token_id", model.generation_config, model.config)
        end = end_token(self.config, self.model, self.tokenizer, self._prompts.turn_end())
        return EndTokens.of(end, named, self.vocabulary_size)

    def _refuse_misfit(self) -> None:
        # Special tokens that no prompt or answer holds do not count: Hugging Face adds some to
        # GGUF files.
        most = 1 + max(self.eos_token_id, self._prompts.largest_id())
        if most > self.vocabulary_size:
            raise GeneratorError(
                f"model {self.config.model!r}: its tokenizer has {most} tokens but the model has "
                f"{self.vocabulary_size}: use the tokenizer that the model was trained with, or "
                "resize the model's embeddings and train them"
            )

    def _longest(self, read: _Read, pairs: list[int]) -> int:
        return max((len(read.prompts[pair]) for pair in set(pairs)), default=0)

    def _refuse_overlong(self, length: int) -> None:
        if self._positions is not None and length > self._positions:
            raise GeneratorError(
                f"prompt and answer of {length} tokens are longer than the {self._positions} "
                f"positions of model {self.config.model!r}: lower rag.max_new_tokens, or the "
                "generator's max_input_tokens"
            )
