"""Start a server from a command line: check, listen, load, serve.

Knows the order of these; what each does, its own module knows.
"""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Final

from ragcore.cli.asking import filter_notes_unlogged
from ragcore.cli.logs import logging_by, split_options
from ragcore.config import load_config
from ragcore.errors import RagcoreError
from ragcore.process.heap import limit_heaps
from ragcore.views.output import print_error, print_text
from ragcore_serve.app import make_app
from ragcore_serve.auth import Access
from ragcore_serve.config import ServeConfig, check_exposure, is_loopback
from ragcore_serve.metrics import Metrics
from ragcore_serve.served import PipelineFile, open_pipelines, pipeline_files
from ragcore_serve.server import DrainingServer, address_of, listen
from ragcore_serve.tracing import Tracing
from ragcore_serve.workers import supervise

__all__ = ["run"]

_LOG: Final = logging.getLogger("ragcore.serve")
_HEAPS: Final = 2
"""Of the C library in each process: one for the event loop, one for the threads that compute."""
_LAST_SECONDS: Final = 15.0
"""That a worker has, after draining, to send the last replies and to close its pipelines."""


def run(pipelines: Sequence[str], overrides: Sequence[str], config: ServeConfig) -> None:
    """Serve pipelines until the process is asked to stop.

    What is wrong with the options is known before a model is loaded. The address is printed when
    the server replies.

    Args:
        pipelines: each FILE or NAME=FILE.
        overrides: changes to each file.
        config: of the server.

    Raises:
        ConfigError, StoreError: nothing was served.
    """
    check_exposure(config)
    access = Access(config)
    files = pipeline_files(pipelines)
    if config.open and not is_loopback(config.host) and not config.hosts:
        _LOG.warning(
            "--open without --allow-host: pages of foreign sites can ask this server by the "
            "browsers of its users; name the hosts by which it is reached"
        )
    with listen(config.host, config.port) as listening:
        if config.workers == 1:
            _serve(listening, None, files, overrides, config, access)
            return
        for file in files:
            # What is wrong with a file is known before a worker is started.
            load_config(file.path, overrides)
        supervise(
            _work,
            (files, tuple(overrides), config),
            listening,
            config.workers,
            stop_seconds=config.drain + _LAST_SECONDS,
            started=lambda: print_text(
                f"serving {', '.join(file.name for file in files)} on {address_of(listening)} "
                f"by {config.workers} workers",
                flush=True,
            ),
        )


def _work(
    listening: socket.socket,
    ready: Callable[[], None],
    files: Sequence[PipelineFile],
    overrides: Sequence[str],
    config: ServeConfig,
) -> None:
    """Serve as one of several processes, which log as the command line says."""
    options, _ = split_options(sys.argv[1:])
    with logging_by(options):
        try:
            _serve(listening, ready, files, overrides, config, Access(config))
        except RagcoreError as error:
            if options.as_json:
                _LOG.error("%s", error)
            else:
                print_error(f"error: {error}")
            raise SystemExit(error.exit_code) from None


def _serve(
    listening: socket.socket,
    ready: Callable[[], None] | None,
    files: Sequence[PipelineFile],
    overrides: Sequence[str],
    config: ServeConfig,
    access: Access,
) -> None:
    """Serve until this process is asked to stop; call `ready`, or print a line, when it replies."""
    limit_heaps(_HEAPS)
    metrics, tracing = Metrics(), Tracing(content=config.log_questions)
    # A filter may say as much as a question does; the reply has the notes.
    unlogged = nullcontext() if config.log_questions else filter_notes_unlogged()
    with (
        unlogged,
        metrics.listening(),
        tracing.listening(),
        open_pipelines(files, overrides, config, metrics=metrics, tracing=tracing) as served,
    ):
        names = ", ".join(f"{each.name} ({each.rag.memory.version})" for each in served)
        server = DrainingServer(
            make_app(served, config, metrics, tracing, access),
            served,
            config,
            # What started the server may wait for this line, through a pipe.
            started=ready
            or (lambda: print_text(f"serving {names} on {address_of(listening)}", flush=True)),
        )
        server.run(sockets=[listening])
