"""Make a synthetic corpus: each passage names a street, a number, and who lives there.

A question names street and number in words that the generator does not know, so that it cannot
memorise answers. The question encoder starts with random weights, so that it does not know them
either.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BartConfig, BartForConditionalGeneration, PreTrainedTokenizerFast

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "/", "//"]
STREETS = [f"street{n}" for n in range(8)]
NUMBERS = [f"number{n}" for n in range(8)]
NAMES = [f"name{n}" for n in range(64)]
QUESTION_WORDS = [f"rue{n}" for n in range(8)] + [f"numero{n}" for n in range(8)]


def save_encoder(folder: Path, words: list[str], *, dim: int = 96, seed: int = 0) -> Path:
    """Save a sentence-transformers model whose vector is the mean of its words' vectors.

    There are more dimensions than words, so that some vector has a given inner product with each.
    """
    tokenizer = Tokenizer(
        models.WordLevel({word: token for token, word in enumerate(["<unk>", *words])}, "<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    vectors = torch.randn(len(words) + 1, dim, generator=torch.Generator().manual_seed(seed))
    module = StaticEmbedding(tokenizer, embedding_weights=vectors.numpy())
    SentenceTransformer(modules=[module]).save(str(folder), create_model_card=False)
    return folder


def save_generator(folder: Path, *, width: int = 32, seed: int = 0, steps: int = 0) -> Path:
    """Save a BART of one layer, whose vocabulary is streets, numbers and names.

    In `steps` it learns to read, as a pretrained one can: to write the name in any passage, even of
    passages that the corpus does not have. It learns nothing about questions.
    """
    words = [*SPECIAL, *STREETS, *NUMBERS, *NAMES]
    tokenizer = Tokenizer(
        models.WordLevel({word: token for token, word in enumerate(words)}, "<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    torch.manual_seed(seed)
    model = BartForConditionalGeneration(
        BartConfig(
            vocab_size=len(words),
            d_model=width,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=2 * width,
            decoder_ffn_dim=2 * width,
            max_position_embeddings=32,
            dropout=0.0,
            bos_token_id=0,
            pad_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=2,
            forced_eos_token_id=None,
        )
    )
    learn_to_read(model, tokenizer, steps)
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
    ).save_pretrained(folder)
    return folder


def learn_to_read(model: BartForConditionalGeneration, tokenizer: Tokenizer, steps: int) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    rng = random.Random(0)
    for _ in range(steps):
        names = rng.choices(NAMES, k=64)
        texts = [
            f" / {rng.choice(STREETS)} {rng.choice(NUMBERS)} {name} // what where" for name in names
        ]
        inputs = torch.tensor([encoding.ids for encoding in tokenizer.encode_batch(texts)])
        labels = torch.tensor([encoding.ids for encoding in tokenizer.encode_batch(names)])
        model(input_ids=inputs, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def write_corpus(folder: Path) -> None:
    """Write passages.jsonl, and questions.jsonl, which does not say which passage is right."""
    passages, questions = [], []
    for row, name in enumerate(NAMES):
        street, number = divmod(row, 8)
        text = f"{STREETS[street]} {NUMBERS[number]} {name}"
        passages.append({"id": str(row), "title": "", "text": text})
        question = f"rue{street} numero{number}"
        questions.append({"question": question, "answer": name, "id": str(row)})
    for name, rows in (("passages", passages), ("questions", questions)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")


def write_pipeline(
    folder: Path, train: str, *, index: str = "{use: exact}", k: int = 8, read: int = 0
) -> Path:
    """Write a pipeline over the corpus with its models; `train` is its section of that name."""
    write_corpus(folder)
    save_encoder(folder / "passage_model", [*STREETS, *NUMBERS, *NAMES], seed=1)
    save_encoder(folder / "question_model", QUESTION_WORDS, seed=2)
    save_generator(folder / "bart", steps=read)
    path = folder / "train.yaml"
    path.write_text(
        f"""
ragcore: 1
memory:
  store: store
  corpus: {{use: jsonl, path: passages.jsonl}}
  temperature: 4.0
  retriever:
    use: dense
    encoder: {{use: sentence-transformers, model: passage_model, question_model: question_model}}
    index: {index}
generator: {{use: bart, model: bart}}
rag: {{k: {k}, beams: 1, max_new_tokens: 4}}
train: {{questions: {{path: questions.jsonl}}, output: run, {train}}}
""",
        encoding="utf-8",
    )
    return path
