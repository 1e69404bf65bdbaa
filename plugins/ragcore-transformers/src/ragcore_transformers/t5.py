"""T5's decoder: what happens between embeddings and head.

Normalised before each sublayer, without means; positions are a bias of the first layer's that all
layers share; queries are not scaled. The checkpoint's own layers are called, whatever they are by
now: trained on, or replaced by int8.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import T5ForConditionalGeneration

from ragcore_transformers.attention import Attention
from ragcore_transformers.head import Head

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
        """The head, as it is now; its states are scaled where it is tied to the embeddings."""
        model = self._model
        scale = float(model.model_dim) ** -0.5 if model.config.scale_decoder_outputs else 1.0
        return Head(model.lm_head, model.lm_head.out_features, scale=scale)

    def projections(self, layer: int) -> tuple[Any, Any]:
        """What makes keys and values of the encoder's states."""
        attention = self._decoder.block[layer].layer[1].EncDecAttention
        return attention.k, attention.v

    def position_bias(self, relative: Tensor) -> Tensor | None:
        """The bias [P, H, n, N] of relative positions int64 [P, n, N]."""
        attention = self._decoder.block[0].layer[0].SelfAttention
        # Hugging Face's own, so that the bounds of the buckets are to the bit the checkpoint's.
        buckets = attention._relative_position_bucket(
            relative,
            bidirectional=False,
            num_buckets=attention.relative_attention_num_buckets,
            max_distance=attention.relative_attention_max_distance,
        )
        bias: Tensor = attention.relative_attention_bias(buckets)
        return bias.permute(0, 3, 1, 2)

    def states(self, tokens: Tensor, depths: Tensor, attention: Attention) -> Tensor:
        """The last layer's states [M, D] of laid rows, each fed one token."""
        decoder = self._decoder
        states: Tensor = decoder.embed_tokens(tokens)
        for place, block in enumerate(decoder.block):
            own, read, forward = block.layer
            normed = own.layer_norm(states)
            this = own.SelfAttention
            found = attention.own(place, this.q(normed), this.k(normed), this.v(normed))
            states = states + this.o(found)
            this = read.EncDecAttention
            found = attention.read(place, this.q(read.layer_norm(states)))
            states = states + this.o(found)
            states = states + forward.DenseReluDense(forward.layer_norm(states))
        last: Tensor = decoder.final_layer_norm(states)
        return last
