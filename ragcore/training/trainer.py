"""Training: steps of the marginal's loss, looks at held-out questions, checkpoints, the best kept.

Built on accelerate: one process, or several that share each batch. Each step is a function of the
seed, its number, the weights and the memory, so that training goes on after an interruption as if
there had been none.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, cast

import torch

from ragcore.answering import Answering
from ragcore.config import PipelineConfig, RagConfig
from ragcore.config.training import QuestionsConfig, TrainConfig
from ragcore.contracts import TrainableEncoder, TrainableGenerator, TrainableRetriever
from ragcore.errors import ConfigError, TrainingError, UnsupportedOperation
from ragcore.memory.store import Store
from ragcore.memory.version import Memory
from ragcore.provenance import environment
from ragcore.questions import Asked, read_asked, spread_over
from ragcore.questions.matching import holds_right, is_right
from ragcore.retrieval import retrieve
from ragcore.training import checkpoints, output, tuning
from ragcore.training.examples import Example, make_examples
from ragcore.training.model import Losses, RagModel, Settings
from ragcore.training.refresh import Builder
from ragcore.training.schedule import Batches, learning_rate_factor, seed_of

__all__ = ["Look", "Step", "Trained", "train"]

_GOES_ON: Final = ("output", "steps", "dev", "evaluate_every", "patience", "save_every")
"""Settings that may be others when training goes on; the losses so far do not depend on them."""

_LOOKED_AT: Final = 32
"""Questions that are answered at once when `dev` is looked at, by each process."""


@dataclass(frozen=True, slots=True)
class Step:
    """One update of the weights.

    Attributes:
        step: counted from 1.
        steps: how many there will be.
        loss: what was minimised, the mean over the batch's questions.
        nll: -log p(y|x), the same mean, without smoothing and distillation.
        recall: share of the questions of whose passages one holds a right answer.
        seconds: how long it took.
    """

    step: int
    steps: int
    loss: float
    nll: float
    recall: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Look:
    """How the weights do on `dev`, as the pipeline would answer.

    Attributes:
        step: after how many steps.
        exact_match: share of right answers.
        recall: share of questions of whose passages one holds a right answer.
        best: whether no look before was as good.
    """

    step: int
    exact_match: float
    recall: float
    best: bool


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of it.

    Attributes:
        folder: where the pipeline is.
        steps: how many were made.
        best: the look whose weights were kept; None without `dev`, where the last were.
        stopped_early: whether `patience` ended it.
    """

    folder: Path
    steps: int
    best: Look | None
    stopped_early: bool


Report = Callable[[Step | Look], object]


def train(
    config: PipelineConfig,
    *,
    resume: bool = False,
    fresh: bool = False,
    report: Report | None = None,
) -> Trained:
    """Fine-tune a pipeline's question encoder and generator, as its section `train` says.

    Run by several processes (`accelerate launch`), they share each batch; the first writes.

    Args:
        config: with a section `train`, and a memory that is built.
        resume: go on from the last checkpoint in the output folder.
        fresh: begin anew, and remove what is there.
        report: called, in the first process, with each step and each look at `dev`.

    Raises:
        ConfigError: there is no section `train`, or no generator.
        TrainingError: the folder holds a training already, or another; a loss is not finite.
        StoreError: the memory cannot be opened.
        QuestionError: a file of questions is faulty, or gives nothing to train on.
        UnsupportedOperation: a component cannot be trained.
    """
    trainer = _Trainer(config, report or _silent)
    try:
        return trainer.run(resume=resume, fresh=fresh)
    finally:
        trainer.close()


class _Trainer:
    """The parts of one training, in every process."""

    def __init__(self, config: PipelineConfig, report: Report) -> None:
        if config.train is None:
            raise ConfigError(
                "no section 'train': training needs one, such as train: {questions: {path: "
                "questions.jsonl}, output: runs/first}"
            )
        if config.generator is None:
            raise ConfigError("no section 'generator': there is nothing that learns to answer")
        self._config = config
        self._said: TrainConfig = config.train
        self._report = report
        self._folder = self._said.output
        self._section = config.memory
        self._store = Store(self._section.store)
        self._retriever = self._section.retriever
        self._builder: Builder | None = None
        generator = config.generator.build()
        self._accelerator = _accelerator(generator, self._folder)
        self._first = self._accelerator.is_main_process
        self._world: int = self._accelerator.num_processes
        if self._said.batch_size < self._world:
            raise ConfigError(
                f"train.batch_size is {self._said.batch_size} for {self._world} processes: each "
                "needs a question at least"
            )
        self._memory = self._open(self._section.version)
        # Whose passages a refreshed memory has.
        self._source = self._memory.version
        self._generator = _trainable_generator(generator, config.generator.use)
        self._encoder = self._trained_encoder()
        self._adapted: Any = None
        self._module = self._assembled()
        self._optimizer = self._made_optimizer()
        self._examples, self._dev = self._questions()
        self._answering = Answering(self._generator, self._looks_with())
        self._lines: list[str] = []

    def close(self) -> None:
        """Let go of the memory, and of a build that is under way."""
        if self._builder is not None:
            self._builder.stop()
        self._memory.close()
        self._accelerator.end_training()

    def run(self, *, resume: bool, fresh: bool) -> Trained:
        """All steps that are left, and the folder at the end."""
        said = self._said
        place = self._begin(resume=resume, fresh=fresh)
        prepared = self._accelerator.prepare(self._module)
        state: dict[str, Any] = {"best": None, "worse": 0, "memory": None}
        done = 0
        if place is not None:
            state = checkpoints.load_checkpoint(place, self._module, self._optimizer)
            self._refuse_other(state, place)
            done = state["step"]
            if state["memory"] is not None:
                self._swap(state["memory"])
        batches = Batches(len(self._examples), said.batch_size, said.seed)
        stopped = False
        while done < said.steps and not stopped:
            self._learn(prepared, batches.at(done), done)
            done += 1
            self._refresh(done, state)
            looked = self._dev is not None and (
                done % said.evaluate_every == 0 or done == said.steps
            )
            better = self._look(done, state) if looked else False
            stopped = said.patience is not None and state["worse"] >= said.patience
            if better or done % said.save_every == 0 or done == said.steps or stopped:
                self._save(done, state, better)
        return self._finish(done, state, stopped)

    def _begin(self, *, resume: bool, fresh: bool) -> Path | None:
        """The checkpoint to go on from, if any; the folder is then ready for this training."""
        held = self._folder / "checkpoints"
        found = checkpoints.latest(held)
        if fresh and self._first:
            for name in ("checkpoints", "logs", output.ENCODER, output.GENERATOR, "memories"):
                shutil.rmtree(self._folder / name, ignore_errors=True)
            for name in (output.PIPELINE, output.RECORD, "log.jsonl"):
                (self._folder / name).unlink(missing_ok=True)
        self._accelerator.wait_for_everyone()
        if fresh:
            found = None
        elif found is not None and not resume:
            raise TrainingError(
                f"{self._folder} holds a training of {found.name.removeprefix('step-')} steps: go "
                "on from there with --resume, begin anew with --fresh, or name another "
                "train.output"
            )
        elif found is None and resume:
            raise TrainingError(f"{held} holds no checkpoint to go on from: leave out --resume")
        if self._first:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._cut_log(0 if found is None else int(found.name.removeprefix("step-")))
        if self._tracked():
            self._accelerator.init_trackers("")
        return found

    def _learn(self, prepared: torch.nn.Module, batch: list[int], step: int) -> None:
        """One update of the weights, out of this process's part of the batch."""
        said, began = self._said, time.perf_counter()
        own = batch[self._accelerator.process_index :: self._world]
        examples = [self._examples[at] for at in own]
        self._set_rates(step)
        self._train_mode(True)
        torch.manual_seed(
            seed_of("dropout", said.seed, step, self._accelerator.process_index) % 2**63
        )
        size = said.micro_batch or len(examples)
        parts = [examples[begin : begin + size] for begin in range(0, len(examples), size)]
        sums = torch.zeros(3, dtype=torch.float64, device=self._accelerator.device)
        for place, part in enumerate(parts):
            last = place == len(parts) - 1
            waits = nullcontext() if last else self._accelerator.no_sync(prepared)
            with waits:
                found: Losses = prepared(part, step)
                # Processes' gradients are averaged, and each has its share of the batch's sum.
                self._accelerator.backward(found.total * (self._world / said.batch_size))
            sums += torch.tensor(
                [float(found.total.detach()), float(found.nll), found.recalled],
                dtype=torch.float64,
                device=sums.device,
            )
        total, nll, recalled = self._accelerator.reduce(sums, "sum").tolist()
        if not total == total or abs(total) == float("inf"):
            raise TrainingError(
                f"the loss of step {step + 1} is {total}: lower train.learning_rate, or look for "
                "answers that the generator cannot write; checkpoints are as they were"
            )
        self._accelerator.clip_grad_norm_(self._weights(), said.max_grad_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        size = said.batch_size
        self._note(
            Step(
                step + 1,
                said.steps,
                total / size,
                nll / size,
                recalled / size,
                time.perf_counter() - began,
            )
        )

    def _look(self, done: int, state: dict[str, Any]) -> bool:
        """Answer `dev` with the weights as they are; whether they are the best so far."""
        assert self._dev is not None
        self._train_mode(False)
        own = self._dev[self._accelerator.process_index :: self._world]
        right = recalled = 0
        for begin in range(0, len(own), _LOOKED_AT):
            part = own[begin : begin + _LOOKED_AT]
            with torch.inference_mode():
                found = retrieve(
                    self._memory, [one.question for one in part], self._answering.config
                )
            answers = self._answering.answers(found, self._memory.version)
            for one, answer in zip(part, answers, strict=True):
                right += is_right(answer.text, one, self._memory.version)
                recalled += any(
                    holds_right(each.passage, one, self._memory.version) for each in answer.evidence
                )
        counts = torch.tensor([right, recalled], device=self._accelerator.device)
        right, recalled = self._accelerator.reduce(counts, "sum").tolist()
        share = right / len(self._dev)
        best = state["best"] is None or share > state["best"]["exact_match"]
        look = Look(done, share, recalled / len(self._dev), best)
        state["worse"] = 0 if best else state["worse"] + 1
        if best:
            state["best"] = asdict(look)
        self._note(look)
        return best

    def _save(self, done: int, state: dict[str, Any], better: bool) -> None:
        if self._first:
            held = self._folder / "checkpoints"
            if better:
                checkpoints.save_checkpoint(
                    held, done, self._module, None, {}, name=f"best-{done:06d}"
                )
            told = {**state, "config": self._digest()}
            checkpoints.save_checkpoint(held, done, self._module, self._optimizer, told)
            if better:
                for old in held.glob("best-*"):
                    if old.name != f"best-{done:06d}":
                        shutil.rmtree(old)
            self._write_log()
        self._accelerator.wait_for_everyone()

    def _finish(self, done: int, state: dict[str, Any], stopped: bool) -> Trained:
        best = None if state["best"] is None else Look(**state["best"])
        self._train_mode(False)
        if best is not None:
            place = self._folder / "checkpoints" / f"best-{best.step:06d}"
            checkpoints.restore_weights(place, self._module)
        if self._adapted is not None:
            tuning.merge_lora(self._adapted)
        if self._first:
            memory = self._last_memory()
            output.write_pipeline(
                self._folder,
                self._config,
                encoder=self._encoder,
                generator=None if self._said.generator == "frozen" else self._generator,
                memory=memory,
            )
            output.write_record(self._folder, self._record(done, best, stopped))
            self._write_log()
        self._accelerator.wait_for_everyone()
        return Trained(self._folder, done, best, stopped)

    def _record(self, done: int, best: Look | None, stopped: bool) -> dict[str, Any]:
        said = self._said
        from ragcore.parts import to_plain

        files = {"questions": said.questions.path}
        if said.dev is not None:
            files["dev"] = said.dev.path
        return {
            "config": to_plain(self._config),
            "data": {name: output.data_record(path) for name, path in files.items()},
            "seed": said.seed,
            "processes": self._world,
            "memory": {
                "version": self._memory.version,
                "passages": len(self._memory),
                "store": str(self._store.folder),
            },
            "examples": len(self._examples),
            "trained": sorted(
                name for name, child in self._module.named_children() if _learns(child)
            ),
            "steps": done,
            "best": None if best is None else asdict(best),
            "stopped_early": stopped,
            "versions": environment(),
        }

    # What is put together at the beginning.

    def _open(self, version: str | None) -> Memory:
        return self._store.open(
            version,
            retriever=self._retriever,
            temperature=self._section.temperature,
            verify=self._section.verify,
        )

    def _trained_encoder(self) -> TrainableEncoder | None:
        """The question encoder, where it is to be trained."""
        wanted, able = self._said.question_encoder, self._memory.retriever.capabilities
        searched = self._k() > 0
        if wanted == "frozen" or (wanted is None and not ("trainable" in able and searched)):
            if self._said.refresh is not None:
                raise UnsupportedOperation.of(f"retriever {self._retriever.use!r}", "trainable")
            return None
        if "trainable" not in able:
            raise UnsupportedOperation(
                f"train.question_encoder is 'trained', but retriever {self._retriever.use!r} gives "
                "scores without a gradient: it must be dense, with an encoder that can be trained "
                "and an index that gives its vectors back, such as {use: exact} or {use: faiss, "
                "factory: Flat}; or leave question_encoder out"
            )
        return cast(TrainableRetriever, self._memory.retriever).trained_encoder()

    def _assembled(self) -> RagModel:
        said = self._said
        if said.lora is not None:
            self._adapted = tuning.add_lora(self._generator.trained_module(), said.lora)
        elif said.generator == "frozen":
            tuning.freeze(self._generator.trained_module())
        module = RagModel(
            self._memory,
            self._encoder,
            self._generator,
            Settings(
                marginalize=said.marginalize or self._config.rag.marginalize,
                k=self._k(),
                gradient=self._encoder is not None,
                passages_gradient=said.refresh is not None,
                label_smoothing=said.label_smoothing,
                passage_dropout=said.passage_dropout,
                distill=said.distill,
                bfloat16=said.precision == "bfloat16",
                seed=said.seed,
            ),
        )
        if said.dropout is not None:
            tuning.set_dropout(module, said.dropout)
        if said.gradient_checkpointing:
            tuning.checkpoint_activations(module)
        return module

    def _made_optimizer(self) -> torch.optim.Optimizer:
        said = self._said
        encoder_rate = said.encoder_learning_rate or said.learning_rate
        groups: list[dict[str, Any]] = []
        for name, child in self._module.named_children():
            weights = [one for one in child.parameters() if one.requires_grad]
            rate = said.learning_rate if name == "generator" else encoder_rate
            if weights:
                groups.append({"params": weights, "lr": rate, "top": rate})
        return torch.optim.AdamW(groups, weight_decay=said.weight_decay)

    def _questions(self) -> tuple[list[Example], list[Asked] | None]:
        said = self._said
        examples = make_examples(
            _read(said.questions), said.answers, self._memory, said.search_depth
        )
        if not examples:
            raise TrainingError(
                f"{said.questions.path} gives nothing to train on: no question has an answer"
                + (" that a passage holds" if said.answers == "found" else "")
            )
        if said.dev is None:
            return examples, None
        dev = [one for one in _read(said.dev) if one.answers_by(self._memory.version)]
        if not dev:
            raise TrainingError(f"{said.dev.path}: no question has an answer to look at")
        return examples, dev

    def _looks_with(self) -> RagConfig:
        """How `dev` is answered: as the pipeline is, by the model and the k that are trained."""
        return self._config.rag.model_copy(
            update={
                "marginalize": self._said.marginalize or self._config.rag.marginalize,
                "k": self._k(),
            }
        )

    def _k(self) -> int:
        return self._config.rag.k if self._said.k is None else self._said.k

    # The memory, encoded anew.

    def _refresh(self, done: int, state: dict[str, Any]) -> None:
        """Begin a new memory where it is time, and read from one that is there."""
        said = self._said.refresh
        if said is None:
            return
        if done % said.every == 0 and done < self._said.steps and self._builder is None:
            self._start_build(f"step-{done:06d}")
        ready = [self._first and self._builder is not None and self._builder.done(wait=said.wait)]
        (there,) = _told_by_the_first(ready, self._world)
        if there:
            (version,) = _told_by_the_first(
                [self._builder.version if self._builder else ""], self._world
            )
            self._builder = None
            self._swap(version)
            state["memory"] = version

    def _start_build(self, version: str) -> None:
        if not self._first:
            return
        place = self._folder / "checkpoints" / "passage_encoder"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        store = self._folder / "memories"
        output.write_pipeline(
            place,
            self._config,
            encoder=self._encoder,
            generator=None,
            memory={"store": str(Path("..", "..", store.name)), "version": version},
        )
        self._builder = Builder(place / output.PIPELINE, version, self._section.store, self._source)

    def _swap(self, version: str) -> None:
        """Search another memory from now on, with the question encoder as it is."""
        from ragcore.config import load_config

        section = load_config(
            self._folder / "checkpoints" / "passage_encoder" / output.PIPELINE
        ).memory
        memory = Store(section.store).open(
            version, retriever=section.retriever, temperature=section.temperature
        )
        assert self._encoder is not None
        cast(TrainableRetriever, memory.retriever).use_encoder(self._encoder)
        old, self._memory = self._memory, memory
        self._module.memory = memory
        old.close()

    def _last_memory(self) -> dict[str, Any] | None:
        """The memory that the trained encoder serves, where the passages' side was trained."""
        if self._said.refresh is None:
            return None
        if self._builder is not None:
            self._builder.stop()
        self._start_build("trained")
        assert self._builder is not None
        self._builder.done(wait=True)
        self._builder = None
        return {"store": "memories", "version": None}

    # Small things.

    def _weights(self) -> list[torch.nn.Parameter]:
        return [one for one in self._module.parameters() if one.requires_grad]

    def _train_mode(self, on: bool) -> None:
        for child in self._module.children():
            child.train(on and _learns(child))

    def _set_rates(self, step: int) -> None:
        said = self._said
        factor = learning_rate_factor(step, said.steps, said.warmup, said.decay)
        for group in self._optimizer.param_groups:
            group["lr"] = group["top"] * factor

    def _digest(self) -> str:
        return output.config_digest(self._config, without=_GOES_ON)

    def _refuse_other(self, state: dict[str, Any], place: Path) -> None:
        if state.get("config") != self._digest():
            raise TrainingError(
                f"{place} is of a training with other settings than now: go on with those in "
                f"{self._folder}, or begin anew with --fresh (others may be: {', '.join(_GOES_ON)})"
            )

    def _note(self, event: Step | Look) -> None:
        if not self._first:
            return
        row = asdict(event)
        self._lines.append(json.dumps(row) + "\n")
        if self._tracked():
            kind = "train" if isinstance(event, Step) else "dev"
            left_out = {"step", "steps", "best"}
            values = {f"{kind}/{name}": v for name, v in row.items() if name not in left_out}
            self._accelerator.log(values, step=event.step)
        self._report(event)

    def _write_log(self) -> None:
        with (self._folder / "log.jsonl").open("a", encoding="utf-8") as log:
            log.writelines(self._lines)
        self._lines = []

    def _cut_log(self, done: int) -> None:
        """Keep of the log what the checkpoint knows."""
        path = self._folder / "log.jsonl"
        if path.exists():
            kept = [
                line
                for line in path.read_text(encoding="utf-8").splitlines(keepends=True)
                if json.loads(line)["step"] <= done
            ]
            path.write_text("".join(kept), encoding="utf-8")

    def _tracked(self) -> bool:
        return bool(self._accelerator.log_with)


def _accelerator(generator: Any, folder: Path) -> Any:
    try:
        from accelerate import Accelerator, DistributedDataParallelKwargs
        from accelerate.utils import is_tensorboard_available
    except ImportError:
        raise TrainingError('training needs accelerate: pip install "ragcore[train]"') from None
    # Probabilities near zero leave denormal gradients, on which a CPU is many times slower.
    torch.set_flush_denormal(True)
    return Accelerator(
        cpu=generator.device.type == "cpu",
        log_with="tensorboard" if is_tensorboard_available() else None,
        project_dir=str(folder),
        # A pooler that vectors are not taken from, say, gets no gradient.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )


def _trainable_generator(generator: Any, name: str) -> TrainableGenerator:
    if "trainable" not in generator.capabilities:
        raise UnsupportedOperation.of(f"generator {name!r}", "trainable")
    return cast(TrainableGenerator, generator)


def _read(said: QuestionsConfig) -> list[Asked]:
    return spread_over(read_asked(said.path, format=said.format), said.limit)


def _learns(module: torch.nn.Module) -> bool:
    return any(one.requires_grad for one in module.parameters())


def _told_by_the_first(values: list[Any], world: int) -> list[Any]:
    """The first process's values, in every process."""
    if world > 1:
        from accelerate.utils import broadcast_object_list

        broadcast_object_list(values)
    return values


def _silent(event: Step | Look) -> None:
    """Report nothing."""
