"""A Ray cluster of three nodes on this machine: one for the driver, two that work."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

GATES = """\
'''A corpus of JSON lines whose second part waits at a gate, to be caught there by a test.'''

import os

import ray

from ragcore.corpora.jsonl import Jsonl
from ragcore.hookspecs import hookimpl


class Gated(Jsonl):
    def part(self, number, of):
        folder = os.path.dirname(self._config.path)
        if number == 1 and not os.path.exists(f"{folder}/open"):
            with open(f"{folder}/arrived", "w") as arrived:
                arrived.write(ray.get_runtime_context().get_node_id())
            # Nobody writes into it: only the end of the process ends it.
            open(f"{folder}/gate").read()
        return super().part(number, of)


@hookimpl
def ragcore_corpora():
    return {"gated": "gates_plugin:Gated"}
"""


class Nodes:
    """The nodes that work; one that was killed can be replaced."""

    def __init__(self, cluster: Any) -> None:
        self.cluster = cluster
        self.nodes = [self._add(), self._add()]

    def _add(self) -> Any:
        return self.cluster.add_node(num_cpus=1, object_store_memory=80 << 20)

    def kill(self, node_id: str) -> None:
        """Kill a node with all that runs on it, and add another one."""
        (node,) = [each for each in self.nodes if each.node_id == node_id]
        self.cluster.remove_node(node, allow_graceful=False)
        self.nodes = [each for each in self.nodes if each is not node] + [self._add()]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that acts as site-packages of all nodes."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "gates_plugin.py").write_text(GATES, encoding="utf-8")
    info = folder / "ragcore_gates-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ragcore-gates\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ragcore]\ngates = gates_plugin\n")
    return folder


@pytest.fixture(scope="session")
def nodes(site: Path) -> Iterator[Nodes]:
    utilities = pytest.importorskip("ray.cluster_utils", reason="Ray is not installed")
    patch = pytest.MonkeyPatch()
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    for name, value in {
        "PYTHONPATH": path,
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        # Serve kills a proxy that is not ready in five seconds, as on a busy machine none is.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    }.items():
        patch.setenv(name, value)
    head = {"num_cpus": 0, "object_store_memory": 80 << 20, "include_dashboard": False}
    cluster = utilities.Cluster(initialize_head=True, head_node_args=head)
    try:
        yield Nodes(cluster)
    finally:
        cluster.shutdown()
        patch.undo()


@pytest.fixture
def address(nodes: Nodes) -> str:
    text: str = nodes.cluster.address
    return text
