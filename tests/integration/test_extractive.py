"""Answer, verify and train with an extractive reader, as whole pipelines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from ragcore_transformers.extractive import Extractive
from safetensors.torch import load_file

import ragcore
from ragcore.answering.choose import answerer_for
from ragcore.cli import main
from ragcore.config import AbstainConfig, RagConfig, load_config
from ragcore.errors import UnsupportedOperation
from ragcore.evaluation.verification import verify_answer
from ragcore.rag import Rag
from ragcore.store.store import Store
from ragcore.training import TrainingStep, train
from ragcore.types import Passage
from tests.helpers.word_encoder import dense_part
from tests.integration.tiny_reader import save_reader
from tests.training.street_corpus import NAMES, NUMBERS, STREETS, write_pipeline

QUESTIONS = ["who rules chad ?", "river ?"]
TEXTS = ["one rules chad", "two rules mali river river three", "three", "chad one two"]
WORDS = sorted({word for text in [*QUESTIONS, *TEXTS] for word in text.split()})
MODES = [
    {"marginalize": "token"},
    {"marginalize": "sequence", "decode": "thorough"},
    {"marginalize": "sequence", "decode": "fast"},
    {"marginalize": "sequence", "decode": "joint"},
]


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Extractive:
    folder = save_reader(tmp_path_factory.mktemp("reader"), WORDS)
    return Extractive(Extractive.Config(model=str(folder)))


def make_rag(folder: Path, generator: Extractive, **rag: object) -> Rag:
    store = Store(folder / "store")
    passages = [Passage(str(z), "river", text) for z, text in enumerate(TEXTS)]
    store.build("one", passages, dense_part(), corpus_config=None)
    memory = store.open("one", retriever=dense_part(), temperature=9.0)
    return Rag(memory, generator, RagConfig(k=3, max_new_tokens=6, **rag))


@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(mode.values()))
def test_answers_have_the_probability_of_the_definition(tmp_path, generator, mode, beams):
    rag = make_rag(tmp_path, generator, beams=beams, **mode)
    for question in QUESTIONS:
        verification = verify_answer(rag, question)
        assert verification.gap < 1e-4
        assert verification.answer.text


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(mode.values()))
def test_the_best_span_of_all_is_the_answer(tmp_path, generator, mode):
    """With wide beams the answer is that of the highest marginal among all spans there are."""
    rag = make_rag(tmp_path, generator, beams=16, **mode)
    for question in QUESTIONS:
        (answer,) = rag.answer(question)
        passages = [evidence.passage for evidence in answer.evidence]
        prior = torch.tensor([evidence.score for evidence in answer.evidence]).double() / 9.0
        prior = prior.softmax(0)
        spans = {"unknown"}
        for words in (passage.text.split() for passage in passages):
            spans |= {
                " ".join(words[first:last])
                for first in range(len(words))
                for last in range(first + 1, len(words) + 1)
            }
        marginals = {}
        with torch.no_grad():
            read = generator.read([question] * 3, passages)
            for span, ids in zip(spans, generator.encode_answers(list(spans)), strict=True):
                log_p = generator.score(read, torch.arange(3), torch.tensor([ids] * 3)).double()
                if mode["marginalize"] == "token":
                    marginals[span] = float((prior @ log_p.exp()).prod())
                else:
                    marginals[span] = float(prior @ log_p.sum(1).exp())
        assert marginals[answer.text] == pytest.approx(max(marginals.values()), rel=1e-4)


@pytest.mark.parametrize("marginalize", ["token", "sequence"])
def test_a_grounded_answer_is_a_span_without_abstaining(tmp_path, generator, marginalize):
    abstain = AbstainConfig(answer="unknown", above=1.0)
    rag = make_rag(tmp_path, generator, marginalize=marginalize, abstain=abstain, grounded=True)
    for question in QUESTIONS:
        verification = verify_answer(rag, question)
        assert verification.gap < 1e-4
        assert any(verification.answer.text in text for text in TEXTS)
        assert verification.answer.text != "unknown"


def test_without_passages_the_answer_is_unknown(tmp_path, generator):
    (answer,) = make_rag(tmp_path, generator).answer("river ?", where={"title": "lake"})
    assert answer.text == "unknown"
    assert answer.log_prob == pytest.approx(0.0, abs=2e-4)


def test_it_cannot_answer_closed_book_or_abstain_by_another_word(tmp_path, generator):
    rag = make_rag(tmp_path, generator)
    with pytest.raises(UnsupportedOperation, match="every question would get 'unknown'"):
        rag.answer("river ?", k=0)
    other = AbstainConfig(answer="three")
    with pytest.raises(UnsupportedOperation, match=r"is 'three', and generator\.unknown is"):
        answerer_for(generator, RagConfig(abstain=other))


@pytest.fixture
def streets(tmp_path: Path) -> Path:
    """Write a pipeline whose reader and question encoder know nothing."""
    settings = "steps: 40, batch_size: 16, learning_rate: 0.01, encoder_learning_rate: 0.1, seed: 1"
    path = write_pipeline(tmp_path, settings, k=8)
    save_reader(tmp_path / "reader", [*STREETS, *NUMBERS, *NAMES], spread=0.05)
    config = path.read_text().replace(
        "{use: bart, model: bart}", "{use: extractive, model: reader}"
    )
    path.write_text(config)
    ragcore.build_memory(path)
    return path


@pytest.mark.parametrize("marginalize", ["token", "sequence"])
def test_training_lowers_the_marginal_loss(streets, marginalize, capsys):
    events = []
    train(load_config(streets, [f"rag.marginalize={marginalize}"]), report=events.append)
    losses = [event.loss for event in events if isinstance(event, TrainingStep)]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    run = streets.parent / "run"
    assert main(["ask", str(run), "rue1 numero2", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["text"].split()[0] in NAMES


def test_label_smoothing_has_every_token_of_a_reader(streets):
    events = []
    settings = ["train.steps=3", "train.label_smoothing=0.1"]
    train(load_config(streets, settings), report=events.append)
    losses = [event.loss for event in events if isinstance(event, TrainingStep)]
    assert len(losses) == 3
    assert all(0 < loss < 1000 for loss in losses)


def test_adapters_of_a_reader_are_trained(streets):
    pytest.importorskip("peft")
    settings = ["train.steps=3", "train.learning_rate=0.1", "train.lora={rank: 4}"]
    train(load_config(streets, settings))
    before, after = (
        load_file(folder / "model.safetensors")
        for folder in (streets.parent / "reader", streets.parent / "run" / "generator")
    )
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    # Layers have adapters; embeddings, norms and biases stay.
    assert all(name.endswith(".weight") and before[name].ndim == 2 for name in changed)
    assert not any("embeddings" in name for name in changed)
