"""The decoders of BART, mBART and Pegasus: what happens between embeddings and head.

BART normalises after each sublayer, mBART and Pegasus before it and once more at the end. The
checkpoint's own layers are called, whatever they are by now: trained on, or replaced by int8.
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
        # The others' embeddings scale what they give.
        pegasus = isinstance(model, PegasusForConditionalGeneration)
        self._embed_scale: float = self._decoder.embed_scale if pegasus else 1.0
        attention = self._decoder.layers[0].self_attn
        self.layers: int = len(self._decoder.layers)
        self.heads: int = attention.num_heads
        self.size: int = attention.head_dim
        self.scale: float = attention.scaling

    @property
    def head(self) -> Head:
        """The head, as it is now."""
        module = self._model.lm_head
        return Head(module, module.out_features, self._model.final_logits_bias)

    def projections(self, layer: int) -> tuple[Any, Any]:
        """What makes keys and values of the encoder's states."""
        attention = self._decoder.layers[layer].encoder_attn
        return attention.k_proj, attention.v_proj

    def position_bias(self, relative: Tensor) -> Tensor | None:
        """None: positions are embedded."""
        return None

    def states(self, tokens: Tensor, depths: Tensor, attention: Attention) -> Tensor:
        """The last layer's states [M, D] of laid rows, each fed one token at its depth."""
        decoder = self._decoder
        tokens_in = decoder.embed_tokens(tokens) * self._embed_scale
        positions = decoder.embed_positions(depths, position_ids=depths)
        states = tokens_in + positions.view(len(tokens), -1)
        if hasattr(decoder, "layernorm_embedding"):
            states = decoder.layernorm_embedding(states)
        step = self._norm_first_layer if self._norm_first else self._norm_last_layer
        for place, layer in enumerate(decoder.layers):
            states = step(place, layer, states, attention)
        return decoder.layer_norm(states) if self._norm_first else states  # type: ignore[no-any-return]

    def _norm_last_layer(self, place: int, layer: Any, states: Tensor, way: Attention) -> Tensor:
        states = layer.self_attn_layer_norm(_own(place, layer, states, way).add_(states))
        states = layer.encoder_attn_layer_norm(_read(place, layer, states, way).add_(states))
        return layer.final_layer_norm(_forward(layer, states).add_(states))  # type: ignore[no-any-return]

    def _norm_first_layer(self, place: int, layer: Any, states: Tensor, way: Attention) -> Tensor:
        states = _own(place, layer, layer.self_attn_layer_norm(states), way).add_(states)
        states = _read(place, layer, layer.encoder_attn_layer_norm(states), way).add_(states)
        return _forward(layer, layer.final_layer_norm(states)).add_(states)


def _own(place: int, layer: Any, states: Tensor, way: Attention) -> Tensor:
    attention = layer.self_attn
    found = way.own(
        place, attention.q_proj(states), attention.k_proj(states), attention.v_proj(states)
    )
    projected: Tensor = attention.out_proj(found)
    return projected


def _read(place: int, layer: Any, states: Tensor, way: Attention) -> Tensor:
    attention = layer.encoder_attn
    projected: Tensor = attention.out_proj(way.read(place, attention.q_proj(states)))
    return projected


def _forward(layer: Any, states: Tensor) -> Tensor:
    found: Tensor = layer.fc2(layer.activation_fn(layer.fc1(states)))
    return found
