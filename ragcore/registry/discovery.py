"""Discovery: which plugins are installed, what each gives, and what is wrong with those that fail.

Plugins are found by our own walk over the entry points of the group `ragcore`: pluggy's loader
stops at the first plugin that fails to import and skips one of a taken name without a word. Here a
plugin that raises, is slow to import, or takes a name that is taken is reported as such, and the
others work. This file loads plugins' modules, which are light, and a component's class only when
it is asked for.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import pluggy

from ragcore import hookspecs
from ragcore.errors import PluginError, UnknownComponentError, nearest
from ragcore.registry.installation import DISTRIBUTION, foreign_ragcore, install_hint

__all__ = ["ENTRY_POINT_GROUP", "HOOKS", "PluginReport", "Registry", "registry"]

ENTRY_POINT_GROUP: Final = "ragcore"

HOOKS: Final[Mapping[str, str]] = {
    "encoder": "ragcore_encoders",
    "index": "ragcore_indexes",
    "retriever": "ragcore_retrievers",
    "scorer": "ragcore_scorers",
    "generator": "ragcore_generators",
    "corpus": "ragcore_corpora",
    "metric": "ragcore_metrics",
    "model": "ragcore_models",
    "command": "ragcore_cli",
}
"""The kinds of thing that a plugin names, and the hook that gives each."""

KNOWN_PACKAGES: Final[Mapping[tuple[str, str], str]] = {
    ("index", "faiss"): "ragcore-faiss",
    ("index", "hnswlib"): "ragcore-hnswlib",
    ("retriever", "bm25"): "ragcore-bm25",
    ("encoder", "sentence-transformers"): "ragcore-transformers",
    ("encoder", "dpr"): "ragcore-transformers",
    ("scorer", "cross-encoder"): "ragcore-transformers",
    ("generator", "bart"): "ragcore-transformers",
    ("generator", "t5"): "ragcore-transformers",
    ("generator", "seq2seq"): "ragcore-transformers",
    ("generator", "causal"): "ragcore-transformers",
    ("corpus", "world-factbook"): "ragcore-world",
    ("command", "import-hf"): "ragcore-transformers",
    ("command", "export-hf"): "ragcore-transformers",
    ("command", "world"): "ragcore-world",
}
"""Components of the house that may not be installed, and the package that brings each."""

SLOW_SECONDS: Final = 0.5
"""A plugin's module should only name its classes; one that takes longer imports too much."""

Status = Literal["ok", "slow", "conflicting", "broken"]


@dataclass(slots=True)
class PluginReport:
    """What discovery found out about one plugin.

    Attributes:
        name: of its entry point.
        package: the distribution that it came with, and its version.
        status: `ok`; `slow` (works); `conflicting` (a name that it wants is taken; its other
            names work); `broken` (nothing of it works).
        detail: what is wrong and what to do; empty when `ok`.
        seconds: how long its module took to import.
        components: {kind: {name: "package.module:Class"}}, those that can be used.
    """

    name: str
    package: str
    version: str
    status: Status = "ok"
    detail: str = ""
    seconds: float = 0.0
    components: dict[str, dict[str, str]] = field(default_factory=dict)


class Registry:
    """The plugins of this environment and the names that they give."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager("ragcore")
        self._manager.add_hookspecs(hookspecs)
        self._targets: dict[tuple[str, str], str] = {}
        self._owners: dict[tuple[str, str], str] = {}
        self.reports: list[PluginReport] = []

    @classmethod
    def discover(cls) -> Registry:
        """The core's own components first, then every entry point of the group, by name."""
        found = cls()
        found._register("core", DISTRIBUTION, _version(DISTRIBUTION), "ragcore.registry.builtin")
        found._report_foreign()
        points = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
        for point in sorted(points, key=lambda point: (point.name, point.value)):
            package, version = ("", "")
            if point.dist is not None:
                package, version = point.dist.name, point.dist.version
            found._register(point.name, package, version, point.value)
        return found

    def _report_foreign(self) -> None:
        """Add to the core's report that another project's `ragcore` is installed."""
        message = foreign_ragcore()
        if message is None:
            return
        (core,) = self.reports
        core.status = "broken" if core.status == "broken" else "conflicting"
        core.detail = "; ".join(filter(None, [message, core.detail]))

    def _register(self, name: str, package: str, version: str, target: str) -> None:
        report = PluginReport(name, package, version)
        self.reports.append(report)
        began = time.perf_counter()
        try:
            plugin = _import(target)
            report.seconds = time.perf_counter() - began
            if self._manager.has_plugin(name):
                report.status = "conflicting"
                report.detail = (
                    f"another plugin is already registered under the name {name!r}: "
                    "rename the entry point, or uninstall one of them"
                )
                return
            self._manager.register(plugin, name)
            self._collect(plugin, report)
        # A plugin is foreign code: whatever it raises is its report, and the others go on. Even
        # sys.exit(), which a script without a main guard calls.
        except (Exception, SystemExit) as error:
            if self._manager.has_plugin(name):
                self._manager.unregister(name=name)
            report.status = "broken"
            report.detail = (
                f"{type(error).__name__}: {error} (while loading {target!r}); "
                f"repair or uninstall {package or name}"
            )
            return
        if report.status == "ok" and report.seconds > SLOW_SECONDS:
            report.status = "slow"
            report.detail = (
                f"importing {target!r} took {report.seconds:.1f} s: name classes by "
                '"package.module:Class" and import heavy libraries only in those modules'
            )

    def _collect(self, plugin: object, report: PluginReport) -> None:
        for name in dir(plugin):
            marked = getattr(getattr(plugin, name), "ragcore_impl", None) is not None
            if marked and not hasattr(hookspecs, name):
                hooks = [hook for hook in dir(hookspecs) if hook.startswith("ragcore_")]
                close = nearest(name, hooks)
                hint = f"did you mean {close!r}? " if close else ""
                raise PluginError(f"there is no hook {name!r}: {hint}hooks: {', '.join(hooks)}")
        given: dict[str, dict[str, str]] = {}
        for kind, hook in HOOKS.items():
            function = getattr(plugin, hook, None)
            if function is None:
                continue
            names = function()
            if not isinstance(names, Mapping) or not all(
                isinstance(key, str) and isinstance(value, str) and ":" in value
                for key, value in names.items()
            ):
                raise PluginError(f'{hook}() must return {{name: "package.module:Class"}}')
            given[kind] = dict(names)
        taken = []
        for kind, names in given.items():
            for name, target in names.items():
                owner = self._owners.get((kind, name))
                if owner is not None:
                    taken.append(f"{kind} {name!r} is already given by plugin {owner!r}")
                    continue
                self._targets[kind, name] = target
                self._owners[kind, name] = report.name
                report.components.setdefault(kind, {})[name] = target
        if taken:
            report.status = "conflicting"
            report.detail = "; ".join(taken) + ": rename it, or uninstall one of the two"

    @property
    def hook(self) -> Any:
        """pluggy's relay, to call the event hooks."""
        return self._manager.hook

    def names(self, kind: str) -> list[str]:
        """The registered names of a kind, sorted."""
        return sorted(name for held, name in self._targets if held == kind)

    def load(self, kind: str, name: str) -> Any:
        """The class (or, for a command, the app) registered under a name.

        Raises:
            UnknownComponentError: no plugin gives it; names the nearest, or what to install.
            PluginError: its module cannot be imported, or lacks the class.
        """
        target = self._targets.get((kind, name))
        if target is None:
            raise UnknownComponentError(self.unknown(kind, name))
        try:
            return _import(target)
        except Exception as error:
            owner = self._owners[kind, name]
            raise PluginError(
                f"{kind} {name!r} of plugin {owner!r} cannot be loaded from {target!r}: "
                f"{type(error).__name__}: {error}"
            ) from error

    def unknown(self, kind: str, name: str) -> str:
        """The message for a name that no plugin gives: the package to install, or the nearest."""
        package = KNOWN_PACKAGES.get((kind, name))
        if package is not None:
            broken = [r for r in self.reports if r.package == package and r.status == "broken"]
            if broken:
                return f"{kind} {name!r} cannot be used: plugin {package} is broken: " + (
                    broken[0].detail
                )
            return f"{kind} {name!r} is not installed: {install_hint(package)}"
        names = self.names(kind)
        close = nearest(name, names)
        hint = f"did you mean {close!r}? " if close else ""
        known = ", ".join(names) or "none"
        return f"unknown {kind} {name!r}: {hint}installed: {known}"

    def model_folder(self, name: str) -> Path | None:
        """The folder of a model that a plugin ships under this name, or None."""
        target = self._targets.get(("model", name))
        if target is None:
            return None
        package, _, inside = target.partition(":")
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise PluginError(f"model {name!r}: there is no package {package!r} (from {target!r})")
        folder = Path(spec.submodule_search_locations[0]) / inside
        if not folder.is_dir():
            raise PluginError(f"model {name!r}: package {package!r} has no folder {inside!r}")
        return folder

    def shipped_model(self, folder: Path) -> str | None:
        """The name of the model that a plugin ships in this folder, or None."""
        names = [name for kind, name in self._targets if kind == "model"]
        return next((name for name in names if self.model_folder(name) == folder), None)


@functools.cache
def registry() -> Registry:
    """The plugins of this environment, discovered once a process."""
    return Registry.discover()


def _import(target: str) -> Any:
    module, _, attribute = target.partition(":")
    found = importlib.import_module(module)
    for name in attribute.split(".") if attribute else ():
        found = getattr(found, name)
    return found


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
