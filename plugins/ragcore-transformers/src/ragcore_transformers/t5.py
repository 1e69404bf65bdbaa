"""T5's decoder: what happens between embeddings and head.

States are normalised before each sublayer, without means; positions are a bias of the first layer
that all layers share; queries are not scaled. The checkpoint's own layers are called as they are at
that moment: trained further, or replaced by int8.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import T5ForConditionalGeneration

from ragcore_transformers.attention import Attention
from ragcore_transformers.head import Head
from ragcore_transformers.int8 import project

__all__ = ["T5Body"]


class T5Body:
    """See `ragcore_transformers.fast.Body`."""

    MODELS = (T5ForConditionalGeneration,)

    def __init__(self, model: Any) -> None:
        self._model = model
        self._decoder = model.get_decoder()
        attention = self._decoder.block[0].layer[0].SelfAttention
        self.layers: int = len(self._decoder.block)
        self.heads: int = attention.n_heads
        self.size: int = attention.key_value_proj_dim
        self.scale: float = 1.0

    @property
    def head(self) -> Head:
        """The current head; its states are scaled where it is tied to the embeddings."""
        model = self._model
        scale = float(model.model_dim) ** -0.5 if model.config.scale_decoder_outputs else 1.0
        return Head(model.lm_head, model.lm_head.out_features, scale=scale)

    def projections(self, layer: int) -> tuple[Any, Any]:
        """Return the modules that project the encoder's states to keys and values."""
        attention = self._decoder.block[layer].layer[1].EncDecAttention
        return attention.k, attention.v

    def position_bias(self, relative: Tensor) -> Tensor | None:
        """Return the bias [P, H, n, N] of relative positions int64 [P, n, N]."""
        attention = self._decoder.block[0].layer[0].SelfAttention
        # Hugging Face's own function, so that the buckets' bounds are exactly the checkpoint's.
        buckets = attention._relative_position_bucket(
            relative,
            bidirectional=False,
            num_buckets=attention.relative_attention_num_buckets,
            max_distance=attention.relative_attention_max_distance,
        )
        bias: Tensor = attention.relative_attention_bias(buckets)  # [P, n, N, H]
        return bias.permute(0, 3, 1, 2)

    def states(self, tokens: Tensor, depths: Tensor, attention: Attention) -> Tensor:
        """Return the last layer's states [M, D] of laid rows, each fed one token."""
        decoder = self._decoder
        states: Tensor = decoder.embed_tokens(tokens)  # [M, D]
        for number, block in enumerate(decoder.block):
            self_attention, cross_attention, forward = block.layer
            normed = self_attention.layer_norm(states)
            module = self_attention.SelfAttention
            projected = project((module.q, module.k, module.v), normed)
            attended = attention.own(number, *projected)  # [M, H · d]
            states = states + module.o(attended)  # [M, D]
            module = cross_attention.EncDecAttention
            attended = attention.read(number, module.q(cross_attention.layer_norm(states)))
            states = states + module.o(attended)
            states = states + forward.DenseReluDense(forward.layer_norm(states))
        last: Tensor = decoder.final_layer_norm(states)
        return last
