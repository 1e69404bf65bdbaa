"""Training: steps of the marginal's loss, looks at held-out questions, checkpoints, the best kept.

Built on accelerate: one process, or several that share each batch. Each step is a function of the
seed, its number, the weights and the memory, so that training goes on after an interruption as if
there had been none.
"""

from __future__ import annotations

import math
import time
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch

from ragcore.answering.answerer import Answerer
from ragcore.answering.retrieve import retrieve
from ragcore.build import open_memory
from ragcore.config import PipelineConfig
from ragcore.config.record import environment
from ragcore.errors import ConfigError, TrainingError
from ragcore.questions.matching import is_correct, is_relevant
from ragcore.registry.components import to_plain
from ragcore.training import assembly, checkpoints, output, tuning
from ragcore.training.events import DevScores, Log, Report, TrainingStep
from ragcore.training.model import Losses
from ragcore.training.refresh import Refresher
from ragcore.training.schedule import Batches, learning_rate_factor, seed_of

__all__ = ["Trained", "train"]

_GOES_ON: Final = ("output", "steps", "dev", "evaluate_every", "patience", "save_every")
"""Settings that may be others when training goes on: what was done does not depend on them, but
for `steps` where the learning rate falls."""

_LOOKED_AT: Final = 32
"""Questions that are answered at once when `dev` is looked at, by each process."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of it.

    Attributes:
        folder: where the pipeline is.
        steps: how many were made.
        best: the look whose weights were kept; None without `dev`, where the last were.
        stopped_early: whether `patience` ended it.
        first: whether this is the process that wrote the folder.
    """

    folder: Path
    steps: int
    best: DevScores | None
    stopped_early: bool
    first: bool


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
        QuestionError: a file of questions is faulty.
        UnsupportedOperation: a component cannot be trained.
    """
    with tuning.without_denormals(), closing(_Trainer(config, report or _silent)) as trainer:
        return trainer.run(resume=resume, fresh=fresh)


class _Trainer:
    """The parts of one training, in every process."""

    def __init__(self, config: PipelineConfig, report: Report) -> None:
        said = assembly.section_of(config)
        assert config.generator is not None
        section = config.memory
        self._config, self._said = config, said
        self._folder = said.output
        generator = assembly.trainable_generator(config.generator.build(), config.generator.use)
        self._accelerator = assembly.make_accelerator(generator.device, self._folder)
        self._first: bool = self._accelerator.is_main_process
        self._world: int = self._accelerator.num_processes
        if said.batch_size < self._world:
            raise ConfigError(
                f"train.batch_size is {said.batch_size} for {self._world} processes: each needs a "
                "question at least"
            )
        asked = assembly.answered_with(config)
        self._memory = open_memory(section)
        self._encoder = assembly.trained_encoder(said, self._memory, section.retriever.use, asked.k)
        self._generator = generator
        self._module, self._adapted = assembly.make_module(
            config, self._memory, self._encoder, generator
        )
        self._optimizer = assembly.make_optimizer(self._module, said)
        self._examples, self._dev = assembly.read_examples(said, self._memory)
        self._answering = Answerer(generator, asked)
        self._log = Log(self._folder, self._accelerator, report)
        self._refresher: Refresher | None = None
        if said.refresh is not None and self._encoder is not None:
            self._refresher = Refresher(config, self._folder, self._memory.version, self._encoder)

    def close(self) -> None:
        """Let go of the memory, and of a build that is under way."""
        if self._refresher is not None:
            self._refresher.stop()
        self._memory.close()
        self._accelerator.end_training()

    def run(self, *, resume: bool, fresh: bool) -> Trained:
        """All steps that are left, and the folder at the end."""
        said = self._said
        place = self._begin(resume=resume, fresh=fresh)
        prepared = self._accelerator.prepare(self._module)
        state: dict[str, Any] = {"step": 0, "best": None, "worse": 0, "memory": None}
        if place is not None:
            state = checkpoints.load_checkpoint(place, self._module, self._optimizer)
            self._refuse_other(state, place)
            if state["memory"] is not None:
                self._swap(state["memory"])
        batches = Batches(len(self._examples), said.batch_size, said.seed)
        done, stopped = state["step"], False
        while done < said.steps and not stopped:
            self._learn(prepared, batches.at(done), done)
            done += 1
            last = done == said.steps
            self._refresh(done, state)
            looked = self._dev is not None and (last or done % said.evaluate_every == 0)
            better = self._look(done, state) if looked else False
            stopped = said.patience is not None and state["worse"] >= said.patience
            if better or stopped or last or done % said.save_every == 0:
                self._save(done, state, better)
        return self._finish(done, state, stopped)

    def _begin(self, *, resume: bool, fresh: bool) -> Path | None:
        """The checkpoint to go on from, if any; the folder is then ready for this training."""
        held = self._folder / "checkpoints"
        found = checkpoints.latest(held)
        if found is not None and not (resume or fresh):
            raise TrainingError(
                f"{self._folder} holds a training of {checkpoints.steps_of(found)} steps: go on "
                "from there with --resume, begin anew with --fresh, or name another train.output"
            )
        if found is None and resume:
            raise TrainingError(f"{held} holds no checkpoint to go on from: leave out --resume")
        self._accelerator.wait_for_everyone()
        if self._first:
            if fresh:
                output.clear(self._folder)
            self._folder.mkdir(parents=True, exist_ok=True)
            self._log.cut(0 if fresh or found is None else checkpoints.steps_of(found))
        self._accelerator.wait_for_everyone()
        self._accelerator.init_trackers("logs")
        return None if fresh else found

    def _learn(self, prepared: torch.nn.Module, batch: list[int], step: int) -> None:
        """One update of the weights, out of this process's part of the batch."""
        said, began, rank = self._said, time.perf_counter(), self._accelerator.process_index
        own = [self._examples[at] for at in batch[rank :: self._world]]
        factor = learning_rate_factor(step, said.steps, said.warmup, said.decay)
        for group in self._optimizer.param_groups:
            group["lr"] = group["top"] * factor
        self._train_mode(True)
        torch.manual_seed(seed_of("dropout", said.seed, step, rank))
        size = said.micro_batch or len(own)
        sums = torch.zeros(3, dtype=torch.float64, device=self._accelerator.device)
        for begin in range(0, len(own), size):
            last = begin + size >= len(own)
            with nullcontext() if last else self._accelerator.no_sync(prepared):
                found: Losses = prepared(own[begin : begin + size], step)
                # Processes' gradients are averaged, and each has its share of the batch's sum.
                self._accelerator.backward(found.total * (self._world / said.batch_size))
            told = [float(found.total.detach()), float(found.nll), float(found.recalled)]
            sums += torch.tensor(told, dtype=torch.float64, device=sums.device)
        summed = self._accelerator.reduce(sums, "sum") / said.batch_size
        loss, nll, recall = summed.tolist()
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss of step {step + 1} is {loss}: lower train.learning_rate, or look for "
                "answers that the generator cannot write; checkpoints are as they were"
            )
        weights = [one for one in self._module.parameters() if one.requires_grad]
        self._accelerator.clip_grad_norm_(weights, said.max_grad_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        if self._first:
            seconds = time.perf_counter() - began
            self._log.note(TrainingStep(step + 1, said.steps, loss, nll, recall, seconds))

    def _look(self, done: int, state: dict[str, Any]) -> bool:
        """Answer `dev` with the weights as they are; whether they are the best so far."""
        assert self._dev is not None
        self._train_mode(False)
        own = self._dev[self._accelerator.process_index :: self._world]
        version = self._memory.version
        counts = torch.zeros(2, dtype=torch.int64, device=self._accelerator.device)
        for begin in range(0, len(own), _LOOKED_AT):
            part = own[begin : begin + _LOOKED_AT]
            questions = [one.question for one in part]
            with torch.inference_mode():
                found = retrieve(self._memory, questions, self._answering.config)
            answers = self._answering.answers(found, version)
            for one, answer in zip(part, answers, strict=True):
                held = any(is_relevant(each.passage, one, version) for each in answer.evidence)
                counts += torch.tensor([is_correct(answer.text, one, version), held]).to(counts)
        right, recalled = self._accelerator.reduce(counts, "sum").tolist()
        share = right / len(self._dev)
        best = state["best"] is None or share > state["best"]["exact_match"]
        look = DevScores(done, share, recalled / len(self._dev), best)
        state["worse"] = 0 if best else state["worse"] + 1
        if best:
            state["best"] = asdict(look)
        if self._first:
            self._log.note(look)
        return best

    def _save(self, done: int, state: dict[str, Any], better: bool) -> None:
        if self._first:
            held = self._folder / "checkpoints"
            told = {**state, "step": done, "config": self._digest()}
            if better:
                checkpoints.save_best(held, done, self._module)
            checkpoints.save_checkpoint(held, done, self._module, self._optimizer, told)
            if better:
                checkpoints.forget_best(held, but=done)
        self._accelerator.wait_for_everyone()

    def _finish(self, done: int, state: dict[str, Any], stopped: bool) -> Trained:
        """The best weights in place, and the folder written."""
        best = None if state["best"] is None else DevScores(**state["best"])
        self._train_mode(False)
        if best is not None:
            place = checkpoints.best_place(self._folder / "checkpoints", best.step)
            checkpoints.restore_weights(place, self._module)
        if self._adapted is not None:
            tuning.merge_lora(self._adapted)
        if self._first:
            trained = None if self._said.generator == "frozen" else self._generator
            memory: dict[str, Any] = {}
            if self._refresher is not None:
                memory = self._refresher.last()
            asked = self._answering.config
            output.write_pipeline(
                self._folder,
                self._config,
                encoder=self._encoder,
                generator=trained,
                memory=memory,
                rag={"marginalize": asked.marginalize, "k": asked.k},
            )
            output.write_record(self._folder, self._record(done, best, stopped))
        self._accelerator.wait_for_everyone()
        return Trained(self._folder, done, best, stopped, self._first)

    def _record(self, done: int, best: DevScores | None, stopped: bool) -> dict[str, Any]:
        """What training.json says."""
        said = self._said
        files = {"questions": said.questions.path}
        if said.dev is not None:
            files["dev"] = said.dev.path
        parts = self._module.named_children()
        return {
            "config": to_plain(self._config),
            "data": {name: output.data_record(path) for name, path in files.items()},
            "examples": len(self._examples),
            "seed": said.seed,
            "processes": self._world,
            "memory": {"version": self._memory.version, "passages": len(self._memory)},
            "trained": sorted(name for name, child in parts if _learns(child)),
            "steps": done,
            "best": None if best is None else asdict(best),
            "stopped_early": stopped,
            "versions": environment(),
        }

    def _refresh(self, done: int, state: dict[str, Any]) -> None:
        """Begin a new memory where it is time, and read from one that is there."""
        said = self._said.refresh
        if said is None or self._refresher is None:
            return
        ready = None
        if self._first:
            if done % said.every == 0 and done < self._said.steps:
                self._refresher.begin(f"step-{done:06d}")
            ready = self._refresher.ready(wait=said.wait)
        version = self._told_by_the_first(ready)
        if version is not None:
            self._swap(version)
            state["memory"] = version

    def _swap(self, version: str) -> None:
        assert self._refresher is not None
        old, self._memory = self._memory, self._refresher.open(version)
        self._module.memory = self._memory
        old.close()

    def _told_by_the_first(self, value: str | None) -> str | None:
        """The first process's value, in every process."""
        if self._world == 1:
            return value
        from accelerate.utils import broadcast_object_list

        told: list[str | None] = [value]
        broadcast_object_list(told)
        return told[0]

    def _train_mode(self, on: bool) -> None:
        for child in self._module.children():
            child.train(on and _learns(child))

    def _digest(self) -> str:
        falls = self._said.decay != "none"
        without = tuple(name for name in _GOES_ON if not (falls and name == "steps"))
        return output.config_digest(self._config, without=without)

    def _refuse_other(self, state: dict[str, Any], place: Path) -> None:
        if state.get("config") != self._digest():
            raise TrainingError(
                f"{place} is of a training with other settings than now: go on with those in "
                f"{self._folder}, or begin anew with --fresh (others may be: {', '.join(_GOES_ON)};"
                " steps only where train.decay is none)"
            )


def _learns(module: torch.nn.Module) -> bool:
    return any(one.requires_grad for one in module.parameters())


def _silent(event: TrainingStep | DevScores) -> None:
    """Report nothing."""
