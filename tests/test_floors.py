"""The plan of the house holds: a room imports from the floors below it, and plugins stand alone.

Imports are read from the source, those inside functions and for type checkers too. Only what
`ragcore/__init__.py` and `ragcore/builtin.py` name by string stands outside the plan: both are
doors, and import nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import ragcore

ROOT: Final = Path(__file__).resolve().parents[1]
CORE: Final = ROOT / "ragcore"
PLUGINS: Final = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
PLUGIN_PACKAGES: Final = {path.name.replace("-", "_") for path in PLUGINS}

GROUND: Final = {
    "arrays",
    "builtin",
    "contracts",
    "errors",
    "hookspecs",
    "marginalization",
    "parts",
    "plugins",
    "simple",
    "threads",
    "types",
}
FLOORS: Final = {
    **dict.fromkeys(GROUND, 1),
    **dict.fromkeys(["decoding", "memory"], 2),
    **dict.fromkeys(["answering", "answers", "building", "config", "withholding"], 3),
    **dict.fromkeys(["provenance", "questions", "rag", "retrieval"], 3),
    **dict.fromkeys(["calibration", "evaluation", "testing", "training", "verification"], 4),
    **dict.fromkeys(["__main__", "cli", "server"], 5),
}
"""The floor of each room, a module or a package right inside `ragcore`."""

ONE_ROOM: Final = {1, 3, 5}
"""Floors whose rooms may import each other; on the others each stands alone."""

PUBLIC_API: Final = {"ragcore_transformers.commands", "ragcore_world.demo"}
"""Modules of plugins that use ragcore as a program would, by `import ragcore` and its names."""


def room_of(path: Path) -> str:
    return path.relative_to(CORE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of all that a file imports; names of `ragcore` by where they live."""
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
    """The room of the core that an imported name is in; None for the package itself."""
    package, _, rest = name.partition(".")
    room = rest.split(".")[0]
    return room if package == "ragcore" and room in FLOORS else None


CORE_FILES = [path for path in sorted(CORE.rglob("*.py")) if path != CORE / "__init__.py"]


def test_every_room_has_a_floor():
    rooms = {room_of(path) for path in CORE_FILES}
    assert rooms <= set(FLOORS), f"give {rooms - set(FLOORS)} a floor"


@pytest.mark.parametrize("path", CORE_FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_room_imports_only_from_the_floors_below(path):
    own = room_of(path)
    for line, name in imported(path):
        assert name.split(".")[0] not in PLUGIN_PACKAGES, f"{path}:{line}: imports a plugin"
        room = core_room(name)
        if room is None or room == own:
            continue
        below = FLOORS[room] < FLOORS[own]
        beside = FLOORS[room] == FLOORS[own] and FLOORS[own] in ONE_ROOM
        assert below or beside, (
            f"{path}:{line}: {own} is on floor {FLOORS[own]} and imports {name}, of floor "
            f"{FLOORS[room]}"
        )


PLUGIN_FILES = [path for folder in PLUGINS for path in sorted(folder.glob("src/**/*.py"))]


@pytest.mark.parametrize("path", PLUGIN_FILES, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_a_plugin_imports_the_ground_floor_and_no_other_plugin(path):
    own = path.parent.name
    for line, name in imported(path):
        package = name.split(".")[0]
        assert package == own or package not in PLUGIN_PACKAGES, (
            f"{path}:{line}: a plugin imports another, {package}"
        )
        room = core_room(name)
        assert room is None or room in GROUND, f"{path}:{line}: imports {name}, above floor 1"


@pytest.mark.parametrize("path", PLUGIN_FILES, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_a_plugin_uses_the_whole_only_where_it_is_a_program(path):
    if f"{path.parent.name}.{path.stem}" in PUBLIC_API:
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "ragcore"
        ):
            room = core_room(ragcore._HOMES.get(node.attr, "ragcore"))
            assert room is None or room in GROUND, f"{path}:{node.lineno}: ragcore.{node.attr}"
