"""The settings of one request: which there are, and how they are checked.

Knows the section `rag`, which a request changes for itself alone, and checks a value as a pipeline
file is checked; knows nothing of memories or generators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from reprlib import repr as clipped
from typing import Any, Final, Literal, TypedDict

from pydantic import BaseModel, ValidationError

from ragcore.answering.conversation import Turn, read_history
from ragcore.answering.searching import Where
from ragcore.config import RagConfig
from ragcore.config.hints import AcceptedValues, hint_of
from ragcore.config.reasons import reason
from ragcore.errors import ConfigError, nearest
from ragcore.filters.expressions import read_where
from ragcore.process.cancellation import Cancellation, Stop

__all__ = [
    "AnswerSettings",
    "CheckedSettings",
    "Request",
    "ScoreSettings",
    "SearchSettings",
    "checked_settings",
]


class SearchSettings(TypedDict, total=False):
    """What a request may set that searches; None is as if it were left out.

    Attributes:
        where: a filter in the form of `rag.where`: only passages whose metadata match are found;
            with both, they must match both.
        version: of the memory; the one that is served, or pinned, where it is left out. It is
            opened where it is not open yet; see `ServedMemory.reading`.
        timeout: in seconds from the call on; then the request ends with DeadlineError, at the
            latest when the batch or the token that is being computed is done.
        cancellation: ends the request, as the timeout does, with RequestCancelledError.
    """

    where: Where
    version: str | None
    timeout: float | None
    cancellation: Cancellation | None


class ScoreSettings(SearchSettings, total=False):
    """What a request may set that reads passages.

    Attributes:
        k: as `rag.k`, for this request.
        marginalize: as `rag.marginalize`, for this request.
    """

    k: int | None
    marginalize: Literal["token", "sequence"] | None


class AnswerSettings(ScoreSettings, total=False):
    """What a request may set that decodes.

    Attributes:
        beams: as `rag.beams`, for this request.
        max_new_tokens: as `rag.max_new_tokens`, for this request.
        decode: as `rag.decode`, for this request; without effect on RAG-Token and on streams.
        sample: as `rag.sample`, for this request: keys that are left out are as in the pipeline.
            A temperature of 0 draws nothing.
        stop: as `rag.stop`, for this request; one string counts as one.
        repetition_penalty: as `rag.repetition_penalty`, for this request.
        history: the turns of the conversation before the question, oldest first. Without
            `rag.rewrite` it has no effect: the question is searched for as it is asked.
    """

    beams: int | None
    max_new_tokens: int | None
    decode: Literal["thorough", "fast", "joint"] | None
    sample: Mapping[str, float] | None
    stop: str | Sequence[str] | None
    repetition_penalty: float | None
    history: Sequence[Turn | Mapping[str, str]] | None


@dataclass(frozen=True, slots=True)
class Request:
    """One question of a batch, with the settings that it alone has; see `Rag.answer_each`.

    Attributes:
        question: the question.
        settings: by name, such as {"k": 3}.
    """

    question: str
    settings: AnswerSettings = field(default_factory=AnswerSettings)


@dataclass(frozen=True, slots=True)
class CheckedSettings:
    """The settings of a request, checked; its time begins when they are.

    Attributes:
        config: the section `rag`, changed as the request says.
        where: as in `SearchSettings`.
        version: as in `SearchSettings`.
        history: the turns before the question, oldest first; none where nothing is made of them.
        stop: ends the request.
        key: equal for requests that may be answered in one batch.
    """

    config: RagConfig
    where: Where
    version: str | None
    history: tuple[Turn, ...]
    stop: Stop
    key: tuple[object, ...]


_NOT_IN_CONFIG: Final = (*SearchSettings.__annotations__, "history")


def checked_settings(
    config: RagConfig,
    settings: Mapping[str, Any],
    allowed: type[SearchSettings] = AnswerSettings,
) -> CheckedSettings:
    """Check the settings of a request, and begin its time.

    Args:
        config: the section `rag` of the pipeline.
        settings: by name.
        allowed: the class that names the settings which the call has.

    Raises:
        ConfigError: a setting is unknown, or its value is none that a pipeline file may have; names
            all that are wrong.
        QuestionError: `where` is no filter.
    """
    present = {name: value for name, value in settings.items() if value is not None}
    known = list(allowed.__annotations__)
    faults = [_unknown(name, known) for name in settings if name not in known]
    changes = {
        name: value
        for name, value in present.items()
        if name in known and name not in _NOT_IN_CONFIG
    }
    if isinstance(changes.get("stop"), str):
        changes["stop"] = [changes["stop"]]
    history, history_faults = read_history(present.get("history", ()))
    faults += [*_faults_outside(present), *history_faults]
    changed = config
    if changes:
        faults += _mistyped(changes)
    if changes and not faults:
        fields = {name: getattr(config, name) for name in RagConfig.model_fields} | changes
        if "sample" in changes and config.sample is not None:
            fields["sample"] = config.sample.model_dump() | changes["sample"]
        try:
            changed = RagConfig.model_validate(fields)
        except ValidationError as error:
            faults += [
                _fault(detail) for detail in error.errors(include_url=False, include_context=True)
            ]
    if faults:
        raise ConfigError("settings of this request: " + "; ".join(faults))
    if changed.rewrite is None:
        history = ()
    where = present.get("where")
    if where is not None:
        read_where(where)
    return CheckedSettings(
        changed,
        where,
        present.get("version"),
        history,
        Stop(present.get("timeout"), present.get("cancellation")),
        # Python takes 1 and True for equal, a filter does not.
        (
            *((name, repr(changes[name])) for name in sorted(changes)),
            repr(where),
            present.get("version"),
            history,
        ),
    )


def _unknown(name: str, known: list[str]) -> str:
    close = nearest(name, known)
    hint = f"did you mean {close!r}? " if close else ""
    return f"unknown setting {name!r}: {hint}allowed: {', '.join(known)}"


def _faults_outside(present: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the settings that no pipeline file has."""
    faults: list[str] = []
    version = present.get("version")
    if version is not None and (not isinstance(version, str) or not version):
        faults.append(f"version: expected the name of a version, found {clipped(version)}")
    timeout = present.get("timeout")
    if timeout is not None and not _is_duration(timeout):
        faults.append(f"timeout: expected seconds, a number above 0, found {clipped(timeout)}")
    cancellation = present.get("cancellation")
    if cancellation is not None and not isinstance(cancellation, Cancellation):
        kind = type(cancellation).__name__
        faults.append(f"cancellation: expected a ragcore.Cancellation, found {kind}")
    return faults


def _is_duration(value: object) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and isfinite(value)
        and value > 0
    )


def _mistyped(
    changes: Mapping[str, Any], model: type[BaseModel] = RagConfig, within: str = ""
) -> list[str]:
    """Return which values are of a type that a pipeline file may not have, such as "5" for 5."""
    faults: list[str] = []
    for name, value in changes.items():
        if name not in model.model_fields:
            # The check of the whole section names it.
            continue
        accepted = AcceptedValues.of([hint_of(model.model_fields[name])])
        if isinstance(value, Mapping) and accepted.models:
            faults += _mistyped(value, accepted.models[0], f"{within}{name}.")
        elif isinstance(value, list | tuple) and accepted.items:
            items = AcceptedValues.of(accepted.items)
            faults += [
                f"{within}{name}.{number}: expected {items.words()}, found {clipped(item)}"
                for number, item in enumerate(value)
                if not items.allows_scalar(item)
            ]
        elif not accepted.allows_scalar(value):
            faults.append(f"{within}{name}: expected {accepted.words()}, found {clipped(value)}")
    return faults


def _fault(detail: Any) -> str:
    """Say one of pydantic's errors; a check of the whole section names its keys itself."""
    if not detail["loc"]:
        return reason(detail)
    name = ".".join(map(str, detail["loc"]))
    return f"{name}: {reason(detail)}, found {clipped(detail['input'])}"
