"""The wheels of the core and of each plugin: built, complete, at work outside the repository."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

import pytest

from ragcore import __version__
from tests.helpers.markdown import ROOT
from tests.install.environment import Environment

pytestmark = pytest.mark.install

PLUGINS: Final = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
PACKAGES: Final = {
    "ragcore": ROOT / "ragcore",
    **{one.name: one / "src" / one.name.replace("-", "_") for one in PLUGINS},
}
"""The folder of each distribution's package."""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """All wheels, built side by side."""
    out = tmp_path_factory.mktemp("wheels")
    building = {}
    for name in PACKAGES:
        source = ROOT if name == "ragcore" else ROOT / "plugins" / name
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
        building[name] = subprocess.Popen(
            [*command, "--outdir", str(out / name), str(source)],
            # Elsewhere, as a folder build/ of the repository would hide the module.
            cwd=out,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    said = {name: process.communicate()[0] for name, process in building.items()}
    failed = {name: said[name] for name, process in building.items() if process.returncode}
    assert not failed, "\n".join(f"{name}:\n{text}" for name, text in failed.items())
    return {name: next((out / name).glob("*.whl")) for name in PACKAGES}


@pytest.mark.parametrize("name", PACKAGES)
def test_a_wheel_holds_every_file_of_the_package(wheels, name):
    package = PACKAGES[name]
    expected = {
        path.relative_to(package.parent).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    held = {one for one in zipfile.ZipFile(wheels[name]).namelist() if ".dist-info/" not in one}
    assert held == expected
    assert f"{package.name}/py.typed" in held


def test_the_world_comes_with_its_data(wheels):
    held = zipfile.ZipFile(wheels["ragcore-world"]).namelist()
    assert {
        "ragcore_world/world.yaml",
        "ragcore_world/leaders/2016-11.csv",
        "ragcore_world/leaders/2018-12.csv",
    } <= set(held)


def test_the_wheels_work_outside_the_repository(wheels, tmp_path):
    environment = Environment(tmp_path / "venv", with_editable=False)
    environment.install(*wheels.values())
    place = environment.run(environment.python, "-c", "import ragcore; print(ragcore.__file__)")
    assert Path(place.strip()).is_relative_to(environment.site_packages)

    outside = tmp_path / "outside"
    outside.mkdir()
    assert environment.ragcore("--version", cwd=outside) == f"ragcore {__version__}\n"
    reports = json.loads(environment.ragcore("plugins", "--json", cwd=outside))
    statuses = {report["package"]: report["status"] for report in reports}
    assert set(PACKAGES) <= set(statuses)
    # A plugin that is slow works: on a busy machine any may be.
    assert all(statuses[name] in ("ok", "slow") for name in PACKAGES), reports

    (outside / "passages.jsonl").write_text('{"text": "N\'Djamena, Chad"}\n', encoding="utf-8")
    (outside / "pipeline.yaml").write_text(
        "ragcore: 1\n"
        "memory:\n"
        "  store: store\n"
        "  corpus: {use: jsonl, path: passages.jsonl}\n"
        "  retriever: {use: bm25}\n",
        encoding="utf-8",
    )
    environment.ragcore("memory", "build", "pipeline.yaml", cwd=outside)
    found = environment.ragcore("memory", "search", "pipeline.yaml", "Chad?", "--json", cwd=outside)
    assert json.loads(found)["text"] == "N'Djamena, Chad"
