"""Start a server from a command line: check, listen, load, serve.

Knows the order of these; what each does, its own module knows.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Final

from ragcore.views.output import print_text
from ragcore_serve.app import make_app
from ragcore_serve.auth import Access
from ragcore_serve.config import ServeConfig, check_exposure, is_loopback
from ragcore_serve.served import open_pipelines, pipeline_files
from ragcore_serve.server import DrainingServer, address_of, listen

__all__ = ["run"]

_LOG: Final = logging.getLogger("ragcore.serve")


def run(pipelines: Sequence[str], overrides: Sequence[str], config: ServeConfig) -> None:
    """Serve pipelines until the process is told to stop.

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
    Access(config)
    files = pipeline_files(pipelines)
    if config.open and not is_loopback(config.host) and not config.hosts:
        _LOG.warning(
            "--open without --allow-host: pages of foreign sites can ask this server by the "
            "browsers of its users; name the hosts by which it is reached"
        )
    with (
        listen(config.host, config.port) as listening,
        open_pipelines(files, overrides, config) as served,
    ):
        names = ", ".join(f"{each.name} ({each.rag.memory.version})" for each in served)

        def announce() -> None:
            print_text(f"serving {names} on {address_of(listening)}")
            # What started the server may wait for this line, through a pipe.
            sys.stdout.flush()

        server = DrainingServer(make_app(served, config), served, config, started=announce)
        server.run(sockets=[listening])
