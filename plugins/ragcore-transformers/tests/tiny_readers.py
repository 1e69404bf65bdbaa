"""Tiny random models for extractive question answering, saved into folders as real ones are."""

from __future__ import annotations

from pathlib import Path

import tiny_models as tiny
import torch
from tokenizers import processors
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    DistilBertConfig,
    DistilBertForQuestionAnswering,
    ElectraConfig,
    ElectraForQuestionAnswering,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForQuestionAnswering,
)

_SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 96,
}


def byte_pairs_of_pairs() -> PreTrainedTokenizerFast:
    """Byte-level pairs that put `<s> … </s></s> … </s>` around two texts, as RoBERTa's do."""
    plain = tiny.byte_pairs(start="<s>").backend_tokenizer
    plain.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=plain,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_input_names=["input_ids", "attention_mask"],
    )


def save_reader(kind: str, folder: Path) -> Path:
    """Save a tiny "bert", "distilbert", "electra" or "roberta" with its tokenizer."""
    torch.manual_seed(3)
    tokenizer = byte_pairs_of_pairs() if kind == "roberta" else tiny.word_pieces()
    size = len(tokenizer)
    model: torch.nn.Module
    match kind:
        case "bert":
            model = BertForQuestionAnswering(BertConfig(vocab_size=size, **_SMALL))
        case "electra":
            config = ElectraConfig(vocab_size=size, embedding_size=16, **_SMALL)
            model = ElectraForQuestionAnswering(config)
        case "distilbert":
            model = DistilBertForQuestionAnswering(
                DistilBertConfig(
                    vocab_size=size,
                    dim=16,
                    n_layers=2,
                    n_heads=2,
                    hidden_dim=24,
                    max_position_embeddings=96,
                )
            )
        case _:
            # Positions are counted from after the padding's id.
            positions = {**_SMALL, "max_position_embeddings": 98}
            special = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
            model = RobertaForQuestionAnswering(
                RobertaConfig(vocab_size=size, type_vocab_size=1, **positions, **special)
            )
    tiny.spread(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
