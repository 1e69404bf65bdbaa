"""How ragcore's packages are installed, and what to do about another project's `ragcore`.

Knows names of distributions and metadata; imports no plugin. It runs where an import has just
failed, so it needs nothing of ragcore.
"""

from __future__ import annotations

from typing import Final

__all__ = ["DISTRIBUTION", "foreign_ragcore", "install_hint", "missing_package"]

DISTRIBUTION: Final = "ragcore-engine"
"""The distribution that holds the module `ragcore`."""

_FOREIGN: Final = "ragcore"
"""Another project's distribution, which holds a module of the same name."""


def install_hint(package: str, extra: str = "") -> str:
    """Say how to install a package of this repository, with an extra if one is given.

    No release exists yet, and names on a package index may belong to others: the hint is a path in
    a clone of the repository.

    >>> install_hint("ragcore-bm25")
    'pip install ./plugins/ragcore-bm25 in a clone of ragcore'
    >>> install_hint("ragcore-engine", "train")
    "pip install '.[train]' in a clone of ragcore"
    """
    folder = "." if package == DISTRIBUTION else f"./plugins/{package}"
    path = f"'{folder}[{extra}]'" if extra else folder
    return f"pip install {path} in a clone of ragcore"


def missing_package(missing: ModuleNotFoundError, extra: str) -> str:
    """Say which package an import did not find, and by which extra of ragcore it is installed.

    >>> missing_package(ModuleNotFoundError(name="scipy"), "eval")
    "scipy is not installed: pip install '.[eval]' in a clone of ragcore"
    """
    return f"{missing.name} is not installed: {install_hint(DISTRIBUTION, extra)}"


def foreign_ragcore() -> str | None:
    """Say what to do about another project's distribution `ragcore`, or None if there is none.

    Both distributions write into the folder `ragcore`, so that each overwrites files of the other.
    """
    # Imported here: the command line loads this module at its start.
    import importlib.metadata

    try:
        version = importlib.metadata.version(_FOREIGN)
    except importlib.metadata.PackageNotFoundError:
        return None
    return (
        f"the distribution {_FOREIGN} {version} is installed next to {DISTRIBUTION}: it is another "
        "project's, and both write into the folder ragcore/. Run pip uninstall "
        f"{_FOREIGN} {DISTRIBUTION}, then install ragcore again: {install_hint(DISTRIBUTION)}"
    )
