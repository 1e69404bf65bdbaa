"""The keys of the section `train` of a pipeline file: the settings of `ragcore train`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ragcore.registry.components import ComponentConfig, ConfigPath

__all__ = [
    "DistillConfig",
    "LoraConfig",
    "QuestionsConfig",
    "RefreshConfig",
    "TrainConfig",
]

Format = Literal[
    "auto",
    "dpr",
    "fever",
    "kilt",
    "msmarco",
    "squad",
    "triviaqa",
    "webquestions",
    "tsv",
    "nq-open",
    "jsonl",
    "topics",
    "beir",
]

Fraction = Annotated[float, Field(ge=0, lt=1)]


class QuestionsConfig(ComponentConfig):
    """A file of questions with their answers."""

    path: ConfigPath = Field(description="a file of questions, gzipped or not")
    format: Format = Field(
        "auto", description="the data set whose form it has; auto recognises it by its keys"
    )
    limit: int | None = Field(
        None,
        gt=0,
        description="at most so many questions, evenly spaced over the file; null for all",
    )


class LoraConfig(ComponentConfig):
    """Low-rank adapters in place of the generator's own weights (needs `peft`)."""

    rank: int = Field(
        8, gt=0, description="rank of the two matrices whose product is added to a weight"
    )
    alpha: int = Field(16, gt=0, description="their product is scaled by alpha / rank")
    dropout: Fraction = Field(0.0, description="of their inputs")
    targets: tuple[str, ...] | None = Field(
        None, description="names of the adapted layers; null for all linear ones but the head"
    )


class DistillConfig(ComponentConfig):
    """A second loss, which pulls the prior towards the generator's view of the passages."""

    weight: float = Field(1.0, ge=0, description="of this loss; the marginal's has weight 1")
    target: Literal["likelihood", "posterior"] = Field(
        "likelihood",
        description="what the prior is pulled towards: softmax of log p(y|x,z), or p(z|x,y)",
    )
    direction: Literal["target-prior", "prior-target"] = Field(
        "target-prior", description="KL(target || prior), or KL(prior || target)"
    )
    temperature: float = Field(1.0, gt=0, description="above 1 flattens the target")


class RefreshConfig(ComponentConfig):
    """Train the passage encoder too, and swap in newly encoded memories during training."""

    every: int = Field(gt=0, description="steps from one refresh to the next")
    wait: bool = Field(
        False,
        description="wait for each new memory, so that training repeats exactly; otherwise it is "
        "built in the background, and swapped in when it is ready",
    )


class TrainConfig(ComponentConfig):
    """How encoder and generator are fine-tuned through the marginal."""

    questions: QuestionsConfig = Field(description="the questions to train on")
    dev: QuestionsConfig | None = Field(
        None, description="held-out questions for early stopping; null trains all steps"
    )
    output: ConfigPath = Field(description="folder that the trained pipeline is written into")
    answers: Literal["first", "every", "found"] = Field(
        "first",
        description="which of a question's answers are trained on: the first; every one, as a "
        "question of its own; or the one that most of the passages hold",
    )
    max_answer_tokens: int | None = Field(
        None,
        gt=0,
        description="longer answers are left out; null for all, where one that does not fit the "
        "generator is an error",
    )
    search_depth: int = Field(
        100, gt=0, description="passages that are searched for answers `found` and for patterns"
    )
    marginalize: Literal["token", "sequence"] | None = Field(
        None, description="RAG-Token or RAG-Sequence loss; null for `rag.marginalize`"
    )
    k: int | None = Field(None, ge=0, description="passages for a question; null for `rag.k`")
    question_encoder: Literal["trained", "frozen"] | None = Field(
        None,
        description="whether gradients reach the question encoder through the prior; null trains "
        "it where the memory is differentiable, which a sparse one is not",
    )
    generator: Literal["trained", "frozen"] = Field(
        "trained", description="whether the generator's weights are trained"
    )
    lora: LoraConfig | None = Field(None, description="train adapters of the generator instead")
    distill: DistillConfig | None = Field(
        None, description="a second loss for the retriever; null for the marginal alone"
    )
    refresh: RefreshConfig | None = Field(
        None, description="train the passage encoder too; null leaves it and the index as they are"
    )
    label_smoothing: Fraction = Field(
        0.0, description="share of a token's target that is spread over the vocabulary"
    )
    passage_dropout: Fraction = Field(
        0.0, description="probability that a passage is left out of a step; one always stays"
    )
    dropout: Fraction | None = Field(
        None, description="of every dropout layer; null for the models' own"
    )
    steps: int = Field(1000, gt=0, description="updates of the weights")
    batch_size: int = Field(16, gt=0, description="questions in an update, over all processes")
    micro_batch: int | None = Field(
        None, gt=0, description="questions that a process reads together; null for all of its share"
    )
    learning_rate: float = Field(3e-5, gt=0, description="of the generator")
    encoder_learning_rate: float | None = Field(
        None, gt=0, description="of the question encoder; null for the generator's"
    )
    warmup: int = Field(0, ge=0, description="steps in which the learning rates rise from 0")
    decay: Literal["linear", "none"] = Field(
        "linear", description="linear: they fall to 0 at the last step"
    )
    weight_decay: float = Field(0.0, ge=0, description="AdamW's")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are scaled down to this norm")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="of the arithmetic; the weights that are updated, and sums, are always float32",
    )
    gradient_checkpointing: bool = Field(
        False, description="save memory: store few activations and compute the others twice"
    )
    evaluate_every: int = Field(200, gt=0, description="steps between two evaluations on `dev`")
    patience: int | None = Field(
        None,
        gt=0,
        description="evaluations without a better exact match after which training stops",
    )
    save_every: int = Field(200, gt=0, description="steps between two checkpoints")
    seed: int = Field(0, ge=0, description="of the order of questions and of all dropout")

    @model_validator(mode="after")
    def _something_is_trained(self) -> Self:
        if self.question_encoder == self.generator == "frozen":
            raise ValueError(
                "question_encoder and generator are both frozen: nothing would be trained"
            )
        if self.lora is not None and self.generator == "frozen":
            raise ValueError(
                "lora trains adapters of the generator, which is frozen: drop one of the two"
            )
        if self.refresh is not None and self.question_encoder == "frozen":
            raise ValueError(
                "refresh trains the passage encoder: question_encoder must be trained too"
            )
        if self.patience is not None and self.dev is None:
            raise ValueError("patience needs dev, which is null: give held-out questions")
        return self
