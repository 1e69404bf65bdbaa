"""Make tiny BART, T5 and Llama checkpoints whose answers are few enough to enumerate."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
ANSWERS = ["alpha", "beta"]
WORDS = ["who", "rules", "chad", "mali", "river", "?", "/", "//", "one", "two", "three"]


def _tokenizer(words: list[str], start: str) -> PreTrainedTokenizerFast:
    vocabulary = {word: token for token, word in enumerate([*SPECIAL, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A </s>".strip(), special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
    )


def _uneven(model: torch.nn.Module, seed: int) -> None:
    """Draw weights so far apart that a wrong mask or passage gives a wrong number."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.parameters():
            if value.ndim == 2:
                value.normal_(std=0.4, generator=rng)


def save_tiny(kind: str, folder: Path, *, words: bool = True, seed: int = 0) -> Path:
    """Save a checkpoint of `kind`: "bart", "t5" or "llama"; `words` adds words to the answers'."""
    tokenizer = _tokenizer(ANSWERS + (WORDS if words else []), "" if kind == "t5" else "<s>")
    if kind == "bart":
        model: torch.nn.Module = BartForConditionalGeneration(
            BartConfig(
                vocab_size=len(tokenizer),
                d_model=8,
                encoder_layers=1,
                decoder_layers=1,
                encoder_attention_heads=2,
                decoder_attention_heads=2,
                encoder_ffn_dim=8,
                decoder_ffn_dim=8,
                max_position_embeddings=64,
                bos_token_id=0,
                pad_token_id=1,
                eos_token_id=2,
                decoder_start_token_id=2,
                forced_eos_token_id=None,
            )
        )
    elif kind == "llama":
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=8,
                intermediate_size=8,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=64,
                bos_token_id=0,
                pad_token_id=1,
                eos_token_id=2,
            )
        )
    else:
        model = T5ForConditionalGeneration(
            T5Config(
                vocab_size=len(tokenizer),
                d_model=8,
                d_kv=4,
                d_ff=8,
                num_layers=1,
                num_heads=2,
                pad_token_id=1,
                eos_token_id=2,
                decoder_start_token_id=1,
            )
        )
    _uneven(model, seed)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def pack_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pack every linear layer that is loaded from now on, also tiny ones and slow ones."""
    from ragcore_transformers import int8, packed
    from ragcore_transformers.trials import Trial

    for module in (packed, int8):
        monkeypatch.setattr(module, "SMALL", 1)
        monkeypatch.setattr(
            module,
            "compare",
            lambda *_: Trial(plain=1.0, packed=0.5, plain_few=1.0, packed_few=1.0),
        )
