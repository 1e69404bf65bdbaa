"""Make the reader before training: a BART whose layers are initialised from MiniLM's.

BERT's and BART's encoder layers are both post-layer-norm, so that MiniLM's can be copied one to
one. BERT's position and token-type embeddings become BART's positions, which begin at 2. Each
decoder layer is a copy of an encoder layer; its attention to the passage is a copy of that layer's
self-attention.
"""

from __future__ import annotations

import torch
from transformers import AutoModel, BartConfig, BartForConditionalGeneration

__all__ = ["reader_from_encoder"]

POSITION_OFFSET = 2


def reader_from_encoder(
    name: str, decoder_from: tuple[int, ...] = (0, 2, 4, 5)
) -> BartForConditionalGeneration:
    """Make a BART for the tokenizer of `name`, with a decoder layer for each named encoder layer.

    Its encoder's hidden states equal those of `name` to within 1e-3 (float32 rounding of the
    summed embeddings).
    """
    bert = AutoModel.from_pretrained(name).eval()
    c = bert.config
    positions = c.max_position_embeddings
    bart = BartForConditionalGeneration(
        BartConfig(
            vocab_size=c.vocab_size,
            max_position_embeddings=positions,
            d_model=c.hidden_size,
            encoder_layers=c.num_hidden_layers,
            decoder_layers=len(decoder_from),
            encoder_attention_heads=c.num_attention_heads,
            decoder_attention_heads=c.num_attention_heads,
            encoder_ffn_dim=c.intermediate_size,
            decoder_ffn_dim=c.intermediate_size,
            activation_function="gelu",
            dropout=0.0,
            attention_dropout=0.0,
            activation_dropout=0.0,
            scale_embedding=False,
            pad_token_id=0,
            bos_token_id=101,
            eos_token_id=102,
            decoder_start_token_id=101,
            forced_bos_token_id=None,
            forced_eos_token_id=None,
        )
    )
    with torch.no_grad():
        bart.model.shared.weight.copy_(bert.embeddings.word_embeddings.weight)
        summed = (
            bert.embeddings.position_embeddings.weight
            + bert.embeddings.token_type_embeddings.weight[0]
        )
        for side in (bart.model.encoder, bart.model.decoder):
            side.embed_positions.weight[POSITION_OFFSET : POSITION_OFFSET + positions] = summed
            side.layernorm_embedding.load_state_dict(bert.embeddings.LayerNorm.state_dict())
        for layer, source in zip(bart.model.encoder.layers, bert.encoder.layer, strict=True):
            _copy_layer(layer, source)
        for layer, number in zip(bart.model.decoder.layers, decoder_from, strict=True):
            _copy_layer(layer, bert.encoder.layer[number])
            layer.encoder_attn.load_state_dict(layer.self_attn.state_dict())
            layer.encoder_attn_layer_norm.load_state_dict(layer.self_attn_layer_norm.state_dict())
    return bart


def _copy_layer(layer: torch.nn.Module, source: torch.nn.Module) -> None:
    attention = source.attention
    pairs = (
        (layer.self_attn.q_proj, attention.self.query),
        (layer.self_attn.k_proj, attention.self.key),
        (layer.self_attn.v_proj, attention.self.value),
        (layer.self_attn.out_proj, attention.output.dense),
        (layer.self_attn_layer_norm, attention.output.LayerNorm),
        (layer.fc1, source.intermediate.dense),
        (layer.fc2, source.output.dense),
        (layer.final_layer_norm, source.output.LayerNorm),
    )
    for mine, theirs in pairs:
        mine.load_state_dict(theirs.state_dict())
