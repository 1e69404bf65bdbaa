"""The keys of a pipeline file, except those of components: each component's `Config` has them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from ragcore.config.training import TrainConfig
from ragcore.contracts import Corpus, Generator, PassageStore, Retriever, Scorer
from ragcore.embeddings.location import DEFAULT_GIB
from ragcore.filters.expressions import faults_of
from ragcore.prompts.settings import check_template
from ragcore.registry.components import ComponentConfig, ComponentSpec, ConfigPath

__all__ = [
    "AbstainConfig",
    "CacheConfig",
    "ConfidenceConfig",
    "MemoryConfig",
    "PipelineConfig",
    "RagConfig",
    "RewriteConfig",
    "SampleConfig",
    "StoreConfig",
    "WriteConfig",
]


def _check_where(expression: dict[str, Any]) -> dict[str, Any]:
    """Check a filter expression; each of its faults is reported at its position in the file."""
    faults = [
        InitErrorDetails(
            type=PydanticCustomError("value_error", "{error}", {"error": fault.message}),
            loc=fault.path,
            input=expression,
        )
        for fault in faults_of(expression)
    ]
    if faults:
        raise ValidationError.from_exception_data("where", faults)
    return expression


class AbstainConfig(ComponentConfig):
    """When to answer that the passages do not hold the answer."""

    answer: str = Field(
        default="unknown",
        min_length=1,
        description="the answer that stands for: not in the passages; no other answer begins with "
        "its first token",
    )
    above: float = Field(
        default=0.9,
        ge=0,
        le=1,
        description="abstain where the mean of that answer's probabilities is above this",
    )
    mean: Literal["arithmetic", "geometric"] = Field(
        default="arithmetic",
        description="which mean over the passages, weighted by the prior, is compared with above: "
        "arithmetic is that answer's marginal probability; geometric is low where one passage "
        "surely answers",
    )
    scorer: ComponentSpec[Scorer] | None = Field(
        default=None,
        description="tells whether a passage answers (capability answerability), in place of the "
        "generator, which then need not know that answer; null asks the generator",
    )


class ConfidenceConfig(ComponentConfig):
    """How probable it is that an answer is right, and when that is too low."""

    slope: float | None = Field(
        default=None,
        allow_inf_nan=False,
        description="the confidence is 1 / (1 + exp(-(slope · log p + answering · "
        "log(1 - p(unknown)) + intercept))); with null for slope and intercept it is p(y|x) itself",
    )
    answering: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="see slope: how much it counts that the passages may not answer, by "
        "rag.abstain; null is 0",
    )
    intercept: float | None = Field(
        default=None, allow_inf_nan=False, description="see slope; set both or neither"
    )
    threshold: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="an answer of lower confidence is withheld; 0 withholds none",
    )

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.slope is None) != (self.intercept is None):
            missing = "slope" if self.slope is None else "intercept"
            raise ValueError(
                f"{missing} is missing: set slope and intercept, as `ragcore calibrate` fits them, "
                "or neither"
            )
        if self.answering is not None and self.slope is None:
            raise ValueError(
                "answering is set without slope and intercept: set all three, as `ragcore "
                "calibrate` fits them, or none"
            )
        return self


class WriteConfig(ComponentConfig):
    """How texts are written by a generator that gives no log-probs of the whole vocabulary."""

    candidates: int = Field(
        default=1,
        ge=1,
        description="texts for each passage; several need a temperature above 0",
    )
    temperature: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="0 writes the most probable token each time; above 0 tokens are drawn",
    )
    top_p: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="tokens are drawn from the smallest set of this probability",
    )
    seed: int | None = Field(
        default=0, description="of the draws; null leaves it to the generator's server"
    )

    @model_validator(mode="after")
    def _draws_several(self) -> Self:
        if self.candidates > 1 and not self.temperature:
            raise ValueError(
                f"candidates ({self.candidates}) would be the same text each time: set a "
                "temperature above 0, such as 0.8, or candidates to 1"
            )
        return self


class SampleConfig(ComponentConfig):
    """How answers are drawn by chance, in place of a search for the most probable one."""

    temperature: float = Field(
        default=1.0,
        ge=0,
        allow_inf_nan=False,
        description="1 draws answers as probable as they are, less prefers probable ones; 0 draws "
        "nothing: the answer is searched for",
    )
    top_p: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="draw from the fewest most probable tokens that have this share together",
    )
    top_k: int = Field(
        default=0, ge=0, description="draw from so many most probable tokens; 0 from all"
    )
    n: int = Field(
        default=1, ge=1, description="answers drawn for a question; the most probable one answers"
    )
    seed: int = Field(
        default=0, description="the same seed and question draw the same answers, in any batch"
    )


class RewriteConfig(ComponentConfig):
    """How the generator makes a stand-alone question of one that continues a conversation."""

    template: str = Field(
        default="Rewrite the last question so that it can be understood without the conversation. "
        "Write the question only.\n\n{history}\n\nLast question: {question}\nRewritten question:",
        description="what the generator reads, without a passage: {history} and {question}",
    )
    turns: int = Field(default=4, ge=1, description="how many of the last turns it reads")
    max_new_tokens: int = Field(default=64, ge=1, description="longest question, in tokens")

    @field_validator("template")
    @classmethod
    def _check_template(cls, template: str) -> str:
        return check_template(template, ("history", "question"))


class RagConfig(ComponentConfig):
    """How an answer is computed from the passages."""

    marginalize: Literal["token", "sequence", "none"] = Field(
        default="token",
        description="RAG-Token sums over passages at each token, RAG-Sequence once an answer; none "
        "reads all passages in one prompt",
    )
    decode: Literal["thorough", "fast", "joint"] = Field(
        default="thorough", description="how RAG-Sequence is decoded"
    )
    k: int = Field(
        default=5,
        ge=0,
        description="passages retrieved for a question; 0 is closed book, the generator alone",
    )
    beams: int = Field(
        default=4, ge=1, description="hypotheses kept by the beam search; 1 is greedy"
    )
    max_new_tokens: int = Field(default=32, ge=1, description="longest answer, in tokens")
    min_new_tokens: int = Field(default=0, ge=0, description="shortest answer, in tokens")
    length_penalty: float = Field(
        default=0.0,
        allow_inf_nan=False,
        description="hypotheses are ranked by log p / length ** this; 0 ranks by log p",
    )
    no_repeat_ngram: int = Field(
        default=0, ge=0, description="no n-gram of this length twice in an answer; 0 allows all"
    )
    repetition_penalty: float = Field(
        default=1.0,
        ge=1,
        allow_inf_nan=False,
        description="a repeated token's log p counts so many times where answers are ranked or "
        "drawn; 1 is off",
    )
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(), description="an answer ends before the first of these strings"
    )
    sample: SampleConfig | None = Field(
        default=None,
        description="draw answers by chance; null searches for the most probable one",
    )
    grounded: bool = Field(
        default=False, description="answer only with verbatim spans of the passages' texts"
    )
    where: Annotated[dict[str, Any], AfterValidator(_check_where)] | None = Field(
        default=None, description="read only passages whose metadata meet this; null reads all"
    )
    batch_size: int = Field(
        default=16, ge=1, description="questions read and decoded together; bounds memory"
    )
    drop_below: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="decode no further with passages whose share is together at most this",
    )
    abstain: AbstainConfig | None = Field(
        default=None, description="when to answer that the passages do not say; null never does"
    )
    cite: bool = Field(
        default=False,
        description="ask for answers that name their passages by [n]; with marginalize: none",
    )
    write: WriteConfig | None = Field(
        default=None,
        description="how a generator of tier score or text writes; null writes one text for each "
        "passage, at temperature 0",
    )
    confidence: ConfidenceConfig | None = Field(
        default=None,
        description="what answers' confidence is, and when one is withheld; null is p(y|x), and "
        "withholds none",
    )

    rewrite: RewriteConfig | None = Field(
        default=None,
        description="make a stand-alone question of one with a history; null searches by it as it "
        "is asked",
    )

    @property
    def one_prompt(self) -> bool:
        """Whether all passages are read in one prompt, so that nothing is marginalised."""
        return self.marginalize == "none"

    @property
    def abstains_by_scorer(self) -> bool:
        """Whether a scorer tells which passages answer, and not the generator."""
        return self.abstain is not None and self.abstain.scorer is not None

    @property
    def marginal(self) -> Literal["token", "sequence"]:
        """The formula of log p(y|x); over a single prompt both formulas are the same."""
        return "token" if self.marginalize == "none" else self.marginalize

    @model_validator(mode="after")
    def _cites_in_one_prompt(self) -> Self:
        if self.cite and not self.one_prompt:
            raise ValueError(
                f"cite needs marginalize: none, and it is {self.marginalize}: a passage that is "
                "read alone has no number to be named by, and the posterior says how much an "
                "answer rests on it; leave cite out, or set marginalize to none"
            )
        return self

    @model_validator(mode="after")
    def _answering_needs_abstaining(self) -> Self:
        answering = None if self.confidence is None else self.confidence.answering
        if answering is not None and self.abstain is None:
            raise ValueError(
                "confidence.answering needs abstain, which p(unknown) is of: set abstain, or leave "
                "answering out and fit the others again by `ragcore calibrate`"
            )
        return self

    @model_validator(mode="after")
    def _grounded_answers_do_not_stop(self) -> Self:
        if self.grounded and self.stop:
            raise ValueError(
                "stop and grounded exclude each other: a grounded answer is a passage's words to "
                "its end; leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _grounded_answers_need_passages(self) -> Self:
        if self.grounded and self.k == 0:
            raise ValueError(
                "k is 0, and grounded answers are words of passages: every answer would be empty, "
                "or the one of abstain; set k to 1 or more, or leave grounded out"
            )
        return self

    @model_validator(mode="after")
    def _lengths_agree(self) -> Self:
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError(
                f"min_new_tokens ({self.min_new_tokens}) must not exceed "
                f"max_new_tokens ({self.max_new_tokens})"
            )
        return self


class StoreConfig(ComponentConfig):
    """Where the versions of a memory are, and which one is read."""

    store: ConfigPath = Field(description="folder of the store that holds the memory's versions")
    version: str | None = Field(
        default=None,
        min_length=1,
        description="version to answer from; null is the store's current one",
    )
    passages: ComponentSpec[PassageStore] | None = Field(
        default=None,
        description="keeps the passages of new versions, in place of files of the store; null is "
        "files, or what the version has that is updated",
    )


class CacheConfig(ComponentConfig):
    """Where vectors are kept that an encoder has computed, and how many."""

    folder: ConfigPath | None = Field(
        default=None,
        description="null is the environment's RAGCORE_CACHE, else ragcore/embeddings in the "
        "user's folder of caches",
    )
    max_gib: float = Field(
        default=DEFAULT_GIB,
        gt=0,
        allow_inf_nan=False,
        description="how large it may become, in GiB",
    )


class MemoryConfig(StoreConfig):
    """Which passages are read, and how they are found."""

    corpus: ComponentSpec[Corpus] | None = Field(
        default=None, description="where passages come from when the memory is built"
    )
    retriever: ComponentSpec[Retriever] = Field(description="finds the passages of a question")
    temperature: float = Field(
        default=1.0,
        gt=0,
        allow_inf_nan=False,
        description="scores are divided by this before they become a prior",
    )
    cache: CacheConfig | None = Field(
        default=CacheConfig(),
        description="vectors by encoder and text, so that none is computed twice; null keeps none",
    )
    verify: bool | Literal["full", "sampled"] = Field(
        default="sampled",
        description="compare every file's sha256 when a version is opened, of files above 64 MiB "
        "that of some blocks; full or true reads all bytes, false compares sizes only",
    )


class PipelineConfig(ComponentConfig):
    """A whole pipeline file."""

    ragcore: Literal[1] = Field(description="the file format's version, 1")
    memory: MemoryConfig = Field(description="which passages are read, and how they are found")
    generator: ComponentSpec[Generator] | None = Field(
        default=None, description="writes the answer; a pipeline that only searches needs none"
    )
    rag: RagConfig = Field(
        default=RagConfig(), description="how an answer is computed from the passages"
    )
    train: TrainConfig | None = Field(
        default=None, description="how `ragcore train` fine-tunes encoder and generator"
    )
