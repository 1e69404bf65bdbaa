"""Run the reference: transformers' RAG models, set to do the same work as ragcore.

Nothing is retrieved: contexts (as token ids, already on the device) and scores are passed in, as
its documentation says, so that no retriever, no question encoder and no tokenizing is timed. The
same work means: the same numbers of passages (`n_docs`) and beams; `min_length` and `max_length`
such that every answer has exactly as many new tokens (both count the decoder's start token); no
early stopping; hypotheses ranked by log p; the end token at the length limit counts with its
probability, as in ragcore.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from transformers import (
    AutoTokenizer,
    BartForConditionalGeneration,
    DPRConfig,
    DPRQuestionEncoder,
    LogitsProcessor,
    LogitsProcessorList,
    RagConfig,
    RagSequenceForGeneration,
    RagTokenForGeneration,
)

from speed.work import Work

__all__ = ["SHIPPED_WIDTH", "Reference"]

SHIPPED_WIDTH = 300
"""`max_combined_length`: transformers' retriever pads every context to this many tokens."""

Tokens = list[tuple[int, ...]]


class Reference:
    """One BART in transformers' two RAG models; its encoder pass is the unit of time."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        self._device = device
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model = BartForConditionalGeneration.from_pretrained(folder).to(device).eval()
        question_config = DPRConfig(
            vocab_size=17,
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=8,
            max_position_embeddings=16,
        )
        config = RagConfig.from_question_encoder_generator_configs(
            question_config, self._model.config
        )
        components = {
            "question_encoder": DPRQuestionEncoder(question_config),
            "generator": self._model,
        }
        self._token = RagTokenForGeneration(config, **components).to(device).eval()
        self._sequence = RagSequenceForGeneration(config, **components).to(device).eval()

    def inputs(self, work: Work, width: int | None = None) -> dict[str, Tensor]:
        """Return what a retriever would pass on, padded to `width` or to the longest."""
        padding = {"padding": True} if width is None else {"padding": "max_length"}
        encoding = self._tokenizer(work.texts(), max_length=width, return_tensors="pt", **padding)
        return {
            "context_input_ids": encoding.input_ids.to(self._device),
            "context_attention_mask": encoding.attention_mask.to(self._device),
            "doc_scores": work.scores.to(self._device),
        }

    @torch.inference_mode()
    def encode(self, inputs: dict[str, Tensor]) -> Tensor:
        """Do one encoder pass over all pairs, the unit of time; return its states [P, S, D]."""
        states: Tensor = self._model.get_encoder()(
            input_ids=inputs["context_input_ids"], attention_mask=inputs["context_attention_mask"]
        ).last_hidden_state
        return states

    def token(self, inputs: dict[str, Tensor], beams: int, tokens: int) -> Tokens:
        """Decode RAG-Token's answers."""
        return self._generate(self._token, inputs, beams, tokens)

    def thorough(self, inputs: dict[str, Tensor], beams: int, tokens: int) -> Tokens:
        """Decode RAG-Sequence's answers; transformers passes no attention mask here."""
        return self._generate(self._sequence, inputs, beams, tokens)

    @torch.inference_mode()
    def _generate(
        self,
        model: RagTokenForGeneration | RagSequenceForGeneration,
        inputs: dict[str, Tensor],
        beams: int,
        tokens: int,
    ) -> Tokens:
        eos = self._model.config.eos_token_id
        search: dict[str, object] = {"num_beams": beams}
        if beams > 1:
            search |= {"early_stopping": "never", "length_penalty": 0.0}
        k = inputs["doc_scores"].shape[1]
        # RAG-Sequence scores with the config's `n_docs`, not with the argument of `generate`.
        model.config.n_docs = k
        sequences: Tensor = model.generate(
            **inputs,
            **search,
            n_docs=k,
            min_length=tokens,
            max_length=tokens + 1,
            num_return_sequences=1,
            decoder_start_token_id=self._model.config.decoder_start_token_id,
            logits_processor=LogitsProcessorList([_Ending(eos, tokens)]),
        )
        answers = [tuple(row[1:]) for row in sequences.tolist()]
        wrong_lengths = [len(answer) for answer in answers if len(answer) != tokens]
        if wrong_lengths:
            raise RuntimeError(
                f"transformers gave an answer of {wrong_lengths[0]} tokens, not {tokens}"
            )
        return answers


class _Ending(LogitsProcessor):
    """Allow only the end token as the last one, with the probability the model gives it."""

    def __init__(self, eos: int, tokens: int) -> None:
        self._eos, self._tokens = eos, tokens

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if input_ids.shape[1] != self._tokens:
            return scores
        masked = torch.full_like(scores, -torch.inf)
        masked[:, self._eos] = scores[:, self._eos]
        return masked
