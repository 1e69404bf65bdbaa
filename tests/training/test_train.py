"""`train` and `ragcore train` on a made corpus: what is learnt, what stays, what comes out."""

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
from tests.training.made import write_pipeline

SHORT = "batch_size: 8, learning_rate: 0.001, encoder_learning_rate: 0.05, dropout: 0.1"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with corpus, models and a memory; `train.yaml` has a few steps."""
    folder = tmp_path_factory.mktemp("made")
    ragcore.build_memory(write_pipeline(folder, f"steps: 6, save_every: 4, {SHORT}", k=4))
    return folder


@pytest.fixture
def pipeline(made: Path, tmp_path: Path) -> Path:
    """A copy to train in."""
    folder = tmp_path / "work"
    shutil.copytree(made, folder)
    return folder / "train.yaml"


def run(pipeline: Path, *overrides: str, **how: Any) -> list[TrainingStep | DevScores]:
    events: list[TrainingStep | DevScores] = []
    train(load_config(pipeline, overrides), report=events.append, **how)
    return events


def losses(events: list[TrainingStep | DevScores]) -> list[float]:
    return [one.loss for one in events if isinstance(one, TrainingStep)]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {
        f"{path.parent.name}/{path.name}:{name}": value
        for path in sorted(folder.rglob("*.safetensors"))
        for name, value in load_file(path).items()
    }


def test_it_finds_the_right_passage_without_being_told_which(tmp_path):
    """The paper's central claim: recall@1 rises from chance, by questions and answers alone."""
    said = "steps: 300, batch_size: 32, learning_rate: 0.00001, encoder_learning_rate: 0.05"
    pipeline = write_pipeline(tmp_path, f"{said}, decay: none, seed: 1", k=16, read=500)
    ragcore.build_memory(pipeline)
    questions = [f"rue{street} numero{number}" for street in range(8) for number in range(8)]

    def recall(place: Path) -> float:
        with ragcore.load(place) as rag, rag.memory.reading() as memory:
            best = memory.search(questions, 1).rows[:, 0]
        return float(np.mean(best == np.arange(64)))

    assert recall(pipeline) <= 4 / 64
    train(load_config(pipeline))
    assert recall(tmp_path / "run") > 0.95


def test_what_comes_out_can_be_asked_as_it_is(pipeline, capsys, monkeypatch):
    assert main(["train", str(pipeline)]) == 0
    said = capsys.readouterr().err
    assert "6 steps" in said
    folder = pipeline.parent / "run"
    moved = pipeline.parent.parent / "elsewhere"
    pipeline.parent.rename(moved)
    folder = moved / "run"
    monkeypatch.chdir(moved.parent)
    assert main(["ask", str(folder), "rue1 numero2", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["question"] == "rue1 numero2"
    assert len(row["evidence"]) == 4


def test_its_answers_to_dev_are_replayed(pipeline, capsys):
    said = ["train.dev={path: questions.jsonl, limit: 8}", "train.precision=bfloat16"]
    assert main(["train", str(pipeline), *said]) == 0
    folder = pipeline.parent / "run"
    assert main(["replay", str(folder)]) == 0
    assert "8 of 8 answers are the same" in capsys.readouterr().out
    other = load_file(folder / "generator" / "model.safetensors")
    other["final_logits_bias"] = torch.randn(other["final_logits_bias"].shape) * 50
    save_file(other, folder / "generator" / "model.safetensors", metadata={"format": "pt"})
    assert main(["replay", str(folder)]) == 1


def test_each_step_is_logged_for_tensorboard(pipeline):
    events = run(pipeline, "train.dev={path: questions.jsonl, limit: 4}", "train.evaluate_every=3")
    reader = EventAccumulator(str(pipeline.parent / "run" / "logs"))
    reader.Reload()
    logged = [one.value for one in reader.Scalars("train/loss")]
    assert logged == pytest.approx(losses(events), abs=1e-5)
    assert [one.step for one in reader.Scalars("dev/exact_match")] == [3, 6]


def test_numbers_next_to_zero_are_not_zero_after_training(pipeline):
    run(pipeline, "train.steps=1")
    least = torch.tensor(1e-310, dtype=torch.float64)
    assert float(least + least) > 0


def test_the_passages_side_stays_as_it_was(pipeline):
    run(pipeline)
    folder = pipeline.parent
    old, new = (
        load_config(place).memory.retriever.config.encoder.build()
        for place in (pipeline, folder / "run")
    )
    assert old.fingerprint == new.fingerprint
    passages = [Passage("1", "", "street1 number2 name10")]
    assert np.array_equal(old.encode_passages(passages), new.encode_passages(passages))
    asked = ["rue1 numero2"]
    assert not torch.allclose(old.encode_questions(asked), new.encode_questions(asked))


def test_training_goes_on_as_if_it_had_not_stopped(pipeline):
    whole = run(pipeline, "train.output=whole")
    run(pipeline, "train.output=halves", "train.steps=4", "train.decay=none")
    with pytest.raises(TrainingError, match="with --resume"):
        run(pipeline, "train.output=halves")
    begun = run(pipeline, "train.output=begun", "train.decay=none")
    rest = run(pipeline, "train.output=halves", "train.decay=none", resume=True)
    assert losses(rest) == losses(begun)[4:]
    assert losses(whole) != losses(begun)
    folder = pipeline.parent
    one, other = weights(folder / "begun" / "generator"), weights(folder / "halves" / "generator")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    log = (folder / "halves" / "log.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["step"] for line in log] == [1, 2, 3, 4, 5, 6]


def test_going_on_with_other_settings_is_refused(pipeline):
    run(pipeline)
    with pytest.raises(TrainingError, match="other settings"):
        run(pipeline, "train.batch_size=4", "train.steps=8", resume=True)
    with pytest.raises(TrainingError, match="no checkpoint"):
        run(pipeline, "train.output=none", resume=True)
    assert len(losses(run(pipeline, "train.batch_size=4", fresh=True))) == 6


@pytest.mark.parametrize("loss", ["token", "sequence"])
def test_parts_of_a_batch_sum_to_the_batch(pipeline, loss):
    said = ("train.dropout=0", f"train.marginalize={loss}", "train.label_smoothing=0.1")
    whole = losses(run(pipeline, *said, "train.output=whole"))
    parts = losses(run(pipeline, *said, "train.output=parts", "train.micro_batch=3"))
    assert parts == pytest.approx(whole, abs=1e-4)


def test_two_processes_lose_and_learn_what_one_does(pipeline):
    """Over gloo; each has half of every batch."""
    settings = ["train.dropout=0", "train.passage_dropout=0.3", "train.max_grad_norm=1000"]
    with gradient_norms() as norms:
        one = losses(run(pipeline, *settings))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    recorded = pipeline.parent / "norms.json"
    script = [gradient_norms_script, str(recorded)]
    said = [*settings, "train.output=two"]
    command = [sys.executable, *launch, *script, "train", str(pipeline), *said]
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
    assert [row["loss"] for row in log] == pytest.approx(one, abs=1e-4)
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


def test_a_frozen_part_keeps_its_weights(pipeline):
    run(pipeline, "train.generator=frozen", "train.output=asks")
    run(pipeline, "train.question_encoder=frozen", "train.output=reads")
    folder = pipeline.parent
    said = {name: load_config(folder / name) for name in ("asks", "reads")}
    assert not (folder / "asks" / "generator").exists()
    kept = Path(said["asks"].generator.config.model)
    assert kept.resolve() == (folder / "bart").resolve()
    assert not (folder / "reads" / "question_encoder").exists()
    encoder = said["reads"].memory.retriever.config.encoder
    assert Path(encoder.config.question_model).resolve() == (folder / "question_model").resolve()


def test_closed_book_trains_the_generator_alone(pipeline):
    events = run(pipeline, "rag.k=0")
    assert all(one.recall == 0 for one in events if isinstance(one, TrainingStep))
    with ragcore.load(pipeline.parent / "run") as rag:
        (answer,) = rag.answer("rue1 numero2")
    assert answer.closed_book


def test_the_best_weights_are_kept_and_training_stops(pipeline):
    said = ("train.dev.path=questions.jsonl", "train.dev.limit=16", "train.evaluate_every=1")
    events = run(pipeline, *said, "train.patience=2", "train.steps=40", "train.learning_rate=1e-9")
    looks = [one for one in events if isinstance(one, DevScores)]
    assert len(looks) == 3
    assert [one.best for one in looks] == [True, False, False]
    folder = pipeline.parent / "run"
    record = json.loads((folder / "training.json").read_text("utf-8"))
    assert record["best"]["step"] == 1
    assert record["stopped_early"]
    kept = load_file(folder / "checkpoints" / "best-000001" / "weights.safetensors")
    held = load_file(folder / "generator" / "model.safetensors")
    name = "model.encoder.layers.0.fc1.weight"
    assert torch.equal(kept[f"generator.{name}"], held[name])


def test_adapters_are_trained_and_merged(pipeline):
    pytest.importorskip("peft")
    said = ("train.lora.rank=2", "train.learning_rate=0.01")
    run(pipeline, *said, "train.save_every=6")
    folder = pipeline.parent
    held = load_file(next((folder / "run" / "checkpoints").glob("step-*/weights.safetensors")))
    ours = [name for name in held if name.startswith("generator.")]
    assert ours
    assert all("lora_" in name for name in ours)
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
    assert [one.name for one in Store(folder / "store").versions()] == [
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
        hits = memory.search(asked, 64)
        place = hits.rows[0].tolist().index(3)
        with torch.no_grad():
            expected = float((encoder.encode_questions(asked)[0] * vector).sum())
        assert hits.scores[0, place] == pytest.approx(expected, abs=1e-4)


def test_distilling_pulls_the_prior_alone(pipeline):
    said = ("train.generator=frozen", "train.distill.weight=1")
    plain = run(pipeline, "train.generator=frozen", "train.output=plain", "train.dropout=0")
    found = run(pipeline, *said, "train.dropout=0")
    assert found[0].nll == pytest.approx(plain[0].nll, abs=1e-5)
    assert found[0].loss > plain[0].loss


def test_activations_computed_twice_change_nothing(pipeline):
    plain = losses(run(pipeline, "train.dropout=0", "train.output=plain"))
    twice = losses(run(pipeline, "train.dropout=0", "train.gradient_checkpointing=true"))
    assert twice == pytest.approx(plain, abs=1e-5)


def test_bfloat16_loses_about_the_same(pipeline):
    plain = losses(run(pipeline, "train.dropout=0", "train.output=plain"))
    half = losses(run(pipeline, "train.dropout=0", "train.precision=bfloat16"))
    assert half != plain
    assert half == pytest.approx(plain, rel=0.05)


def test_what_cannot_be_trained_is_told_before_anything_is_written(pipeline):
    with pytest.raises(ConfigError, match="nothing would be trained"):
        run(pipeline, "train.question_encoder=frozen", "train.generator=frozen")
    with pytest.raises(UnsupportedOperation, match="trainable"):
        run(pipeline, "generator.dtype=int8")
    bare = load_config(pipeline).model_copy(update={"train": None})
    with pytest.raises(ConfigError, match="no section 'train'"):
        train(bare)
    assert not (pipeline.parent / "run").exists()
