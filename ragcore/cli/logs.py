"""The options about what a command logs, and the handler that writes it to standard error.

Knows Python's logging; knows nothing of commands. Without options nothing is set up: Python prints
warnings as they are.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from ragcore.errors import ConfigError
from ragcore.process.log_fields import fields_of
from ragcore.views.output import json_text, print_error

__all__ = ["LOG_OPTIONS", "LogOptions", "is_quiet", "logging_by", "split_options"]

LOG_OPTIONS: Final = {
    "-v": "log what is done with stores and memories; -vv also each question, by ids and times",
    "--quiet": "print neither progress nor warnings on standard error, errors alone",
    "--log-json": "log in JSON, an object a line, and print no progress",
}
"""Options that precede a command, each with a line of help."""

_OWN: Final = "ragcore"
"""How the loggers of ragcore and of its plugins begin."""


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What is logged.

    Attributes:
        level: of ragcore's own messages; those of libraries are logged from WARNING on.
        as_json: an object a line, also for the error that ends the command.
    """

    level: int = logging.WARNING
    as_json: bool = False

    @property
    def quiet(self) -> bool:
        """Whether progress stays hidden."""
        return self.as_json or self.level > logging.WARNING


_DEFAULT: Final = LogOptions()
_current = _DEFAULT


def is_quiet() -> bool:
    """Whether the running command shows no progress."""
    return _current.quiet


def split_options(arguments: list[str]) -> tuple[LogOptions, list[str]]:
    """Take the options about logging from the front of a command line.

    Raises:
        ConfigError: `-v` with `--quiet`.
    """
    verbose, quiet, as_json = 0, False, False
    rest = list(arguments)
    while rest:
        match rest[0]:
            case "-v" | "--verbose":
                verbose += 1
            case "-vv":
                verbose += 2
            case "--quiet":
                quiet = True
            case "--log-json":
                as_json = True
            case _:
                break
        rest.pop(0)
    if verbose and quiet:
        raise ConfigError("-v with --quiet: one logs more, the other less; leave one of them out")
    level = logging.ERROR if quiet else (logging.WARNING, logging.INFO)[min(verbose, 1)]
    return LogOptions(logging.DEBUG if verbose > 1 else level, as_json), rest


@contextmanager
def logging_by(options: LogOptions) -> Iterator[None]:
    """Log inside the block as the options say."""
    global _current
    if options == _DEFAULT:
        yield
        return
    root = logging.getLogger()
    handler = _Handler(options)
    before, _current = (root.level, _current), options
    root.addHandler(handler)
    root.setLevel(min(options.level, logging.WARNING))
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before[0])
        _current = before[1]


class _Handler(logging.Handler):
    """Writes records to standard error, through which all output passes."""

    def __init__(self, options: LogOptions) -> None:
        super().__init__(options.level)
        self.setFormatter(_JsonLines() if options.as_json else _Lines("%(message)s"))
        self.addFilter(_is_wanted)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        print_error(self.format(record))


class _Lines(logging.Formatter):
    """Formats what is of no concern as Python does, a warning as it is without any handler."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the message, after its logger's name where it is information."""
        text = super().format(record)
        return text if record.levelno >= logging.WARNING else f"{record.name}: {text}"


class _JsonLines(logging.Formatter):
    """Formats a record as one JSON object: time, level, logger, message, and its values by name."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object, on one line."""
        row = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            row["exception"] = self.formatException(record.exc_info)
        return json_text({**fields_of(record), **row})


def _is_wanted(record: logging.LogRecord) -> bool:
    """Return whether a record is of ragcore, or a warning or worse of another library."""
    return record.levelno >= logging.WARNING or record.name.startswith(_OWN)
