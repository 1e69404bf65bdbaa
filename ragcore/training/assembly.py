"""Assemble a training: components, the module, the optimiser, the questions.

Decides what is trained, and raises before anything is written where a component cannot be trained.
Knows configs and components; knows nothing of steps.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ragcore.config import PipelineConfig, RagConfig
from ragcore.config.training import QuestionsConfig, TrainConfig
from ragcore.contracts import (
    Generator,
    TrainableEncoder,
    TrainableGenerator,
    TrainableRetriever,
    supports,
)
from ragcore.errors import ConfigError, TrainingError, UnsupportedOperation
from ragcore.memory.memory import Memory
from ragcore.questions import LabelledQuestion, read_questions, spread_over
from ragcore.registry.installation import DISTRIBUTION, install_hint
from ragcore.training import tuning
from ragcore.training.examples import Example, make_examples
from ragcore.training.lengths import fitting, refuse_long_questions
from ragcore.training.master import MasterAdamW
from ragcore.training.model import RagModel, Settings

__all__ = [
    "answered_with",
    "make_accelerator",
    "make_module",
    "make_optimizer",
    "read_examples",
    "section_of",
    "trainable_generator",
    "trained_encoder",
]


def section_of(config: PipelineConfig) -> TrainConfig:
    """Return the section `train` of a pipeline.

    Raises:
        ConfigError: the pipeline has no section `train`, or no generator.
    """
    if config.train is None:
        raise ConfigError(
            "no section 'train': add one, such as train: {questions: {path: questions.jsonl}, "
            "output: runs/first}"
        )
    if config.generator is None:
        raise ConfigError("no section 'generator': training needs one, the model that answers")
    return config.train


def make_accelerator(device: torch.device, folder: Path) -> Any:
    """Make accelerate's `Accelerator` for all launched processes; it logs into `folder`.

    Raises:
        TrainingError: accelerate is not installed.
    """
    try:
        from accelerate import Accelerator, DistributedDataParallelKwargs
        from accelerate.utils import is_tensorboard_available
    except ImportError:
        raise TrainingError(
            f"training needs accelerate: {install_hint(DISTRIBUTION, 'train')}"
        ) from None
    return Accelerator(
        cpu=device.type == "cpu",
        log_with="tensorboard" if is_tensorboard_available() else None,
        project_dir=str(folder),
        # Some weights get no gradient, such as those of a pooler that no vector depends on.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )


def trainable_generator(generator: Generator, name: str) -> TrainableGenerator:
    """Return the generator if its log-probabilities carry a gradient.

    Raises:
        UnsupportedOperation: they carry none.
    """
    if not supports(generator, TrainableGenerator):
        raise UnsupportedOperation(
            f"generator {name!r} has no capability 'trainable': quantised weights, such as int8 "
            "and those of a GGUF file, are neither trained nor saved; name a folder with the "
            "model's own weights, or another generator"
        )
    return generator


def trained_encoder(
    section: TrainConfig, memory: Memory, name: str, k: int
) -> TrainableEncoder | None:
    """Return the question encoder if it is to be trained; None if it is frozen or there is none.

    Args:
        section: the section `train`.
        memory: its retriever has the encoder.
        name: the retriever's name.
        k: passages for a question.

    Raises:
        UnsupportedOperation: the config wants it trained, and it cannot be.
    """
    retriever = (
        memory.retriever if k > 0 and supports(memory.retriever, TrainableRetriever) else None
    )
    if retriever is None and section.question_encoder == "trained":
        raise UnsupportedOperation(
            f"train.question_encoder is 'trained', but retriever {name!r} computes scores without "
            "a gradient: use a dense one, with an encoder that can be trained and an index that "
            "returns its vectors, such as {use: exact} or {use: faiss, factory: Flat}; or leave "
            "question_encoder out"
        )
    if retriever is None or section.question_encoder == "frozen":
        if section.refresh is not None:
            raise UnsupportedOperation.of(f"retriever {name!r}", "trainable")
        if section.generator == "frozen":
            raise UnsupportedOperation(
                f"train.generator is 'frozen', and retriever {name!r} computes scores without a "
                "gradient: nothing would be trained; train the generator, or use a dense retriever"
            )
        return None
    return retriever.trained_encoder()


def make_module(
    config: PipelineConfig,
    memory: Memory,
    encoder: TrainableEncoder | None,
    generator: TrainableGenerator,
) -> tuple[RagModel, Any]:
    """Make the module that is trained, with its frozen parts frozen.

    Args:
        config: the pipeline.
        memory: what is searched.
        encoder: the question encoder; None where it is not trained.
        generator: reads the passages.

    Returns:
        The module, and the adapted generator for `tuning.merge_lora`; None without adapters.
    """
    section, adapted = section_of(config), None
    if section.lora is not None:
        adapted = tuning.add_lora(generator.trained_module(), section.lora)
    elif section.generator == "frozen":
        tuning.freeze(generator.trained_module())
    rag = answered_with(config)
    module = RagModel(
        memory,
        encoder,
        generator,
        Settings(
            marginalize=rag.marginal,
            k=rag.k,
            gradient=encoder is not None,
            passages_gradient=section.refresh is not None,
            label_smoothing=section.label_smoothing,
            passage_dropout=section.passage_dropout,
            distill=section.distill,
            bfloat16=section.precision == "bfloat16",
            seed=section.seed,
        ),
    )
    if section.dropout is not None:
        tuning.set_dropout(module, section.dropout)
    if section.gradient_checkpointing:
        tuning.checkpoint_activations(module)
    return module, adapted


def make_optimizer(module: RagModel, section: TrainConfig) -> MasterAdamW:
    """Make AdamW with a group for each component; the schedule scales its learning rate `top`.

    Weights that are less precise than float32 get a float32 copy that is updated (master.py).
    """
    encoder_rate = section.encoder_learning_rate or section.learning_rate
    groups: list[dict[str, Any]] = []
    for name, child in module.named_children():
        weights = [weight for weight in child.parameters() if weight.requires_grad]
        rate = section.learning_rate if name == "generator" else encoder_rate
        if weights:
            groups.append({"params": weights, "lr": rate, "top": rate})
    return MasterAdamW(groups, weight_decay=section.weight_decay)


def read_examples(
    section: TrainConfig, memory: Memory, generator: Generator
) -> tuple[list[Example], list[LabelledQuestion] | None]:
    """Read the examples to train on, and the questions of `dev`.

    Args:
        section: the section `train`.
        memory: where passages are searched, and whose version's answers are right.
        generator: what questions and answers must fit.

    Returns:
        The examples; the questions of `dev` that have an answer, None without `dev`.

    Raises:
        QuestionError: a file cannot be read or has a fault.
        TrainingError: a file has no question with an answer, or one that is too long.
    """
    questions = _read(section.questions)
    examples = make_examples(questions, section.answers, memory, section.search_depth)
    if not examples:
        raise TrainingError(
            f"{section.questions.path}: nothing to train on: none of its {len(questions)} "
            "questions has an answer"
            + (" that a passage contains" if section.answers == "found" else "")
        )
    limit = section.max_answer_tokens
    examples = fitting(examples, generator, limit, section.questions.path)
    if section.dev is None:
        return examples, None
    dev = [question for question in _read(section.dev) if question.answers_by(memory.version)]
    if not dev:
        raise TrainingError(
            f"{section.dev.path}: no question has an answer to compare with: add answers, or leave "
            "train.dev out"
        )
    refuse_long_questions(dev, generator, section.dev.path)
    return examples, dev


def answered_with(config: PipelineConfig) -> RagConfig:
    """Return the section `rag` with the marginal and the k that training uses.

    Raises:
        TrainingError: all passages are read in one prompt.
    """
    section = section_of(config)
    marginalize = section.marginalize or config.rag.marginalize
    if marginalize == "none":
        raise TrainingError(
            "rag.marginalize is none, which reads all passages in one prompt, and training goes "
            "through the marginal over passages: set train.marginalize to token or sequence"
        )
    return config.rag.model_copy(
        update={
            "marginalize": marginalize,
            "cite": False,
            "k": config.rag.k if section.k is None else section.k,
        }
    )


def _read(file: QuestionsConfig) -> list[LabelledQuestion]:
    return spread_over(read_questions(file.path, format=file.format), file.limit)
