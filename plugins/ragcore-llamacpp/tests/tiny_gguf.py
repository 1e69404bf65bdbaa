"""Tiny random models in GGUF files: a Llama's weights, and a byte-level tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

TEXT: Final = [
    "N'Djamena is the capital of Chad, a country of Africa.",
    "Who is the prime minister of Ethiopia? Abiy Ahmed Ali, since April 2018.",
    "What is the capital of Kenya? Nairobi, the largest city of the country.",
    "Antananarivo lies in the highlands of Madagascar; unknown to most / question: context: //",
]

CHAT: Final = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}"
    "</s>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

SPECIAL: Final = ["<s>", "<pad>", "</s>", "<unk>", "<|user|>", "<|assistant|>", "<|system|>"]

WIDTH: Final = 32
HEADS: Final = 4
INNER: Final = 48
LAYERS: Final = 2
POSITIONS: Final = 192


def tokenizer() -> Any:
    """Return a byte-level tokenizer of Hugging Face's, the special tokens first."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokens = Tokenizer(models.BPE(unk_token="<unk>"))
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokens.decoder = decoders.ByteLevel()
    tokens.train_from_iterator(
        TEXT,
        trainers.BpeTrainer(
            vocab_size=340,
            special_tokens=SPECIAL,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return tokens


def save_gguf(
    file: Path,
    *,
    chat: str | None = None,
    ends: dict[str, int] | None = None,
    positions: int = POSITIONS,
    architecture: str = "llama",
    begins: bool = True,
    pieces: bool = False,
) -> Path:
    """Write a model with float32 weights.

    Args:
        file: the path.
        chat: a chat template.
        ends: metadata of more end tokens, such as {"eot": 1}.
        positions: that it was trained with.
        architecture: llama.cpp's name for one with a Llama's tensors.
        begins: whether a text begins with <s>.
        pieces: have a tokenizer like SentencePiece's instead of a byte-level one.
    """
    import gguf

    writer = gguf.GGUFWriter(str(file), architecture)
    writer.add_context_length(positions)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS // 2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_rope_freq_base(10000.0)

    names = _add_pieces(writer) if pieces else _add_byte_pairs(writer)
    writer.add_vocab_size(len(names))
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(1)
    writer.add_add_bos_token(begins)
    for name, token in (ends or {}).items():
        writer.add_uint32(f"tokenizer.ggml.{name}_token_id", token)
    if chat is not None:
        writer.add_chat_template(chat)

    random = np.random.default_rng(7)

    def matrix(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        # Wide enough that a wrong token is a wrong number.
        return random.normal(scale=0.3, size=shape).astype(np.float32)

    writer.add_tensor("token_embd.weight", matrix(len(names), WIDTH))
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    writer.add_tensor("output.weight", matrix(len(names), WIDTH))
    for layer in range(LAYERS):
        shapes = {
            "attn_q": (WIDTH, WIDTH),
            "attn_k": (WIDTH // 2, WIDTH),
            "attn_v": (WIDTH // 2, WIDTH),
            "attn_output": (WIDTH, WIDTH),
            "ffn_gate": (INNER, WIDTH),
            "ffn_up": (INNER, WIDTH),
            "ffn_down": (WIDTH, INNER),
        }
        for name, shape in shapes.items():
            writer.add_tensor(f"blk.{layer}.{name}.weight", matrix(*shape))
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(WIDTH, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _add_byte_pairs(writer: Any) -> list[str]:
    """Add the byte-level tokenizer; return the texts of its tokens."""
    import json

    import gguf

    model = json.loads(tokenizer().to_str())["model"]
    names = sorted(model["vocab"], key=model["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(names)
    writer.add_token_types(
        [gguf.TokenType.CONTROL if name in SPECIAL else gguf.TokenType.NORMAL for name in names]
    )
    writer.add_token_merges([" ".join(pair) for pair in model["merges"]])
    return names


def _add_pieces(writer: Any) -> list[str]:
    """Add a tokenizer of pieces, whose merges can spell a special token; return their texts."""
    import gguf

    kinds = {"<s>": gguf.TokenType.CONTROL, "<pad>": gguf.TokenType.CONTROL}
    kinds |= {"</s>": gguf.TokenType.CONTROL, "<unk>": gguf.TokenType.UNKNOWN}
    kinds |= {f"<0x{byte:02X}>": gguf.TokenType.BYTE for byte in range(256)}
    letters = sorted(set("".join(TEXT)) | set("</s>abcdefghijklmnopqrstuvwxyz") - {" "})
    words = ["\u2581", "</", "</s", "\u2581the", "\u2581capital", "th", "\u2581th", "capital"]
    kinds |= dict.fromkeys([*letters, *words], gguf.TokenType.NORMAL)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(list(kinds))
    writer.add_token_scores([-float(number) for number in range(len(kinds))])
    writer.add_token_types(list(kinds.values()))
    writer.add_unk_token_id(3)
    return list(kinds)
