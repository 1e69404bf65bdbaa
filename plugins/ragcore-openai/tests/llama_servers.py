"""Real servers of GGUF models, llama-cpp-python's in a process, and llama.cpp's own in this one."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["llama_cpp_python", "llama_cpp_server"]


@contextmanager
def llama_cpp_python(file: Path, positions: int = 512) -> Iterator[str]:
    """Run llama-cpp-python's server in a process; yield the address of its API."""
    for package in ("llama_cpp.server.app", "uvicorn"):
        pytest.importorskip(
            package, reason="llama-cpp-python's server is not installed", exc_type=ImportError
        )
    # In a process of its own: all of its servers in one process share one model.
    command = [sys.executable, __file__, str(file), str(positions)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            assert port, "the server did not start"
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()


@contextmanager
def llama_cpp_server(file: Path, positions: int = 512) -> Iterator[str]:
    """Run llama.cpp's own server, as the package xllamacpp has it; yield the address of its API."""
    xllamacpp = pytest.importorskip("xllamacpp", reason="xllamacpp is not installed")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(file)
    parameters.model_alias = {"tiny"}
    parameters.n_parallel = 2
    parameters.n_ctx = positions * parameters.n_parallel
    parameters.hostnames, parameters.port = ["127.0.0.1"], 0
    parameters.warmup = False
    parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    parameters.verbosity = -1
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 2
    server = xllamacpp.Server(parameters)
    try:
        yield f"{server.listening_address}/v1"
    finally:
        del server


def _serve(file: str, positions: int) -> None:
    """Run llama-cpp-python's server until the process is ended; print the port first."""
    import uvicorn
    from llama_cpp.server.app import create_app
    from llama_cpp.server.settings import ModelSettings, ServerSettings

    model = ModelSettings(
        model=file,
        model_alias="tiny",
        n_ctx=positions,
        n_threads=2,
        logits_all=True,
        # Keys and values in float32, to compare.
        type_k=0,
        type_v=0,
        verbose=False,
    )
    app = create_app(
        # Otherwise a second request ends the first.
        server_settings=ServerSettings(interrupt_requests=False),
        model_settings=[model],
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(listening.getsockname()[1], flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listening])


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
