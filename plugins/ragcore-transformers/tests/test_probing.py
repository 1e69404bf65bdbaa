"""Every architecture is decoded as its plain forward pass, or refused by name when it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_models as tiny
import torch
from ragcore_transformers.causal import Causal
from ragcore_transformers.probing import _is_fine
from ragcore_transformers.seq2seq import Seq2Seq
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from ragcore.errors import GeneratorError
from ragcore.types import Passage

SPECIAL = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
ENCODER_DECODER = {
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
}
SMALL = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
SEQ2SEQ: dict[str, dict[str, Any]] = {
    "switch_transformers": {
        "d_model": 16,
        "d_kv": 8,
        "d_ff": 24,
        "num_layers": 2,
        "num_heads": 2,
        "num_sparse_encoder_layers": 1,
        "num_sparse_decoder_layers": 1,
        "num_experts": 2,
    },
    "prophetnet": {
        "hidden_size": 16,
        "num_encoder_layers": 2,
        "num_decoder_layers": 2,
        "num_encoder_attention_heads": 2,
        "num_decoder_attention_heads": 2,
        "encoder_ffn_dim": 24,
        "decoder_ffn_dim": 24,
        "max_position_embeddings": 64,
    },
    "led": {
        **ENCODER_DECODER,
        "max_encoder_position_embeddings": 64,
        "max_decoder_position_embeddings": 64,
        "attention_window": 8,
    },
    "marian": {**ENCODER_DECODER, "max_position_embeddings": 64},
}
CAUSAL: dict[str, dict[str, Any]] = {
    "recurrent_gemma": {**SMALL, "lru_width": 16, "head_dim": 4, "attention_window_size": 16},
    "xlstm": {"hidden_size": 16, "num_hidden_layers": 2, "num_heads": 2},
    "bart": {**ENCODER_DECODER, "max_position_embeddings": 64},
    "bamba": {
        **SMALL,
        "mamba_n_heads": 4,
        "mamba_d_head": 8,
        "mamba_d_state": 8,
        "mamba_expand": 2,
        "mamba_n_groups": 1,
        "mamba_chunk_size": 8,
        "attn_layer_indices": [1],
    },
}


@pytest.mark.parametrize("kind", [*SEQ2SEQ, *CAUSAL])
def test_a_model_answers_as_its_plain_pass_or_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    seq2seq = kind in SEQ2SEQ
    tokenizer = tiny.byte_pairs(start=None)
    settings = (SEQ2SEQ if seq2seq else CAUSAL)[kind]
    config = CONFIG_MAPPING[kind](vocab_size=len(tokenizer), **{**SPECIAL, **settings})
    auto: Any = AutoModelForSeq2SeqLM if seq2seq else AutoModelForCausalLM
    model = auto.from_config(config)
    tiny.spread(model)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    component: Any = Seq2Seq if seq2seq else Causal
    template = {"template": "{title} {text} {question}\n"}
    generator = None
    refusal = ""
    try:
        generator = component(component.Config(model=str(tmp_path), **template))
    except GeneratorError as fault:
        refusal = str(fault)
    if generator is None:
        assert str(tmp_path) in refusal
        assert type(model).__name__ in refusal
        return
    passage = Passage("1", "Chad", "N'Djamena")
    with torch.no_grad():
        read = generator.read(["Who?", "Why is it?"], [passage, passage])
        state = generator.start(read, torch.arange(2))
        steps = [generator.step(state, None).clone()]
        steps += [generator.step(state, torch.tensor([5, 30])).clone()]
        scored = generator.score(read, torch.arange(2), torch.tensor([[5, 2], [30, 2]]))
    for row, token in enumerate((5, 30)):
        assert float(scored[row, 0]) == pytest.approx(float(steps[0][row, token]), abs=1e-3)
        assert float(scored[row, 1]) == pytest.approx(float(steps[1][row, 2]), abs=1e-3)


def test_special_tokens_beyond_the_model_that_nothing_writes_do_not_count(tmp_path: Path) -> None:
    folder = tiny.save_bart(tmp_path)
    tokenizer = tiny.byte_pairs(start="<s>")
    tokenizer.add_special_tokens({"mask_token": "<mask>"})
    tokenizer.save_pretrained(folder)
    generator = Seq2Seq(Seq2Seq.Config(model=str(folder)))
    assert len(generator.tokenizer) == generator.vocabulary_size + 1
    spelled = Passage("1", "Chad", "<mask> </s> <pad> is it")
    with torch.no_grad():
        read = generator.read(["Who <mask>?"], [spelled])
        assert generator.step(generator.start(read, torch.arange(1)), None).isfinite().all()
    (inputs,) = generator._inputs(["Who <mask>?"], [spelled])
    assert max(inputs) < generator.vocabulary_size
    assert inputs.count(2) == 1
    assert 1 not in inputs
    tokenizer.add_tokens(["Nairobi!!"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(GeneratorError, match="use the tokenizer that the model was trained with"):
        Seq2Seq(Seq2Seq.Config(model=str(folder)))


def test_quantised_weights_are_compared_by_probabilities() -> None:
    # The random BART of the benchmarks is off by 0.43 in the log p of a rare token in int8.
    model = torch.nn.Linear(2, 2)
    assert _is_fine(model)
    model.register_buffer("rows", torch.zeros(2, dtype=torch.int8))
    assert not _is_fine(model)
