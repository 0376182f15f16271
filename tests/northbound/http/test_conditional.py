"""Conditional requests and compressed answers."""

from __future__ import annotations

import gzip
import hashlib
import json
from wsgiref.types import WSGIApplication

import pytest
from support.engine.controller import FakeController, furnished, world
from support.engine.scenario import DPID, Scenario
from webob import Request, Response

from flowlane.northbound.app import make_app
from flowlane.northbound.http.conditional import HASHED, accepts_gzip, validator

QUEUE = f"/v1/devices/{DPID:016x}/queues/pf0/1"
HINT = "/v1/vms/uuid-web/hints/backup"


@pytest.fixture
def app() -> WSGIApplication:
    return make_app(furnished())


def ask(
    app: WSGIApplication, path: str, method: str = "GET", body: object = None, **headers: str
) -> Response:
    request = Request.blank(path, method=method)
    if body is not None:
        request.body, request.content_type = json.dumps(body).encode(), "application/json"
    for name, value in headers.items():
        request.headers[name.replace("_", "-")] = value
    return request.get_response(app)


@pytest.mark.parametrize(
    "path", ["/v1/devices", "/v1/vms/uuid-web", "/v1/pins", "/v1/policy", "/openapi.json", HINT]
)
def test_what_the_client_has_is_not_sent_again(app: WSGIApplication, path: str) -> None:
    first = ask(app, path)
    assert first.etag and first.headers["Cache-Control"] == "no-cache"
    for method in ("GET", "HEAD"):
        again = ask(app, path, method, If_None_Match=f'"other", W/"{first.etag}"')
        assert (again.status_int, again.body, again.etag) == (304, b"", first.etag)
        assert "Content-Type" not in again.headers
    assert ask(app, path, If_None_Match='"other"').status_int == 200


def test_the_validator_changes_with_what_is_shown() -> None:
    controller = world()
    app = make_app(controller)
    before = ask(app, "/v1/vms/uuid-web/hints")
    assert ask(app, "/v1/vms/uuid-web/hints").etag == before.etag
    assert ask(app, HINT, "PUT", {"class": "heavy"}).status_int == 201
    after = ask(app, "/v1/vms/uuid-web/hints", If_None_Match=f'"{before.etag}"')
    assert after.status_int == 200 and after.etag != before.etag


def test_others_run_while_the_validator_of_a_long_answer_is_made() -> None:
    pauses = list[int]()
    body = bytes(range(256)) * (5 * HASHED // 512)
    made = validator(Response(body), lambda: pauses.append(len(pauses)))
    assert made == hashlib.blake2b(body, digest_size=16).hexdigest() == validator(Response(body))
    assert len(pauses) == 3


def test_nothing_is_changed_that_the_client_has_not_seen(app: WSGIApplication) -> None:
    seen = ask(app, HINT).etag
    other = ask(app, HINT, "PUT", {"class": "capped"}, If_Match=f'"{seen}"')
    assert other.status_int == 200
    for method, body in (("PUT", {"class": "default"}), ("DELETE", None)):
        late = ask(app, HINT, method, body, If_Match=f'"{seen}"')
        assert (late.status_int, late.json["field"]) == (412, "If-Match")
    assert ask(app, HINT, "PUT", {"class": "heavy"}, If_None_Match="*").status_int == 412
    assert ask(app, HINT).json["class"] == "capped"
    assert ask(app, HINT, "DELETE", If_Match="*").status_int == 204
    assert ask(app, HINT, "PUT", {"class": "heavy"}, If_Match="*").status_int == 412, "it is not there"
    assert ask(app, HINT, "PUT", {"class": "heavy"}, If_None_Match="*").status_int == 201


def test_a_weak_validator_never_matches_where_something_is_changed(app: WSGIApplication) -> None:
    assert ask(app, HINT, "DELETE", If_Match=f'W/"{ask(app, HINT).etag}"').status_int == 412


def test_a_queue_that_another_has_cordoned() -> None:
    scenario = Scenario()
    app = make_app(FakeController(scenario.engine, now=scenario.now))
    seen = ask(app, QUEUE).etag
    assert ask(app, QUEUE, "PATCH", {"admission": "cordoned"}, If_Match=f'"{seen}"').status_int == 200
    assert ask(app, QUEUE, "PATCH", {"admission": "draining"}, If_Match=f'"{seen}"').status_int == 412


def test_a_missing_path_is_a_404_and_a_wrong_body_is_read_first(app: WSGIApplication) -> None:
    assert ask(app, "/v1/vms/nobody/hints/x", "DELETE", If_None_Match='"x"').status_int == 404
    assert ask(app, HINT, "PUT", {"klass": 1}, If_Match="*").status_int == 422


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("*", True),
        ("", False),
        ("gzip;q=0, *", False),
        ("identity", False),
        ("gzip;q=x", False),
    ],
)
def test_compressed_where_the_client_takes_it(app: WSGIApplication, header: str, expected: bool) -> None:
    assert accepts_gzip(Request.blank("/", headers={"Accept-Encoding": header})) is expected
    plain, answer = ask(app, "/v1/devices"), ask(app, "/v1/devices", Accept_Encoding=header)
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert (answer.headers.get("Content-Encoding") == "gzip") is expected
    if expected:
        assert gzip.decompress(answer.body) == plain.body
        assert answer.headers["Content-Length"] == str(len(answer.body)) and len(answer.body) < len(
            plain.body
        )
        assert answer.etag == f"{plain.etag}-gzip"
        again = ask(app, "/v1/devices", Accept_Encoding=header, If_None_Match=f'"{answer.etag}"')
        assert (again.status_int, again.etag) == (304, answer.etag)


def test_small_answers_and_errors_stay_as_they_are(app: WSGIApplication) -> None:
    assert "Content-Encoding" not in ask(app, "/healthz", Accept_Encoding="gzip").headers
    missing = ask(app, "/v1/vms/nobody", Accept_Encoding="gzip")
    assert missing.status_int == 404 and missing.etag is None
    assert missing.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("value", ["", "abc", '"a" "b"', "W/abc", '"a",'])
def test_a_malformed_condition_is_refused(app: WSGIApplication, value: str) -> None:
    for method, name in (("GET", "If-None-Match"), ("DELETE", "If-Match")):
        request = Request.blank(HINT, method=method)
        request.headers[name] = value
        answer = request.get_response(app)
        assert (answer.status_int, answer.json["field"]) == (400, name)
