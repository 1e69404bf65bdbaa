"""A fresh virtual environment that borrows the heavy packages of the one that runs the tests."""

from __future__ import annotations

import os
import subprocess
import sysconfig
import venv
from pathlib import Path

__all__ = ["Environment"]


class Environment:
    """Made without pip and without a network: pip and torch are those of the running one.

    Whatever is installed into it comes first on its path, before what it borrows.
    """

    def __init__(self, folder: Path, *, with_editable: bool, borrowing: bool = True) -> None:
        """Make it.

        Args:
            folder: where.
            with_editable: whether packages that are installed as links to a working tree, as
                ragcore is during development, can be imported too; otherwise nothing of ragcore is
                there, not even its metadata.
            borrowing: whether it can import what the running one can; otherwise it begins empty.
        """
        venv.create(folder, with_pip=False)
        self.folder = folder
        self.python = folder / "bin" / "python"
        if not borrowing:
            return
        sites = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
        if with_editable:
            # A path in a .pth is searched, but .pth files in it, which editable installs are, are
            # not read; those of a site directory are.
            lines = [f"import site; site.addsitedir({site!r})" for site in sites]
        else:
            lines = [
                str(_without_ragcore(Path(site), folder / f"borrowed-{number}"))
                for number, site in enumerate(sites)
            ]
        (self.site_packages / "borrowed.pth").write_text("\n".join(lines), encoding="utf-8")

    @property
    def site_packages(self) -> Path:
        return Path(sysconfig.get_path("purelib", vars={"base": str(self.folder)}))

    def install(self, *what: str | Path) -> None:
        """`pip install`, from files alone."""
        options = ["--no-index", "--no-build-isolation", "--no-deps", "--ignore-installed", "-q"]
        self.run(
            self.python, "-m", "pip", "install", *options, "--disable-pip-version-check", *what
        )

    def ragcore(self, *arguments: str, cwd: Path) -> str:
        """Run the program `ragcore`; its output."""
        program = self.folder / "bin" / "ragcore"
        command = [program] if program.is_file() else [self.python, "-m", "ragcore"]
        return self.run(*command, *arguments, cwd=cwd)

    def run(self, *command: str | Path, cwd: Path | None = None) -> str:
        """Run something in the environment, outside any working tree; its output."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PIP_"))}
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd or self.folder,
            env=inherited | {"COLUMNS": "200", "PATH": f"{self.folder / 'bin'}:{os.defpath}"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
        return done.stdout


def _without_ragcore(site: Path, folder: Path) -> Path:
    """Make a folder that links to a site directory's contents, without ragcore and its plugins."""
    folder.mkdir()
    for entry in site.iterdir():
        if "ragcore" not in entry.name:
            (folder / entry.name).symlink_to(entry)
    return folder
