"""What the section `train` of a pipeline file may say: `ragcore train`'s settings."""

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
]

Fraction = Annotated[float, Field(ge=0, lt=1)]


class QuestionsConfig(ComponentConfig):
    """A file of questions with their answers."""

    path: ConfigPath = Field(description="a file of questions, gzipped or not")
    format: Format = Field("auto", description="whose form it has; auto tells it by its keys")
    limit: int | None = Field(
        None, gt=0, description="at most so many, spread evenly over the file; null for all"
    )


class LoraConfig(ComponentConfig):
    """Low-rank adapters in place of the generator's own weights (needs `peft`)."""

    rank: int = Field(8, gt=0, description="of the two matrices that are added to a weight")
    alpha: int = Field(16, gt=0, description="what they add is scaled by alpha / rank")
    dropout: Fraction = Field(0.0, description="of what goes into them")
    targets: tuple[str, ...] | None = Field(
        None, description="names of the layers that get them; null for all linear ones but the head"
    )


class DistillConfig(ComponentConfig):
    """A second loss, by which the prior follows what the generator says of the passages."""

    weight: float = Field(1.0, ge=0, description="of this loss beside the marginal's")
    target: Literal["likelihood", "posterior"] = Field(
        "likelihood",
        description="what the prior is to follow: softmax of log p(y|x,z), or p(z|x,y)",
    )
    direction: Literal["target-prior", "prior-target"] = Field(
        "target-prior", description="KL(target || prior), or KL(prior || target)"
    )
    temperature: float = Field(1.0, gt=0, description="above 1 flattens the target")


class RefreshConfig(ComponentConfig):
    """Train the passages' side too, and swap in a memory that is encoded anew as training goes."""

    every: int = Field(gt=0, description="steps from one refresh to the next")
    wait: bool = Field(
        False,
        description="wait for each new memory, so that training repeats exactly; otherwise it is "
        "built beside the training, and swapped in when it is there",
    )


class TrainConfig(ComponentConfig):
    """How encoder and generator are fine-tuned through the marginal."""

    questions: QuestionsConfig = Field(description="what is trained on")
    dev: QuestionsConfig | None = Field(
        None, description="what early stopping looks at; null trains all steps"
    )
    output: ConfigPath = Field(description="folder of what comes out, a pipeline that can be asked")
    answers: Literal["first", "every", "found"] = Field(
        "first",
        description="which of a question's answers are trained on: the first; every one, as a "
        "question of its own; or the one that most of the passages hold",
    )
    search_depth: int = Field(
        100, gt=0, description="passages in which answers `found`, and patterns, are looked for"
    )
    marginalize: Literal["token", "sequence"] | None = Field(
        None, description="RAG-Token or RAG-Sequence loss; null as `rag.marginalize`"
    )
    k: int | None = Field(None, ge=0, description="passages for a question; null as `rag.k`")
    question_encoder: Literal["trained", "frozen"] | None = Field(
        None,
        description="whether gradients reach the question encoder through the prior; null wherever "
        "the memory lets them, which a sparse one does not",
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
        0.0, description="how likely a found passage is left out of a step; one always stays"
    )
    dropout: Fraction | None = Field(
        None, description="of every dropout layer; null as the models say"
    )
    steps: int = Field(1000, gt=0, description="updates of the weights")
    batch_size: int = Field(16, gt=0, description="questions in an update, over all processes")
    micro_batch: int | None = Field(
        None, gt=0, description="questions that a process reads at once; null for all of its own"
    )
    learning_rate: float = Field(3e-5, gt=0, description="of the generator")
    encoder_learning_rate: float | None = Field(
        None, gt=0, description="of the question encoder; null as the generator's"
    )
    warmup: int = Field(0, ge=0, description="steps in which the learning rates rise from 0")
    decay: Literal["linear", "none"] = Field(
        "linear", description="whether they fall to 0 at the last step"
    )
    weight_decay: float = Field(0.0, ge=0, description="AdamW's")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are scaled down to this norm")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of the arithmetic; weights and sums stay float32"
    )
    gradient_checkpointing: bool = Field(
        False, description="compute activations twice and keep few of them, to save memory"
    )
    evaluate_every: int = Field(200, gt=0, description="steps between two looks at `dev`")
    patience: int | None = Field(
        None, gt=0, description="looks without a better exact match after which training stops"
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
            raise ValueError("lora trains adapters of the generator, which is frozen: drop one")
        if self.refresh is not None and self.question_encoder == "frozen":
            raise ValueError("refresh trains the passages' side: question_encoder must be trained")
        if self.patience is not None and self.dev is None:
            raise ValueError("patience looks at dev, and there is none: give questions to look at")
        return self
