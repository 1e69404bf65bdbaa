"""A fresh virtual environment that has exactly what packages of this repository ask for."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.helpers.markdown import ROOT
from tests.install.environment import Environment

__all__ = ["LeanEnvironment"]


class LeanEnvironment(Environment):
    """Nothing of the environment that runs the tests can be imported but what is asked for.

    Packages of this repository are installed from the checkout. What they require, and what that
    requires, is linked from the running environment, so that no network is needed.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, with_editable=False, borrowing=False)
        self._linked: set[str] = set()

    def add(self, *packages: str) -> None:
        """Install packages of this repository, with all that they and their extras require."""
        asked = [Requirement(package) for package in packages]
        folders = [_folder(requirement.name) for requirement in asked]
        command = [sys.executable, "-m", "pip", "install", "--no-index", "--no-build-isolation"]
        command += ["--no-deps", "-q", "--disable-pip-version-check", "--target"]
        done = subprocess.run(
            [*command, str(self.site_packages), *map(str, folders)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        for name in sorted(set(_required(asked)) - self._linked):
            self._link(importlib.metadata.distribution(name))
            self._linked.add(name)

    def megabytes(self) -> float:
        """Measure all files of its site-packages, in 10^6 bytes."""
        walked = os.walk(self.site_packages, followlinks=True)
        files = (Path(folder, name) for folder, _, names in walked for name in names)
        return sum(file.stat().st_size for file in files) / 1e6

    def _link(self, distribution: importlib.metadata.Distribution) -> None:
        """Link the files and folders of a distribution that lie in the site directory itself."""
        tops = {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}
        assert tops, f"no file of {distribution.name} is known"
        for top in tops:
            source, link = Path(str(distribution.locate_file(top))), self.site_packages / top
            if not link.exists():
                link.symlink_to(source)


def _folder(package: str) -> Path:
    return ROOT if package == "ragcore-engine" else ROOT / "plugins" / package


def _required(packages: Sequence[Requirement]) -> Iterator[str]:
    """Yield the names of all distributions that packages need, without those of the repository."""
    open_: list[Requirement] = []
    for package in packages:
        file = tomllib.loads((_folder(package.name) / "pyproject.toml").read_text("utf-8"))
        lines = list(file["project"]["dependencies"])
        for extra in package.extras:
            lines += file["project"]["optional-dependencies"][extra]
        open_ += map(Requirement, lines)
    known: set[tuple[str, str]] = set()
    while open_:
        requirement = open_.pop()
        name = canonicalize_name(requirement.name)
        if name.startswith("ragcore-") or (
            requirement.marker and not requirement.marker.evaluate()
        ):
            continue
        for extra in ("", *requirement.extras):
            if (name, extra) in known:
                continue
            known.add((name, extra))
            for line in importlib.metadata.distribution(name).requires or []:
                further = Requirement(line)
                if further.marker is None or further.marker.evaluate({"extra": extra}):
                    further.marker = None
                    open_.append(further)
        yield name
