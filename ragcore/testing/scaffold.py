"""Write the package of a new plugin, which installs and passes its suite as it is.

The sources are the templates in `templates/`; this module knows their names, their paths in the
package, and the values that are substituted.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import keyword
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Final

from ragcore import __version__
from ragcore.errors import PluginError
from ragcore.registry.conformance import article
from ragcore.registry.discovery import HOOKS, KNOWN_PACKAGES, registry

__all__ = ["KINDS", "write_plugin"]

KINDS: Final = (
    "retriever",
    "index",
    "encoder",
    "scorer",
    "generator",
    "text-generator",
    "corpus",
    "passages",
    "metric",
    "command",
)
"""The kinds with a template; a text-generator is a generator of the tier `text`."""

_OF_TIER: Final = {"text-generator": "generator"}
"""The kind that a template's component is registered as, where it has another name."""

_BY_NAME: Final = ("metric", "command")
"""The kinds that a pipeline file does not name: they have no settings in one, and no suite."""

_BY_SUITE: Final = "runs the laws of ragcore's suite for {}"
_TESTS: Final = {
    "metric": "compares its figures for answers that are known to be right or wrong",
    "command": "runs the command, and compares what it prints",
}
"""What README.md says of the package's test."""

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def write_plugin(kind: str, name: str, folder: Path, *, force: bool = False) -> list[Path]:
    """Write a package for a component, a metric or a command.

    Args:
        kind: one of `KINDS`.
        name: what YAML will name after `use:`, or the command line after `ragcore`; lower case,
            words joined by hyphens.
        folder: where the package goes; it must not exist, or be empty.
        force: take a name even where an installed package has it, or one of ragcore's repository.

    Returns:
        The files, in the order in which they were written.

    Raises:
        PluginError: the kind has no template, the name is not valid or taken, or the folder is
            not empty.
    """
    if kind not in KINDS:
        raise PluginError(
            f"there is no template for a plugin of kind {kind!r}: expected one of "
            f"{', '.join(KINDS)}; for other hooks, see docs/reference/contracts.md"
        )
    cls = "".join(word.capitalize() for word in name.split("-"))
    if not _NAME.fullmatch(name) or keyword.iskeyword(cls):
        raise PluginError(
            f"{name!r} is not a valid name for a {kind}: use lower-case letters, digits and single "
            "hyphens, and begin with a letter, as in my-memory"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PluginError(f"{folder} exists and is not empty: choose another --folder")
    registered = _OF_TIER.get(kind, kind)
    package = "ragcore_" + name.replace("-", "_")
    owner = None if force else _owner(registered, name, package)
    if owner is not None:
        raise PluginError(
            f"the name {name!r} is taken: {owner}: choose another name, or pass --force if yours "
            "is to replace it"
        )
    values = {
        "kind": registered,
        "name": name,
        "package": package,
        "distribution": f"ragcore-{name}",
        "cls": cls,
        "attribute": "app" if kind == "command" else cls,
        "hook": HOOKS[registered],
        "suite": "".join(word.capitalize() for word in kind.split("-")) + "Suite",
        "version": __version__,
        "tests": _TESTS.get(kind, _BY_SUITE.format(article(registered))),
    }
    own_test = kind in ("corpus", "passages", *_BY_NAME)
    templates = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        f"src/{package}/plugin.py": "plugin_by_name.py" if kind in _BY_NAME else "plugin.py",
        f"src/{package}/component.py": f"{kind}.py",
        **({} if kind in _BY_NAME else {f"src/{package}/configs.py": f"{kind}_config.py"}),
        f"tests/test_{'contract' if kind not in _BY_NAME else kind}.py": (
            f"test_{kind}.py" if own_test else "test_simple.py"
        ),
        ".github/workflows/tests.yml": "tests.yml",
    }
    written = [_write(folder / target, template, values) for target, template in templates.items()]
    marker = folder / "src" / package / "__init__.py"
    marker.write_text(f'"""The {registered} {name} for ragcore."""\n', encoding="utf-8")
    return [*written, marker]


def _owner(kind: str, name: str, package: str) -> str | None:
    """Say what has a name that the new package would register or be installed under, or None."""
    distribution = f"ragcore-{name}"
    plugins = registry()
    for report in plugins.reports:
        where = f"plugin {report.name!r} ({report.package} {report.version})"
        if name in report.components.get(kind, {}):
            return f"{where} has the {kind} {name!r}"
        if report.name == name:
            return f"{where} has this name for its entry point"
    current = plugins.current_name(kind, name)
    if current != name:
        return f"it is an old name of the {kind} {current!r}, which pipelines may still say"
    known = KNOWN_PACKAGES.get((kind, name))
    if known is not None:
        return f"ragcore's own package {known} has the {kind} {name!r}"
    if distribution in KNOWN_PACKAGES.values():
        return f"ragcore has a package {distribution} of its own"
    try:
        version = importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        pass
    else:
        return f"the distribution {distribution} {version} is installed, and pip would replace it"
    if importlib.util.find_spec(package) is not None:
        return f"the module {package} is installed"
    return None


def _write(path: Path, template: str, values: Mapping[str, str]) -> Path:
    source = files("ragcore.testing") / "templates" / f"{template}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        Template(source.read_text(encoding="utf-8")).substitute(values), encoding="utf-8"
    )
    return path
