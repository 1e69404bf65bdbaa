"""Install plugins for one test, where discovery finds them; import scripts of experiments/."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from ragcore.registry.discovery import Registry, registry

SAMPLE = Path(__file__).parent / "helpers" / "sample.py"
EXPERIMENTS = Path(__file__).parents[1] / "experiments"

# Components whose library `make test` may lack, with that library: it is compiled, or large.
COSTLY = {"hnswlib": "hnswlib", "llamacpp": "llama_cpp", "ray": "ray"}


def loadable(name: str) -> bool:
    """Say whether the library that the component `name` imports is installed."""
    return name not in COSTLY or importlib.util.find_spec(COSTLY[name]) is not None


class Installed:
    """A folder on `sys.path` that acts as site-packages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(
        self,
        name: str,
        source: str,
        *,
        module: str | None = None,
        package: str | None = None,
        version: str = "1.0",
    ) -> None:
        """Install a plugin: one module, and a distribution with the entry point `name`."""
        module = module or f"{name.replace('-', '_')}_plugin"
        package = package or f"ragcore-{name}"
        (self.folder / f"{module}.py").write_text(source, encoding="utf-8")
        info = self.folder / f"{package.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n", encoding="utf-8"
        )
        (info / "entry_points.txt").write_text(f"[ragcore]\n{name} = {module}\n", encoding="utf-8")
        importlib.invalidate_caches()
        registry.cache_clear()

    def discover(self) -> Registry:
        registry.cache_clear()
        return registry()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installed]:
    """Hide this environment's plugins; only those that the test adds are found."""
    folder = tmp_path / "site-packages"
    folder.mkdir()

    def entry_points(*, group: str) -> list[importlib.metadata.EntryPoint]:
        distributions = importlib.metadata.distributions(path=[str(folder)])
        points = [point for package in distributions for point in package.entry_points]
        return [point for point in points if point.group == group]

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    # A busy machine must not make a plugin slow; the test of slow plugins sets its own limit.
    monkeypatch.setattr("ragcore.registry.discovery.SLOW_SECONDS", 60.0)
    monkeypatch.syspath_prepend(folder)
    registry.cache_clear()
    before = set(sys.modules)
    yield Installed(folder)
    registry.cache_clear()
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


@pytest.fixture
def sample(installed: Installed) -> Installed:
    """Install the plugin of `helpers/sample.py`, and no other."""
    installed.add("sample", SAMPLE.read_text(encoding="utf-8"))
    return installed


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Import scripts of the folder experiments/ by name; later tests do not see them."""
    monkeypatch.syspath_prepend(EXPERIMENTS)
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(EXPERIMENTS)):
            del sys.modules[name]
