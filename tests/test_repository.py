"""The files around the code agree with it: workflows, templates, versions, changelog fragments."""

from __future__ import annotations

import re
import tomllib
from typing import Any, Final

import pytest
import yaml
from packaging.requirements import Requirement

from ragcore import __version__
from tests.helpers.markdown import ROOT

PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
MAKEFILE: Final = (ROOT / "Makefile").read_text(encoding="utf-8")
WORKFLOWS: Final = sorted(ROOT.glob(".github/workflows/*.yml"))
YAML_FILES: Final = [
    *sorted(ROOT.glob(".github/**/*.yml")),
    ROOT / ".pre-commit-config.yaml",
    ROOT / "CITATION.cff",
]


def loaded(path: Any) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def commands(target: str) -> list[str]:
    """The lines of a target of the Makefile, without its variables for programs."""
    found = re.search(rf"^{re.escape(target)}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert found is not None, f"the Makefile has no target {target!r}"
    return [line.strip().removeprefix("$(BIN)/") for line in found[1].splitlines()]


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda path: path.name)
def test_a_file_is_yaml(path):
    assert isinstance(loaded(path), dict)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_runs_targets_of_the_makefile_alone(path):
    workflow = loaded(path)
    # YAML 1.1 reads the key `on` as true.
    assert {"name", True, "permissions", "jobs"} <= set(workflow)
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            assert {"run", "uses"} & set(step)
            if "run" in step:
                make, target = step["run"].split()
                assert make == "make"
                assert commands(target)


def test_the_workflow_runs_what_must_pass_before_a_change_lands():
    text = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    required = re.findall(r"^make ([\w-]+)", text, re.MULTILINE)
    jobs = loaded(ROOT / ".github/workflows/tests.yml")["jobs"]
    run = {step["run"] for job in jobs.values() for step in job["steps"] if "run" in step}
    assert {f"make {target}" for target in required} <= run


def test_every_supported_python_is_tested():
    versions = loaded(ROOT / ".github/workflows/tests.yml")["jobs"]["test"]["strategy"]["matrix"]
    prefix = "Programming Language :: Python :: 3."
    classified = [
        one.removeprefix(prefix[:-2])
        for one in PROJECT["project"]["classifiers"]
        if one.startswith(prefix)
    ]
    assert versions["python"] == classified
    assert PROJECT["project"]["requires-python"] == f">={classified[0]}"


def test_a_commit_is_checked_as_make_check_does():
    hooks = loaded(ROOT / ".pre-commit-config.yaml")["repos"][0]["hooks"]
    entries = [one["entry"].removeprefix(".venv/bin/") for one in hooks]
    checked = [one.removesuffix(" .") for one in commands("check")]
    assert [one.removesuffix(" --force-exclude") for one in entries] == checked


@pytest.mark.parametrize("name", ["bug.yml", "feature.yml"])
def test_an_issue_form_has_what_github_asks_for(name):
    form = loaded(ROOT / ".github/ISSUE_TEMPLATE" / name)
    assert {"name", "description", "body"} <= set(form)
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert fields
    assert all(field["id"] and field["attributes"]["label"] for field in fields)


def test_the_version_is_in_one_place():
    assert loaded(ROOT / "CITATION.cff")["version"] == __version__
    for path in [ROOT / "pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml")]:
        package = tomllib.loads(path.read_text(encoding="utf-8"))
        source = path.parent / package["tool"]["hatch"]["version"]["path"]
        assert package["project"]["dynamic"] == ["version"], path
        assert source.resolve() == ROOT / "ragcore" / "__init__.py", path


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("plugins/*/pyproject.toml")), ids=lambda p: p.parent.name
)
def test_a_plugin_goes_with_this_version_of_the_core(path):
    project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    (core,) = [
        one for one in map(Requirement, project["dependencies"]) if one.name == "ragcore-engine"
    ]
    assert __version__ in core.specifier
    extras = [
        Requirement(one) for many in project["optional-dependencies"].values() for one in many
    ]
    assert not [one for one in extras if one.name.startswith("ragcore")]


def test_a_changelog_fragment_is_of_a_known_kind():
    kinds = {kind["directory"] for kind in PROJECT["tool"]["towncrier"]["type"]}
    for path in (ROOT / "changes").iterdir():
        if path.name != "README.md":
            assert re.fullmatch(rf"(\d+|\+[\w-]+)\.({'|'.join(kinds)})\.md", path.name), path.name
    assert PROJECT["tool"]["towncrier"]["start_string"] in (ROOT / "CHANGELOG.md").read_text(
        "utf-8"
    )
    described = set(
        re.findall(r"^\| `(\w+)`", (ROOT / "changes/README.md").read_text(), re.MULTILINE)
    )
    assert described == kinds
