"""The wheels of the core and of each plugin: complete, and working outside the repository."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement

from ragcore import __version__
from tests.helpers.markdown import ROOT
from tests.install.environment import Environment

pytestmark = pytest.mark.install

PLUGINS: Final = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
PACKAGES: Final = {
    "ragcore-engine": ROOT / "ragcore",
    **{plugin.name: plugin / "src" / plugin.name.replace("-", "_") for plugin in PLUGINS},
}
"""The folder of each distribution's package."""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """All wheels, built side by side."""
    out = tmp_path_factory.mktemp("wheels")
    building = {}
    for name in PACKAGES:
        source = ROOT if name == "ragcore-engine" else ROOT / "plugins" / name
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
        building[name] = subprocess.Popen(
            [*command, "--outdir", str(out / name), str(source)],
            # Elsewhere, as a folder build/ of the repository would hide the module.
            cwd=out,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    output = {name: process.communicate()[0] for name, process in building.items()}
    failed = {name: output[name] for name, process in building.items() if process.returncode}
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
    paths = zipfile.ZipFile(wheels[name]).namelist()
    files = {path for path in paths if ".dist-info/" not in path}
    assert files == expected
    assert f"{package.name}/py.typed" in files


@pytest.mark.parametrize("name", PACKAGES)
def test_all_packages_have_one_version_and_go_with_the_core_of_it(wheels, name):
    metadata = metadata_of(wheels[name])
    assert (metadata["Name"], metadata["Version"]) == (name, __version__)
    needed = [Requirement(text) for text in metadata.get_all("Requires-Dist") or []]
    ours = {
        requirement.name: requirement
        for requirement in needed
        if requirement.name.startswith("ragcore")
    }
    if name == "ragcore-engine":
        assert not ours
        return
    assert set(ours) == {"ragcore-engine"}, "other names may be another project's on an index"
    assert __version__ in ours["ragcore-engine"].specifier
    assert "99.0" not in ours["ragcore-engine"].specifier


def test_a_source_distribution_carries_the_version(tmp_path):
    source = ROOT / "plugins" / "ragcore-bm25"
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path / "dist")]
    # The wheel is built from the unpacked source distribution, where no ../../ragcore is.
    subprocess.run([*build, str(source)], cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert metadata_of(wheel)["Version"] == __version__


def metadata_of(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [path for path in archive.namelist() if path.endswith(".dist-info/METADATA")]
        return message_from_bytes(archive.read(name))


def test_the_world_comes_with_its_data(wheels):
    files = zipfile.ZipFile(wheels["ragcore-world"]).namelist()
    assert {
        "ragcore_world/minilm/vectors.npz",
        "ragcore_world/world.yaml",
        "ragcore_world/leaders/2016-11.csv",
        "ragcore_world/leaders/2018-12.csv",
    } <= set(files)


def test_the_wheels_work_outside_the_repository(wheels, tmp_path):
    environment = Environment(tmp_path / "venv", with_editable=False)
    environment.install(*wheels.values())
    location = environment.run(environment.python, "-c", "import ragcore; print(ragcore.__file__)")
    assert Path(location.strip()).is_relative_to(environment.site_packages)

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
    printed = environment.ragcore(
        "memory", "search", "pipeline.yaml", "Chad?", "--json", cwd=outside
    )
    assert json.loads(printed)["text"] == "N'Djamena, Chad"


def test_another_project_s_ragcore_on_top_is_reported(wheels, tmp_path):
    environment = Environment(tmp_path / "venv", with_editable=False)
    environment.install(wheels["ragcore-engine"])
    other = tmp_path / "ragcore-1.0.4-py3-none-any.whl"
    with zipfile.ZipFile(other, "w") as archive:
        info = "ragcore-1.0.4.dist-info"
        archive.writestr("ragcore/__init__.py", "class RAGCore: ...\n")
        archive.writestr("ragcore/version.py", "")
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: ragcore\nVersion: 1.0.4\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    environment.install(other)
    command = [str(environment.folder / "bin" / "ragcore"), "plugins"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr.startswith("warning: the distribution ragcore 1.0.4 is installed next to")
    assert "pip uninstall ragcore ragcore-engine" in done.stderr
    assert "Traceback" not in done.stderr
