"""The page's files as they are served: their types, their headers, and what may be fetched."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from ragcore_serve import page

from ragcore.views.page import page_files


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


def test_each_module_is_served(client):
    modules = [name for name in page_files() if name.endswith(".js")]
    assert len(modules) > 10
    for name in modules:
        response = client.get(f"/page/{name}")
        assert response.content == page_files()[name]
        assert response.headers["content-type"].startswith("text/javascript")
