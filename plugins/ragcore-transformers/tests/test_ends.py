"""Models with several end tokens: an answer ends by any of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_models as tiny
import torch
from ragcore_transformers.causal import Causal
from ragcore_transformers.ends import EndTokens
from ragcore_transformers.seq2seq import Seq2Seq

from ragcore.contracts import end_tokens
from ragcore.decoding.beam import BeamSearch
from ragcore.decoding.question_prior import QuestionPrior
from ragcore.decoding.rules import DecodingOptions
from ragcore.decoding.sequence import RagSequence
from ragcore.decoding.token import RagToken
from ragcore.registry.components import ComponentSpec
from ragcore.testing import GeneratorSuite
from ragcore.training.loss import smoothed_loss
from ragcore.types import Passage

ENDS = [2, 0, 9, 13]
KINDS = ["llama", "mistral", "bart", "t5"]
QUESTIONS = ["Who is it?", "What is the capital of Kenya?"]
PASSAGES = [Passage("1", "Chad", "N'Djamena"), Passage("2", "Kenya", "Nairobi is the largest city")]


def save(kind: str, folder: Path, **settings: int) -> Path:
    makers = {"bart": tiny.save_bart, "t5": tiny.save_t5}
    made = makers[kind](folder) if kind in makers else tiny.save_causal(kind, folder, **settings)
    for name in ("config.json", "generation_config.json"):
        path = made / name
        path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": ENDS}))
    return made


@pytest.fixture(scope="module", params=KINDS)
def generator(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    kind = request.param
    component = Seq2Seq if kind in {"bart", "t5"} else Causal
    folder = save(kind, tmp_path_factory.mktemp(kind))
    return component(component.Config(model=str(folder)))


def expected(generator, number: int, fed: list[int]) -> torch.Tensor:
    """Return log p [V] after a prefix by a plain forward pass, the ends added."""
    model = generator.model
    if isinstance(generator, Causal):
        prompt = generator.read([QUESTIONS[number]], [PASSAGES[number]]).prompts[0]
        logits = model(input_ids=torch.tensor([prompt + fed])).logits
    else:
        inputs = generator._inputs([QUESTIONS[number]], [PASSAGES[number]])
        fed = [generator._start, *fed]
        logits = model(
            input_ids=torch.tensor(inputs),
            decoder_input_ids=torch.tensor([fed]),
        ).logits
    p = logits[0, -1].double().softmax(dim=0)
    p[ENDS[0]], p[ENDS[1:]] = p[ENDS].sum(), 0.0
    return p.log()


def test_all_ends_are_one_in_every_path(generator) -> None:
    assert end_tokens(generator) == tuple(ENDS)
    pairs, fed = torch.arange(2), torch.tensor([[5, 11], [30, 7]])
    targets = torch.cat([fed, torch.full((2, 1), ENDS[0])], dim=1)
    with torch.no_grad():
        truth = torch.stack(
            [
                torch.stack([expected(generator, row, fed[row, :n].tolist()) for n in range(3)])
                for row in range(2)
            ]
        ).float()  # [2, 3, V]
        read = generator.read(QUESTIONS, PASSAGES)
        state = generator.start(read, pairs)
        steps = [generator.step(state, tokens).clone() for tokens in (None, *fed.T)]
        torch.testing.assert_close(torch.stack(steps, dim=1), truth, rtol=0, atol=1e-4)
        at_targets = truth.gather(2, targets[:, :, None])[:, :, 0]
        scored = generator.score(read, pairs, targets)
        torch.testing.assert_close(scored, at_targets, rtol=0, atol=1e-4)
    read = generator.read(QUESTIONS, PASSAGES)
    scored = generator.score(read, pairs, targets)
    torch.testing.assert_close(scored, at_targets, rtol=0, atol=1e-4)
    everything = generator.score_all(read, pairs, targets)
    torch.testing.assert_close(everything, truth, rtol=0, atol=1e-4)


@pytest.mark.parametrize("marginalize", ["token", "sequence"])
def test_smoothed_training_has_gradients(generator, marginalize) -> None:
    targets = torch.tensor([[5, ENDS[0]]])
    read = generator.read([QUESTIONS[0]] * 2, PASSAGES)
    log_p = generator.score_all(read, torch.arange(2), targets.expand(2, -1))
    prior = torch.zeros(1, 2, requires_grad=True)
    loss = smoothed_loss(marginalize, prior.log_softmax(1), log_p[None], targets, 0.1).sum()
    generator.model.zero_grad()
    loss.backward()
    assert bool(torch.isfinite(loss))
    assert prior.grad is not None
    assert bool(torch.isfinite(prior.grad).all())
    gradients = [value.grad for value in generator.model.parameters() if value.grad is not None]
    assert gradients
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)


@pytest.mark.parametrize("model", [RagToken, RagSequence])
@torch.no_grad()
def test_the_marginal_of_the_end_is_that_of_all(generator, model) -> None:
    read = generator.read([QUESTIONS[0]] * 2, PASSAGES)
    prior = QuestionPrior(torch.arange(2), torch.tensor([0.7, 0.3]).log())
    options = DecodingOptions(eos_token_id=generator.eos_token_id, beams=1, max_new_tokens=1)
    (beam,) = BeamSearch(model(generator, read, [prior]), options).run()
    state = generator.start(read, torch.arange(2))
    p = generator.step(state, None)[:, ENDS[0]].exp()
    assert beam[0].tokens == (ENDS[0],)
    assert beam[0].log_prob == pytest.approx(float((0.7 * p[0] + 0.3 * p[1]).log()), abs=1e-5)


def test_one_end_token_changes_nothing() -> None:
    values = torch.randn(2, 5)
    assert EndTokens(3).merged(values) is values
    assert EndTokens.of(3, [3, 7, 1, -4], 5) == EndTokens(3, (1,))


@pytest.fixture(scope="module")
def several_ends(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with room for several passages in a prompt."""
    return save("llama", tmp_path_factory.mktemp("ends"), max_position_embeddings=512)


class TestLlamaWithSeveralEnds(GeneratorSuite):
    # One folder for all laws: an equal spec is built once.
    @pytest.fixture
    def component(self, several_ends: Path) -> ComponentSpec:
        config = Causal.Config(
            model=str(several_ends),
            template="{title} {text} {question}\n",
            template_without_passage="{question}\n",
        )
        return ComponentSpec("generator", "causal", Causal, config)
