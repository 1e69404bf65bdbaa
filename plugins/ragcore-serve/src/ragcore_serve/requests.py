"""The bodies of requests: what each route takes, and the limits that the server sets.

Knows the forms and their limits; the values themselves are checked by the core, as those of a
pipeline file are. A field that a route does not know is an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr

from ragcore.errors import ConfigError, QuestionError, RagcoreError
from ragcore.filters.expressions import where_from_json
from ragcore.questions.texts import check_questions
from ragcore_serve.config import ServeConfig
from ragcore_serve.errors import InvalidRequestError

__all__ = [
    "AnswerBody",
    "AnswerQuery",
    "CheckBody",
    "CompareBody",
    "LogProbBody",
    "SearchBody",
    "SearchQuery",
    "Settings",
    "VersionBody",
    "WithoutBody",
    "check_limits",
    "check_settings",
    "question_fault",
    "questions_of",
]

Where = Annotated[
    dict[str, Any] | None,
    Field(description="Filter over metadata: only passages that match are read."),
]
Question = Annotated[StrictStr, Field(description="A question.")]
Pipeline = Annotated[
    StrictStr | None, Field(description="The pipeline's name; the first one's by default.")
]
Version = Annotated[
    StrictStr | None,
    Field(description="Version of the memory; by default the one that is served."),
]
Timeout = Annotated[
    StrictFloat | StrictInt | None,
    Field(description="Seconds until the request is ended; at most the server's."),
]
_MOST_STOPS: Final = 16
"""Stop strings of a request: each is looked for after every token."""

K = Annotated[StrictInt | None, Field(description="How many passages to read.")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SearchSettings(_Body):
    """What a request may set that searches."""

    k: K = None
    where: Where = None


class ScoreSettings(SearchSettings):
    """What a request may set that reads passages."""

    marginalize: Literal["token", "sequence"] | None = None


class Sample(_Body):
    """How answers are drawn: as in the section `rag.sample` of a pipeline file."""

    temperature: StrictFloat | StrictInt | None = None
    top_p: StrictFloat | StrictInt | None = None
    top_k: StrictInt | None = None
    n: StrictInt | None = None
    seed: StrictInt | None = None


class Turn(_Body):
    """A question of the conversation before, and its answer."""

    question: StrictStr
    answer: StrictStr


class Settings(ScoreSettings):
    """What a request may set that decodes: as in the section `rag` of a pipeline file."""

    beams: StrictInt | None = None
    max_new_tokens: StrictInt | None = None
    decode: Literal["thorough", "fast", "joint"] | None = None
    sample: Sample | None = None
    stop: StrictStr | list[StrictStr] | None = None
    repetition_penalty: StrictFloat | StrictInt | None = None
    history: Annotated[
        list[Turn] | None,
        Field(description="Turns before the question, oldest first; read with `rag.rewrite`."),
    ] = None


class _Asked(_Body):
    pipeline: Pipeline = None
    version: Version = None
    timeout: Timeout = None


class AnswerBody(_Asked):
    """Questions to answer."""

    question: Question | list[StrictStr]
    settings: Settings = Settings()


class SearchBody(_Asked):
    """Questions to find passages for."""

    question: Question | list[StrictStr]
    settings: SearchSettings = SearchSettings()


class LogProbBody(_Asked):
    """Questions, each with an answer to score."""

    questions: list[StrictStr]
    answers: list[StrictStr]
    settings: ScoreSettings = ScoreSettings()


class WithoutBody(_Asked):
    """A question to answer, with passages to leave out afterwards."""

    question: Question
    passage_ids: StrictStr | list[StrictStr]
    settings: Settings = Settings()


class CompareBody(_Body):
    """A question to answer from two versions."""

    question: Question
    versions: Annotated[list[StrictStr], Field(min_length=2, max_length=2)]
    pipeline: Pipeline = None
    settings: Settings = Settings()
    timeout: Timeout = None


class VersionBody(_Body):
    """A version to activate."""

    version: StrictStr
    pipeline: Pipeline = None


class CheckBody(_Body):
    """A version to open and search once."""

    version: StrictStr
    pipeline: Pipeline = None


class _Query(_Body):
    """The fields of a body as query parameters, where everything is text."""

    question: list[str] = Field(description="A question; may be repeated.")
    pipeline: str | None = None
    version: str | None = None
    timeout: float | None = None
    k: int | None = None
    where: str | None = Field(None, description="A filter as JSON.")

    def _values(self, settings: type[SearchSettings]) -> dict[str, Any]:
        """Return the fields of the body that says the same; one question is no list of questions.

        Args:
            settings: the form of its settings.

        Raises:
            QuestionError: `where` is no JSON object.
        """
        values = self.model_dump()
        values["where"] = None if self.where is None else where_from_json(self.where)
        return {
            **{name: values[name] for name in _Asked.model_fields},
            "question": self.question[0] if len(self.question) == 1 else self.question,
            # Some settings have a form that no query has, as a history.
            "settings": settings(
                **{name: values[name] for name in settings.model_fields if name in values}
            ),
        }


class AnswerQuery(_Query):
    """Questions to answer, as query parameters."""

    marginalize: Literal["token", "sequence"] | None = None
    beams: int | None = None
    max_new_tokens: int | None = None
    decode: Literal["thorough", "fast", "joint"] | None = None
    stop: list[str] | None = Field(None, description="A stop string; may be repeated.")
    repetition_penalty: float | None = None

    def body(self) -> AnswerBody:
        """Return the body that says the same; errors as of `_values`."""
        return AnswerBody(**self._values(Settings))


class SearchQuery(_Query):
    """Questions to find passages for, as query parameters."""

    def body(self) -> SearchBody:
        """Return the body that says the same; errors as of `_values`."""
        return SearchBody(**self._values(SearchSettings))


def questions_of(questions: str | Sequence[str], config: ServeConfig) -> list[str]:
    """Return the questions of a request; each is checked by `question_fault`.

    Raises:
        InvalidRequestError: there are none, or too many.
    """
    batch = [questions] if isinstance(questions, str) else list(questions)
    if not batch:
        raise InvalidRequestError("question: the list is empty: ask at least one question")
    if len(batch) > config.max_questions:
        raise InvalidRequestError(
            f"question: {len(batch)} questions, and this server takes at most "
            f"{config.max_questions} in a request: send several requests"
        )
    return batch


def question_fault(question: str, config: ServeConfig) -> RagcoreError | None:
    """Return why a question cannot be asked; None where it can."""
    if len(question) > config.max_question_chars:
        return QuestionError(
            f"the question has {len(question):,} characters, and this server takes at most "
            f"{config.max_question_chars:,}: shorten it"
        )
    try:
        check_questions([question])
    except QuestionError as error:
        return error
    return None


def check_settings(settings: SearchSettings, config: ServeConfig) -> dict[str, Any]:
    """Return the settings of a request by name, those that it has.

    Raises:
        ConfigError: a number is larger than the server allows; names all that are.
    """
    values = settings.model_dump(exclude_none=True)
    check_limits(values, config)
    return values


def check_limits(values: Mapping[str, Any], config: ServeConfig) -> None:
    """Check the settings of a request against the server's limits.

    Raises:
        ConfigError: a number is larger, or a text longer, than the server allows; names all.
    """
    history = values.get("history", [])
    stop = values.get("stop", [])
    longest = max(
        (len(text) for turn in history for text in (turn["question"], turn["answer"])), default=0
    )
    sizes = [
        ("k", values.get("k", 0), config.max_k),
        ("beams", values.get("beams", 0), config.max_beams),
        ("max_new_tokens", values.get("max_new_tokens", 0), config.max_new_tokens),
        ("sample.n", values.get("sample", {}).get("n", 0), config.max_samples),
    ]
    faults = [
        f"{name}: {size}, and this server allows at most {limit}"
        for name, size, limit in sizes
        if size > limit
    ]
    if not isinstance(stop, str) and len(stop) > _MOST_STOPS:
        faults.append(f"stop: {len(stop)} strings, and this server allows at most {_MOST_STOPS}")
    if longest > config.max_question_chars:
        faults.append(
            f"history: a text of {longest:,} characters, and this server takes at most "
            f"{config.max_question_chars:,}"
        )
    if faults:
        raise ConfigError("settings of this request: " + "; ".join(faults))
