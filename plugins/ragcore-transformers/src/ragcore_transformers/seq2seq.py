"""The generator for encoder-decoder models: BART, T5, Pegasus and their like.

Turns (question, passage) into the encoder's input, and the model's logits into normalised
log-probabilities. Knows nothing of retrieval, priors or beams. The caller decides whether gradients
are kept, except in `step`, which never keeps them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import torch
from torch.nn.utils.rnn import pad_sequence

from ragcore.errors import GeneratorError, UnsupportedOperation
from ragcore.prompts.fitting import question_fault
from ragcore.types import Passage, Word
from ragcore_transformers import plain
from ragcore_transformers.adapters import tokenizer_folder
from ragcore_transformers.attention import Encoded
from ragcore_transformers.checkpoints import refuse_overflow
from ragcore_transformers.configs import Seq2SeqConfig
from ragcore_transformers.dtypes import GeneratorDtype, dtype_name
from ragcore_transformers.ends import EndTokens, named_ids
from ragcore_transformers.fast import FastDecoder, FastState, fast_decoder
from ragcore_transformers.int8 import quantize
from ragcore_transformers.languages import Languages
from ragcore_transformers.loading import save_model
from ragcore_transformers.packed import pack_model
from ragcore_transformers.placement import is_plain, placed
from ragcore_transformers.plain import PlainState
from ragcore_transformers.plain_tokens import special_tokens
from ragcore_transformers.probing import probe_ids, probe_steps, understood
from ragcore_transformers.seq2seq_inputs import Inputs, answer_positions, batches, input_limit
from ragcore_transformers.seq2seq_loading import load_seq2seq, pick_generator_device
from ragcore_transformers.speed import dtype_line, kernel_lines
from ragcore_transformers.tokenizing import (
    load_tokenizer,
    plain_text,
    settled_text,
    special_id,
    verbatim_text,
)
from ragcore_transformers.words import WordEncoder

__all__ = ["Seq2Seq"]

_LOG: Final = logging.getLogger(__name__)


@dataclass(slots=True)
class _Read:
    """Encoder states [P, S, D] of P pairs and their mask [P, S], 1 where there is a token."""

    states: torch.Tensor
    mask: torch.Tensor
    _encoded: Encoded | None = None

    def __len__(self) -> int:
        return len(self.mask)

    def of(self, pairs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return states [M, S', D] and mask [M, S'] of pairs [M], cut to the longest of them."""
        pairs = pairs.to(self.mask.device)
        mask = self.mask[pairs]  # [M, S]
        longest = int(mask.sum(dim=1).max()) if len(mask) else 0
        return self.states[pairs, :longest], mask[:, :longest]

    def encoded(self, decoder: FastDecoder) -> Encoded:
        """Return the decoder's keys and values of all pairs, computed at the first call."""
        if self._encoded is None:
            self._encoded = decoder.encoded(self.states, self.mask.bool())
        return self._encoded


class Seq2Seq:
    """See `ragcore.contracts.Generator`.

    Log-probabilities come back on the device of the argument `pairs`. `model` and
    `tokenizer` are Hugging Face's own; the model is in eval mode until a trainer says otherwise.

    Raises:
        GeneratorError: the model cannot be loaded, or its tokenizer does not fit it.
    """

    Config: ClassVar[type[Seq2SeqConfig]] = Seq2SeqConfig
    capabilities: frozenset[str] = frozenset({"together", "trainable", "words"})

    def __init__(self, config: Seq2SeqConfig) -> None:
        self.config = config
        device = pick_generator_device(config)
        self.tokenizer = load_tokenizer(tokenizer_folder(config.model))
        self.model = placed(config, load_seq2seq(config), device).eval()
        self.device: torch.device = self.model.device
        plain_weights = is_plain(self.model)
        if not plain_weights or config.dtype == "float16":
            self.capabilities = self.capabilities - {"trainable"}
        with understood(config.model, self.model):
            self.vocabulary_size: int = self.model.get_output_embeddings().weight.shape[0]
        self.eos_token_id: int = self._special("eos_token_id", None)
        model_ends = named_ids("eos_token_id", self.model.config, self.model.generation_config)
        self._end_tokens = EndTokens.of(self.eos_token_id, model_ends, self.vocabulary_size)
        self.eos_token_ids: tuple[int, ...] = self._end_tokens.ids
        self._languages = self._set_languages()
        self._start: int = self._special("decoder_start_token_id", self._languages.start)
        self._pad: int = self._special("pad_token_id", None)
        self.forced_bos_token_id: int | None = self._forced()
        self._languages.name_in(self.model)
        self._positions = answer_positions(self.model.config)
        self.max_input_tokens: int = input_limit(config, self.model.config, self.tokenizer)
        self._inputs = Inputs(config, self._languages.inputs, self.max_input_tokens)
        self._refuse_misfit()
        auto = config.dtype == "auto"
        self._dtype = GeneratorDtype(
            config.model, self.model, self._probe_pass, lambda: load_seq2seq(config), auto=auto
        )
        if config.dtype == "int8":
            quantize(self.model)
            self.capabilities = self.capabilities - {"trainable"}
        with understood(config.model, self.model):
            refuse_overflow(config.model, self.model, self._probe_pass)
        # It reads weights itself.
        self._decoder = fast_decoder(self.model) if plain_weights else None
        self._cached = True
        self._choose_decoding()
        if config.dtype != "int8" and plain_weights:
            pack_model(self.model, self._probe_pass)
        self._words = WordEncoder(self.tokenizer, self.encode_answers, bare=True)
        normalizer = self.tokenizer.backend_tokenizer.normalizer
        if normalizer is not None and "a" in normalizer.normalize_str("A"):
            self.capabilities = self.capabilities | {"uncased"}

    @property
    def dtype(self) -> str:
        """Return the dtype of the weights, as in YAML; that which was chosen where it says auto."""
        if self.config.dtype == "int8":
            return "int8"
        return self.config.bitsandbytes or dtype_name(self.model.dtype)

    def speed_report(self) -> list[str]:
        """Say which dtype and kernels it uses, and why, a line each."""
        return [dtype_line(self.dtype, self._dtype.choice), *kernel_lines(self.model)]

    def encode_answers(self, answers: Sequence[str]) -> list[list[int]]:
        """Return the target ids of each answer, the end token last."""
        encoded = self._languages.targets.ids(answers) if answers else []
        ends = self._end_tokens.ids
        return [self._languages.target(ids, self._start, ends) for ids in encoded]

    def decode_tokens(self, token_ids: Sequence[int]) -> str:
        """Return the text of target ids, without special tokens, single-spaced."""
        return plain_text(self.tokenizer, self._without_ends(token_ids))

    def decode_verbatim(self, token_ids: Sequence[int]) -> str:
        """Return the text of target ids, without special tokens, line breaks included."""
        return verbatim_text(self.tokenizer, self._without_ends(token_ids))

    def decode_prefix(self, token_ids: Sequence[int]) -> str:
        """Return the text of an answer's first tokens that no further token changes."""
        return settled_text(self.tokenizer, self._without_ends(token_ids))

    def encode_words(self, texts: Sequence[str]) -> list[list[Word]]:
        """Return how each text's words are written in an answer."""
        return self._words(texts)

    def read(self, questions: Sequence[str], passages: Sequence[Passage | None]) -> _Read:
        """Read P pairs, in batches of similar length; see the contract.

        Raises:
            QuestionError: a question does not fit the input even without its passage.
        """
        self._dtype.unpack_for_gradients()
        return self._encode(self._inputs(questions, passages))

    def read_together(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[Passage]],
        *,
        cite: bool = False,
    ) -> _Read:
        """Read P inputs of several passages each; see the contract.

        Raises:
            QuestionError: a question does not fit the input even without its passages.
            UnsupportedOperation: `cite`, which no input of such a model asks for.
        """
        if cite:
            raise UnsupportedOperation.of(f"generator {self.config.model!r}", "cite passages")
        self._dtype.unpack_for_gradients()
        return self._encode(self._inputs.together(questions, passages))

    def _encode(self, inputs: list[list[int]]) -> _Read:
        """Run the encoder over input ids, in batches of similar length."""
        if not inputs:
            empty = torch.zeros(0, 0, dtype=torch.long, device=self.device)
            return _Read(torch.zeros(0, 0, self._width(), device=self.device), empty)
        order = sorted(range(len(inputs)), key=lambda pair: len(inputs[pair]))
        longest = len(inputs[order[-1]])  # S
        states, masks = [], []
        lengths = list(map(len, inputs))
        for batch in batches(order, lengths, self.config.batch_size, self.device):
            rows = [torch.tensor(inputs[pair]) for pair in batch]
            # [batch, longest of the batch]
            ids = pad_sequence(rows, batch_first=True, padding_value=self._pad).to(self.device)
            mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
            mask = mask.to(self.device)
            encoder = self.model.get_encoder()
            encoded = encoder(input_ids=ids, attention_mask=mask).last_hidden_state.to(self.device)
            short = longest - ids.shape[1]
            states.append(torch.nn.functional.pad(encoded, (0, 0, 0, short)))  # [batch, S, D]
            masks.append(torch.nn.functional.pad(mask, (0, short)))  # [batch, S]
        restore = torch.argsort(torch.tensor(order, device=self.device))  # [P]
        return _Read(torch.cat(states)[restore].to(self.model.dtype), torch.cat(masks)[restore])

    def score(self, read: _Read, pairs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return teacher-forced log-probabilities of targets, float32 [M, T], 0.0 where padded.

        With gradients enabled this is the checkpoint's own forward pass.

        Raises:
            UnsupportedOperation: gradients are enabled, and the weights are int8.
        """
        if torch.is_grad_enabled() and "trainable" not in self.capabilities:
            raise UnsupportedOperation.of(
                f"generator {self.config.model!r} in int8", "score with gradients"
            )
        goal = targets.to(self.device)
        self._refuse_overlong(goal.shape[1])
        if not goal.numel():
            return torch.zeros(targets.shape, device=pairs.device)
        self._dtype.unpack_for_gradients()
        decoder = None if torch.is_grad_enabled() else self._fast()
        if decoder is None:
            states, mask = self._states_of(read, pairs)
            log_p = plain.score(self.model, states, mask, goal, **self._specials())
        else:
            # Its buffers have the weights' precision, also inside a caller's autocast.
            with torch.autocast(self.device.type, enabled=False):
                encoded = read.encoded(decoder)
                log_p = decoder.score(
                    encoded, pairs.to(self.device), goal, self._start, self._end_tokens
                )
        return log_p.to(pairs.device)

    def score_all(self, read: _Read, pairs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return teacher-forced log-probabilities of all tokens, [M, T, V]; see the contract."""
        goal = targets.to(self.device)
        self._refuse_overlong(goal.shape[1])
        self._dtype.unpack_for_gradients()
        states, mask = self._states_of(read, pairs)
        log_p = plain.score_all(self.model, states, mask, goal, **self._specials())
        return log_p.to(pairs.device)

    def length_faults(
        self, questions: Sequence[str], targets: Sequence[Sequence[int]]
    ) -> list[str | None]:
        """Say of each question and target why the model cannot hold them; None where it can."""
        faults: list[str | None] = []
        for length, target in zip(self._inputs.bare_lengths(questions), targets, strict=True):
            fault = question_fault(length, self.max_input_tokens)
            if fault is None and self._positions is not None and len(target) > self._positions:
                fault = (
                    f"the answer is {len(target)} tokens long, its end included, and the model has "
                    f"{self._positions} positions"
                )
            faults.append(fault)
        return faults

    def trained_module(self) -> torch.nn.Module:
        """Return the whole model, its layers unpacked; what auto made bfloat16 is float32 again."""
        self._dtype.make_trainable()
        module: torch.nn.Module = self.model
        return module

    def save_trained(self, folder: Path) -> dict[str, str]:
        """Write the model as safetensors, and its tokenizer."""
        return save_model(self.trained_module(), self.tokenizer, folder)

    @torch.no_grad()
    def start(self, read: _Read, pairs: torch.Tensor) -> FastState | PlainState:
        """Begin decoder rows for pairs [M], nothing decoded yet."""
        decoder = self._fast()
        if decoder is None or not len(pairs):
            states, mask = self._states_of(read, pairs)
            return PlainState(
                self.model, states, mask, pairs.device, self._pad, cached=self._cached
            )
        return decoder.start(read.encoded(decoder), pairs)

    @torch.no_grad()
    def step(self, state: FastState | PlainState, tokens: torch.Tensor | None) -> torch.Tensor:
        """Feed one token to each row (None: the start token); return the next log p [M, V].

        The result may be overwritten by the step after the next one of the same state.
        """
        rows = len(state)
        if not rows:
            return torch.zeros(0, self.vocabulary_size, device=state.device)
        self._refuse_overlong(state.length + 1)
        fed = torch.full((rows,), self._start) if tokens is None else tokens
        return self._end_tokens.merged(state.step(fed.to(self.device))).to(state.device)

    def _refuse_misfit(self) -> None:
        # Special tokens that nothing writes do not count: bart-large-cnn's tokenizer has one more
        # than the model.
        special = set(special_tokens(self.tokenizer).values())
        texts = [token for token in self.tokenizer.get_vocab().values() if token not in special]
        written = [*self._inputs.template_ids(), *self.encode_answers([""])[0]]
        most = 1 + max(*texts, *written, self._start, self._pad)
        if most > self.vocabulary_size:
            raise GeneratorError(
                f"model {self.config.model!r}: its tokenizer has {most} tokens but the model has "
                f"{self.vocabulary_size}: use the tokenizer that the model was trained with, or "
                "resize the model's embeddings and train them"
            )

    def _choose_decoding(self) -> None:
        """Decode with a cache, or where that is not the model's own forward pass, without one."""
        try:
            self._probe()
        except GeneratorError as fault:
            self._decoder, self._cached = None, False
            self._probe()
            _LOG.warning(
                "model %r (%s) decodes without a cache, which is slower but equally correct: %s",
                self.config.model,
                type(self.model).__name__,
                fault,
            )

    def _probe(self) -> None:
        """Compare this decoding with the model's plain forward pass, once, while it is loaded."""
        vocabulary = self.vocabulary_size
        inputs = [probe_ids(1, 3, vocabulary), probe_ids(2, 6, vocabulary)]

        def start(pairs: torch.Tensor) -> FastState | PlainState:
            return self.start(self._encode(inputs), pairs)

        def score(pairs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            return self.score(self._encode(inputs), pairs, targets)

        def plain_pass(pair: int, fed: list[int]) -> torch.Tensor:
            return self._plain_pass(inputs[pair], fed)

        name = self.config.model
        probe_steps(name, self.model, start, self.step, score, plain_pass, vocabulary)

    def _plain_pass(self, inputs: list[int], fed: list[int]) -> torch.Tensor:
        """Return log p [V] of the token after some fed ones, by one forward pass."""
        return self._plain_passes(inputs, fed)[-1]

    def _plain_passes(self, inputs: list[int], fed: list[int]) -> torch.Tensor:
        """Return log p [n + 1, V] of the tokens before, between and after n fed ones."""
        tokens = torch.tensor([inputs], device=self.device)
        logits = self.model(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            decoder_input_ids=torch.tensor([[self._start, *fed]], device=self.device),
            use_cache=False,
        ).logits[0]
        return self._end_tokens.merged(logits.float().log_softmax(dim=-1))

    def _probe_pass(self) -> torch.Tensor:
        """Return log p [4, V] of the first tokens of an answer to a short input."""
        vocabulary = self.vocabulary_size
        inputs = probe_ids(1, min(24, self.max_input_tokens), vocabulary)
        fed = probe_ids(3, min(3, (self._positions or 4) - 1), vocabulary)
        return self._plain_passes(inputs, fed)

    def _states_of(self, read: _Read, pairs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        states, mask = read.of(pairs)
        # They may have been read in bfloat16, before training.
        return states.to(self.model.dtype), mask

    def _fast(self) -> FastDecoder | None:
        """Return the decoder that shares work; None in training, which has dropout."""
        return None if self.model.training else self._decoder

    def _specials(self) -> dict[str, Any]:
        return {"start": self._start, "pad": self._pad, "ends": self._end_tokens}

    def _without_ends(self, token_ids: Sequence[int]) -> list[int]:
        return [token for token in token_ids if token not in self._end_tokens.ids]

    def _set_languages(self) -> Languages:
        """Set the languages of questions, passages and answers in the tokenizer."""
        names = ("decoder_start_token_id", "forced_bos_token_id")
        return Languages.of(
            self.config.model,
            self.model,
            self.tokenizer,
            source=self.config.src_lang,
            target=self.config.tgt_lang,
            named=tuple(map(self._named, names)),
        )

    def _forced(self) -> int | None:
        """Return the token that every answer begins with, if there is one."""
        if self._languages.start is not None:
            # The language was fed already, instead of a start token.
            return None
        return self._languages.forced or self._named("forced_bos_token_id")

    def _special(self, name: str, chosen: int | None) -> int:
        """Return a special token: the chosen one, the model's, or the tokenizer's."""
        token_id = self._named(name) if chosen is None else chosen
        token_id = getattr(self.tokenizer, name, None) if token_id is None else token_id
        if token_id is None:
            raise GeneratorError(
                f"model {self.config.model!r} says no {name}: add it to its config.json or "
                "generation_config.json"
            )
        return int(token_id)

    def _named(self, name: str) -> int | None:
        return special_id(name, self.model.config, self.model.generation_config)

    def _width(self) -> int:
        return int(self.model.config.hidden_size)

    def _refuse_overlong(self, length: int) -> None:
        if self._positions is not None and length > self._positions:
            raise GeneratorError(
                f"an answer of {length} tokens is longer than the {self._positions} positions of "
                f"model {self.config.model!r}: lower rag.max_new_tokens"
            )
