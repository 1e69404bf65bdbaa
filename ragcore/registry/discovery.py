"""Discovery: which plugins are installed, what each provides, and why any of them fails.

Plugins are found by our own walk over the entry points of the group `ragcore`: pluggy's loader
stops at the first plugin that fails to import and silently skips one whose name is taken. Here a
plugin that raises, is slow to import, or claims a name that is taken is reported as such, and the
others work. This file imports the plugins' modules, which are light; it imports a component's class
only when the class is requested.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import pluggy

from ragcore import hookspecs
from ragcore.errors import PluginError, UnknownComponentError, nearest
from ragcore.hookspecs import Target
from ragcore.registry.hooks import check_hooks, names_of
from ragcore.registry.installation import DISTRIBUTION, foreign_ragcore, install_hint

__all__ = ["ENTRY_POINT_GROUP", "HOOKS", "RENAMED", "PluginReport", "Registry", "registry"]

ENTRY_POINT_GROUP: Final = "ragcore"

HOOKS: Final[Mapping[str, str]] = {
    "encoder": "ragcore_encoders",
    "index": "ragcore_indexes",
    "retriever": "ragcore_retrievers",
    "scorer": "ragcore_scorers",
    "generator": "ragcore_generators",
    "corpus": "ragcore_corpora",
    "runner": "ragcore_runners",
    "passages": "ragcore_passages",
    "metric": "ragcore_metrics",
    "model": "ragcore_models",
    "command": "ragcore_cli",
    "router": "ragcore_routes",
}
"""The kinds of component that a plugin can name, and the hook that lists each kind."""

JSONL_PRESETS: Final = frozenset({"beir", "flashrag", "kilt", "msmarco", "pyserini"})
"""Names that are taken for corpora: the presets of `jsonl`, which is not imported for them."""

KNOWN_PACKAGES: Final[Mapping[tuple[str, str], str]] = {
    ("index", "faiss"): "ragcore-faiss",
    ("index", "hnswlib"): "ragcore-hnswlib",
    ("index", "milvus"): "ragcore-milvus",
    ("index", "pgvector"): "ragcore-pgvector",
    ("retriever", "bm25"): "ragcore-bm25",
    ("encoder", "sentence-transformers"): "ragcore-transformers",
    ("encoder", "dpr"): "ragcore-transformers",
    ("encoder", "static"): "ragcore-static",
    ("encoder", "openai-embeddings"): "ragcore-openai",
    ("encoder", "world-vectors"): "ragcore-world",
    ("retriever", "sparse"): "ragcore-transformers",
    ("scorer", "answerability"): "ragcore-transformers",
    ("scorer", "cross-encoder"): "ragcore-transformers",
    ("scorer", "late-interaction"): "ragcore-transformers",
    ("generator", "bart"): "ragcore-transformers",
    ("generator", "t5"): "ragcore-transformers",
    ("generator", "seq2seq"): "ragcore-transformers",
    ("generator", "extractive"): "ragcore-transformers",
    ("generator", "causal"): "ragcore-transformers",
    ("generator", "llamacpp"): "ragcore-llamacpp",
    ("generator", "openai"): "ragcore-openai",
    ("runner", "ray"): "ragcore-ray",
    ("corpus", "documents"): "ragcore-documents",
    ("corpus", "wikipedia"): "ragcore-wikipedia",
    ("corpus", "world-factbook"): "ragcore-world",
    ("passages", "postgres"): "ragcore-pgvector",
    ("command", "encoder"): "ragcore-transformers",
    ("command", "import-hf"): "ragcore-transformers",
    ("command", "export-hf"): "ragcore-transformers",
    ("command", "models"): "ragcore-transformers",
    ("command", "serve"): "ragcore-serve",
    ("command", "world"): "ragcore-world",
}
"""Components of this repository's plugins, and the package that provides each."""

RENAMED: Final[Mapping[tuple[str, str], str]] = {("scorer", "likelihood"): "query-likelihood"}
"""Old names of components, which pipeline files and stores may still say, and the new ones."""

SLOW_SECONDS: Final = 0.5
"""Seconds to import a plugin's module; it should only name classes, so more is too much."""

Status = Literal["ok", "slow", "conflicting", "broken"]


@dataclass(slots=True)
class PluginReport:
    """The result of discovering one plugin.

    Attributes:
        name: name of its entry point.
        package: the distribution that it came with.
        version: the distribution's version.
        status: `ok`; `slow` (works); `conflicting` (a name that it claims is taken; its other
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
    """The plugins of this environment and the names that they register."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager("ragcore")
        self._manager.add_hookspecs(hookspecs)
        self._targets: dict[tuple[str, str], str] = {}
        self._configs: dict[tuple[str, str], str] = {}
        self._owners: dict[tuple[str, str], str] = {}
        self._unusable: list[str] = []
        self.reports: list[PluginReport] = []

    @classmethod
    def discover(cls) -> Registry:
        """Register the core's own components, then every entry point of the group, by name."""
        discovered = cls()
        discovered._register(
            "core", DISTRIBUTION, _version(DISTRIBUTION), "ragcore.registry.builtin"
        )
        discovered._report_foreign()
        points = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
        for point in sorted(points, key=lambda point: (point.name, point.value)):
            package, version = ("", "")
            if point.dist is not None:
                package, version = point.dist.name, point.dist.version
            discovered._register(point.name, package, version, point.value)
        return discovered

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
        started = time.perf_counter()
        try:
            plugin = _import(target)
            report.seconds = time.perf_counter() - started
            if self._manager.has_plugin(name):
                reason = f"another plugin is already registered under the name {name!r}"
                report.status = "conflicting"
                report.detail = f"{reason}: rename the entry point, or uninstall one of them"
                self._unusable.append(f"plugin {name!r} of {package} cannot be used ({reason})")
                return
            self._manager.register(plugin, name)
            self._collect(plugin, report)
        # A plugin is foreign code: anything that it raises goes into its report, and the others
        # are still registered. Even sys.exit(), which a script without a main guard calls.
        except (Exception, SystemExit) as error:
            if self._manager.has_plugin(name):
                self._manager.unregister(name=name)
            reason = f"{type(error).__name__}: {error}"
            report.status = "broken"
            report.detail = (
                f"{reason} (while loading {target!r}); repair or uninstall {package or name}"
            )
            (first, *_) = reason.splitlines()
            self._unusable.append(f"plugin {name!r} is broken ({first})")
            return
        if report.status == "ok" and report.seconds > SLOW_SECONDS:
            report.status = "slow"
            report.detail = (
                f"importing {target!r} took {report.seconds:.1f} s: name classes by "
                '"package.module:Class" and import heavy libraries only in those modules'
            )

    def _collect(self, plugin: object, report: PluginReport) -> None:
        check_hooks(plugin)
        components: dict[str, dict[str, str | Target]] = {}
        for kind, hook in HOOKS.items():
            function = getattr(plugin, hook, None)
            if function is None:
                continue
            components[kind] = names_of(kind, hook, function)
        conflicts = []
        for kind, names in components.items():
            for name, target in names.items():
                owner = self._owners.get((kind, name))
                if owner is not None:
                    conflicts.append(f"{kind} {name!r} is already registered by plugin {owner!r}")
                    continue
                if isinstance(target, Target):
                    self._configs[kind, name] = target.config
                    target = target.component
                self._targets[kind, name] = target
                self._owners[kind, name] = report.name
                report.components.setdefault(kind, {})[name] = target
        if conflicts:
            report.status = "conflicting"
            report.detail = "; ".join(conflicts) + ": rename it, or uninstall one of the two"

    @property
    def hook(self) -> Any:
        """pluggy's relay, to call the event hooks."""
        return self._manager.hook

    def names(self, kind: str) -> list[str]:
        """Return the registered names of a kind, sorted."""
        return sorted(name for registered, name in self._targets if registered == kind)

    def current_name(self, kind: str, name: str) -> str:
        """Return the name that a component has today, where it was renamed; else `name`."""
        return name if (kind, name) in self._targets else RENAMED.get((kind, name), name)

    def load(self, kind: str, name: str) -> Any:
        """Import the class (or, for a command, the app) registered under a name, old or new.

        Raises:
            UnknownComponentError: no plugin provides it; the message has the nearest name, or the
                package to install.
            PluginError: its module cannot be imported, or lacks the class; or its `Config` is not
                the one that its plugin names.
        """
        name = self.current_name(kind, name)
        target = self._targets.get((kind, name))
        if target is None:
            raise UnknownComponentError(self.unknown(kind, name))
        component = self._load(kind, name, target)
        declared = self._configs.get((kind, name))
        if declared is not None:
            config = self._load(kind, name, declared)
            if getattr(component, "Config", None) is not config:
                raise PluginError(
                    f"{kind} {name!r} of plugin {self._owners[kind, name]!r}: its hook names the "
                    f"config {declared!r}, which is not the 'Config' of {target!r}: make them one "
                    "class"
                )
        return component

    def target(self, kind: str, name: str) -> str | None:
        """Return where a component's class is, "package.module:Class"; None for an unknown name."""
        return self._targets.get((kind, self.current_name(kind, name)))

    def config_target(self, kind: str, name: str) -> str | None:
        """Return where the `Config` of a component is, if its plugin names it by a `Target`."""
        return self._configs.get((kind, self.current_name(kind, name)))

    def load_config(self, kind: str, name: str) -> Any:
        """Import the `Config` of a component: alone where its plugin names it, else by its class.

        Returns:
            The config class, unchecked; None where the component has none.

        Raises:
            UnknownComponentError, PluginError: as `load`.
        """
        name = self.current_name(kind, name)
        declared = self._configs.get((kind, name))
        if declared is None:
            return getattr(self.load(kind, name), "Config", None)
        return self._load(kind, name, declared)

    def _load(self, kind: str, name: str, target: str) -> Any:
        try:
            return _import(target)
        except Exception as error:
            owner = self._owners[kind, name]
            raise PluginError(
                f"{kind} {name!r} of plugin {owner!r} cannot be loaded from {target!r}: "
                f"{type(error).__name__}: {error}"
            ) from error

    def unknown(self, kind: str, name: str) -> str:
        """Return the message for an unknown name: the package to install, or the nearest name."""
        package = KNOWN_PACKAGES.get((kind, name))
        if package is not None:
            for report in self.reports:
                if report.package == package and report.status == "broken":
                    return (
                        f"{kind} {name!r} cannot be used: plugin {package} is broken: "
                        f"{report.detail}"
                    )
            return self._with_unusable(f"{kind} {name!r} is not installed: {install_hint(package)}")
        names = self.names(kind)
        close = nearest(name, names)
        hint = f"did you mean {close!r}? " if close else ""
        if kind == "corpus" and name in JSONL_PRESETS:
            hint = f"{name} is a preset of jsonl: write {{use: jsonl, preset: {name}}}; "
        known = ", ".join(names) or "none"
        return self._with_unusable(f"unknown {kind} {name!r}: {hint}installed: {known}")

    def unknown_everywhere(self, name: str, kinds: Sequence[str]) -> str:
        """Return the message for a name that none of these kinds has."""
        known = sorted({known for kind in kinds for known in self.names(kind)})
        return self._with_unusable(
            f"no plugin provides a component {name!r}: installed: {', '.join(known)}"
        )

    def _with_unusable(self, message: str) -> str:
        """Add the plugins that cannot be used, since one of them may have the name."""
        return "; ".join([message, *(f"{what}: see `ragcore plugins`" for what in self._unusable)])

    def model_folder(self, name: str) -> Path | None:
        """Return the folder of a model that a plugin ships under this name, or None.

        Raises:
            PluginError: the plugin's package, or its folder of that model, is missing.
        """
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
        """Return the name of the model that a plugin ships in this folder, or None."""
        names = [name for kind, name in self._targets if kind == "model"]
        return next((name for name in names if self.model_folder(name) == folder), None)


@functools.cache
def registry() -> Registry:
    """Return the plugins of this environment, discovered once per process."""
    return Registry.discover()


def _import(target: str) -> Any:
    module, _, attribute = target.partition(":")
    value: Any = importlib.import_module(module)
    for name in attribute.split(".") if attribute else ():
        value = getattr(value, name)
    return value


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
