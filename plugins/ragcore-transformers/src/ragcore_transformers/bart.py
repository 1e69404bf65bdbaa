"""The decoders of BART, mBART and Pegasus: what happens between embeddings and head.

BART normalises after each sublayer, mBART and Pegasus before it and once more at the end. The
checkpoint's own layers are called as they are at that moment: trained further, or replaced by int8.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import (
    BartForConditionalGeneration,
    MBartForConditionalGeneration,
    PegasusForConditionalGeneration,
)

from ragcore_transformers.attention import Attention
from ragcore_transformers.head import Head
from ragcore_transformers.int8 import project

__all__ = ["BartBody"]


class BartBody:
    """See `ragcore_transformers.fast.Body`."""

    MODELS = (
        BartForConditionalGeneration,
        MBartForConditionalGeneration,
        PegasusForConditionalGeneration,
    )

    def __init__(self, model: Any) -> None:
        self._model = model
        self._decoder = model.get_decoder()
        self._norm_first = not isinstance(model, BartForConditionalGeneration)
        # The others' embedding modules scale already.
        pegasus = isinstance(model, PegasusForConditionalGeneration)
        self._embed_scale: float = self._decoder.embed_scale if pegasus else 1.0
        attention = self._decoder.layers[0].self_attn
        self.layers: int = len(self._decoder.layers)
        self.heads: int = attention.num_heads
        self.size: int = attention.head_dim
        self.scale: float = attention.scaling

    @property
    def head(self) -> Head:
        """The current head."""
        module = self._model.lm_head
        return Head(module, module.out_features, self._model.final_logits_bias)

    def projections(self, layer: int) -> tuple[Any, Any]:
        """Return the modules that project the encoder's states to keys and values."""
        attention = self._decoder.layers[layer].encoder_attn
        return attention.k_proj, attention.v_proj

    def position_bias(self, relative: Tensor) -> Tensor | None:
        """Return None: positions are embedded."""
        return None

    def states(self, tokens: Tensor, depths: Tensor, attention: Attention) -> Tensor:
        """Return the last layer's states [M, D] of laid rows, each fed one token at its depth."""
        decoder = self._decoder
        embedded = decoder.embed_tokens(tokens) * self._embed_scale  # [M, D]
        positions = decoder.embed_positions(depths, position_ids=depths)
        states = embedded + positions.view(len(tokens), -1)
        if hasattr(decoder, "layernorm_embedding"):
            states = decoder.layernorm_embedding(states)
        step = self._norm_first_layer if self._norm_first else self._norm_last_layer
        for number, layer in enumerate(decoder.layers):
            states = step(number, layer, states, attention)
        return decoder.layer_norm(states) if self._norm_first else states  # type: ignore[no-any-return]

    def _norm_last_layer(
        self, number: int, layer: Any, states: Tensor, attention: Attention
    ) -> Tensor:
        states = layer.self_attn_layer_norm(_own(number, layer, states, attention).add_(states))
        states = layer.encoder_attn_layer_norm(_read(number, layer, states, attention).add_(states))
        return layer.final_layer_norm(_forward(layer, states).add_(states))  # type: ignore[no-any-return]

    def _norm_first_layer(
        self, number: int, layer: Any, states: Tensor, attention: Attention
    ) -> Tensor:
        states = _own(number, layer, layer.self_attn_layer_norm(states), attention).add_(states)
        states = _read(number, layer, layer.encoder_attn_layer_norm(states), attention).add_(states)
        return _forward(layer, layer.final_layer_norm(states)).add_(states)


def _own(number: int, layer: Any, states: Tensor, attention: Attention) -> Tensor:
    module = layer.self_attn
    projected = project((module.q_proj, module.k_proj, module.v_proj), states)
    attended = attention.own(number, *projected)  # [M, H · d]
    out: Tensor = module.out_proj(attended)  # [M, D]
    return out


def _read(number: int, layer: Any, states: Tensor, attention: Attention) -> Tensor:
    module = layer.encoder_attn
    projected: Tensor = module.out_proj(attention.read(number, module.q_proj(states)))  # [M, D]
    return projected


def _forward(layer: Any, states: Tensor) -> Tensor:
    projected: Tensor = layer.fc2(layer.activation_fn(layer.fc1(states)))
    return projected
