"""Discovery: what each plugin gives, and that one that fails is reported and hurts no other."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path

import pytest

from ragcore.errors import PluginError, UnknownComponentError
from ragcore.registry.discovery import HOOKS, KNOWN_PACKAGES, PluginReport, Registry
from tests.conftest import Installed

ROOT = Path(__file__).resolve().parents[2]

HEAD = "from ragcore import hookimpl\n"


def gives(kind: str, names: str) -> str:
    return f"@hookimpl\ndef ragcore_{kind}():\n    return {names}\n"


def good(name: str) -> str:
    """A plugin that gives one retriever, a class in its own module."""
    target = f"{name}_plugin:Component"
    return HEAD + "class Component: pass\n" + gives("retrievers", f"{{{name!r}: {target!r}}}")


def report(found: Registry, name: str, package: str | None = None) -> PluginReport:
    (one,) = (one for one in found.reports if one.name == name and package in (None, one.package))
    return one


def test_a_plugin_is_found_with_what_it_gives(installed: Installed) -> None:
    installed.add("fine", good("fine"), package="ragcore-fine", version="2.1")
    found = installed.discover()
    fine = report(found, "fine")
    assert (fine.package, fine.version, fine.status, fine.detail) == (
        "ragcore-fine",
        "2.1",
        "ok",
        "",
    )
    assert fine.components == {"retriever": {"fine": "fine_plugin:Component"}}
    assert found.names("retriever") == ["dense", "fine", "hybrid", "rerank"]
    assert found.load("retriever", "fine").__name__ == "Component"


def test_the_core_is_a_plugin_too(installed: Installed) -> None:
    core = report(installed.discover(), "core")
    assert core.status == "ok"
    kinds = {"index", "retriever", "scorer", "corpus", "metric", "command"}
    assert set(core.components) == kinds


@pytest.mark.parametrize(
    ("source", "detail"),
    [
        ("import a_module_that_is_not_there\n", "ModuleNotFoundError: No module named 'a_module_"),
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
        ("def broken(:\n", "SyntaxError: "),
        ("raise SystemExit('bye')\n", "SystemExit: bye"),
        (HEAD + gives("encoders", "1 / 0"), "ZeroDivisionError: division by zero"),
        (HEAD + gives("encoders", "None"), 'ragcore_encoders() must return {name: "package.mod'),
        (HEAD + gives("encoders", "['a']"), 'ragcore_encoders() must return {name: "package.mod'),
        (HEAD + gives("encoders", "{'a': 'no colon'}"), "ragcore_encoders() must return"),
        (HEAD + gives("encoders", "{'a': int}"), "ragcore_encoders() must return"),
        (HEAD + gives("encoders", "{5: 'm:A'}"), "ragcore_encoders() must return"),
        (
            HEAD + gives("encodrs", "{'a': 'm:A'}"),
            "there is no hook 'ragcore_encodrs': did you mean 'ragcore_encoders'?",
        ),
        (
            HEAD + "@hookimpl\ndef ragcore_answered(answr): pass\n",
            "PluginValidationError: Plugin 'bad' for hook 'ragcore_answered'",
        ),
    ],
)
def test_a_broken_plugin_is_reported_and_the_others_work(
    installed: Installed, source: str, detail: str
) -> None:
    installed.add("bad", source)
    installed.add("fine", good("fine"))
    found = installed.discover()
    bad = report(found, "bad")
    assert bad.status == "broken"
    assert detail in bad.detail
    assert bad.detail.endswith("repair or uninstall ragcore-bad")
    assert bad.components == {}
    assert report(found, "fine").status == "ok"
    assert found.load("retriever", "fine").__name__ == "Component"
    found.hook.ragcore_memory_swapped(old="a", new="b")


def test_a_broken_plugin_gives_nothing_even_if_it_fails_late(installed: Installed) -> None:
    source = HEAD + gives("encoders", "{'a': 'm:A'}") + gives("metrics", "1 / 0")
    installed.add("late", source)
    found = installed.discover()
    assert report(found, "late").status == "broken"
    assert found.names("encoder") == []


def test_a_slow_plugin_is_reported_and_works(
    installed: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragcore.registry.discovery.SLOW_SECONDS", 0.05)
    installed.add("sleepy", "import time\ntime.sleep(0.06)\n" + good("sleepy"))
    found = installed.discover()
    sleepy = report(found, "sleepy")
    assert sleepy.status == "slow"
    assert sleepy.seconds > 0.05
    assert 'name classes by "package.module:Class"' in sleepy.detail
    assert found.load("retriever", "sleepy").__name__ == "Component"


def test_a_name_that_is_taken_is_reported_and_the_rest_works(installed: Installed) -> None:
    installed.add("first", HEAD + gives("encoders", "{'same': 'first_plugin:HEAD'}"))
    installed.add(
        "second",
        HEAD
        + gives("encoders", "{'same': 'second_plugin:other', 'own': 'second_plugin:own'}")
        + "own = 'the own'\n",
    )
    found = installed.discover()
    second = report(found, "second")
    assert report(found, "first").status == "ok"
    assert second.status == "conflicting"
    assert second.detail.startswith("encoder 'same' is already given by plugin 'first': ")
    assert second.components == {"encoder": {"own": "second_plugin:own"}}
    assert found.load("encoder", "own") == "the own"


def test_a_plugin_cannot_take_the_core_s_names(installed: Installed) -> None:
    installed.add("sly", HEAD + gives("cli", "{'ask': 'sly_plugin:app'}"))
    found = installed.discover()
    assert report(found, "sly").status == "conflicting"
    assert found.load("command", "ask").__class__.__name__ == "Typer"


def test_two_plugins_of_one_name_are_both_listed(installed: Installed) -> None:
    installed.add("twin", good("twin"), package="ragcore-a", module="twin_plugin")
    installed.add("twin", good("other"), package="ragcore-b", module="twin_plugin_too")
    found = installed.discover()
    assert report(found, "twin", "ragcore-a").status == "ok"
    second = report(found, "twin", "ragcore-b")
    assert second.status == "conflicting"
    assert "already registered under the name 'twin'" in second.detail
    assert found.names("retriever") == ["dense", "hybrid", "rerank", "twin"]


def test_a_class_that_cannot_be_loaded_is_an_error_when_it_is_asked_for(
    installed: Installed,
) -> None:
    names = "{'gone': 'nowhere_at_all:A', 'lacking': 'half_plugin:Missing'}"
    installed.add("half", HEAD + gives("encoders", names))
    found = installed.discover()
    assert report(found, "half").status == "ok"
    with pytest.raises(PluginError, match="encoder 'gone' of plugin 'half' cannot be loaded"):
        found.load("encoder", "gone")
    with pytest.raises(PluginError, match=r"AttributeError: .* has no attribute 'Missing'"):
        found.load("encoder", "lacking")


@pytest.mark.parametrize(("kind", "name"), KNOWN_PACKAGES)
def test_a_known_package_that_is_not_installed_is_named(
    installed: Installed, kind: str, name: str
) -> None:
    with pytest.raises(UnknownComponentError) as raised:
        installed.discover().load(kind, name)
    package = KNOWN_PACKAGES[kind, name]
    assert str(raised.value) == (
        f"{kind} {name!r} is not installed: pip install ./plugins/{package} in a clone of ragcore"
    )


def test_the_known_packages_are_those_that_the_plugins_name() -> None:
    named = {}
    for package in sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml")):
        project = tomllib.loads((package / "pyproject.toml").read_text("utf-8"))["project"]
        for module in project["entry-points"]["ragcore"].values():
            plugin = importlib.import_module(module)
            for kind in set(HOOKS) - {"model", "metric"}:
                names = getattr(plugin, HOOKS[kind], dict)()
                named |= {(kind, name): package.name for name in names}
    assert dict(KNOWN_PACKAGES) == named


def test_a_known_package_that_is_broken_says_why(installed: Installed) -> None:
    installed.add("faiss", "import a_module_that_is_not_there\n", package="ragcore-faiss")
    with pytest.raises(UnknownComponentError, match=r"plugin ragcore-faiss is broken: Module"):
        installed.discover().load("index", "faiss")


def test_an_unknown_name_comes_with_the_nearest_and_the_known(installed: Installed) -> None:
    installed.add("fine", good("fine"))
    with pytest.raises(UnknownComponentError) as raised:
        installed.discover().load("retriever", "fin")
    assert str(raised.value) == (
        "unknown retriever 'fin': did you mean 'fine'? installed: dense, fine, hybrid, rerank"
    )


def test_event_hooks_are_called(installed: Installed) -> None:
    installed.add(
        "ears",
        HEAD + "heard = []\n@hookimpl\ndef ragcore_memory_swapped(new): heard.append(new)\n",
    )
    installed.discover().hook.ragcore_memory_swapped(old="2016-11", new="2018-12")
    import ears_plugin  # type: ignore[import-not-found]

    assert ears_plugin.heard == ["2018-12"]


def test_a_model_folder_of_a_plugin(installed: Installed) -> None:
    package = installed.folder / "carrier"
    (package / "weights").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    models = "{'small': 'carrier:weights', 'lost': 'carrier:nowhere', 'void': 'not_there:a'}"
    installed.add("models", HEAD + gives("models", models))
    found = installed.discover()
    assert found.model_folder("small") == Path(package / "weights")
    assert found.model_folder("facebook/bart-large") is None
    with pytest.raises(PluginError, match="has no folder 'nowhere'"):
        found.model_folder("lost")
    with pytest.raises(PluginError, match="there is no package 'not_there'"):
        found.model_folder("void")
