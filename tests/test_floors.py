"""Test the order of rooms in CONTRIBUTING.md against every import of the core and the plugins.

The table there is the one source: rooms in a lower row may import rooms in the rows above, and
rooms in the same row do not import each other. Imports inside functions and under TYPE_CHECKING
count too. `ragcore/__init__.py` and `ragcore/registry/builtin.py` name modules by string only.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import ragcore

ROOT: Final = Path(__file__).resolve().parents[1]
CORE: Final = ROOT / "ragcore"
PLUGINS: Final = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
PLUGIN_PACKAGES: Final = {path.name.replace("-", "_") for path in PLUGINS}

OPEN_TO_PLUGINS: Final = {
    "contracts",
    "corpora",
    "disk",
    "errors",
    "filters",
    "hookspecs",
    "marginalization",
    "postings",
    "process",
    "prompts",
    "registry",
    "scaling",
    "types",
}
"""The rooms that a plugin may import."""

PUBLIC_API: Final = {"ragcore_ray.serve", "ragcore_transformers.commands", "ragcore_world.demo"}
"""Plugin modules that use ragcore as a program would, by `import ragcore` and its names."""

PROGRAMS: Final = {"ragcore_serve"}
"""Plugin packages of which every module does."""


def floors() -> dict[str, int]:
    """Read the row of each room from the table in CONTRIBUTING.md, counted from the top."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.split("\n## The order of rooms\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    order: dict[str, int] = {}
    for number, row in enumerate(rows):
        for room in re.findall(r"`([a-z_]+)(?:\.py|/)`", row.split("|")[1]):
            assert room not in order, f"CONTRIBUTING.md lists {room} twice"
            order[room] = number
    return order


FLOORS: Final = floors()


def room_of(path: Path) -> str:
    return path.relative_to(CORE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of every import; public names of `ragcore` by the module they live in."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: a relative import"
            for alias in node.names:
                yield node.lineno, home_of(str(node.module), alias.name)


def home_of(module: str, name: str) -> str:
    if module != "ragcore":
        return f"{module}.{name}"
    return ragcore._HOMES.get(name, f"ragcore.{name}")


def core_room(name: str) -> str | None:
    """The room of the core that a name is imported from; None for the package itself."""
    package, _, rest = name.partition(".")
    room = rest.split(".")[0]
    return room if package == "ragcore" and room in FLOORS else None


CORE_FILES: Final = [p for p in sorted(CORE.rglob("*.py")) if p != CORE / "__init__.py"]
PLUGIN_FILES: Final = [path for folder in PLUGINS for path in sorted(folder.glob("src/**/*.py"))]


def package_of(path: Path) -> str:
    """The package of a plugin's module, which may be in a package of its own within it."""
    return path.relative_to(ROOT).parts[3]


def is_program(path: Path) -> bool:
    package = package_of(path)
    return package in PROGRAMS or f"{package}.{path.stem}" in PUBLIC_API


def test_the_table_lists_every_room_and_no_other():
    assert {room_of(path) for path in CORE_FILES} == set(FLOORS)


def test_rooms_import_only_from_the_rows_above():
    violations = []
    for path in CORE_FILES:
        own = room_of(path)
        for line, name in imports(path):
            where = f"{path.relative_to(ROOT)}:{line}"
            if name.split(".")[0] in PLUGIN_PACKAGES:
                violations.append(f"{where}: imports the plugin {name}")
            room = core_room(name)
            if room not in (None, own) and FLOORS[room] >= FLOORS[own]:
                violations.append(f"{where}: {own} imports {room}, which is not in a row above it")
    assert violations == []


def test_plugins_import_only_the_rooms_open_to_them_and_no_other_plugin():
    violations = []
    for path in PLUGIN_FILES:
        own = package_of(path)
        for line, name in imports(path):
            where = f"{path.relative_to(ROOT)}:{line}"
            package = name.split(".")[0]
            if package != own and package in PLUGIN_PACKAGES:
                violations.append(f"{where}: imports another plugin, {package}")
            room = core_room(name)
            if room is not None and room not in OPEN_TO_PLUGINS and not is_program(path):
                violations.append(f"{where}: imports {name}, which plugins may not")
    assert violations == []


def test_plugins_use_the_public_api_only_where_they_are_programs():
    violations = []
    for path in PLUGIN_FILES:
        if is_program(path):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Attribute(value=ast.Name(id="ragcore"), attr=attribute):
                    room = core_room(ragcore._HOMES.get(attribute, "ragcore"))
                    if room is not None and room not in OPEN_TO_PLUGINS:
                        line = f"{path.relative_to(ROOT)}:{node.lineno}"
                        violations.append(f"{line}: uses ragcore.{attribute}")
    assert violations == []
