"""The site of the documentation: it builds without a warning, and loads nothing from elsewhere."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
from mkdocs.exceptions import PluginError

import ragcore
from tests.helpers.markdown import ROOT

API: Final = ROOT / "docs" / "reference" / "python-api.md"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def hooks() -> Any:
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_api_page_has_every_public_name():
    named = re.findall(r"^::: ragcore\.(\w+)$", API.read_text("utf-8"), re.MULTILINE)
    assert sorted(named) == sorted(ragcore.__all__)


def test_the_site_has_the_docstrings_of_the_source(site):
    page = (site / "reference" / "python-api" / "index.html").read_text(encoding="utf-8")
    assert all(f'id="ragcore.{name}"' in page for name in ragcore.__all__)
    contracts = (site / "reference" / "api-contracts" / "index.html").read_text(encoding="utf-8")
    assert 'id="ragcore.contracts.Retriever.search"' in contracts
    laws = (site / "reference" / "api-testing" / "index.html").read_text(encoding="utf-8")
    assert "test_ties_are_ordered_by_row" in laws


def test_the_home_page_is_the_readme_and_its_links_lead_into_the_site(site):
    home = (site / "index.html").read_text(encoding="utf-8")
    assert "Write a retriever in eight lines" in home
    assert 'href="tutorials/register-a-retriever/"' in home
    assert 'src="overview.svg"' in home
    assert (site / "plugins" / "ragcore-faiss" / "index.html").is_file()


@pytest.mark.parametrize(
    "page",
    [
        '<script src="https://example.org/a.js"></script>',
        '<link rel="stylesheet" href="//example.org/a.css">',
        '<img src="http://example.org/a.png">',
    ],
)
def test_a_page_that_loads_from_elsewhere_is_refused(hooks, tmp_path, page):
    (tmp_path / "index.html").write_text(page, encoding="utf-8")
    with pytest.raises(PluginError, match=r"index\.html: .*example\.org"):
        hooks.on_post_build(SimpleNamespace(site_dir=str(tmp_path)))


def test_a_link_to_click_may_lead_elsewhere(hooks, tmp_path):
    (tmp_path / "index.html").write_text('<a href="https://example.org">paper</a>', "utf-8")
    hooks.on_post_build(SimpleNamespace(site_dir=str(tmp_path)))
