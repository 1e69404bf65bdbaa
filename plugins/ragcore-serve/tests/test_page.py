"""The page's files: their headers, what may be fetched, and what its script never does."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from ragcore_serve import page

SCRIPT = (files(page) / "page.js").read_text(encoding="utf-8")
INDEX = (files(page) / "index.html").read_text(encoding="utf-8")
STYLE = (files(page) / "page.css").read_text(encoding="utf-8")


@pytest.fixture
def client() -> TestClient:
    app = FastAPI()
    app.include_router(page.router)
    return TestClient(app)


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/", "text/html"),
        ("/page/page.js", "text/javascript"),
        ("/page/page.css", "text/css"),
        ("/page/icon.svg", "image/svg+xml"),
    ],
)
def test_each_file_has_its_type_and_the_headers_that_guard_it(client, path, media_type):
    response = client.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"].split(";")[0] == media_type
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'self'; ")
    assert "unsafe" not in policy
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["cache-control"] == "no-cache"


def test_what_a_browser_has_already_is_not_sent_again(client):
    first = client.get("/page/page.js")
    tag = first.headers["etag"]
    for condition in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = client.get("/page/page.js", headers={"If-None-Match": condition})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
    assert client.get("/page/page.js", headers={"If-None-Match": '"other"'}).status_code == 200
    assert client.get("/page/page.css").headers["etag"] != tag


@pytest.mark.parametrize("name", ["__init__.py", "index.html.bak", "..%2f__init__.py", ""])
def test_no_other_file_is_served(client, name):
    assert client.get(f"/page/{name}").status_code == 404


def test_the_script_makes_no_html_of_strings():
    sinks = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc"
    assert not re.search(sinks, SCRIPT)
    assert "DOMParser" not in SCRIPT
    assert "createContextualFragment" not in SCRIPT


def test_nothing_is_inline_and_nothing_is_elsewhere():
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", INDEX)
    assert re.findall(r"<script[^>]*>", INDEX) == ['<script type="module" src="page/page.js">']
    for text in (INDEX, SCRIPT, STYLE):
        assert not re.search(r"https?://[a-z]|@import|url\(", text)


def test_nothing_is_stored_in_the_browser():
    # Tokens are in memory only.
    assert not re.search(r"localStorage|sessionStorage|indexedDB|cookie|caches\.", SCRIPT)


def test_every_id_that_the_script_asks_for_is_in_the_page():
    ids = set(re.findall(r'\bid="([^"]+)"', INDEX))
    asked = set(re.findall(r'find\("([^"]+)"\)', SCRIPT))
    assert asked
    assert asked <= ids
