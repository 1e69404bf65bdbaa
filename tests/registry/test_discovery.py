"""Discovery: what each plugin provides, and that a failing one is reported and harms no other."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path

import pytest

from ragcore.cli import main
from ragcore.corpora.presets import PRESETS
from ragcore.errors import PluginError, UnknownComponentError
from ragcore.registry.components import KINDS, config_class, spec_from_dict
from ragcore.registry.discovery import (
    HOOKS,
    JSONL_PRESETS,
    KNOWN_PACKAGES,
    RENAMED,
    PluginReport,
    Registry,
    registry,
)
from tests.conftest import Installed, loadable

ROOT = Path(__file__).resolve().parents[2]

HEAD = "from ragcore import hookimpl\n"


def gives(kind: str, names: str) -> str:
    return f"@hookimpl\ndef ragcore_{kind}():\n    return {names}\n"


def good(name: str) -> str:
    """Return the source of a plugin with one retriever, a class in its own module."""
    target = f"{name}_plugin:Component"
    return HEAD + "class Component: pass\n" + gives("retrievers", f"{{{name!r}: {target!r}}}")


def report(registry: Registry, name: str, package: str | None = None) -> PluginReport:
    (match,) = (
        report
        for report in registry.reports
        if report.name == name and package in (None, report.package)
    )
    return match


def test_a_plugin_is_discovered_with_its_components(installed: Installed) -> None:
    installed.add("fine", good("fine"), package="ragcore-fine", version="2.1")
    registry = installed.discover()
    fine = report(registry, "fine")
    assert (fine.package, fine.version, fine.status, fine.detail) == (
        "ragcore-fine",
        "2.1",
        "ok",
        "",
    )
    assert fine.components == {"retriever": {"fine": "fine_plugin:Component"}}
    assert registry.names("retriever") == ["dense", "fine", "hybrid", "rerank", "with-metadata"]
    assert registry.load("retriever", "fine").__name__ == "Component"


def test_a_plugin_names_routers_of_a_server(installed: Installed) -> None:
    source = "class Router:\n    pass\n\n\nrouter = Router()\n"
    installed.add("fine", HEAD + gives("routes", "{'mine': 'fine_plugin:router'}") + source)
    registry = installed.discover()
    assert report(registry, "fine").components == {"router": {"mine": "fine_plugin:router"}}
    assert type(registry.load("router", "mine")).__name__ == "Router"
    installed.add(
        "bad", "import ragcore\n" + HEAD + gives("routes", "{'x': ragcore.Target('m:x', 'm:c')}")
    )
    assert (
        "it returned a Target, which a router cannot have"
        in report(installed.discover(), "bad").detail
    )


def test_the_core_is_a_plugin_too(installed: Installed) -> None:
    core = report(installed.discover(), "core")
    assert core.status == "ok"
    kinds = {"index", "retriever", "scorer", "corpus", "runner", "metric", "command"}
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
            "import json\n",
            "it provides nothing: no hook in module 'bad_plugin': hooks: ragcore_ans",
        ),
        (
            "def ragcore_encoder():\n    return {'a': 'm:A'}\n",
            "no hook in module 'bad_plugin': 'ragcore_encoder' is none: did you mean 'ragcore_enco",
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
    registry = installed.discover()
    bad = report(registry, "bad")
    assert bad.status == "broken"
    assert detail in bad.detail
    assert bad.detail.endswith("repair or uninstall ragcore-bad")
    assert bad.components == {}
    assert report(registry, "fine").status == "ok"
    assert registry.load("retriever", "fine").__name__ == "Component"
    registry.hook.ragcore_memory_swapped(old="a", new="b")


def test_a_plugin_whose_last_hook_fails_registers_nothing(installed: Installed) -> None:
    source = HEAD + gives("encoders", "{'a': 'm:A'}") + gives("metrics", "1 / 0")
    installed.add("late", source)
    registry = installed.discover()
    assert report(registry, "late").status == "broken"
    assert registry.names("encoder") == []


def test_a_slow_plugin_is_reported_and_works(
    installed: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragcore.registry.discovery.SLOW_SECONDS", 0.05)
    installed.add("sleepy", "import time\ntime.sleep(0.06)\n" + good("sleepy"))
    registry = installed.discover()
    sleepy = report(registry, "sleepy")
    assert sleepy.status == "slow"
    assert sleepy.seconds > 0.05
    assert 'name classes by "package.module:Class"' in sleepy.detail
    assert registry.load("retriever", "sleepy").__name__ == "Component"


def test_a_name_that_is_taken_is_reported_and_the_rest_works(installed: Installed) -> None:
    installed.add("first", HEAD + gives("encoders", "{'same': 'first_plugin:HEAD'}"))
    installed.add(
        "second",
        HEAD
        + gives("encoders", "{'same': 'second_plugin:other', 'own': 'second_plugin:own'}")
        + "own = 'the own'\n",
    )
    registry = installed.discover()
    second = report(registry, "second")
    assert report(registry, "first").status == "ok"
    assert second.status == "conflicting"
    assert second.detail.startswith("encoder 'same' is already registered by plugin 'first': ")
    assert second.components == {"encoder": {"own": "second_plugin:own"}}
    assert registry.load("encoder", "own") == "the own"


def test_a_plugin_cannot_take_the_core_s_names(installed: Installed) -> None:
    installed.add("sly", HEAD + gives("cli", "{'ask': 'sly_plugin:app'}"))
    registry = installed.discover()
    assert report(registry, "sly").status == "conflicting"
    assert registry.load("command", "ask").__class__.__name__ == "Typer"


def test_two_plugins_of_one_name_are_both_listed(installed: Installed) -> None:
    installed.add("twin", good("twin"), package="ragcore-a", module="twin_plugin")
    installed.add("twin", good("other"), package="ragcore-b", module="twin_plugin_too")
    registry = installed.discover()
    assert report(registry, "twin", "ragcore-a").status == "ok"
    second = report(registry, "twin", "ragcore-b")
    assert second.status == "conflicting"
    assert "already registered under the name 'twin'" in second.detail
    assert registry.names("retriever") == ["dense", "hybrid", "rerank", "twin", "with-metadata"]


def test_a_class_that_cannot_be_imported_is_an_error_only_when_loaded(
    installed: Installed,
) -> None:
    names = "{'gone': 'nowhere_at_all:A', 'lacking': 'half_plugin:Missing'}"
    installed.add("half", HEAD + gives("encoders", names))
    registry = installed.discover()
    assert report(registry, "half").status == "ok"
    with pytest.raises(PluginError, match="encoder 'gone' of plugin 'half' cannot be loaded"):
        registry.load("encoder", "gone")
    with pytest.raises(PluginError, match=r"AttributeError: .* has no attribute 'Missing'"):
        registry.load("encoder", "lacking")


TARGET = (
    HEAD
    + """
from ragcore import ComponentConfig, Target

class Config(ComponentConfig):
    dim: int = 3

class Other(ComponentConfig):
    pass
"""
)


def test_a_config_is_loaded_without_its_class(installed: Installed) -> None:
    target = "{'far': Target('nowhere_at_all:Far', config='far_plugin:Config')}"
    installed.add("far", TARGET + gives("encoders", target))
    found = installed.discover()
    assert report(found, "far").components == {"encoder": {"far": "nowhere_at_all:Far"}}
    assert found.load_config("encoder", "far")().dim == 3
    spec = spec_from_dict("encoder", {"use": "far", "dim": 5})
    assert spec == spec_from_dict("encoder", {"use": "far", "dim": 5})
    assert spec != spec_from_dict("encoder", {"use": "far", "dim": 6})
    with pytest.raises(PluginError, match=r"encoder 'far' of plugin 'far' cannot be loaded from"):
        spec.build()


def test_a_class_must_have_the_config_that_its_hook_names(installed: Installed) -> None:
    classes = "class Right:\n    Config = Config\nclass Wrong:\n    Config = Other\n"
    names = ", ".join(
        f"'{name.lower()}': Target('two_plugin:{name}', config='two_plugin:Config')"
        for name in ("Right", "Wrong")
    )
    installed.add("two", TARGET + classes + gives("indexes", f"{{{names}}}"))
    found = installed.discover()
    assert found.load("index", "right").__name__ == "Right"
    with pytest.raises(PluginError) as raised:
        found.load("index", "wrong")
    assert str(raised.value) == (
        "index 'wrong' of plugin 'two': its hook names the config 'two_plugin:Config', which is "
        "not the 'Config' of 'two_plugin:Wrong': make them one class"
    )


def test_a_command_has_no_config(installed: Installed) -> None:
    names = "{'run': Target('cli_plugin:app', config='cli_plugin:Config')}"
    installed.add("cli", TARGET + gives("cli", names))
    (found,) = (one for one in installed.discover().reports if one.name == "cli")
    assert found.status == "broken"
    assert 'ragcore_cli() must return {name: "package.module:Class"}; for ' in found.detail
    assert "it returned a Target, which a command cannot have" in found.detail


@pytest.mark.parametrize("kind", sorted(KINDS.values()))
def test_every_component_has_the_config_that_its_plugin_names(kind: str) -> None:
    for name in Registry.discover().names(kind):
        if loadable(name):
            assert Registry.discover().load(kind, name).Config is config_class(kind, name)


@pytest.mark.parametrize(("kind", "name"), RENAMED)
def test_an_old_name_means_the_component_of_the_new_one(kind: str, name: str) -> None:
    now = RENAMED[kind, name]
    assert Registry.discover().load(kind, name) is Registry.discover().load(kind, now)
    assert Registry.discover().load_config(kind, name) is Registry.discover().load_config(kind, now)
    assert now in Registry.discover().names(kind)
    assert name not in Registry.discover().names(kind)


def test_an_old_name_is_a_plugin_s_own_if_it_takes_it(installed: Installed) -> None:
    source = HEAD + "class Mine: pass\n" + gives("scorers", "{'likelihood': 'mine_plugin:Mine'}")
    installed.add("mine", source)
    assert installed.discover().load("scorer", "likelihood").__name__ == "Mine"


def test_specs_say_the_new_name(installed: Installed) -> None:
    installed.add("far", TARGET + gives("generators", "{'g': Target('a:B', 'far_plugin:Config')}"))
    data = {"generator": {"use": "g"}, "batch_size": 2}
    spec = spec_from_dict("scorer", {"use": "likelihood", **data})
    assert spec == spec_from_dict("scorer", {"use": "query-likelihood", **data})
    assert spec.to_dict()["use"] == "query-likelihood"


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
        "unknown retriever 'fin': did you mean 'fine'? installed: dense, fine, hybrid, rerank, "
        "with-metadata"
    )


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import not_there\n", "ModuleNotFoundError: No module named 'not_there'"),
        ("raise ValueError('one\\ntwo')\n", "ValueError: one"),
        (HEAD + gives("retrivers", "{}"), "PluginError: there is no hook 'ragcore_retrivers': "),
        (HEAD + gives("retrievers", "{'brk': 3}"), "PluginError: ragcore_retrievers() must retur"),
        ("", "PluginError: it provides nothing: no hook in module 'brk_plugin': "),
    ],
)
@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "pipeline.yaml"],
        ["memory", "build", "pipeline.yaml"],
        ["plugin", "test", "brk"],
        ["plugin", "test", "brk", "--kind", "retriever"],
        ["brk"],
    ],
)
def test_what_is_unknown_may_be_a_broken_plugin_s(
    installed: Installed,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    source: str,
    reason: str,
    arguments: list[str],
) -> None:
    installed.add("brk", source)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipeline.yaml").write_text(
        "ragcore: 1\nmemory:\n  store: store\n  corpus: {use: jsonl, path: p.jsonl}\n"
        "  retriever: {use: brk}\n",
        encoding="utf-8",
    )
    assert main(arguments) == 2
    message = capsys.readouterr().err
    assert f"; plugin 'brk' is broken ({reason}" in message
    assert "): see `ragcore plugins`\n" in message
    assert "two" not in message


def test_what_is_unknown_may_be_of_a_plugin_whose_name_is_taken(installed: Installed) -> None:
    installed.add("same", good("same"), package="ragcore-a")
    installed.add("same", good("other"), package="ragcore-b", module="z_plugin")
    with pytest.raises(UnknownComponentError) as raised:
        installed.discover().load("retriever", "other")
    assert str(raised.value).endswith(
        "plugin 'same' of ragcore-b cannot be used (another plugin is already registered under "
        "the name 'same'): see `ragcore plugins`"
    )


def test_event_hooks_are_called(installed: Installed) -> None:
    installed.add(
        "ears",
        HEAD + "heard = []\n@hookimpl\ndef ragcore_memory_swapped(new): heard.append(new)\n",
    )
    installed.discover().hook.ragcore_memory_swapped(old="2016-11", new="2018-12")
    import ears_plugin  # type: ignore[import-not-registry]

    assert ears_plugin.heard == ["2018-12"]


def test_a_model_folder_of_a_plugin(installed: Installed) -> None:
    package = installed.folder / "carrier"
    (package / "weights").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    models = "{'small': 'carrier:weights', 'lost': 'carrier:nowhere', 'void': 'not_there:a'}"
    installed.add("models", HEAD + gives("models", models))
    registry = installed.discover()
    assert registry.model_folder("small") == Path(package / "weights")
    assert registry.model_folder("facebook/bart-large") is None
    with pytest.raises(PluginError, match="has no folder 'nowhere'"):
        registry.model_folder("lost")
    with pytest.raises(PluginError, match="there is no package 'not_there'"):
        registry.model_folder("void")


def test_a_preset_that_is_taken_for_a_corpus_is_told():
    assert frozenset(PRESETS) == JSONL_PRESETS
    told = "unknown corpus 'beir': beir is a preset of jsonl: write {use: jsonl, preset: beir}; "
    assert registry().unknown("corpus", "beir").startswith(told)
