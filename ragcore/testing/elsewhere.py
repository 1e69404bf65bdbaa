"""Exercise a component in a second process, where `hash()` gives other numbers.

The process is started as `python -m ragcore.testing.elsewhere`. It reads a JSON object from its
standard input: the suite and the component by module and name, the component's settings, and
folders. It writes what the suite's hooks returned as arrays, which the first process compares.
Where processes can fork, `forking.py` starts it, and passes it one such object after another.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from ragcore.registry.components import ComponentSpec, yaml_key
from ragcore.testing.forking import can_fork, run_forked, serve

if TYPE_CHECKING:
    from ragcore.testing.manners import MannerLaws

__all__ = ["UnreachableError", "exercise_elsewhere"]

_Resolve = Callable[[Mapping[str, str]], Any]
"""Finds the class that a reference describes."""

_SPEC: Final = "component of a config"
_UNREACHABLE: Final = 3
_SECONDS: Final = 300


class UnreachableError(Exception):
    """A suite or a component cannot be had in another process; the message says why."""


def exercise_elsewhere(
    suite: type[MannerLaws],
    spec: ComponentSpec[Any],
    saved: Path,
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Exercise a component in a new process with another PYTHONHASHSEED and working folder.

    Args:
        suite: a suite, whose hooks `exercise` and `revisit` are called.
        spec: the component.
        saved: where this process has saved the component, for `revisit`.
        folder: a new folder for the other process.
        environment: variables to set in the other process.

    Returns:
        What `exercise` returned there, and what `revisit` did.

    Raises:
        UnreachableError: the other process cannot import the suite or the component, or JSON cannot
            hold its settings.
        AssertionError: it raised an error there, such as one of settings that are valid here.
    """
    base, settings = _suite(suite)
    described = _checked(spec)
    folder.mkdir()
    message = {
        "suite": base,
        "settings": settings,
        "spec": described,
        "saved": str(saved.absolute()),
        "folder": str(folder.absolute()),
    }
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    paths = os.pathsep.join(str(Path(path).absolute()) for path in sys.path)
    variables = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": paths}
    if environment is None and can_fork():
        status, errors = run_forked(__name__, message, variables, folder.absolute(), _SECONDS)
    else:
        done = subprocess.run(
            [sys.executable, "-m", __name__],
            input=json.dumps(message),
            capture_output=True,
            text=True,
            cwd=folder,
            env={**variables, **(environment or {})},
            timeout=_SECONDS,
            check=False,
        )
        status, errors = done.returncode, done.stderr
    if status:
        last = (errors.strip().splitlines() or [f"no error; its exit status is {status}"])[-1]
        if status == _UNREACHABLE:
            raise UnreachableError(last)
        raise AssertionError(f"in another process, and working folder, it raised {last}")
    first, second = (np.load(folder / name) for name in ("exercised.npz", "revisited.npz"))
    return dict(first), dict(second)


def _suite(suite: type[Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """Describe a suite: a class that is quick to import, and the settings of its subclasses.

    A subclass that sets numbers or texts alone, as most test classes do, is not imported: its test
    file may import much more.
    """
    settings: dict[str, Any] = {}
    for cls in suite.__mro__:
        own = {
            name: value
            for name, value in vars(cls).items()
            if not name.startswith(("_", "test_")) and name not in ("component", "waived")
        }
        if cls.__module__.startswith(f"{__package__}.") or not all(map(_is_plain, own.values())):
            return _reference(cls), settings
        settings = {**own, **settings}
    raise UnreachableError(f"{suite.__name__} is no suite of {__package__}")


def _is_plain(value: Any) -> bool:
    """Return whether JSON has a value, with lists for its tuples."""
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _reference(cls: type[Any]) -> dict[str, str]:
    """Describe where a class is defined."""
    module = sys.modules.get(cls.__module__)
    current: Any = module
    for part in cls.__qualname__.split("."):
        current = getattr(current, part, None)
    if current is not cls or cls.__module__ == "__main__":
        raise UnreachableError(
            f"{cls.__module__}.{cls.__qualname__} cannot be imported by another process: define it "
            "at the top level of a module"
        )
    file = getattr(module, "__file__", None) or ""
    return {"module": cls.__module__, "name": cls.__qualname__, "file": file}


def _resolved(reference: Mapping[str, str]) -> Any:
    """Import the class that a reference describes.

    Raises:
        UnreachableError: it cannot be imported.
    """
    try:
        return attrgetter(reference["name"])(_module(reference["module"], reference["file"]))
    except (ImportError, AttributeError) as error:
        raise UnreachableError(_in_a_line(error)) from error


def _module(name: str, file: str) -> Any:
    try:
        module = importlib.import_module(name)
    except ImportError:
        module = None
    if module is None or (file and getattr(module, "__file__", None) != file):
        # Such as a test file, which pytest imports under a name of its own.
        located = importlib.util.spec_from_file_location(name, file)
        if located is None or located.loader is None:
            raise ImportError(f"{name} cannot be imported from {file!r}")
        module = importlib.util.module_from_spec(located)
        sys.modules[name] = module
        located.loader.exec_module(module)
    return module


def _checked(spec: ComponentSpec[Any]) -> dict[str, Any]:
    """Describe a component whose settings are the same once they were written as JSON and read."""
    try:
        described = _described(spec)
        read = _spec(json.loads(json.dumps(described)), _imported)
        equal = bool(read == spec)
    except UnreachableError:
        raise
    # Whatever its types raise, such as one that JSON does not have.
    except Exception as error:
        reason = _in_a_line(error)
        raise UnreachableError(f"its settings cannot be passed on as JSON: {reason}") from None
    if not equal:
        raise UnreachableError("its settings are others once they were written as JSON and read")
    return described


def _imported(reference: Mapping[str, str]) -> Any:
    """Return the class that a reference of this process describes."""
    return attrgetter(reference["name"])(sys.modules[reference["module"]])


def _in_a_line(error: Exception) -> str:
    """Return an error's type and message on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _described(spec: ComponentSpec[Any]) -> dict[str, Any]:
    return {
        "kind": spec.kind,
        "use": spec.use,
        "class": _reference(spec.component),
        "config": _plain(spec.config),
    }


def _plain(value: Any) -> Any:
    """Return settings as JSON has them, each component described by its class."""
    match value:
        case ComponentSpec():
            return {_SPEC: _described(value)}
        case BaseModel():
            fields = type(value).model_fields.items()
            return {yaml_key(name, field): _plain(getattr(value, name)) for name, field in fields}
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return to_jsonable_python(value)


def _rebuilt(value: Any, resolve: _Resolve) -> Any:
    """Return settings with the components that `_plain` described."""
    match value:
        case {"component of a config": described}:
            return _spec(described, resolve)
        case dict():
            return {key: _rebuilt(item, resolve) for key, item in value.items()}
        case list():
            return [_rebuilt(item, resolve) for item in value]
        case _:
            return value


def _spec(described: Mapping[str, Any], resolve: _Resolve) -> ComponentSpec[Any]:
    component = resolve(described["class"])
    config = component.Config.model_validate(_rebuilt(described["config"], resolve))
    return ComponentSpec(described["kind"], described["use"], component, config)


def _exercise(message: Mapping[str, Any]) -> None:
    base = _resolved(message["suite"])
    spec = _spec(message["spec"], _resolved)
    suite = type(base.__name__, (base,), {"__module__": base.__module__, **message["settings"]})()
    folder, saved = Path(message["folder"]), Path(message["saved"])
    (folder / "saved").mkdir()
    exercised = suite.exercise(spec, folder / "saved")
    np.savez(folder / "exercised.npz", **exercised)
    np.savez(folder / "revisited.npz", **suite.revisit(spec, saved))


def _carried_out(message: Mapping[str, Any]) -> int:
    """Exercise what a message describes, and return this process's exit status."""
    try:
        _exercise(message)
    except UnreachableError as error:
        print(error, file=sys.stderr)
        return _UNREACHABLE
    # The first process reports it as what failed.
    except Exception as error:
        print(_in_a_line(error), file=sys.stderr)
        return 1
    return 0


def _main() -> None:
    if "--serve" in sys.argv:
        serve(_carried_out)
    else:
        sys.exit(_carried_out(json.load(sys.stdin)))


if __name__ == "__main__":
    _main()
