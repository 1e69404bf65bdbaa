"""`ragcore import-hf` and `export-hf`: RAG models as pipelines, and back; `encoder`, `models`.

Uses ragcore as a program does, by `import ragcore`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

__all__ = ["encoder_app", "export_app", "import_app", "models_app"]

import_app = typer.Typer(add_completion=False)
export_app = typer.Typer(add_completion=False)
encoder_app = typer.Typer(add_completion=False, no_args_is_help=True)
models_app = typer.Typer(add_completion=False, no_args_is_help=True)


@import_app.command()
def import_hf(
    model: Annotated[str, typer.Argument(help="A saved RAG model: a folder, or a hub's name.")],
    folder: Annotated[Path, typer.Argument(help="The pipeline's folder, to be made.")],
    passage_model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="The DPR passage encoder it was trained over."),
    ] = None,
    corpus: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Passages for the memory, as JSON lines or DPR's TSV."),
    ] = None,
) -> None:
    """Make a pipeline of a RAG model that transformers saved."""
    import ragcore
    from ragcore_transformers import exchange

    section: dict[str, Any] | None = None
    if corpus is not None:
        use = "dpr-tsv" if ".tsv" in corpus.suffixes else "jsonl"
        section = {"use": use, "path": str(corpus.absolute())}
    path = exchange.import_hf(
        model, folder, passage_model=passage_model or exchange.PASSAGE_MODEL, corpus=section
    )
    ragcore.TerminalConsole().print(
        f"written: {path}\nbuild its memory: ragcore memory build {path}"
        + ("" if corpus else "   (name a memory.corpus first)"),
        soft_wrap=True,
    )


@export_app.command()
def export_hf(
    pipeline: Annotated[
        str, typer.Argument(help="The pipeline's YAML file, or a folder that training left.")
    ],
    folder: Annotated[Path, typer.Argument(help="transformers' folder, to be made.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes to the file: rag.k=10")
    ] = None,
) -> None:
    """Save a pipeline's question encoder and generator as a RAG model of transformers."""
    import ragcore
    from ragcore.errors import UnsupportedOperation
    from ragcore_transformers import exchange
    from ragcore_transformers.dpr import Dpr
    from ragcore_transformers.seq2seq import Seq2Seq

    config = ragcore.load_config(pipeline, overrides or ())
    spec = getattr(config.memory.retriever.config, "encoder", None)
    if spec is None or spec.component is not Dpr:
        raise UnsupportedOperation(
            "memory.retriever: transformers' RAG has DPR's question encoder and no other: only "
            "{use: dense, encoder: {use: dpr, …}} can be exported"
        )
    if config.generator is None or config.generator.component is not Seq2Seq:
        raise UnsupportedOperation(
            "generator: transformers' RAG has an encoder-decoder model (bart, t5, seq2seq), and no "
            "other can be exported"
        )
    if config.rag.one_prompt:
        raise UnsupportedOperation(
            "rag.marginalize is none: transformers' RAG marginalises over passages, so export with "
            "rag.marginalize=token or rag.marginalize=sequence"
        )
    # Weights as they are stored, not as they are computed with here.
    encoder = spec.config.model_copy(update={"dtype": "checkpoint", "passage_dtype": None})
    generator: Any = config.generator.config
    if generator.dtype in ("int8", "auto"):
        generator = generator.model_copy(update={"dtype": "float32"})
    exchange.export_hf(
        Dpr(encoder),
        Seq2Seq(generator),
        folder,
        marginalize=config.rag.marginal,
        k=config.rag.k,
    )
    ragcore.TerminalConsole().print(f"written: {folder}", soft_wrap=True)


@encoder_app.callback()
def encoder() -> None:
    """Make encoders."""


@encoder_app.command()
def distill(
    model: Annotated[
        str, typer.Argument(help="A sentence-transformers model: a folder, or a hub's name.")
    ],
    folder: Annotated[Path, typer.Argument(help="The static model's folder, to be made.")],
    dim: Annotated[int, typer.Option(min=1, help="Components of each vector.")] = 256,
    dtype: Annotated[
        Literal["float32", "float16"], typer.Option(help="Of the stored vectors.")
    ] = "float16",
    device: Annotated[str, typer.Option(help="Where the model runs: cpu, cuda, … or auto.")] = (
        "auto"
    ),
) -> None:
    """Make a static model of a sentence-transformers model, for the encoder `static`."""
    import ragcore
    from ragcore_transformers import distilling

    tokens, dim = distilling.distill(model, folder, dim=dim, dtype=dtype, device=device)
    ragcore.TerminalConsole().print(
        f"written: {folder} ({tokens:,} tokens, {dim} components)\n"
        f"use it: encoder: {{use: static, model: {folder}}}",
        soft_wrap=True,
    )


@models_app.callback()
def models() -> None:
    """Prepare models."""


@models_app.command()
def convert(
    folder: Annotated[Path, typer.Argument(help="A folder with pytorch_model.bin, or its shards.")],
) -> None:
    """Write the weights of pytorch_model.bin as safetensors, and check that they are equal."""
    import ragcore
    from ragcore_transformers import converting

    done = converting.convert(folder)
    ragcore.TerminalConsole().print(
        f"written: {', '.join(done.written)} in {folder}\n"
        f"{done.tensors:,} weights, equal to those of {', '.join(done.read)}, "
        f"which {'is' if len(done.read) == 1 else 'are'} no longer needed",
        soft_wrap=True,
        highlight=False,
    )
