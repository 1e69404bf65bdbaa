"""`ragcore serve`: serve pipelines over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command()
def serve(
    pipelines: Annotated[
        list[str],
        typer.Argument(
            help="Pipelines' YAML files, FILE or NAME=FILE; also changes to all: rag.k=10.",
        ),
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8000,
    token_file: Annotated[
        Path | None, typer.Option(help="File of the tokens with which questions may be asked.")
    ] = None,
    admin_token_file: Annotated[
        Path | None, typer.Option(help="File of the tokens that may change the served version.")
    ] = None,
    open_: Annotated[
        bool, typer.Option("--open", help="Let anybody ask who can reach the address.")
    ] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="A name by which the server is reached; may be repeated."),
    ] = None,
    cors: Annotated[
        list[str] | None,
        typer.Option(help="An origin whose pages may ask: https://example.org; may be repeated."),
    ] = None,
    queue: Annotated[
        int, typer.Option(help="Questions that wait or are answered at a time, each pipeline.")
    ] = 256,
    streams: Annotated[int, typer.Option(help="Streams at a time, each pipeline.")] = 8,
    max_questions: Annotated[int, typer.Option(help="Questions in one request.")] = 64,
    max_question_chars: Annotated[int, typer.Option(help="Characters of a question.")] = 10_000,
    max_body_bytes: Annotated[int, typer.Option(help="Bytes of a request's body.")] = 2**20,
    max_k: Annotated[int, typer.Option(help="The largest k of a request.")] = 100,
    max_beams: Annotated[int, typer.Option(help="The largest beams of a request.")] = 16,
    max_new_tokens: Annotated[
        int, typer.Option(help="The largest max_new_tokens of a request.")
    ] = 512,
    max_samples: Annotated[
        int, typer.Option(help="The largest sample.n of a request: answers drawn for a question.")
    ] = 16,
    timeout: Annotated[float, typer.Option(help="Seconds until a request is ended.")] = 60.0,
    drain: Annotated[
        float, typer.Option(help="Seconds to finish what was asked, before the server stops.")
    ] = 30.0,
    workers: Annotated[
        int, typer.Option(help="Processes that serve; they share the memory's mapped files.")
    ] = 1,
    pin: Annotated[
        bool, typer.Option("--pin", help="Stay with the version that is current at the start.")
    ] = False,
    interval: Annotated[
        float, typer.Option(help="Seconds between two looks at the store for a new version.")
    ] = 1.0,
    citations: Annotated[
        bool, typer.Option(help="End the text of chat completions with the sources.")
    ] = True,
    log_questions: Annotated[
        bool, typer.Option("--log-questions", help="Write questions to the log.")
    ] = False,
) -> None:
    """Serve pipelines over HTTP until SIGTERM, and follow their stores' current versions."""
    from pydantic import ValidationError

    from ragcore.cli.arguments import is_override
    from ragcore.errors import ConfigError
    from ragcore_serve.config import ServeConfig
    from ragcore_serve.running import run

    try:
        config = ServeConfig(
            host=host,
            port=port,
            token_file=token_file,
            admin_token_file=admin_token_file,
            open=open_,
            hosts=tuple(allow_host or ()),
            cors=tuple(cors or ()),
            queue=queue,
            streams=streams,
            max_questions=max_questions,
            max_question_chars=max_question_chars,
            max_body_bytes=max_body_bytes,
            max_k=max_k,
            max_beams=max_beams,
            max_new_tokens=max_new_tokens,
            max_samples=max_samples,
            timeout=timeout,
            drain=drain,
            workers=workers,
            pin=pin,
            interval=interval,
            citations=citations,
            log_questions=log_questions,
        )
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}".removeprefix(": ")
            for detail in error.errors(include_url=False)
        ]
        raise ConfigError("options of ragcore serve: " + "; ".join(faults)) from None
    overrides = [argument for argument in pipelines if is_override(argument)]
    run([each for each in pipelines if each not in overrides], overrides, config)
