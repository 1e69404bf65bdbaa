"""Real servers of GGUF models, in this process: llama-cpp-python's, and llama.cpp's own."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["llama_cpp_python", "llama_cpp_server"]


@contextmanager
def llama_cpp_python(file: Path, positions: int = 512) -> Iterator[str]:
    """Run llama-cpp-python's server; yield the address of its API."""
    reason = "llama-cpp-python's server is not installed"
    app = pytest.importorskip("llama_cpp.server.app", reason=reason, exc_type=ImportError)
    uvicorn = pytest.importorskip("uvicorn", reason=reason)
    from llama_cpp.server.settings import ModelSettings, ServerSettings

    model = ModelSettings(
        model=str(file),
        model_alias="tiny",
        n_ctx=positions,
        n_threads=2,
        logits_all=True,
        # Keys and values in float32, to compare.
        type_k=0,
        type_v=0,
        verbose=False,
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(
            uvicorn.Config(
                app.create_app(
                    # Otherwise a second request ends the first.
                    server_settings=ServerSettings(interrupt_requests=False),
                    model_settings=[model],
                ),
                log_level="error",
            )
        )
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive(), "the server did not start"
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        finally:
            server.should_exit = True
            thread.join(30)


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


if __name__ == "__main__":
    with {"python": llama_cpp_python, "own": llama_cpp_server}[sys.argv[1]](
        Path(sys.argv[2])
    ) as address:
        print(address, flush=True)
        time.sleep(float(sys.argv[3]))
