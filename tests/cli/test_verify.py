"""`ragcore verify`: it agrees with the definition, and detects a generator that does not."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from ragcore.build import build_memory
from ragcore.cli import main
from ragcore.config import RagConfig
from ragcore.evaluation.verification import verify_answer
from ragcore.rag import Rag, load
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.conftest import Installed
from tests.helpers.table_generator import TableGenerator, by_definition
from tests.helpers.word_encoder import dense_part

QUESTION = "who rules chad"
PLUGIN = """
from ragcore import hookimpl
from tests.helpers.table_generator import TableGenerator
from tests.helpers.word_encoder import ragcore_encoders


class Lying(TableGenerator):
    # Normalised, but different from `score`, as after a wrong reordering of a cache.
    def step(self, state, tokens):
        return (0.8 * super().step(state, tokens)).log_softmax(-1)


@hookimpl
def ragcore_generators():
    return {"table": "tests.helpers.table_generator:TableGenerator", "lying": "table_plugin:Lying"}
"""
PIPELINE = """\
ragcore: 1
memory:
  store: store
  corpus: {use: jsonl, path: passages.jsonl}
  retriever: {use: dense, encoder: {use: words}, index: {use: exact}}
  temperature: 7
generator: {use: table, sharpness: 1.5}
rag: {k: 3, max_new_tokens: 4}
"""
MODES = {
    "token": ["rag.marginalize=token"],
    "thorough": ["rag.marginalize=sequence"],
    "fast": ["rag.marginalize=sequence", "rag.decode=fast"],
    "joint": ["rag.marginalize=sequence", "rag.decode=joint"],
}
each_mode = pytest.mark.parametrize("overrides", MODES.values(), ids=MODES)


@pytest.fixture
def pipeline(installed: Installed, tmp_path: Path) -> Path:
    installed.add("table", PLUGIN)
    texts = ["chad is ruled", "mali is ruled", "the river is [b]long", "who knows", "where it is"]
    rows = [{"id": f"p{z}", "title": f"[t{z}]", "text": text} for z, text in enumerate(texts)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "passages.jsonl").write_text(lines, encoding="utf-8")
    path = tmp_path / "pipeline.yaml"
    path.write_text(PIPELINE, encoding="utf-8")
    build_memory(path, version="one")
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    code = main(["verify", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert not err
    return code, out


@each_mode
def test_the_served_log_p_is_that_of_the_definition(pipeline, overrides, capsys):
    code, out = run(capsys, pipeline, QUESTION, *overrides, "--json")
    row = json.loads(out)
    assert code == 0
    assert row["holds"]
    assert row["gap"] == pytest.approx(abs(row["served"] - row["recomputed"]))
    with load(pipeline, *overrides) as rag:
        (answer,) = rag.answer(QUESTION)
        keys = [f"{QUESTION}|{e.passage.text}" for e in answer.evidence]
        prior = [e.prior for e in answer.evidence]
        truth = by_definition(rag.generator, keys, prior, answer.token_ids)
    which = 0 if rag.config.marginalize == "token" else 1
    assert row["recomputed"] == pytest.approx(math.log(truth[which]), abs=1e-6)
    assert row["token_ids"] == list(answer.token_ids)
    for reading, evidence in zip(row["readings"], answer.evidence, strict=True):
        assert reading["passage"] == evidence.passage.id
        assert reading["prior"] == pytest.approx(evidence.prior, abs=1e-6)
        assert reading["posterior"] == pytest.approx(evidence.posterior, abs=1e-5)


@each_mode
def test_a_generator_whose_steps_differ_from_its_scores_is_detected(pipeline, overrides, capsys):
    code, out = run(capsys, pipeline, QUESTION, "generator.use=lying", "--json", *overrides)
    row = json.loads(out)
    assert code == 1
    assert not row["holds"]
    assert row["gap"] > 1e-3


def test_both_log_probabilities_are_printed(pipeline, capsys):
    code, out = run(capsys, pipeline, QUESTION)
    assert code == 0
    assert "log p served" in out
    assert "log p recomputed" in out
    assert "posterior" in out
    assert "[t0]" in out
    assert ", within 0.001" in out
    code, out = run(capsys, pipeline, QUESTION, "generator.use=lying")
    assert code == 1
    assert "NOT within 0.001" in out


def test_the_tolerance_decides(pipeline, capsys):
    arguments = (pipeline, QUESTION, "generator.use=lying", "--tolerance")
    assert run(capsys, *arguments, "50")[0] == 0
    assert run(capsys, *arguments, "0")[0] == 1


def test_a_prior_conditioned_on_answering_is_recomputed_too(pipeline, capsys):
    """The abstaining answer is one token; the passages differ in how likely they say it."""
    overrides = ["rag.abstain.answer=a", "rag.abstain.above=1"]
    code, out = run(capsys, pipeline, QUESTION, *overrides, "--json")
    conditioned = json.loads(out)
    assert code == 0
    _, out = run(capsys, pipeline, QUESTION, "--json")
    priors = [[r["prior"] for r in row["readings"]] for row in (conditioned, json.loads(out))]
    assert priors[0] != pytest.approx(priors[1], abs=1e-3)
    assert sum(priors[0]) == pytest.approx(1)


def test_an_abstention_is_recomputed_under_the_first_prior(pipeline, capsys):
    overrides = ["rag.abstain.answer=a", "rag.abstain.above=0"]
    code, out = run(capsys, pipeline, QUESTION, *overrides, "--json")
    row = json.loads(out)
    assert code == 0
    assert row["text"] == "a"


class Nothing:
    """Wrap a retriever so that every hit is missing."""

    def __init__(self, retriever) -> None:
        self._retriever = retriever
        self.capabilities = retriever.capabilities

    def search(self, questions, k, **options):
        hits = self._retriever.search(questions, k, **options)
        return type(hits)(hits.rows * 0 - 1, hits.scores * 0 - math.inf)


@pytest.mark.parametrize("marginalize", ["token", "sequence"])
def test_without_passages_the_generator_answers_alone(tmp_path, marginalize):
    store = Store(tmp_path / "store")
    store.build("one", [Passage("0", "t", "chad")], dense_part(), corpus_config=None)
    memory = store.open("one", retriever=dense_part())
    memory.retriever = Nothing(memory.retriever)
    generator = TableGenerator(TableGenerator.Config(sharpness=1.5))
    config = RagConfig(marginalize=marginalize, max_new_tokens=4)
    verification = verify_answer(Rag(memory, generator, config), QUESTION)
    assert verification.holds(1e-6)
    (reading,) = verification.readings
    assert (reading.passage, reading.prior, reading.posterior) == (None, 1, 1)
    assert reading.log_prob == pytest.approx(verification.answer.log_prob, abs=1e-5)
    assert verification.to_dict()["readings"][0]["title"] is None


class Recording(TableGenerator):
    """Record for each call of `score` whether gradients are on, and the number of pairs."""

    def __init__(self, config) -> None:
        super().__init__(config)
        self.calls: list[tuple[bool, int]] = []

    def score(self, read, pairs, targets):
        self.calls.append(
            (torch.is_grad_enabled() and not torch.is_inference_mode_enabled(), len(read))
        )
        return super().score(read, pairs, targets)


def test_each_passage_is_read_alone_with_gradients_where_there_are_any(tmp_path):
    store = Store(tmp_path / "store")
    texts = ["chad is ruled", "mali is ruled", "the river"]
    passages = [Passage(str(z), "t", text) for z, text in enumerate(texts)]
    store.build("one", passages, dense_part(), corpus_config=None)
    for capabilities in (frozenset({"trainable"}), frozenset()):
        generator = Recording(Recording.Config(sharpness=1.5))
        generator.capabilities = capabilities
        memory = store.open("one", retriever=dense_part())
        verify_answer(Rag(memory, generator, RagConfig(max_new_tokens=4)), QUESTION)
        assert generator.calls == [("trainable" in capabilities, 1)] * 3


def test_a_gap_of_nan_never_passes(pipeline):
    with load(pipeline) as rag:
        verification = verify_answer(rag, QUESTION)
    broken = type(verification)(verification.answer, math.nan, verification.readings)
    assert not broken.holds(math.inf)
