"""A RAG model that transformers saved becomes a pipeline with the same answers, and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ragcore_transformers import int8, packed
from ragcore_transformers.dpr import Dpr
from ragcore_transformers.exchange import export_hf
from ragcore_transformers.seq2seq import Seq2Seq
from ragcore_transformers.trials import Trial
from transformers import (
    AutoTokenizer,
    DPRConfig,
    DPRContextEncoder,
    DPRQuestionEncoder,
    RagConfig,
    RagSequenceForGeneration,
    RagTokenForGeneration,
)
from transformers.models.bart import BartForConditionalGeneration

import ragcore
from ragcore.cli import main
from ragcore.errors import UnsupportedOperation
from tests.integration.tiny import ANSWERS, save_tiny

QUESTIONS = ["who rules chad ?", "which river ?", "one two three ?"]
MODELS = {"token": RagTokenForGeneration, "sequence": RagSequenceForGeneration}


def dpr(tokens: int) -> DPRConfig:
    return DPRConfig(
        vocab_size=tokens,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
        pad_token_id=1,
    )


@pytest.fixture(params=MODELS)
def kind(request) -> str:
    return request.param


@pytest.fixture
def saved(kind: str, tmp_path: Path) -> Path:
    """transformers' folder of a tiny RAG model, a passage encoder, and a corpus."""
    torch.manual_seed(0)
    bart = save_tiny("bart", tmp_path / "bart")
    tokenizer = AutoTokenizer.from_pretrained(bart)
    config = dpr(len(tokenizer))
    generator = BartForConditionalGeneration.from_pretrained(bart)
    model = MODELS[kind](
        RagConfig.from_question_encoder_generator_configs(
            config,
            generator.config,
            n_docs=2,
            title_sep=" one ",
            doc_sep=" two ",
            max_combined_length=40,
        ),
        question_encoder=DPRQuestionEncoder(config),
        generator=generator,
    )
    folder = tmp_path / "hf"
    model.save_pretrained(folder)
    for part in ("question_encoder", "generator"):
        tokenizer.save_pretrained(folder / f"{part}_tokenizer")
    DPRContextEncoder(config).save_pretrained(tmp_path / "passages")
    tokenizer.save_pretrained(tmp_path / "passages")
    rows = [
        {"id": str(n), "title": title, "text": text}
        for n, (title, text) in enumerate(
            [("chad", "alpha rules chad"), ("mali", "beta river"), ("one", "two three mali")]
        )
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "corpus.jsonl").write_text(lines, encoding="utf-8")
    return folder


def imported(saved: Path, capsys) -> Path:
    folder = saved.parent / "ours"
    said = ["--passage-model", str(saved.parent / "passages")]
    said += ["--corpus", str(saved.parent / "corpus.jsonl")]
    assert main(["import-hf", str(saved), str(folder), *said]) == 0, capsys.readouterr().err
    return folder


def test_an_imported_model_answers_as_transformers_does(saved, kind, capsys):
    folder = imported(saved, capsys)
    ragcore.build_memory(folder / "pipeline.yaml")
    with ragcore.load(folder) as rag:
        assert (rag.config.marginalize, rag.config.k) == (kind, 2)
        answers = [ANSWERS[0], f"{ANSWERS[1]} {ANSWERS[0]}", ANSWERS[1]]
        ours = rag.log_prob(QUESTIONS, answers)
        with rag.memory.reading() as memory:
            hits = memory.hits(QUESTIONS, 2)
            found = [memory.passages.take(rows.tolist()) for rows in hits.rows]
            encoder = memory.retriever.trained_encoder()
    model = MODELS[kind].from_pretrained(saved).eval()
    tokenizer = AutoTokenizer.from_pretrained(saved, subfolder="generator_tokenizer")
    asked = tokenizer(QUESTIONS, padding=True, return_tensors="pt")
    with torch.no_grad():
        vectors = model.question_encoder(**asked).pooler_output
        passages = np.stack([encoder.encode_passages(own) for own in found])
        scores = torch.einsum("bd,bkd->bk", vectors, torch.from_numpy(passages))
        torch.testing.assert_close(scores, torch.from_numpy(hits.scores), atol=1e-5, rtol=0)
        texts = [
            f"{passage.title} one {passage.text} two {question}"
            for question, own in zip(QUESTIONS, found, strict=True)
            for passage in own
        ]
        contexts = tokenizer(texts, padding=True, return_tensors="pt")
        targets = tokenizer(answers, padding=True, return_tensors="pt").input_ids
        begun = torch.cat([torch.full((3, 1), 2), targets], dim=1)
        loss = model(
            context_input_ids=contexts.input_ids,
            context_attention_mask=contexts.attention_mask,
            doc_scores=scores,
            labels=begun,
        ).loss
    assert ours == pytest.approx((-loss).tolist(), abs=1e-4)


@pytest.fixture
def packs_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pack every layer, also small ones and slow ones."""
    for module in (packed, int8):
        monkeypatch.setattr(module, "SMALL", 1)
        monkeypatch.setattr(module, "compare", lambda *_: Trial(1.0, 0.5, 1.0, 0.5))


@pytest.mark.parametrize("dtypes", [(), ("float32", "auto"), ("bfloat16", "int8")])
def test_an_exported_model_equals_the_imported_one(saved, kind, dtypes, packs_all, capsys):
    folder = imported(saved, capsys)
    back = saved.parent / "back"
    paths = ("memory.retriever.encoder.dtype", "generator.dtype")
    overrides = [f"{path}={dtype}" for path, dtype in zip(paths, dtypes, strict=False)]
    assert main(["export-hf", str(folder), str(back), *overrides]) == 0, capsys.readouterr().err
    one, other = (MODELS[kind].from_pretrained(place) for place in (saved, back))
    held, given = one.state_dict(), other.state_dict()
    assert held.keys() == given.keys()
    assert all(torch.equal(held[name], given[name]) for name in held)
    for name in ("n_docs", "title_sep", "doc_sep", "max_combined_length"):
        assert getattr(one.config, name) == getattr(other.config, name), name
    assert (back / "generator_tokenizer").is_dir()


def test_models_that_cannot_be_exchanged_are_refused(saved, kind, capsys, tmp_path):
    assert main(["import-hf", str(tmp_path / "bart"), str(tmp_path / "new")]) == 2
    assert "not a saved RAG model" in capsys.readouterr().err
    assert main(["import-hf", str(saved), str(saved)]) == 2
    assert "not empty" in capsys.readouterr().err
    folder = imported(saved, capsys)
    said = "generator.template='{question} {title} {text}'"
    assert main(["export-hf", str(folder), str(tmp_path / "out"), said]) == 2
    assert "transformers reads a title" in capsys.readouterr().err
    encoder, generator = folder / "question_encoder", folder / "generator"
    with pytest.raises(UnsupportedOperation, match="the generator's weights are int8"):
        export_hf(
            Dpr(Dpr.Config(question_model=str(encoder), passage_model=str(tmp_path / "passages"))),
            Seq2Seq(Seq2Seq.Config(model=str(generator), dtype="int8")),
            tmp_path / "out",
            marginalize=kind,
            k=2,
        )
    words = "memory.retriever={use: bm25}"
    assert main(["export-hf", str(folder), str(tmp_path / "out"), words]) == 2
    assert "only {use: dense, encoder: {use: dpr, …}}" in capsys.readouterr().err
