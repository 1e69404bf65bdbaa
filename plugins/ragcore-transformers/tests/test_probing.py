"""Every architecture is decoded as its plain forward pass, or refused by name when it is loaded."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import tiny_models as tiny
import torch
from ragcore_transformers.bart import BartBody
from ragcore_transformers.caching import cache_name
from ragcore_transformers.causal import Causal
from ragcore_transformers.gaps import Gaps
from ragcore_transformers.probing import probe_copied
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
    "nllb-moe": {
        **ENCODER_DECODER,
        "num_experts": 2,
        "encoder_sparse_step": 2,
        "decoder_sparse_step": 2,
        "max_position_embeddings": 64,
    },
    "m2m_100": {**ENCODER_DECODER, "max_position_embeddings": 64},
    "fsmt": {**ENCODER_DECODER, "src_vocab_size": 330, "tgt_vocab_size": 330, "langs": ["a", "b"]},
    "t5gemma": {
        "encoder": {**SMALL, "head_dim": 4, "vocab_size": 330, "pad_token_id": 1},
        "decoder": {**SMALL, "head_dim": 4, "vocab_size": 330, "pad_token_id": 1},
    },
}
CAUSAL: dict[str, dict[str, Any]] = {
    "recurrent_gemma": {**SMALL, "lru_width": 16, "head_dim": 4, "attention_window_size": 16},
    "xlstm": {"hidden_size": 16, "num_hidden_layers": 2, "num_heads": 2},
    "bart": {**ENCODER_DECODER, "max_position_embeddings": 64},
    "minimax": {**SMALL, "num_local_experts": 2, "block_size": 8},
    "kimi_linear": {
        **SMALL,
        "num_key_value_heads": 4,
        "kv_lora_rank": 8,
        "q_lora_rank": None,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 8,
        "num_experts": 2,
        "num_experts_per_token": 1,
        "moe_intermediate_size": 16,
        "layer_types": ["linear_attention", "full_attention"],
    },
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

REFUSED = {"prophetnet", "fsmt", "recurrent_gemma", "xlstm", "minimax"}
"""Those whose own steps differ from their plain pass; all others must answer."""


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
    assert (generator is None) == (kind in REFUSED), refusal
    if generator is None:
        assert str(tmp_path) in refusal
        assert type(model).__name__ in refusal
        return
    passage = Passage("1", "Chad", "N'Djamena")
    with torch.no_grad():
        read = generator.read(["Who?", "Why is it?"], [passage, passage])
        state = generator.start(read, torch.arange(2))
        steps = [generator.step(state, None).clone()]
        # One answer has a padding token inside.
        targets = torch.tensor([[5, 1, 9, 2], [30, 8, 9, 2]])
        steps += [generator.step(state, tokens).clone() for tokens in targets[:, :-1].unbind(1)]
        scored = generator.score(read, torch.arange(2), targets)
    stepped = torch.stack(steps, dim=1).gather(2, targets[:, :, None])[:, :, 0]
    torch.testing.assert_close(scored, stepped, atol=1e-3, rtol=0)


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


def log_p(*weights: float) -> torch.Tensor:
    return torch.tensor(weights).log_softmax(dim=0)


def coarse(weight: torch.dtype) -> torch.nn.Module:
    model = torch.nn.Linear(2, 2)
    model.register_buffer("rows", torch.zeros(2, dtype=weight))
    return model


def test_float32_is_compared_by_log_probs_and_coarser_weights_by_probabilities() -> None:
    rare = log_p(9.0, 0.0, -9.0), log_p(9.0, 0.0, -9.5)
    fine = Gaps(torch.nn.Linear(2, 2))
    fine.compare(*rare)
    assert fine.exceeded
    for weight in (torch.int8, torch.bfloat16, torch.float16):
        gaps = Gaps(coarse(weight))
        gaps.compare(*rare)
        assert not gaps.exceeded
        gaps.compare(log_p(1.0, 0.0), log_p(torch.nan, 0.0))
        assert gaps.exceeded


def test_probabilities_may_be_off_by_a_share_of_what_a_token_moves() -> None:
    off = log_p(0.0, 0.1, 0.0), log_p(0.1, 0.0, 0.0)
    gaps = Gaps(coarse(torch.bfloat16))
    gaps.compare(*off)
    assert gaps.exceeded
    gaps.follow(log_p(5.0, 0.0, 0.0), log_p(0.0, 5.0, 0.0))
    assert not gaps.exceeded
    assert gaps.allowed == 0.1


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_coarse_weights_do_not_hide_a_wrong_cache(
    dtype: str, bart: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Seq2Seq.Config(model=str(bart), dtype=dtype)
    assert Seq2Seq(settings)._decoder is not None
    states = BartBody.states

    def without_positions(body: Any, tokens: Any, depths: Any, attention: Any) -> Any:
        return states(body, tokens, torch.zeros_like(depths), attention)

    monkeypatch.setattr(BartBody, "states", without_positions)
    # Decoded by the model's own forward pass instead.
    assert Seq2Seq(settings)._decoder is None


def test_a_copied_cache_without_positions_is_refused_in_bfloat16(tmp_path: Path) -> None:
    folder = tiny.save_causal("mistral", tmp_path)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    vocabulary = model.get_output_embeddings().weight.shape[0]
    probe_copied("m", model, cache_name(model), vocabulary)
    forward = model.forward

    @functools.wraps(forward)
    def without_positions(*args: Any, **options: Any) -> Any:
        if options["use_cache"] and options["input_ids"].shape[1] == 1:
            options["position_ids"] = torch.zeros_like(options["input_ids"])
        return forward(*args, **options)

    model.forward = without_positions
    with pytest.raises(GeneratorError, match=r"probabilities, step by step .* are off by"):
        probe_copied("m", model, cache_name(model), vocabulary)
