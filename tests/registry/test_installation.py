"""What ragcore says about installing its packages, and about another project's `ragcore`."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Final

import pytest

from ragcore.cli import main
from ragcore.registry.discovery import Registry
from ragcore.registry.installation import (
    DISTRIBUTION,
    foreign_ragcore,
    install_hint,
    missing_package,
)

ROOT: Final = Path(__file__).resolve().parents[2]
TEXTS: Final = [
    path
    for pattern in ("*.md", "*.toml", "**/*.md", "**/*.py", "**/*.toml", "**/*.txt", "**/*.y*ml")
    for top in ("ragcore", "plugins", "docs", "examples", "experiments", "benchmarks", ".github")
    for path in (ROOT / top).glob(pattern)
] + [*ROOT.glob("*.md"), *ROOT.glob("*.toml"), ROOT / "Makefile"]

_PIP_INSTALL: Final = re.compile(r"pip install((?:[^\n`]|\\\n)*)")


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Metadata of another project's distribution `ragcore` on the path."""
    info = tmp_path / "ragcore-1.0.4.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ragcore\nVersion: 1.0.4\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(
    ("package", "extra"),
    [("ragcore-engine", ""), ("ragcore-engine", "train"), ("ragcore-bm25", "rank-bm25")],
)
def test_a_hint_is_a_folder_of_the_repository(package: str, extra: str) -> None:
    hint = install_hint(package, extra)
    found = re.fullmatch(r"pip install '?([\w./-]+)(?:\[([\w-]+)\]')? in a clone of ragcore", hint)
    assert found is not None, hint
    project = (ROOT / found[1] / "pyproject.toml").read_text(encoding="utf-8")
    assert f'name = "{package}"' in project
    assert not extra or f"\n{found[2]} = [" in project


@pytest.mark.parametrize("extra", ["experiments", "train", "tune"])
def test_an_extra_for_a_command_that_measures_has_what_metrics_need(extra: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"{DISTRIBUTION}[eval]" in project["optional-dependencies"][extra]


def test_no_text_installs_a_package_of_ragcore_by_a_name_on_an_index() -> None:
    wrong = []
    for path in TEXTS:
        for arguments in _PIP_INSTALL.findall(path.read_text(encoding="utf-8")):
            words = [word.strip("'\"(") for word in arguments.split()]
            if any(word.startswith(("ragcore-", "ragcore[", "ragcore=")) for word in words):
                wrong.append(f"{path.relative_to(ROOT)}: pip install{arguments}")
    assert not wrong, "\n".join(wrong)


def test_no_text_links_to_another_project_s_package() -> None:
    linked = [path for path in TEXTS if "/project/ragcore" in path.read_text("utf-8")]
    assert not linked


def test_the_paths_of_documented_installs_exist() -> None:
    folders = [
        (page, (page.parent if word.startswith("..") else ROOT) / re.split(r"[\[`)]", word)[0])
        for page in TEXTS
        if page.suffix == ".md"
        for arguments in _PIP_INSTALL.findall(page.read_text(encoding="utf-8"))
        for word in (word.strip("'\"") for word in arguments.split())
        if "plugins/" in word
    ]
    assert folders
    missing = [
        (page, folder) for page, folder in folders if not (folder / "pyproject.toml").exists()
    ]
    assert not missing


def test_a_missing_package_is_named_with_the_extra_that_has_it() -> None:
    missing = ModuleNotFoundError("No module named 'scipy'", name="scipy")
    assert missing_package(missing, "eval") == (
        f"scipy is not installed: {install_hint(DISTRIBUTION, 'eval')}"
    )


def test_without_another_ragcore_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert foreign_ragcore() is None
    assert main(["plugins", "--json"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("foreign")
def test_another_ragcore_is_reported_with_what_to_do() -> None:
    (core,) = [one for one in Registry.discover().reports if one.name == "core"]
    assert (core.package, core.status) == (DISTRIBUTION, "conflicting")
    assert "ragcore 1.0.4 is installed next to ragcore-engine" in core.detail
    assert "pip uninstall ragcore ragcore-engine" in core.detail
    assert core.components, "what works goes on working"


@pytest.mark.usefixtures("foreign")
def test_a_command_warns_of_another_ragcore(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "--json"]) == 0
    assert capsys.readouterr().err == f"warning: {foreign_ragcore()}\n"


@pytest.mark.usefixtures("foreign")
def test_an_import_that_fails_is_explained_by_another_ragcore(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ragcore.registry.discovery", None)
    assert main(["plugins"]) == 2
    assert "pip uninstall ragcore ragcore-engine" in capsys.readouterr().err.splitlines()[-1]
