"""The generator for extractive question answering: any model with a start and an end for a span.

Such models read a question with a passage and rate each token of the passage as the beginning and
as the end of the answer. Here they model the tokens of an answer, as any generator does: exactly,
by sums over spans (span_mass.py). Knows nothing of retrieval, priors or beams. The caller decides
whether gradients are kept, except in `step`, which never keeps them.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ragcore.errors import GeneratorError, UnsupportedOperation
from ragcore.prompts.fitting import question_fault
from ragcore.types import Passage, Word
from ragcore_transformers.adapters import tokenizer_folder
from ragcore_transformers.checkpoints import refuse_overflow
from ragcore_transformers.configs import ExtractiveConfig
from ragcore_transformers.dtypes import GeneratorDtype, dtype_name
from ragcore_transformers.int8 import quantize
from ragcore_transformers.loading import save_model
from ragcore_transformers.packed import pack_model
from ragcore_transformers.placement import is_plain, placed
from ragcore_transformers.probing import probe_ids, understood
from ragcore_transformers.seq2seq_inputs import batches
from ragcore_transformers.seq2seq_loading import load_extractive, pick_generator_device
from ragcore_transformers.span_inputs import SpanInput, SpanInputs, span_input_limit
from ragcore_transformers.span_mass import SpanMasses, SpanState, span_masses
from ragcore_transformers.speed import dtype_line, kernel_lines
from ragcore_transformers.tokenizing import (
    load_tokenizer,
    plain_text,
    settled_text,
    special_id,
    verbatim_text,
)
from ragcore_transformers.words import WordEncoder

__all__ = ["Extractive"]


class Extractive:
    """See `ragcore.contracts.Generator`.

    Log-probabilities come back on the device of the argument `pairs`. `model` and
    `tokenizer` are Hugging Face's own; the model is in eval mode until a trainer says otherwise.

    Raises:
        GeneratorError: the model cannot be loaded, its tokenizer does not fit it, or has no token
            for what a setting needs.
    """

    Config: ClassVar[type[ExtractiveConfig]] = ExtractiveConfig
    capabilities: frozenset[str] = frozenset({"trainable", "words"})
    needs_passages: ClassVar[bool] = True

    def __init__(self, config: ExtractiveConfig) -> None:
        self.config = config
        device = pick_generator_device(config)
        self.tokenizer = load_tokenizer(tokenizer_folder(config.model))
        self.model = placed(config, load_extractive(config), device).eval()
        self.device: torch.device = self.model.device
        plain_weights = is_plain(self.model)
        if not plain_weights or config.dtype in ("float16", "int8"):
            self.capabilities = self.capabilities - {"trainable"}
        with understood(config.model, self.model):
            self.vocabulary_size: int = self.model.get_input_embeddings().weight.shape[0]
            parameters = inspect.signature(self.model.forward).parameters
        # RoBERTa's weights have one type, and its own tokenizer none.
        self._typed = (
            "token_type_ids" in parameters
            and "token_type_ids" in self.tokenizer.model_input_names
            and getattr(self.model.config, "type_vocab_size", 0) > 1
        )
        self.eos_token_id: int = self._end_token()
        self.forced_bos_token_id: int | None = None
        self.max_input_tokens: int = span_input_limit(config, self.model, self.tokenizer)
        self._inputs = SpanInputs(config, self.tokenizer, self.max_input_tokens)
        self._pad: int = special_id("pad_token_id", self.model.config, self.tokenizer) or 0
        self._null_token = self._null()
        self._null_target = self._abstaining_answer()
        self._refuse_misfit()
        auto = config.dtype == "auto"
        self._dtype = GeneratorDtype(
            config.model, self.model, self._probe_pass, lambda: load_extractive(config), auto=auto
        )
        if config.dtype == "int8":
            quantize(self.model)
        with understood(config.model, self.model):
            self._probe_pass()
            refuse_overflow(config.model, self.model, self._probe_pass)
        if config.dtype != "int8" and plain_weights:
            pack_model(self.model, self._probe_pass)
        self._words = WordEncoder(self.tokenizer, self.encode_answers)
        normalizer = self.tokenizer.backend_tokenizer.normalizer
        if normalizer is not None and "a" in normalizer.normalize_str("A"):
            self.capabilities = self.capabilities | {"uncased"}

    @property
    def dtype(self) -> str:
        """Return the dtype of the weights, as in YAML; that which was chosen where it says auto."""
        if self.config.dtype == "int8":
            return "int8"
        return self.config.bitsandbytes or dtype_name(self.model.dtype)

    @property
    def unknown(self) -> str | None:
        """Return what it answers where a passage has no answer; None where it answers always."""
        return self.config.unknown

    def speed_report(self) -> list[str]:
        """Say which dtype and kernels it uses, and why, a line each."""
        return [dtype_line(self.dtype, self._dtype.choice), *kernel_lines(self.model)]

    def encode_answers(self, answers: Sequence[str]) -> list[list[int]]:
        """Return the ids that each answer has in a passage, after a space, and the end token."""
        return [[*ids, self.eos_token_id] for ids in self._inputs.answer_ids(answers)]

    def decode_tokens(self, token_ids: Sequence[int]) -> str:
        """Return the text of target ids, without special tokens, single-spaced."""
        return plain_text(self.tokenizer, self._without_end(token_ids))

    def decode_verbatim(self, token_ids: Sequence[int]) -> str:
        """Return the text of target ids, without special tokens, line breaks included."""
        return verbatim_text(self.tokenizer, self._without_end(token_ids))

    def decode_prefix(self, token_ids: Sequence[int]) -> str:
        """Return the text of an answer's first tokens that no further token changes."""
        return settled_text(self.tokenizer, self._without_end(token_ids))

    def encode_words(self, texts: Sequence[str]) -> list[list[Word]]:
        """Return how each text's words are written in an answer."""
        return self._words(texts)

    def read(self, questions: Sequence[str], passages: Sequence[Passage | None]) -> SpanMasses:
        """Read P pairs, in batches of similar length; see the contract.

        All of the answer's probability is computed here: an answer is a span of the passage's
        text. Without a passage, or where its text has no token, the answer is `unknown`, or empty
        where that is null.

        Raises:
            QuestionError: a question does not fit the input even without its passage.
        """
        self._dtype.unpack_for_gradients()
        inputs = self._inputs(questions, passages)
        longest = max((len(each.text) for each in inputs if each is not None), default=1)  # N
        texts = [[] if each is None else each.text for each in inputs]
        tokens = torch.full((len(inputs), longest), -1)
        for pair, text in enumerate(texts):
            tokens[pair, : len(text)] = torch.tensor(text, dtype=torch.long)
        tokens = tokens.to(self.device)
        start, end, null = self._logits(inputs, longest)
        exists, config = tokens >= 0, self.config
        if self._null_token is None:
            null = null.masked_fill(exists.any(dim=1), -torch.inf)
        spans, null, floor = span_masses(start, end, null, exists, config.longest, config.floor)
        return SpanMasses(
            tokens,
            spans,
            null,
            floor,
            torch.tensor(self._null_target, dtype=torch.long, device=self.device),
            self.eos_token_id,
            self.vocabulary_size,
        )

    def score(self, read: SpanMasses, pairs: Tensor, targets: Tensor) -> Tensor:
        """Return log-probabilities of targets, float32 [M, T], 0.0 where padded.

        Raises:
            UnsupportedOperation: gradients are enabled, and the weights have none.
        """
        if torch.is_grad_enabled() and "trainable" not in self.capabilities:
            raise UnsupportedOperation.of(
                f"generator {self.config.model!r} in {self.dtype}", "score with gradients"
            )
        if not targets.numel():
            return torch.zeros(targets.shape, device=pairs.device)
        log_p = read.score(pairs.to(self.device), targets.to(self.device))
        return log_p.to(pairs.device)

    def score_all(self, read: SpanMasses, pairs: Tensor, targets: Tensor) -> Tensor:
        """Return log-probabilities of all tokens, [M, T, V]; see the contract."""
        log_p = read.score_all(pairs.to(self.device), targets.to(self.device))
        return log_p.to(pairs.device)

    def length_faults(
        self, questions: Sequence[str], targets: Sequence[Sequence[int]]
    ) -> list[str | None]:
        """Say of each question why the model cannot read it; None where it can."""
        lengths = self._inputs.bare_lengths(questions)
        return [
            question_fault(length, self.max_input_tokens)
            for length, _ in zip(lengths, targets, strict=True)
        ]

    def trained_module(self) -> torch.nn.Module:
        """Return the whole model, its layers unpacked; what auto made bfloat16 is float32 again."""
        self._dtype.make_trainable()
        module: torch.nn.Module = self.model
        return module

    def save_trained(self, folder: Path) -> dict[str, str]:
        """Write the model as safetensors, and its tokenizer."""
        return save_model(self.trained_module(), self.tokenizer, folder)

    @torch.no_grad()
    def start(self, read: SpanMasses, pairs: Tensor) -> SpanState:
        """Begin decoder rows for pairs [M], nothing decoded yet."""
        # A copy: the caller may use its tensor for the next call.
        return SpanState(read, pairs.to(self.device, copy=True), pairs.device)

    @torch.no_grad()
    def step(self, state: SpanState, tokens: Tensor | None) -> Tensor:
        """Feed one token to each row (None: nothing yet); return the next log p [M, V]."""
        fed = None if tokens is None else tokens.to(self.device)
        return state.step(fed).to(state.device)

    def _logits(
        self, inputs: Sequence[SpanInput | None], longest: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run the model; 0 where there is no token, and for pairs without an input.

        Returns:
            Start and end logits of the texts' tokens, [P, N] each, and both logits of "no answer"
            together, [P].
        """
        read = [(pair, each) for pair, each in enumerate(inputs) if each is not None]
        read.sort(key=lambda item: len(item[1].ids))
        lengths = [len(each.ids) for _, each in read]
        starts, ends, nulls = [], [], []
        order = range(len(read))
        for batch in batches(order, lengths, self.config.batch_size, self.device):
            part = [read[number][1] for number in batch]
            start, end = self._run([each.ids for each in part], [each.types for each in part])
            firsts = torch.tensor([each.first for each in part], device=self.device)
            positions = firsts[:, None] + torch.arange(longest, device=self.device)  # [batch, N]
            positions = positions.clamp(max=start.shape[1] - 1)
            starts.append(start.gather(1, positions))
            ends.append(end.gather(1, positions))
            nulls.append(self._null_logits(part, start, end))
        # Rows of zeros for pairs without an input; then all in the order of the pairs.
        missing = len(inputs) - len(read)
        zeros = torch.zeros(missing, longest, device=self.device)
        rows = [pair for pair, _ in read]
        rows += [pair for pair, each in enumerate(inputs) if each is None]
        restore = torch.argsort(torch.tensor(rows, dtype=torch.long)).to(self.device)  # [P]
        return (
            torch.cat([*starts, zeros])[restore],
            torch.cat([*ends, zeros])[restore],
            torch.cat([*nulls, zeros[:, 0]])[restore],
        )

    def _null_logits(self, part: Sequence[SpanInput], start: Tensor, end: Tensor) -> Tensor:
        """Return start and end logits together at [CLS], [batch]; 0 for models without it."""
        if self._null_token is None:
            return torch.zeros(len(part), device=self.device)
        columns = [each.ids.index(self._null_token) for each in part]
        positions = torch.tensor(columns, device=self.device)[:, None]  # [batch, 1]
        return (start.gather(1, positions) + end.gather(1, positions))[:, 0]

    def _run(self, ids: Sequence[list[int]], types: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
        """Return start and end logits [n, S] of inputs, float32."""
        rows = [torch.tensor(row) for row in ids]
        padded = pad_sequence(rows, batch_first=True, padding_value=self._pad)  # [n, S]
        mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        fed = {"input_ids": padded, "attention_mask": mask}
        if self._typed:
            fed["token_type_ids"] = pad_sequence([torch.tensor(row) for row in types], True)
        outputs = self.model(**{name: value.to(self.device) for name, value in fed.items()})
        logits = outputs.start_logits, outputs.end_logits
        return logits[0].to(self.device).float(), logits[1].to(self.device).float()

    def _probe_pass(self) -> Tensor:
        """Return log p [8, S] of the start, then of the end, of short inputs."""
        length = min(24, self.max_input_tokens)
        inputs = [probe_ids(first, length, self.vocabulary_size) for first in range(1, 5)]
        start, end = self._run(inputs, [[0] * length for _ in inputs])
        return torch.cat([start, end]).log_softmax(dim=1)

    def _end_token(self) -> int:
        """Return the token that ends an answer, which no text has: [SEP], or that of the model."""
        token_id = special_id("eos_token_id", self.tokenizer, self.model.config)
        if token_id is None:
            token_id = special_id("sep_token_id", self.tokenizer, self.model.config)
        if token_id is None:
            raise GeneratorError(
                f"model {self.config.model!r} has neither eos_token nor sep_token: name one in its "
                "tokenizer_config.json"
            )
        return token_id

    def _null(self) -> int | None:
        """Return the token at which the model rates "no answer"; None where none is asked for."""
        if self.config.unknown is None:
            return None
        token_id = special_id("cls_token_id", self.tokenizer)
        if token_id is None or token_id not in self._inputs.around():
            raise GeneratorError(
                f"model {self.config.model!r} reads no [CLS], at which it would rate that "
                "a passage has no answer: set unknown to null, and it answers always"
            )
        return token_id

    def _abstaining_answer(self) -> list[int]:
        if self.config.unknown is None:
            return [self.eos_token_id]
        (ids,) = self.encode_answers([self.config.unknown])
        # Any word that the tokenizer does not know would be the same answer.
        if len(ids) == 1 or self.tokenizer.unk_token_id in ids:
            raise GeneratorError(
                f"unknown is {self.config.unknown!r}, which the tokenizer of model "
                f"{self.config.model!r} cannot write: choose a word that it knows"
            )
        return ids

    def _refuse_misfit(self) -> None:
        vocabulary = self.tokenizer.get_vocab().values()
        most = 1 + max(*vocabulary, self.eos_token_id, self._pad)
        if most > self.vocabulary_size:
            raise GeneratorError(
                f"model {self.config.model!r}: its tokenizer has {most} tokens but the model has "
                f"{self.vocabulary_size}: use the tokenizer that the model was trained with, or "
                "resize the model's embeddings and train them"
            )

    def _without_end(self, token_ids: Sequence[int]) -> list[int]:
        return [token for token in token_ids if token != self.eos_token_id]
