"""Test that models are freed with their component: no cycle keeps the weights."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest
import tiny_models as tiny
import torch

from ragcore.registry.components import spec_from_dict
from ragcore.types import Passage

PASSAGES = [Passage("a", "Chad", "N'Djamena is the capital of Chad."), Passage("b", "", "Nairobi")]
QUESTIONS = ["What is the capital of Chad?", "Who?"]


def use_generator(component) -> None:
    with torch.inference_mode():
        read = component.read(QUESTIONS, PASSAGES)
        pairs = torch.tensor([0, 1, 1])
        state = component.start(read, pairs)
        component.step(state, None)
        state.select(torch.tensor([0, 2]))
        component.step(state, torch.tensor([5, 6]))
        component.score(read, pairs, torch.tensor([[5, 6, 2]] * 3))
    component.encode_words([passage.text for passage in PASSAGES])
    component.encode_answers(["Chad"])


def use_encoder(component) -> None:
    component.encode_questions(QUESTIONS)
    component.encode_passages(PASSAGES)


def use_scorer(component) -> None:
    component.score(QUESTIONS, PASSAGES)


def save_cross_encoder(folder: Path) -> Path:
    from transformers import BertConfig, BertForSequenceClassification

    tokenizer = tiny.word_pieces()
    config = BertConfig(vocab_size=len(tokenizer), num_labels=1, **tiny.BERT)
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def spec(name: str, folder: Path):
    """A component by this name, its model saved in a folder, and what uses it."""
    use, _, kind = name.partition(" ")
    match use:
        case "bart":
            model = str(tiny.save_bart(folder))
            options = {"dtype": "int8"} if kind else {}
            return "generator", {"use": use, "model": model, **options}, use_generator
        case "t5":
            return "generator", {"use": use, "model": str(tiny.save_t5(folder))}, use_generator
        case "causal":
            model = str(
                tiny.save_causal("llama", folder, chat=bool(kind), max_position_embeddings=512)
            )
            return "generator", {"use": use, "model": model}, use_generator
        case "dpr":
            tiny.save_dpr(folder)
            models = {f"{name}_model": str(folder / name) for name in ("question", "passage")}
            return "encoder", {"use": use, **models}, use_encoder
        case "cross-encoder":
            return "scorer", {"use": use, "model": str(save_cross_encoder(folder))}, use_scorer
        case _:
            return "encoder", {"use": use, "model": str(tiny.save_sentence(folder))}, use_encoder


@pytest.mark.parametrize(
    "name",
    [
        "bart",
        "bart int8",
        "t5",
        "causal",
        "causal chat",
        "sentence-transformers",
        "dpr",
        "cross-encoder",
    ],
)
def test_a_component_that_is_dropped_frees_its_models(name, tmp_path):
    kind, settings, use = spec(name, tmp_path / "model")
    part = spec_from_dict(kind, settings)
    gc.collect()
    gc.disable()
    try:
        component = part.build()
        use(component)
        models = [
            weakref.ref(value)
            for value in vars(component).values()
            if isinstance(value, torch.nn.Module)
        ]
        alive = [weakref.ref(component), *models]
        assert models
        del component
        assert [reference() for reference in alive] == [None] * len(alive)
    finally:
        gc.enable()
