"""Test `train` and `ragcore train` on a synthetic corpus: what is learnt, unchanged, written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import ragcore
from ragcore.cli import main
from ragcore.config import load_config
from ragcore.errors import ConfigError, TrainingError, UnsupportedOperation
from ragcore.store.store import Store
from ragcore.training import DevScores, TrainingStep, train
from ragcore.types import Passage
from tests.training.gradient_norms import __file__ as gradient_norms_script
from tests.training.gradient_norms import gradient_norms
from tests.training.street_corpus import write_pipeline

SHORT = "batch_size: 8, learning_rate: 0.001, encoder_learning_rate: 0.05, dropout: 0.1"


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """Make a folder with corpus, models and a memory; `train.yaml` has a few steps."""
    folder = tmp_path_factory.mktemp("built")
    ragcore.build_memory(write_pipeline(folder, f"steps: 6, save_every: 4, {SHORT}", k=4))
    return folder


@pytest.fixture
def pipeline(built: Path, tmp_path: Path) -> Path:
    """Copy the folder to train in."""
    folder = tmp_path / "work"
    shutil.copytree(built, folder)
    return folder / "train.yaml"


def run(pipeline: Path, *overrides: str, **options: Any) -> list[TrainingStep | DevScores]:
    events: list[TrainingStep | DevScores] = []
    train(load_config(pipeline, overrides), report=events.append, **options)
    return events


def losses(events: list[TrainingStep | DevScores]) -> list[float]:
    return [event.loss for event in events if isinstance(event, TrainingStep)]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {
        f"{path.parent.name}/{path.name}:{name}": value
        for path in sorted(folder.rglob("*.safetensors"))
        for name, value in load_file(path).items()
    }


def test_what_measuring_dev_needs_is_missed_before_training(pipeline, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    settings = ["train.dev.path=questions.jsonl", "train.output=trained"]
    assert main(["train", str(pipeline), *settings]) == 2
    assert "ir_measures is not installed: pip install '.[eval]'" in capsys.readouterr().err
    assert not (pipeline.parent / "trained").exists()


def test_retrieval_is_learnt_without_labels_of_passages(tmp_path):
    """The paper's central claim: recall@1 rises from chance, by questions and answers alone."""
    settings = "steps: 150, batch_size: 16, learning_rate: 0.00001, encoder_learning_rate: 0.2"
    pipeline = write_pipeline(tmp_path, f"{settings}, decay: linear, seed: 1", k=16, read=800)
    ragcore.build_memory(pipeline)
    questions = [f"rue{street} numero{number}" for street in range(8) for number in range(8)]

    def recall(path: Path) -> float:
        with ragcore.load(path) as rag, rag.memory.reading() as memory:
            best = memory.hits(questions, 1).rows[:, 0]
        return float(np.mean(best == np.arange(64)))

    assert recall(pipeline) <= 4 / 64
    train(load_config(pipeline))
    assert recall(tmp_path / "run") > 0.95


def test_the_output_is_a_pipeline_ready_to_ask(pipeline, capsys, monkeypatch):
    assert main(["train", str(pipeline)]) == 0
    assert "6 steps" in capsys.readouterr().err
    folder = pipeline.parent / "run"
    moved = pipeline.parent.parent / "elsewhere"
    pipeline.parent.rename(moved)
    folder = moved / "run"
    monkeypatch.chdir(moved.parent)
    assert main(["ask", str(folder), "rue1 numero2", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["question"] == "rue1 numero2"
    assert len(row["evidence"]) == 4


def test_the_answers_to_dev_can_be_replayed(pipeline, capsys):
    settings = ["train.dev={path: questions.jsonl, limit: 8}", "train.precision=bfloat16"]
    assert main(["train", str(pipeline), *settings]) == 0
    folder = pipeline.parent / "run"
    assert main(["replay", str(folder)]) == 0
    assert "8 of 8 answers are the same" in capsys.readouterr().out
    weights = load_file(folder / "generator" / "model.safetensors")
    weights["final_logits_bias"] = torch.randn(weights["final_logits_bias"].shape) * 50
    save_file(weights, folder / "generator" / "model.safetensors", metadata={"format": "pt"})
    assert main(["replay", str(folder)]) == 1


def test_each_step_is_logged_for_tensorboard(pipeline):
    events = run(pipeline, "train.dev={path: questions.jsonl, limit: 4}", "train.evaluate_every=3")
    reader = EventAccumulator(str(pipeline.parent / "run" / "logs"))
    reader.Reload()
    logged = [scalar.value for scalar in reader.Scalars("train/loss")]
    assert logged == pytest.approx(losses(events), abs=1e-5)
    assert [scalar.step for scalar in reader.Scalars("dev/exact_match")] == [3, 6]


def test_denormal_numbers_are_not_flushed_after_training(pipeline):
    run(pipeline, "train.steps=1")
    least = torch.tensor(1e-310, dtype=torch.float64)
    assert float(least + least) > 0


def test_the_passage_encoder_is_unchanged(pipeline):
    run(pipeline)
    folder = pipeline.parent
    old, new = (
        load_config(path).memory.retriever.config.encoder.build()
        for path in (pipeline, folder / "run")
    )
    assert old.fingerprint == new.fingerprint
    passages = [Passage("1", "", "street1 number2 name10")]
    assert np.array_equal(old.encode_passages(passages), new.encode_passages(passages))
    asked = ["rue1 numero2"]
    assert not torch.allclose(old.encode_questions(asked), new.encode_questions(asked))


def test_resumed_training_equals_uninterrupted_training(pipeline):
    whole = run(pipeline, "train.output=whole")
    run(pipeline, "train.output=halves", "train.steps=4", "train.decay=none")
    with pytest.raises(TrainingError, match="with --resume"):
        run(pipeline, "train.output=halves")
    unbroken = run(pipeline, "train.output=unbroken", "train.decay=none")
    rest = run(pipeline, "train.output=halves", "train.decay=none", resume=True)
    assert losses(rest) == losses(unbroken)[4:]
    assert losses(whole) != losses(unbroken)
    folder = pipeline.parent
    expected = weights(folder / "unbroken" / "generator")
    resumed = weights(folder / "halves" / "generator")
    assert expected.keys() == resumed.keys()
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)
    log = (folder / "halves" / "log.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["step"] for line in log] == [1, 2, 3, 4, 5, 6]


def test_resuming_with_other_settings_is_refused(pipeline):
    run(pipeline)
    with pytest.raises(TrainingError, match="other settings"):
        run(pipeline, "train.batch_size=4", "train.steps=8", resume=True)
    with pytest.raises(TrainingError, match="no checkpoint"):
        run(pipeline, "train.output=none", resume=True)
    assert len(losses(run(pipeline, "train.batch_size=4", fresh=True))) == 6


@pytest.mark.parametrize("loss", ["token", "sequence"])
def test_micro_batches_give_the_loss_of_the_batch(pipeline, loss):
    settings = ("train.dropout=0", f"train.marginalize={loss}", "train.label_smoothing=0.1")
    whole = losses(run(pipeline, *settings, "train.output=whole"))
    parts = losses(run(pipeline, *settings, "train.output=parts", "train.micro_batch=3"))
    assert parts == pytest.approx(whole, abs=1e-4)


@pytest.mark.engines
def test_two_processes_have_the_losses_and_gradients_of_one(pipeline):
    """Over gloo; each has half of every batch."""
    settings = ["train.dropout=0", "train.passage_dropout=0.3", "train.max_grad_norm=1000"]
    with gradient_norms() as norms:
        expected = losses(run(pipeline, *settings))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    recorded = pipeline.parent / "norms.json"
    script = [gradient_norms_script, str(recorded)]
    arguments = ["train", str(pipeline), *settings, "train.output=two"]
    command = [sys.executable, *launch, *script, *arguments]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    folder = pipeline.parent / "two"
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]
    assert [row["loss"] for row in log] == pytest.approx(expected, abs=1e-4)
    assert json.loads(recorded.read_text("utf-8")) == pytest.approx(norms, rel=1e-3)
    assert json.loads((folder / "training.json").read_text("utf-8"))["processes"] == 2
    with ragcore.load(folder) as rag:
        assert rag.answer("rue1 numero2")


def test_a_sparse_memory_trains_the_generator_alone(pipeline, tmp_path):
    sparse = pipeline.read_text("utf-8")
    begin, end = sparse.index("    use: dense"), sparse.index("generator:")
    pipeline.write_text(f"{sparse[:begin]}    use: bm25\n{sparse[end:]}", encoding="utf-8")
    ragcore.build_memory(pipeline, "memory.store=sparse")
    run(pipeline, "memory.store=sparse")
    record = json.loads((pipeline.parent / "run" / "training.json").read_text("utf-8"))
    assert record["trained"] == ["generator"]
    with pytest.raises(UnsupportedOperation, match="without a gradient"):
        run(pipeline, "memory.store=sparse", "train.question_encoder=trained", fresh=True)


def test_a_frozen_component_keeps_its_weights(pipeline):
    run(pipeline, "train.generator=frozen", "train.output=asks")
    run(pipeline, "train.question_encoder=frozen", "train.output=reads")
    folder = pipeline.parent
    configs = {name: load_config(folder / name) for name in ("asks", "reads")}
    assert not (folder / "asks" / "generator").exists()
    model = Path(configs["asks"].generator.config.model)
    assert model.resolve() == (folder / "bart").resolve()
    assert not (folder / "reads" / "question_encoder").exists()
    encoder = configs["reads"].memory.retriever.config.encoder
    assert Path(encoder.config.question_model).resolve() == (folder / "question_model").resolve()


def test_closed_book_trains_the_generator_alone(pipeline):
    events = run(pipeline, "rag.k=0")
    assert all(event.recall == 0 for event in events if isinstance(event, TrainingStep))
    with ragcore.load(pipeline.parent / "run") as rag:
        (answer,) = rag.answer("rue1 numero2")
    assert answer.closed_book


def test_training_stops_early_and_returns_the_best_weights(pipeline):
    settings = ("train.dev.path=questions.jsonl", "train.dev.limit=16", "train.evaluate_every=1")
    settings += ("train.patience=2", "train.steps=40", "train.learning_rate=1e-9")
    events = run(pipeline, *settings)
    scores = [event for event in events if isinstance(event, DevScores)]
    assert [event.best for event in scores] == [True, False, False]
    folder = pipeline.parent / "run"
    record = json.loads((folder / "training.json").read_text("utf-8"))
    assert record["best"]["step"] == 1
    assert record["stopped_early"]
    best = load_file(folder / "checkpoints" / "best-000001" / "weights.safetensors")
    written = load_file(folder / "generator" / "model.safetensors")
    name = "model.encoder.layers.0.fc1.weight"
    assert torch.equal(best[f"generator.{name}"], written[name])


def test_adapters_are_trained_and_merged(pipeline):
    pytest.importorskip("peft")
    run(pipeline, "train.lora.rank=2", "train.learning_rate=0.01", "train.save_every=6")
    folder = pipeline.parent
    saved = load_file(next((folder / "run" / "checkpoints").glob("step-*/weights.safetensors")))
    names = [name for name in saved if name.startswith("generator.")]
    assert names
    assert all("lora_" in name for name in names)
    before, after = weights(folder / "bart"), weights(folder / "run" / "generator")
    changed = {
        name
        for name, value in after.items()
        if not torch.equal(before[name.replace("generator/", "bart/")], value)
    }
    assert any("q_proj" in name for name in changed)
    assert not any("embed" in name or "layer_norm" in name for name in changed)
    with ragcore.load(folder / "run") as rag:
        assert rag.answer("rue1 numero2")


def test_a_refreshed_memory_is_swapped_in(pipeline):
    run(pipeline, "train.refresh.every=4", "train.refresh.wait=true")
    folder = pipeline.parent
    last = folder / "run" / "checkpoints" / "step-000006" / "state.json"
    assert json.loads(last.read_text("utf-8"))["memory"] == "step-000004"
    assert [info.name for info in Store(folder / "store").versions()] == [
        Store(folder / "store").current()
    ]
    store = Store(folder / "run" / "memories")
    assert store.current() == "trained"
    before = load_config(pipeline).memory.retriever.config.encoder.build()
    asked = ["rue1 numero2"]
    with ragcore.load(folder / "run") as after, after.memory.reading() as memory:
        assert memory.version == "trained"
        assert len(memory) == 64
        encoder = memory.retriever.trained_encoder()
        assert encoder.fingerprint != before.fingerprint
        vector = torch.from_numpy(encoder.encode_passages(memory.passages.take([3]))[0])
        hits = memory.hits(asked, 64)
        column = hits.rows[0].tolist().index(3)
        with torch.no_grad():
            expected = float((encoder.encode_questions(asked)[0] * vector).sum())
        assert hits.scores[0, column] == pytest.approx(expected, abs=1e-4)


def test_distillation_changes_the_loss_but_not_the_likelihood(pipeline):
    settings = ("train.generator=frozen", "train.distill.weight=1")
    plain = run(pipeline, "train.generator=frozen", "train.output=plain", "train.dropout=0")
    distilled = run(pipeline, *settings, "train.dropout=0")
    assert distilled[0].nll == pytest.approx(plain[0].nll, abs=1e-5)
    assert distilled[0].loss > plain[0].loss


def test_gradient_checkpointing_changes_no_loss(pipeline):
    plain = losses(run(pipeline, "train.dropout=0", "train.output=plain"))
    twice = losses(run(pipeline, "train.dropout=0", "train.gradient_checkpointing=true"))
    assert twice == pytest.approx(plain, abs=1e-5)


def test_bfloat16_has_about_the_same_losses(pipeline):
    plain = losses(run(pipeline, "train.dropout=0", "train.output=plain"))
    half = losses(run(pipeline, "train.dropout=0", "train.precision=bfloat16"))
    assert half != plain
    assert half == pytest.approx(plain, rel=0.05)


def test_a_config_that_trains_nothing_is_refused_before_anything_is_written(pipeline):
    with pytest.raises(ConfigError, match="nothing would be trained"):
        run(pipeline, "train.question_encoder=frozen", "train.generator=frozen")
    with pytest.raises(UnsupportedOperation, match="trainable"):
        run(pipeline, "generator.dtype=int8")
    bare = load_config(pipeline).model_copy(update={"train": None})
    with pytest.raises(ConfigError, match="no section 'train'"):
        train(bare)
    assert not (pipeline.parent / "run").exists()


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> int:
    """Count the generator's weights that changed."""
    return sum(int((after[name] != value).sum()) for name, value in before.items())


def test_bfloat16_weights_learn_as_float32_ones(pipeline):
    """At this rate a step is less than what bfloat16 can add to most weights."""
    folder, settings = pipeline.parent, ["train.steps=30", "train.dropout=0", "train.decay=none"]
    settings += ["train.learning_rate=0.00003", "train.question_encoder=frozen"]
    before = load_file(folder / "bart" / "model.safetensors")
    rounded = {name: value.bfloat16().float() for name, value in before.items()}
    run(pipeline, *settings, "train.output=whole")
    run(pipeline, *settings, "train.output=half", "generator.dtype=bfloat16")
    whole, half = (
        load_file(folder / name / "generator" / "model.safetensors") for name in ("whole", "half")
    )
    assert all(value.dtype == torch.bfloat16 for value in half.values())
    shift = torch.cat([(whole[name] - before[name]).flatten() for name in half])
    half_shift = torch.cat([(half[name].float() - rounded[name]).flatten() for name in half])
    # As far as float32 ones: what is rounded away in a step is added up in the copies.
    assert float(half_shift.norm()) == pytest.approx(float(shift.norm()), rel=0.2)
    assert float(torch.cosine_similarity(half_shift, shift, dim=0)) > 0.8


def test_resumed_bfloat16_training_equals_uninterrupted_training(pipeline):
    """The copies are saved: the rounded weights alone would not continue as they did."""
    settings = ["generator.dtype=bfloat16", "train.learning_rate=0.00003", "train.decay=none"]
    whole = run(pipeline, *settings, "train.output=whole")
    run(pipeline, *settings, "train.steps=4")
    resumed = run(pipeline, *settings, resume=True)
    assert losses(resumed) == losses(whole)[4:]
    generators = [weights(pipeline.parent / name / "generator") for name in ("whole", "run")]
    assert moved(*generators) == 0


def write_questions(pipeline: Path, rows: list[tuple[str, str]]) -> None:
    lines = [json.dumps({"question": question, "answer": answer}) for question, answer in rows]
    (pipeline.parent / "questions.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


LONG = " ".join(["name1"] * 40)


def test_what_is_too_long_for_the_generator_is_named_before_the_first_step(pipeline):
    rows = [("rue1 numero1", "name1"), ("rue1 numero2", LONG), (LONG, "name2")]
    write_questions(pipeline, rows)
    with pytest.raises(TrainingError) as error:
        run(pipeline)
    message = str(error.value)
    assert "questions.jsonl:2: the answer is 4" in message
    assert "questions.jsonl:3: the question is 4" in message
    assert "questions.jsonl:1" not in message
    assert "train.max_answer_tokens" in message
    assert not (pipeline.parent / "run").exists()


def test_one_prompt_has_no_marginal_to_train_through(pipeline):
    with pytest.raises(TrainingError, match=r"set train\.marginalize to token or sequence"):
        run(pipeline, "rag.marginalize=none")
    run(pipeline, "rag.marginalize=none", "train.marginalize=sequence", "train.steps=1")
    trained = (pipeline.parent / "run" / "pipeline.yaml").read_text(encoding="utf-8")
    assert "marginalize: sequence" in trained


def test_longer_answers_are_left_out_where_the_config_says_so(pipeline, caplog):
    rows = [("rue1 numero1", "name1"), ("rue1 numero2", LONG), ("rue1 numero3", "name1 name2")]
    write_questions(pipeline, rows)
    run(pipeline, "train.max_answer_tokens=3")
    assert "1 of 3 answers have more than 3 tokens" in caplog.text
    record = json.loads((pipeline.parent / "run" / "training.json").read_text(encoding="utf-8"))
    assert record["examples"] == 2
    write_questions(pipeline, rows[2:])
    with pytest.raises(TrainingError, match="each of its 1 answers has more than 1 tokens"):
        run(pipeline, "train.max_answer_tokens=1", fresh=True)


def test_a_question_of_dev_that_is_too_long_is_named_before_the_first_step(pipeline):
    dev = pipeline.parent / "dev.jsonl"
    dev.write_text(json.dumps({"question": LONG, "answer": "name1"}) + "\n", encoding="utf-8")
    with pytest.raises(TrainingError, match=r"dev\.jsonl:1: the question is 4"):
        run(pipeline, "train.dev={path: dev.jsonl}")
    assert not (pipeline.parent / "run").exists()
