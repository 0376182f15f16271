"""The page as the server gives it; what it shows and does is in ``tests/page``."""

from __future__ import annotations

import re
from importlib.resources import files
from wsgiref.types import WSGIApplication

import pytest
from support.engine.controller import world
from webob import Request, Response

from flowlane.northbound.app import make_app
from flowlane.northbound.page import assets


@pytest.fixture
def app() -> WSGIApplication:
    return make_app(world())


def ask(app: WSGIApplication, path: str, **headers: str) -> Response:
    return Request.blank(path, headers=headers).get_response(app)


def directives(answer: Response) -> dict[str, str]:
    listed = (part.strip().partition(" ") for part in answer.headers["Content-Security-Policy"].split(";"))
    return {name: value for name, _, value in listed}


@pytest.mark.parametrize("path", ["/", *(f"/page/{name}" for name in sorted(assets()))])
def test_nothing_but_files_of_this_server_may_be_loaded_or_run(app: WSGIApplication, path: str) -> None:
    answer = ask(app, path)
    assert answer.status_int == 200
    policy = directives(answer)
    assert (
        policy["default-src"]
        == policy["frame-ancestors"]
        == policy["base-uri"]
        == policy["form-action"]
        == "'none'"
    )
    assert (
        policy["script-src"] == policy["style-src"] == policy["connect-src"] == policy["img-src"] == "'self'"
    )
    assert policy["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["X-Frame-Options"] == "DENY"


def test_the_document_has_no_script_or_style_in_it_and_all_that_it_loads_is_there(
    app: WSGIApplication,
) -> None:
    text = ask(app, "/").text
    assert not re.search(r"<script(?![^>]* src=)|<style|\bstyle=|\bon[a-z]+=", text)
    loaded = re.findall(r'(?:src|href)="\./page/([^"]+)"', text)
    assert set(loaded) == {"page.js", "page.css", "icon.svg"}
    assert "licences.txt" in ask(app, "/page/page.js").text
    assert {*loaded, "licences.txt"} == set(assets())
    assert not re.search(r'(?:src|href)="(?!\./page/)', text)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("page.js", "text/javascript"),
        ("page.css", "text/css"),
        ("icon.svg", "image/svg+xml"),
        ("licences.txt", "text/plain"),
    ],
)
def test_files_have_their_types(app: WSGIApplication, name: str, kind: str) -> None:
    assert ask(app, f"/page/{name}").content_type == kind


def test_a_copy_is_used_again_while_it_is_the_same(app: WSGIApplication) -> None:
    first = ask(app, "/page/page.js")
    again = ask(app, "/page/page.js", **{"If-None-Match": first.headers["ETag"]})
    assert (again.status_int, again.body) == (304, b"")
    assert ask(app, "/page/page.js", **{"If-None-Match": '"other"'}).status_int == 200
    assert first.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("name", ["", "other.js", "..%2Findex.html", "index.html", "%2e%2e/app.py"])
def test_other_files_are_not_given(app: WSGIApplication, name: str) -> None:
    assert ask(app, f"/page/{name}").status_int == 404


def test_the_bundle_is_small() -> None:
    """It comes over slow links, too, and it is in git."""
    folder = files("flowlane.northbound").joinpath("static/page")
    assert sum(len(file.read_bytes()) for file in folder.iterdir()) < 300_000
