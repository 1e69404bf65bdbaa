"""What a training is put together from: components, the module, the optimiser, the questions.

Decides what is trained, and says so at once where a component cannot be.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch

from ragcore.config import PipelineConfig, RagConfig
from ragcore.config.training import QuestionsConfig, TrainConfig
from ragcore.contracts import TrainableEncoder, TrainableGenerator, TrainableRetriever
from ragcore.errors import ConfigError, TrainingError, UnsupportedOperation
from ragcore.memory.memory import Memory
from ragcore.questions import LabelledQuestion, read_questions, spread_over
from ragcore.registry.installation import DISTRIBUTION, install_hint
from ragcore.training import tuning
from ragcore.training.examples import Example, make_examples
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
    """The section `train` of a pipeline that can be trained.

    Raises:
        ConfigError: there is none, or no generator.
    """
    if config.train is None:
        raise ConfigError(
            "no section 'train': training needs one, such as train: {questions: {path: "
            "questions.jsonl}, output: runs/first}"
        )
    if config.generator is None:
        raise ConfigError("no section 'generator': there is nothing that learns to answer")
    return config.train


def make_accelerator(device: torch.device, folder: Path) -> Any:
    """accelerate's, for as many processes as were launched; it logs into `folder`.

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
        # A pooler that vectors are not taken from, say, gets no gradient.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )


def trainable_generator(generator: Any, name: str) -> TrainableGenerator:
    """A generator whose log-probabilities carry a gradient.

    Raises:
        UnsupportedOperation: they do not.
    """
    if "trainable" not in generator.capabilities:
        raise UnsupportedOperation.of(f"generator {name!r}", "trainable")
    return cast(TrainableGenerator, generator)


def trained_encoder(
    said: TrainConfig, memory: Memory, name: str, k: int
) -> TrainableEncoder | None:
    """The question encoder, where it is to be trained; None where it is frozen or there is none.

    Args:
        said: the section `train`.
        memory: whose retriever it is of.
        name: the retriever's.
        k: passages for a question.

    Raises:
        UnsupportedOperation: it is to be trained and cannot be.
    """
    able = "trainable" in memory.retriever.capabilities and k > 0
    if said.question_encoder == "frozen" or (said.question_encoder is None and not able):
        if said.refresh is not None:
            raise UnsupportedOperation.of(f"retriever {name!r}", "trainable")
        if said.generator == "frozen":
            raise UnsupportedOperation(
                f"train.generator is 'frozen', and retriever {name!r} gives scores without a "
                "gradient: nothing would be trained"
            )
        return None
    if not able:
        raise UnsupportedOperation(
            f"train.question_encoder is 'trained', but retriever {name!r} gives scores without a "
            "gradient: it must be dense, with an encoder that can be trained and an index that "
            "gives its vectors back, such as {use: exact} or {use: faiss, factory: Flat}; or leave "
            "question_encoder out"
        )
    return cast(TrainableRetriever, memory.retriever).trained_encoder()


def make_module(
    config: PipelineConfig,
    memory: Memory,
    encoder: TrainableEncoder | None,
    generator: TrainableGenerator,
) -> tuple[RagModel, Any]:
    """The module that is trained, its frozen parts frozen; and adapters to merge at the end."""
    said, adapted = section_of(config), None
    if said.lora is not None:
        adapted = tuning.add_lora(generator.trained_module(), said.lora)
    elif said.generator == "frozen":
        tuning.freeze(generator.trained_module())
    asked = answered_with(config)
    module = RagModel(
        memory,
        encoder,
        generator,
        Settings(
            marginalize=asked.marginalize,
            k=asked.k,
            gradient=encoder is not None,
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
    return module, adapted


def make_optimizer(module: RagModel, said: TrainConfig) -> torch.optim.Optimizer:
    """AdamW, a group for each part; its `top` is the learning rate that the schedule scales."""
    encoder_rate = said.encoder_learning_rate or said.learning_rate
    groups: list[dict[str, Any]] = []
    for name, child in module.named_children():
        weights = [one for one in child.parameters() if one.requires_grad]
        rate = said.learning_rate if name == "generator" else encoder_rate
        if weights:
            groups.append({"params": weights, "lr": rate, "top": rate})
    return torch.optim.AdamW(groups, weight_decay=said.weight_decay)


def read_examples(
    said: TrainConfig, memory: Memory
) -> tuple[list[Example], list[LabelledQuestion] | None]:
    """What is trained on, and what is looked at.

    Raises:
        QuestionError: a file is faulty.
        TrainingError: one gives nothing to train on, or to look at.
    """
    examples = make_examples(_read(said.questions), said.answers, memory, said.search_depth)
    if not examples:
        raise TrainingError(
            f"{said.questions.path} gives nothing to train on: no question has an answer"
            + (" that a passage holds" if said.answers == "found" else "")
        )
    if said.dev is None:
        return examples, None
    dev = [one for one in _read(said.dev) if one.answers_by(memory.version)]
    if not dev:
        raise TrainingError(f"{said.dev.path}: no question has an answer to look at")
    return examples, dev


def answered_with(config: PipelineConfig) -> RagConfig:
    """How questions are answered: as the pipeline does, by the model and the k that are trained."""
    said = section_of(config)
    return config.rag.model_copy(
        update={
            "marginalize": said.marginalize or config.rag.marginalize,
            "k": config.rag.k if said.k is None else said.k,
        }
    )


def _read(said: QuestionsConfig) -> list[LabelledQuestion]:
    return spread_over(read_questions(said.path, format=said.format), said.limit)
