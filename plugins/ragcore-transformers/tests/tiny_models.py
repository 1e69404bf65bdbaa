"""Tiny random models and tokenizers, saved into folders as real ones are."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import torch
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    PegasusConfig,
    PegasusForConditionalGeneration,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

TEXT = [
    "N'Djamena is the capital of Chad, a country of Africa.",
    "Who is the prime minister of Ethiopia? Abiy Ahmed Ali, since April 2018.",
    "What is the capital of Kenya? Nairobi, the largest city of the country.",
    "Antananarivo lies in the highlands of Madagascar; unknown to most / question: context: //",
]


def byte_pairs(*, start: str | None) -> PreTrainedTokenizerFast:
    """Byte-level pairs; `<s> … </s>` as BART has them, or only `… </s>` as T5."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        TEXT,
        trainers.BpeTrainer(
            vocab_size=330,
            special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start or ''} $A </s>".strip(),
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
    )


def word_pieces() -> PreTrainedTokenizerFast:
    """Lower-cased word pieces, `[CLS] … [SEP]`, and pairs of texts with token types, as BERT's."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    # Not trained: the trainer breaks ties in another way each time. All letters, and the words that
    # come most often.
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    counts = Counter(re.findall(r"\w+|[^\w\s]", " ".join(TEXT).lower()))
    letters = sorted(set("".join(counts)))
    words = sorted((word for word in counts if len(word) > 1), key=lambda w: (-counts[w], w))
    pieces = [*special, *letters, *(f"##{letter}" for letter in letters), *words][:200]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer.model = models.WordPiece(vocabulary, unk_token="[UNK]")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        unk_token="[UNK]",
        mask_token="[MASK]",
    )


def spread(model: torch.nn.Module, seed: int = 7) -> None:
    """Make a fresh model's distributions uneven, so that a wrong token is a wrong number."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for value in model.parameters():
            if value.ndim == 2:
                value.normal_(std=0.3)
        bias = getattr(model, "final_logits_bias", None)
        if bias is not None:
            bias.normal_()


def save_bart(folder: Path, *, cased: bool = True, **changes: object) -> Path:
    tokenizer = byte_pairs(start="<s>") if cased else word_pieces()
    special = (
        {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
        if cased
        else {"bos_token_id": 2, "pad_token_id": 0, "eos_token_id": 3, "decoder_start_token_id": 2}
    )
    settings: dict[str, object] = {
        "vocab_size": len(tokenizer),
        "d_model": 16,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 24,
        "decoder_ffn_dim": 24,
        "max_position_embeddings": 64,
        "forced_eos_token_id": None,
        **special,
        **changes,
    }
    model = BartForConditionalGeneration(BartConfig(**settings))
    spread(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_t5(folder: Path) -> Path:
    tokenizer = byte_pairs(start=None)
    model = T5ForConditionalGeneration(
        T5Config(
            vocab_size=len(tokenizer) + 6,
            d_model=16,
            d_kv=8,
            d_ff=24,
            num_layers=2,
            num_heads=2,
            pad_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
        )
    )
    spread(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_pegasus(folder: Path) -> Path:
    tokenizer = byte_pairs(start=None)
    model = PegasusForConditionalGeneration(
        PegasusConfig(
            vocab_size=len(tokenizer),
            d_model=16,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=24,
            decoder_ffn_dim=24,
            max_position_embeddings=64,
            pad_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
            forced_eos_token_id=None,
        )
    )
    spread(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def unigram_vocabulary() -> list[tuple[str, float]]:
    """Pieces with scores, the special tokens among them, as SentencePiece's models have."""
    words = {word.strip("?.,;:/") for text in TEXT for word in text.split()}
    letters = {letter for text in TEXT for letter in text} | set("<>/_mk")
    pieces = ["▁", *sorted("▁" + word for word in words if len(word) > 2), *sorted(letters - {" "})]
    special = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return special + [(piece, -2.0 - len(piece) / 10) for piece in pieces]


def save_multilingual(kind: str, folder: Path, *, start: str | None = None) -> Path:
    """Save a tiny "mbart" (cc25), "mbart50", "nllb" or "m2m100" with its language tokens.

    Args:
        kind: of which the first three have the tokenizers of transformers.
        folder: in which to save.
        start: a language that the checkpoint's config names as its decoder's start token.
    """
    from transformers import (
        AddedToken,
        M2M100Config,
        M2M100ForConditionalGeneration,
        MBart50Tokenizer,
        MBartConfig,
        MBartForConditionalGeneration,
        MBartTokenizer,
        NllbTokenizer,
    )

    pieces = unigram_vocabulary()
    if kind == "mbart":
        tokenizer = MBartTokenizer(vocab=pieces)
    elif kind == "mbart50":
        tokenizer = MBart50Tokenizer(vocab=pieces)
    elif kind == "nllb":
        tokenizer = NllbTokenizer(vocab={piece: id_ for id_, (piece, _) in enumerate(pieces)})
    else:
        tokenizer = byte_pairs(start=None)
        codes = [AddedToken(f"__{code}__", special=True) for code in ("de", "en", "fr", "fa")]
        tokenizer.add_special_tokens({"additional_special_tokens": codes})
    settings: dict[str, object] = {
        "vocab_size": len(tokenizer),
        "d_model": 16,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 24,
        "decoder_ffn_dim": 24,
        "max_position_embeddings": 128,
        "forced_eos_token_id": None,
        "decoder_start_token_id": 2,
    }
    if start is not None:
        settings["decoder_start_token_id"] = tokenizer.convert_tokens_to_ids(start)
    model = (
        MBartForConditionalGeneration(MBartConfig(**settings))
        if kind.startswith("mbart")
        else M2M100ForConditionalGeneration(M2M100Config(**settings))
    )
    spread(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_sentence(folder: Path, *, seed: int = 7, normalize: bool = False) -> Path:
    """Save a BERT with mean pooling and, if `normalize`, vectors of length 1."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel

    bare = folder / "bare"
    tokenizer = word_pieces()
    model = BertModel(BertConfig(vocab_size=len(tokenizer), **BERT))
    spread(model, seed)
    model.save_pretrained(bare)
    tokenizer.save_pretrained(bare)
    words = Transformer(str(bare), max_seq_length=48)
    modules = [words, Pooling(16), *([Normalize()] if normalize else [])]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(folder))
    return folder


def save_dpr(folder: Path, *, hidden_size: int = 16) -> Path:
    """Save a question encoder in `question` and a passage encoder in `passage`."""
    from transformers import BertTokenizerFast, DPRConfig, DPRContextEncoder, DPRQuestionEncoder

    tokenizer = word_pieces()
    config = DPRConfig(vocab_size=len(tokenizer), **{**BERT, "hidden_size": hidden_size})
    for name, kind in (("question", DPRQuestionEncoder), ("passage", DPRContextEncoder)):
        model = kind(config)
        spread(model, seed=len(name))
        model.save_pretrained(folder / name)
        BertTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer).save_pretrained(
            folder / name
        )
    return folder


BERT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
}


CHAT = (
    "{% for message in messages %}{{ '<s>' + message['role'] + '\\n' + message['content'] + '</s>'"
    " + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<s>assistant\\n' }}{% endif %}"
)


def metaspace() -> PreTrainedTokenizerFast:
    """Pieces with a space before each word, the first one too, as SentencePiece's models have."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    tokenizer.train_from_iterator(
        TEXT,
        trainers.BpeTrainer(
            vocab_size=330,
            special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
    )


def save_causal(kind: str, folder: Path, *, chat: bool = False, **changes: object) -> Path:
    """Save a decoder-only model: "llama", "gpt2", "bloom", "mistral" (with a window) or "mamba"."""
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    tokenizer = byte_pairs(start="<s>")
    if chat:
        tokenizer.chat_template = CHAT
    settings = {"vocab_size": len(tokenizer), **CAUSAL[kind], **changes}
    special = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    config = CONFIG_MAPPING[kind](**special, **settings)
    model = AutoModelForCausalLM.from_config(config)
    spread(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


LLAMA = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 192,
    "tie_word_embeddings": False,
}

CAUSAL: dict[str, dict[str, object]] = {
    "llama": LLAMA,
    "mistral": {**LLAMA, "sliding_window": 12},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 192},
    "bloom": {"hidden_size": 16, "n_layer": 2, "n_head": 2},
    "mamba": {"hidden_size": 16, "num_hidden_layers": 2, "state_size": 4},
}


def save_gguf(folder: Path, file: Path) -> Path:
    """Write a Llama that `save_causal` saved as one GGUF file with float32 weights."""
    import gguf
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = model.config
    writer = gguf.GGUFWriter(str(file), "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)

    tokens = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    names = sorted(tokens["vocab"], key=tokens["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(names)
    writer.add_token_types([3 if at < 4 else 1 for at in range(len(names))])
    writer.add_token_merges([" ".join(pair) for pair in tokens["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(2)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)

    stored = {name: value.numpy() for name, value in model.state_dict().items()}
    own = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "lm_head": "output",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "post_attention_layernorm": "ffn_norm",
        "input_layernorm": "attn_norm",
        "model.layers": "blk",
    }
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for name, value in stored.items():
        for theirs, ours in own.items():
            name = name.replace(theirs, ours)
        for part, count in heads.items():
            if f".{part}." in name:
                # GGUF has the two halves that are turned together side by side.
                halves = value.reshape(count, 2, -1, value.shape[1])
                value = halves.swapaxes(1, 2).reshape(value.shape)
        writer.add_tensor(name, value.copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def save_cross_encoder(folder: Path, *, labels: int = 1) -> Path:
    """Save a BERT that gives a pair of texts so many numbers."""
    from transformers import BertConfig, BertForSequenceClassification

    tokenizer = word_pieces()
    model = BertForSequenceClassification(
        BertConfig(vocab_size=len(tokenizer), num_labels=labels, **BERT)
    )
    spread(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_sparse(folder: Path, *, static_questions: bool = False, seed: int = 7) -> Path:
    """Save a SPLADE over a tiny BERT; questions then need no forward pass if `static_questions`."""
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.modules import (
        Router,
        SparseStaticEmbedding,
        SpladePooling,
        Transformer,
    )
    from transformers import BertConfig, BertForMaskedLM

    bare = folder / "bare"
    tokenizer = word_pieces()
    model = BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), **BERT))
    spread(model, seed)
    model.save_pretrained(bare)
    tokenizer.save_pretrained(bare)
    passages = [
        Transformer(str(bare), transformer_task="fill-mask", max_seq_length=48),
        SpladePooling("max"),
    ]
    if not static_questions:
        modules = passages
    else:
        weights = torch.rand(len(tokenizer), generator=torch.Generator().manual_seed(seed)) + 0.5
        questions = [SparseStaticEmbedding(tokenizer, weights, frozen=True)]
        modules = [Router.for_query_document(questions, passages)]
    SparseEncoder(modules=modules, device="cpu").save_pretrained(str(folder))
    return folder


def save_sparse_static(folder: Path, *, signed: bool = False, similarity: str = "dot") -> Path:
    """Save a sparse encoder that gives each token of a text its own weight, on both sides."""
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding

    tokenizer = word_pieces()
    weights = torch.rand(len(tokenizer), generator=torch.Generator().manual_seed(3)) + 0.5
    if signed:
        weights = weights - 1
    static = SparseStaticEmbedding(tokenizer, weights, frozen=True)
    model = SparseEncoder(modules=[static], device="cpu", similarity_fn_name=similarity)
    model.save_pretrained(str(folder))
    return folder


def save_late_interaction(folder: Path) -> Path:
    """Save a tiny BERT with a projection, which gives a vector for each token."""
    from sentence_transformers import MultiVectorEncoder

    torch.manual_seed(11)
    model = MultiVectorEncoder(str(save_sentence(folder / "dense") / "bare"), device="cpu")
    spread(model, seed=11)
    model.save_pretrained(str(folder))
    return folder
