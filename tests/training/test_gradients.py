"""Gradients of the whole training step equal finite differences, in float64."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

import ragcore
from ragcore.config import load_config
from ragcore.questions import LabelledQuestion
from ragcore.store.store import Store
from ragcore.training.examples import Example
from ragcore.training.model import RagModel, Settings
from ragcore.types import Passage
from tests.training.street_corpus import write_pipeline

EXAMPLES = [
    Example(LabelledQuestion("rue1 numero2", ("name10",), id="a"), "name10"),
    Example(LabelledQuestion("rue0 numero7", ("name7",), id="b"), "name3 name7"),
]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory) -> Path:
    path = write_pipeline(tmp_path_factory.mktemp("pipeline"), "steps: 1", k=3)
    ragcore.build_memory(path)
    return path


@pytest.fixture
def parts(pipeline):
    """Give memory, encoder and generator, the latter two in float64."""
    config = load_config(pipeline)
    memory = Store(config.memory.store).open(
        retriever=config.memory.retriever, temperature=config.memory.temperature
    )
    encoder = config.memory.retriever.config.encoder.build()
    encoder.trained_module().double()
    memory.retriever.use_encoder(encoder)
    generator = config.generator.build()
    generator.trained_module().double()
    rng = torch.Generator().manual_seed(3)
    for weight in generator.trained_module().parameters():
        if weight.ndim == 2:
            # Uneven, so that a wrong passage is a wrong number.
            weight.data.copy_(0.4 * torch.randn(weight.shape, generator=rng))
    yield memory, encoder, generator
    memory.close()


def module(parts, **settings) -> RagModel:
    memory, encoder, generator = parts
    return RagModel(memory, encoder, generator, Settings(k=3, gradient=True, **settings))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("marginalize", ["token", "sequence"])
def test_gradients_equal_finite_differences(parts, marginalize, smoothing):
    model = module(parts, marginalize=marginalize, label_smoothing=smoothing)
    model(EXAMPLES, 0).total.backward()
    checked = 0
    for name, weight in model.named_parameters():
        if weight.grad is None or not weight.grad.any():
            continue
        # In each tensor the largest, where a difference is most exact.
        index = int(weight.grad.abs().argmax())
        expected = difference(model, weight, index)
        gradient = weight.grad.reshape(-1)[index].item()
        assert gradient == pytest.approx(expected, rel=1e-5, abs=1e-8), name
        checked += 1
    names = {name.split(".")[0] for name, weight in model.named_parameters() if weight.grad.any()}
    assert names == {"generator", "question_encoder"}
    assert checked > 20


def difference(model: RagModel, weight: torch.Tensor, index: int, step: float = 1e-5) -> float:
    losses = []
    flat = weight.data.view(-1)
    for sign in (1, -1):
        flat[index] += sign * step
        # With gradients: without them log-probabilities are computed in float32.
        losses.append(model(EXAMPLES, 0).total.item())
        flat[index] -= sign * step
    return (losses[0] - losses[1]) / (2 * step)


@pytest.mark.parametrize("marginalize", ["token", "sequence"])
def test_the_retriever_learns_from_answers_of_one_token(parts, marginalize):
    """Where transformers' RAG-Sequence gives the first token no prior, and so no gradient."""
    _, _, generator = parts
    generator.encode_answers = lambda answers: [[token] for token in (12, 17)]
    model = module(parts, marginalize=marginalize)
    model(EXAMPLES, 0).total.backward()
    weight = dict(model.question_encoder.named_parameters())["0.embedding.weight"]
    assert weight.grad.abs().max() > 1e-4


def test_dropped_passages_do_not_enter_the_step(parts):
    """With all but one dropped the loss is that passage's alone, and the prior is certain."""
    model = module(parts, marginalize="token", passage_dropout=0.999)
    losses = model(EXAMPLES, 0)
    losses.total.backward()
    weight = dict(model.question_encoder.named_parameters())["0.embedding.weight"]
    assert weight.grad is None or not weight.grad.any()
    whole = module(parts, marginalize="token")(EXAMPLES, 0)
    assert losses.nll.item() != pytest.approx(whole.nll.item())
    again = module(parts, marginalize="token", passage_dropout=0.999)
    assert again(EXAMPLES, 0).nll == losses.nll


@pytest.mark.parametrize("marginalize", ["token", "sequence"])
def test_dropout_always_leaves_one_passage(parts, marginalize):
    """Even where chance would drop them all; without any the question would be read alone."""
    memory, _, generator = parts
    for example in EXAMPLES:
        rows = memory.hits([example.question], 3).rows[0].tolist()
        alone = [nll(generator, example, passage) for passage in memory.passages.take(rows)]
        closed_book = nll(generator, example, None)
        assert min(abs(closed_book - each) for each in alone) > 0.01
        for step in range(6):
            model = module(parts, marginalize=marginalize, passage_dropout=0.999)
            loss = model([example], step).nll.item()
            assert min(abs(loss - each) for each in alone) < 1e-3


def nll(generator, example: Example, passage: Passage | None) -> float:
    """-log p(y|x,z) of an example's answer with one passage, or with none."""
    (target,) = generator.encode_answers([example.answer])
    read = generator.read([example.question], [passage])
    with torch.no_grad():
        log_p = generator.score(read, torch.tensor([0]), torch.tensor([target]))
    return -log_p.sum().item()


def test_a_frozen_generator_has_no_gradient_and_the_same_loss(parts):
    expected = module(parts, marginalize="token")(EXAMPLES, 0)
    model = module(parts, marginalize="token")
    model.generator.requires_grad_(False)
    losses = model(EXAMPLES, 0)
    losses.total.backward()
    assert losses.nll.item() == pytest.approx(expected.nll.item(), abs=1e-4)
    assert all(weight.grad is None for weight in model.generator.parameters())
    weight = dict(model.question_encoder.named_parameters())["0.embedding.weight"]
    assert weight.grad.any()


def test_passages_encoded_again_have_the_scores_of_stored_vectors(parts):
    plain = module(parts, marginalize="sequence")(EXAMPLES, 0)
    model = copy.copy(module(parts, marginalize="sequence", passages_gradient=True))
    losses = model(EXAMPLES, 0)
    assert losses.nll.item() == pytest.approx(plain.nll.item(), abs=1e-5)
    losses.total.backward()
    weight = dict(model.passage_encoder.named_parameters())["0.embedding.weight"]
    assert weight.grad.any()
