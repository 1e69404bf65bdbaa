"""Run a training: steps on the marginal's loss, evaluation on `dev`, checkpoints, the best weights.

Built on accelerate: one process, or several that share each batch. Each step is a function of the
seed, its number, the weights and the memory, so that training resumes after an interruption as if
there had been none. Knows steps and processes; the loss is `model.py`'s.
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

_CHANGEABLE: Final = ("output", "steps", "dev", "evaluate_every", "patience", "save_every")
"""Settings that may change when training resumes, because the steps done do not depend on them; on
`steps` they do where the learning rate falls."""

_DEV_BATCH: Final = 32
"""Questions of `dev` that each process answers in one batch."""


@dataclass(frozen=True, slots=True)
class Trained:
    """The result of a training.

    Attributes:
        folder: where the trained pipeline is.
        steps: how many steps were done.
        best: the scores of the weights in the pipeline; None without `dev`, where they are the last
            step's.
        stopped_early: whether `patience` ended the training.
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

    Several processes (`accelerate launch`) share each batch; the first one writes.

    Args:
        config: a pipeline with a section `train`, whose memory is built.
        resume: resume from the last checkpoint in the output folder.
        fresh: start again, and remove what a training left in the output folder.
        report: called in the first process with each step and each evaluation on `dev`.

    Raises:
        ConfigError: the config has no section `train`, or no generator.
        TrainingError: the output folder has checkpoints and neither `resume` nor `fresh` is set;
            the checkpoint is of other settings; a loss is not finite.
        StoreError: the memory cannot be opened.
        QuestionError: a file of questions cannot be read or has a fault.
        UnsupportedOperation: a component cannot be trained.
    """
    with tuning.without_denormals(), closing(_Trainer(config, report or _silent)) as trainer:
        return trainer.run(resume=resume, fresh=fresh)


class _Trainer:
    """One training, as each process runs it."""

    def __init__(self, config: PipelineConfig, report: Report) -> None:
        section = assembly.section_of(config)
        assert config.generator is not None
        self._config, self._section = config, section
        self._folder = section.output
        generator = assembly.trainable_generator(config.generator.build(), config.generator.use)
        self._accelerator = assembly.make_accelerator(generator.device, self._folder)
        self._first: bool = self._accelerator.is_main_process
        self._world: int = self._accelerator.num_processes
        if section.batch_size < self._world:
            raise ConfigError(
                f"train.batch_size is {section.batch_size} for {self._world} processes: each needs "
                "at least one question; raise it, or launch fewer processes"
            )
        rag = assembly.answered_with(config)
        self._memory = open_memory(config.memory)
        self._encoder = assembly.trained_encoder(
            section, self._memory, config.memory.retriever.use, rag.k
        )
        self._generator = generator
        self._module, self._adapted = assembly.make_module(
            config, self._memory, self._encoder, generator
        )
        self._optimizer = assembly.make_optimizer(self._module, section)
        self._examples, self._dev = assembly.read_examples(section, self._memory, generator)
        self._answerer = Answerer(generator, rag)
        self._log = Log(self._folder, self._accelerator, report)
        self._refresher: Refresher | None = None
        if section.refresh is not None and self._encoder is not None:
            self._refresher = Refresher(config, self._folder, self._memory.version, self._encoder)

    def close(self) -> None:
        """Release the memory, and end a build that is running."""
        if self._refresher is not None:
            self._refresher.stop()
        self._memory.close()
        self._accelerator.end_training()

    def run(self, *, resume: bool, fresh: bool) -> Trained:
        """Do the steps that are left, and write the folder."""
        section = self._section
        checkpoint = self._begin(resume=resume, fresh=fresh)
        prepared = self._accelerator.prepare(self._module)
        state: dict[str, Any] = {"step": 0, "best": None, "worse": 0, "memory": None}
        if checkpoint is not None:
            state = checkpoints.load_checkpoint(checkpoint, self._module, self._optimizer)
            self._check_settings(state, checkpoint)
            if state["memory"] is not None:
                self._swap(state["memory"])
        batches = Batches(len(self._examples), section.batch_size, section.seed)
        done, stopped = state["step"], False
        while done < section.steps and not stopped:
            self._learn(prepared, batches.at(done), done)
            done += 1
            last = done == section.steps
            self._refresh(done, state)
            due = self._dev is not None and (last or done % section.evaluate_every == 0)
            better = self._evaluate(done, state) if due else False
            stopped = section.patience is not None and state["worse"] >= section.patience
            if better or stopped or last or done % section.save_every == 0:
                self._save(done, state, better)
        return self._finish(done, state, stopped)

    def _begin(self, *, resume: bool, fresh: bool) -> Path | None:
        """Prepare the folder; return the checkpoint to resume from, None where there is none."""
        folder = self._folder / "checkpoints"
        checkpoint = checkpoints.latest(folder)
        if checkpoint is not None and not (resume or fresh):
            raise TrainingError(
                f"{self._folder} has a training of {checkpoints.steps_of(checkpoint)} steps: "
                "resume it with --resume, start again with --fresh, or name another train.output"
            )
        if checkpoint is None and resume:
            raise TrainingError(f"{folder} has no checkpoint to resume from: leave out --resume")
        self._accelerator.wait_for_everyone()
        if self._first:
            if fresh:
                output.clear(self._folder)
            self._folder.mkdir(parents=True, exist_ok=True)
            done = 0 if fresh or checkpoint is None else checkpoints.steps_of(checkpoint)
            self._log.cut(done)
        self._accelerator.wait_for_everyone()
        self._accelerator.init_trackers("logs")
        return None if fresh else checkpoint

    def _learn(self, prepared: torch.nn.Module, batch: list[int], step: int) -> None:
        """Update the weights once, by this process's share of the batch."""
        section, began, rank = self._section, time.perf_counter(), self._accelerator.process_index
        share = [self._examples[number] for number in batch[rank :: self._world]]
        factor = learning_rate_factor(step, section.steps, section.warmup, section.decay)
        for group in self._optimizer.param_groups:
            group["lr"] = group["top"] * factor
        self._train_mode(True)
        torch.manual_seed(seed_of("dropout", section.seed, step, rank))
        size = section.micro_batch or len(share)
        sums = torch.zeros(3, dtype=torch.float64, device=self._accelerator.device)
        for begin in range(0, len(share), size):
            last = begin + size >= len(share)
            with nullcontext() if last else self._accelerator.no_sync(prepared):
                losses: Losses = prepared(share[begin : begin + size], step)
                # Gradients are averaged over the processes, but each has only its share of the
                # batch's sum: so the mean over the batch takes a factor of the processes.
                self._accelerator.backward(losses.total * (self._world / section.batch_size))
            parts = [float(losses.total.detach()), float(losses.nll), float(losses.recalled)]
            sums += torch.tensor(parts, dtype=torch.float64, device=sums.device)
        means = self._accelerator.reduce(sums, "sum") / section.batch_size
        loss, nll, recall = means.tolist()
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss of step {step + 1} is {loss}, which is not finite: lower "
                "train.learning_rate, or look for answers that the generator cannot write; the "
                "checkpoints are unchanged"
            )
        weights = [weight for weight in self._module.parameters() if weight.requires_grad]
        self._accelerator.clip_grad_norm_(weights, section.max_grad_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        if self._first:
            seconds = time.perf_counter() - began
            self._log.note(TrainingStep(step + 1, section.steps, loss, nll, recall, seconds))

    def _evaluate(self, done: int, state: dict[str, Any]) -> bool:
        """Answer `dev` with the current weights; return whether they are the best so far."""
        assert self._dev is not None
        self._train_mode(False)
        share = self._dev[self._accelerator.process_index :: self._world]
        version = self._memory.version
        counts = torch.zeros(2, dtype=torch.int64, device=self._accelerator.device)
        for begin in range(0, len(share), _DEV_BATCH):
            batch = share[begin : begin + _DEV_BATCH]
            questions = [labelled.question for labelled in batch]
            with torch.inference_mode():
                retrieved = retrieve(self._memory, questions, self._answerer.config)
            answers = self._answerer.answers(retrieved, version)
            for labelled, answer in zip(batch, answers, strict=True):
                correct = is_correct(answer.text, labelled, version)
                recalled = any(
                    is_relevant(evidence.passage, labelled, version) for evidence in answer.evidence
                )
                counts += torch.tensor([correct, recalled]).to(counts)
        corrects, recalls = self._accelerator.reduce(counts, "sum").tolist()
        exact_match, recall = corrects / len(self._dev), recalls / len(self._dev)
        best = state["best"] is None or exact_match > state["best"]["exact_match"]
        scores = DevScores(done, exact_match, recall, best)
        state["worse"] = 0 if best else state["worse"] + 1
        if best:
            state["best"] = asdict(scores)
        if self._first:
            self._log.note(scores)
        return best

    def _save(self, done: int, state: dict[str, Any], better: bool) -> None:
        """Write a checkpoint, and save the weights if they are the best so far."""
        if self._first:
            folder = self._folder / "checkpoints"
            state = {**state, "step": done, "config": self._digest()}
            if better:
                checkpoints.save_best(folder, done, self._module)
            checkpoints.save_checkpoint(folder, done, self._module, self._optimizer, state)
            # Only now, so that an interruption leaves the weights that a checkpoint names.
            if better:
                checkpoints.forget_best(folder, keep=done)
        self._accelerator.wait_for_everyone()

    def _finish(self, done: int, state: dict[str, Any], stopped: bool) -> Trained:
        """Restore the best weights, and write the folder."""
        best = None if state["best"] is None else DevScores(**state["best"])
        self._train_mode(False)
        if best is not None:
            saved = checkpoints.best_folder(self._folder / "checkpoints", best.step)
            checkpoints.restore_weights(saved, self._module)
        if self._adapted is not None:
            tuning.merge_lora(self._adapted)
        if self._first:
            generator = None if self._section.generator == "frozen" else self._generator
            memory: dict[str, Any] = {}
            if self._refresher is not None:
                memory = self._refresher.last()
            rag = self._answerer.config
            output.write_pipeline(
                self._folder,
                self._config,
                encoder=self._encoder,
                generator=generator,
                memory=memory,
                rag={"marginalize": rag.marginalize, "k": rag.k},
            )
            output.write_record(self._folder, self._record(done, best, stopped))
        self._accelerator.wait_for_everyone()
        return Trained(self._folder, done, best, stopped, self._first)

    def _record(self, done: int, best: DevScores | None, stopped: bool) -> dict[str, Any]:
        """Collect the fields of training.json."""
        section = self._section
        files = {"questions": section.questions.path}
        if section.dev is not None:
            files["dev"] = section.dev.path
        children = self._module.named_children()
        return {
            "config": to_plain(self._config),
            "data": {name: output.data_record(path) for name, path in files.items()},
            "examples": len(self._examples),
            "seed": section.seed,
            "processes": self._world,
            "memory": {"version": self._memory.version, "passages": len(self._memory)},
            "trained": sorted(name for name, child in children if _learns(child)),
            "steps": done,
            "best": None if best is None else asdict(best),
            "stopped_early": stopped,
            "versions": environment(),
        }

    def _refresh(self, done: int, state: dict[str, Any]) -> None:
        """Start to build a new memory when it is due, and swap in one that is complete."""
        section = self._section.refresh
        if section is None or self._refresher is None:
            return
        ready = None
        if self._first:
            if done % section.every == 0 and done < self._section.steps:
                self._refresher.begin(f"step-{done:06d}")
            ready = self._refresher.ready(wait=section.wait)
        version = self._from_first_process(ready)
        if version is not None:
            self._swap(version)
            state["memory"] = version

    def _swap(self, version: str) -> None:
        assert self._refresher is not None
        old, self._memory = self._memory, self._refresher.open(version)
        self._module.memory = self._memory
        old.close()

    def _from_first_process(self, value: str | None) -> str | None:
        """Return the first process's value in every process."""
        if self._world == 1:
            return value
        from accelerate.utils import broadcast_object_list

        values: list[str | None] = [value]
        broadcast_object_list(values)
        return values[0]

    def _train_mode(self, on: bool) -> None:
        for child in self._module.children():
            child.train(on and _learns(child))

    def _digest(self) -> str:
        falls = self._section.decay != "none"
        without = tuple(name for name in _CHANGEABLE if not (falls and name == "steps"))
        return output.config_digest(self._config, without=without)

    def _check_settings(self, state: dict[str, Any], checkpoint: Path) -> None:
        if state.get("config") != self._digest():
            raise TrainingError(
                f"{checkpoint} was written with other settings than the config's: restore them to "
                f"resume in {self._folder}, or start again with --fresh (these may change: "
                f"{', '.join(_CHANGEABLE)}; steps only where train.decay is none)"
            )


def _learns(module: torch.nn.Module) -> bool:
    return any(weight.requires_grad for weight in module.parameters())


def _silent(event: TrainingStep | DevScores) -> None:
    """Report nothing."""
