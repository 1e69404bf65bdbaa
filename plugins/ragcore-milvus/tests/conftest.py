"""One real Milvus for all tests, also for those of several processes (`pytest -n 8`).

Milvus takes seconds to load a collection, which is waiting and not work.
"""

from __future__ import annotations

import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from milvus_server import Unavailable, running, uri_of_running
from pymilvus import MilvusClient

from tests.conftest import Installed, installed

__all__ = ["database", "installed", "plugins", "uri"]

_OPEN: Final = ExitStack()
_SHARED: Final[dict[str, str]] = {}


def _shared() -> dict[str, str]:
    """Start the server that the processes of this run share, once; return its URI, or why not."""
    if not _SHARED:
        named = uri_of_running()
        if named is not None:
            _SHARED["uri"] = named
            return _SHARED
        folder = Path(tempfile.mkdtemp(prefix="ragcore-milvus-"))
        _OPEN.callback(shutil.rmtree, folder, ignore_errors=True)
        try:
            _SHARED["uri"] = _OPEN.enter_context(running(folder / "server")).uri
        except Unavailable as reason:
            _SHARED["reason"] = str(reason)
    return _SHARED


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a process of pytest-xdist where the server is."""
    if "not engines" not in node.config.getoption("markexpr"):
        node.workerinput["milvus"] = _shared()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Leave the tests that kill a server of their own to one process, which starts one for all.

    While it is down, no other one of this run may start, and take its ports. The marker
    `xdist_group` is for this, but pytest-xdist 3.8 does not see it with pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByServer(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return file if file.endswith("/test_failures.py") else nodeid

    return ByServer(config, log)


def pytest_unconfigure() -> None:
    """Stop the server."""
    _OPEN.close()
    _SHARED.clear()


@pytest.fixture(scope="session")
def uri(request: pytest.FixtureRequest) -> str:
    """Return the URI of a real Milvus; skip the test where there is none."""
    shared = getattr(request.config, "workerinput", {}).get("milvus") or _shared()
    if "uri" not in shared:
        pytest.skip(shared["reason"])
    return shared["uri"]


@pytest.fixture
def database(uri: str) -> Iterator[str]:
    """A new database in the server; empty, so that a test can count what is left in it."""
    client = MilvusClient(uri)
    name = f"test_{secrets.token_hex(6)}"
    client.create_database(name)
    yield name
    inside = MilvusClient(uri, db_name=name)
    for collection in inside.list_collections():
        inside.drop_collection(collection)
    inside.close()
    client.drop_database(name)
    client.close()


@pytest.fixture
def plugins(installed: Installed) -> None:
    """Install the encoder of the memories, and the index, as a fresh environment has them."""
    installed.add(
        "words",
        "from ragcore import hookimpl\n"
        "@hookimpl\n"
        "def ragcore_encoders():\n"
        "    return {'words': 'tests.helpers.word_encoder:NumpyWordEncoder'}\n",
    )
    installed.add(
        "milvus", "from ragcore_milvus.plugin import ragcore_indexes\n", package="ragcore-milvus"
    )
