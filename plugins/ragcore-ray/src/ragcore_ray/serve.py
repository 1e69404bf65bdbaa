"""Deploy a pipeline with Ray Serve: replicas that answer, and follow the store's current version.

    from ray import serve
    from ragcore_ray.serve import application

    serve.run(application("pipeline.yaml", replicas=2))

Over HTTP a replica takes `{"question": "…"}`, and returns the answer with its passages as JSON; a
pipeline without a generator returns what it finds. It checks no tokens: `ragcore serve` does. Knows
the public names of ragcore, and Ray Serve.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse

import ragcore
from ragcore.errors import QuestionError

__all__ = ["Replica", "application"]

_MOST_BYTES: Final = 1 << 20
"""The longest body of a request."""
_EXPECTED: Final = 'expected a JSON object such as {"question": "Who rules Mali?"}'


class Replica:
    """One replica of a pipeline, which serves the store's current version as soon as it changes.

    Replicas swap one by one, each within `interval` seconds; an answer names its version.
    """

    def __init__(self, pipeline: str, overrides: tuple[str, ...], interval: float) -> None:
        """Load a pipeline, and follow its store."""
        self._opened = ExitStack()
        self._rag = self._opened.enter_context(ragcore.load(pipeline, *overrides))
        self._opened.enter_context(self._rag.memory.watch(interval))

    def __del__(self) -> None:
        """Close the pipeline; Ray Serve calls it when a replica ends."""
        opened = getattr(self, "_opened", None)
        if opened is not None:
            opened.close()

    async def ask(self, question: str) -> dict[str, Any]:
        """Answer a question, or search for it where the pipeline has no generator, JSON-ready.

        Raises:
            QuestionError: it cannot be asked.
        """
        if self._rag.can_answer:
            (answer,) = await self._rag.aanswer(question)
            return answer.to_dict()
        (found,) = await self._rag.asearch(question)
        return found.to_dict()

    def served(self) -> tuple[str, str]:
        """Return the id of this replica, and the version that it serves."""
        replica: str = serve.get_replica_context().replica_id.unique_id
        return replica, self._rag.memory.version

    async def __call__(self, request: Request) -> JSONResponse:
        """Answer a request over HTTP."""
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MOST_BYTES:
                return _refused(413, f"the request is longer than {_MOST_BYTES:,} bytes")
        try:
            asked = json.loads(body)
        except ValueError:
            return _refused(400, f"the request is no JSON: {_EXPECTED}")
        if not isinstance(asked, dict) or not isinstance(asked.get("question"), str):
            return _refused(400, f"the request has no question: {_EXPECTED}")
        try:
            return JSONResponse(await self.ask(asked["question"]))
        except QuestionError as error:
            return _refused(400, str(error))


def application(
    pipeline: str | Path,
    *overrides: str,
    replicas: int = 1,
    num_cpus: float = 1,
    num_gpus: float = 0,
    interval: float = 1.0,
) -> serve.Application:
    """Return a deployment of a pipeline for `serve.run`.

    Args:
        pipeline: path of a YAML file, the same on all nodes.
        overrides: changes to the file, as on the command line.
        replicas: processes that answer.
        num_cpus: processors that Ray reserves for each.
        num_gpus: GPUs of each.
        interval: seconds between two looks at the store.
    """
    deployment = serve.deployment(Replica).options(
        num_replicas=replicas, ray_actor_options={"num_cpus": num_cpus, "num_gpus": num_gpus}
    )
    bound: serve.Application = deployment.bind(str(Path(pipeline).absolute()), overrides, interval)
    return bound


def _refused(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message}, status_code=status)
