from __future__ import annotations

import json
from typing import Any
from wsgiref.types import WSGIApplication

import pytest
from support.engine.controller import POLICY, WEB, FakeController, world
from webob import Request, Response

from flowlane.core.events import PolicyReplaced
from flowlane.core.model import Hint, HintSource
from flowlane.core.policy import Match
from flowlane.northbound.app import make_app
from flowlane.northbound.http.routing import MAX_BODY

HINTS = "/v1/vms/uuid-web/hints"
YAML = {"content_type": "application/yaml"}


@pytest.fixture
def controller() -> FakeController:
    return world()


@pytest.fixture
def app(controller: FakeController) -> WSGIApplication:
    return make_app(controller)


def ask(
    app: WSGIApplication, path: str, method: str = "GET", **options: bytes | dict[str, str] | str
) -> Response:
    return Request.blank(path, method=method, **options).get_response(app)


def put_hints(app: WSGIApplication, *hints: dict[str, Any] | str, **options: str) -> Response:
    body = json.dumps({"hints": hints}).encode()
    return ask(app, HINTS, "PUT", body=body, content_type="application/json", **options)


def test_the_policy_as_json_and_as_yaml(app: WSGIApplication) -> None:
    assert [item["name"] for item in ask(app, "/v1/policy").json["classes"]] == ["default", "heavy", "capped"]
    answer = ask(app, "/v1/policy", headers={"Accept": "application/yaml, application/json;q=0.5"})
    assert answer.content_type == "application/yaml"
    assert answer.text == POLICY.text


def test_a_policy_is_checked_without_effect(app: WSGIApplication, controller: FakeController) -> None:
    change = ask(app, "/v1/policy/check", "POST", body=b"classes: default bulk heavy", **YAML).json
    # What a check predicts is tested with an engine that has real flows: tests/core/test_dry_run.py.
    flows = change.pop("flows")
    assert set(flows) == {"total", "reclassified", "moved"}
    assert flows["total"] == sum(len(device.flows) for device in controller.state.devices.values())
    assert change == {
        "applied": False,
        "classes_added": ["bulk"],
        "classes_removed": ["capped"],
        "classes_changed": ["heavy"],
        "rules_added": [],
        "rules_removed": ["backups"],
        "rules_changed": [],
        "settings_changed": [],
    }
    assert controller.submitted == []
    assert controller.state.policy is POLICY


def test_a_policy_is_replaced(app: WSGIApplication, controller: FakeController) -> None:
    assert ask(app, "/v1/policy", "PUT", body=b"classes: a b", **YAML).json["applied"] is True
    assert [type(event) for event in controller.submitted] == [PolicyReplaced]
    assert ask(app, "/v1/policy").json["text"] == "classes: a b"


def test_a_refused_policy_changes_nothing_and_names_every_place(
    app: WSGIApplication, controller: FakeController
) -> None:
    for method, path in (("PUT", "/v1/policy"), ("POST", "/v1/policy/check")):
        answer = ask(app, path, method, body=b"bad", **YAML)
        assert answer.status_int == 422
        assert answer.json["errors"] == [
            {
                "line": 3,
                "column": 7,
                "path": "classes.bulk.limit",
                "detail": "'fast' is not a rate",
                "remedy": "write 50Mbit/s",
            }
        ]
    assert controller.submitted == []


def test_two_people_do_not_overwrite_each_other(app: WSGIApplication) -> None:
    etag = ask(app, "/v1/policy").headers["ETag"]
    # That of a compressed answer is accepted as well: browsers have no other.
    compressed = f'{etag[:-1]}-gzip"'
    assert (
        ask(app, "/v1/policy", "PUT", body=b"classes: a", headers={"If-Match": compressed}, **YAML).status_int
        == 200
    )
    late = ask(app, "/v1/policy", "PUT", body=b"classes: b", headers={"If-Match": etag}, **YAML)
    assert late.status_int == 412
    assert late.json["field"] == "If-Match"
    assert ask(app, "/v1/policy").json["text"] == "classes: a"


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        (b"\xff\xfe", 400, "byte 0"),
        (b"x" * (MAX_BODY + 1), 413, "4194304 bytes"),
    ],
)
def test_bodies_that_cannot_be_read(app: WSGIApplication, body: bytes, status: int, detail: str) -> None:
    answer = ask(app, "/v1/policy", "PUT", body=body, **YAML)
    assert answer.status_int == status
    assert detail in answer.json["detail"]


def test_hints_are_given_replaced_and_withdrawn(app: WSGIApplication, controller: FakeController) -> None:
    given = put_hints(
        app, {"class": "heavy", "match": {"dst-port": 80}, "lifetime": 60}, {"class": "capped"}
    ).json["hints"]
    assert [(hint["class"], hint["match"], hint["source"]) for hint in given] == [
        ("heavy", {"dst-port": 80}, "rest"),
        ("capped", {}, "rest"),
    ]
    assert {hint["ignored"] for hint in given} == {"no trust entry of the policy covers the VM"}
    assert given[0]["expires"] == "2027-01-15T08:01:00.000Z"
    assert given[1]["expires"] is None
    assert ask(app, "/v1/vms/uuid-web").json["hints"] == 2
    assert len(put_hints(app, {"class": "heavy"}).json["hints"]) == 1
    answer = ask(app, HINTS, "DELETE")
    assert (answer.status_int, answer.body) == (204, b"")
    assert ask(app, HINTS).json == {"vm": "uuid-web", "hints": []}
    assert {report.report.kind for report in controller.feed.since(0)} >= {"hint"}


def test_hints_from_ovsdb_stay(app: WSGIApplication, controller: FakeController) -> None:
    controller.state.hints["ovsdb:uuid-web"] = Hint(
        "ovsdb:uuid-web", "uuid-web", "capped", Match(), HintSource.OVSDB
    )
    put_hints(app, {"class": "heavy"})
    ask(app, HINTS, "DELETE")
    assert [hint["source"] for hint in ask(app, HINTS).json["hints"]] == ["ovsdb"]
    assert controller.state.vms[WEB].id == "uuid-web"


@pytest.mark.parametrize(
    ("hint", "field"),
    [
        ({}, "hints[0]"),
        ({"class": "unknown"}, "hints[0].class"),
        ({"class": 7}, "hints[0].class"),
        ({"class": None}, "hints[0].class"),
        ({"class": "\ud800"}, "hints[0].class"),
        ({"class": "heavy", "lifetime": 0}, "hints[0].lifetime"),
        ({"class": "heavy", "lifetime": -1}, "hints[0].lifetime"),
        ({"class": "heavy", "lifetime": 1e300}, "hints[0].lifetime"),
        ({"class": "heavy", "lifetime": "60s"}, "hints[0].lifetime"),
        ({"class": "heavy", "lifetime": True}, "hints[0].lifetime"),
        ({"class": "heavy", "match": []}, "hints[0].match"),
        ({"class": "heavy", "match": {"colour": 1}}, "hints[0].match"),
        ({"class": "heavy", "match": {"dst-port": 70000}}, "hints[0].match"),
        ({"class": "heavy", "match": {"src": {"a": 1}}}, "hints[0].match"),
        ({"class": "heavy", "match": {"src": None}}, "hints[0].match"),
        ({"class": "heavy", "priority": 1}, "hints[0]"),
        ("heavy", "hints[0]"),
    ],
)
def test_a_wrong_hint_names_its_key_and_changes_nothing(
    app: WSGIApplication, controller: FakeController, hint: dict[str, Any] | str, field: str
) -> None:
    put_hints(app, {"class": "capped"})
    del controller.submitted[:]
    answer = put_hints(app, hint)
    assert (answer.status_int, answer.content_type) == (422, "application/problem+json")
    assert answer.json["field"] == field
    assert controller.submitted == []


def test_too_many_hints(app: WSGIApplication) -> None:
    answer = put_hints(app, *[{"class": "heavy"}] * 65)
    assert (answer.status_int, answer.json["field"]) == (422, "hints")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b'{"hints": [}', 400),
        (b'{"hints": NaN}', 400),
        (b'{"hints": [' + b"1" * 5000 + b"]}", 400),
        (b"[" * 50_000, 400),
        (b'{"hints": [' + b"1," * 1_000_000 + b"1]}", 413),
        (b'\xff"', 400),
        (b"\xef\xbb\xbf{}", 400),
        (b"null", 422),
        (b"[]", 422),
        (b"{}", 422),
        (b'{"hints": {}}', 422),
        (b'{"hints": [], "more": 1}', 422),
        (b" " * (MAX_BODY + 1), 413),
    ],
)
def test_wrong_json_is_a_problem(
    app: WSGIApplication, controller: FakeController, body: bytes, status: int
) -> None:
    answer = ask(app, HINTS, "PUT", body=body, content_type="application/json")
    assert (answer.status_int, answer.content_type) == (status, "application/problem+json")
    assert controller.submitted == []
    assert len(answer.body) < 1000


def test_a_body_without_length_is_read_to_the_bound(app: WSGIApplication) -> None:
    request = Request.blank("/v1/policy", method="PUT", body=b"classes: a" + b" " * MAX_BODY, **YAML)
    del request.environ["CONTENT_LENGTH"]
    request.headers["Transfer-Encoding"] = "chunked"
    assert request.get_response(app).status_int == 413


def put_database(app: WSGIApplication, name: str, **body: object) -> Response:
    text = json.dumps(body).encode()
    return ask(app, f"/v1/databases/{name}", "PUT", body=text, content_type="application/json")


def test_databases_are_announced_and_withdrawn(app: WSGIApplication, controller: FakeController) -> None:
    assert [item["name"] for item in ask(app, "/v1/databases").json["items"]] == ["host1", "unix:/none"]
    answer = put_database(app, "host7", target="tcp:10.0.0.7:6640")
    assert (answer.status_int, answer.json["source"], answer.json["target"]) == (
        201,
        "rest",
        "tcp:10.0.0.7:6640",
    )
    assert put_database(app, "host7", target="tcp:10.0.0.7:6640").status_int == 200
    assert put_database(app, "host7", target="cluster:tcp:10.0.0.8:1,tcp:10.0.0.9:1").status_int == 201
    assert ask(app, "/v1/databases/host7").json["state"] == "stopped"
    assert ask(app, "/v1/status").json["databases"] == {"known": 3, "synchronized": 0}
    assert 'flowlane_database_synchronized{database="host7"} 0' in ask(app, "/metrics").text
    assert ask(app, "/v1/databases/host7", "DELETE").status_int == 204
    assert ask(app, "/v1/databases/host7", "DELETE").status_int == 404
    assert "did you mean host1?" in ask(app, "/v1/databases/host").json["detail"]


@pytest.mark.parametrize(
    ("name", "body", "status", "text"),
    [
        ("h", {"target": "nonsense"}, 422, "none of unix:FILE"),
        ("h", {"target": "ptcp:6640"}, 422, "--ovsdb"),
        ("h", {"target": "tcp:a:1,tcp:b:1"}, 422, "cluster:A,B,C"),
        ("h", {"target": "ssl:a:1"}, 422, "needs a private key"),
        ("h", {"target": 5}, 422, "not of type"),
        ("h", {}, 422, "required"),
        ("-h", {"target": "tcp:a:1"}, 422, "no name"),
        ("host1", {"target": "tcp:a:1"}, 409, "comes from option"),
        (
            "h",
            {
                "target": "ssl:a:1",
                "tls": {"private_key": "/no", "certificate": "/no", "ca_certificate": "/no"},
            },
            422,
            "cannot use /no",
        ),
    ],
)
def test_wrong_announcements_change_nothing(
    app: WSGIApplication, name: str, body: dict[str, object], status: int, text: str
) -> None:
    answer = put_database(app, name, **body)
    assert answer.status_int == status
    assert text in answer.json["detail"]
    assert len(ask(app, "/v1/databases").json["items"]) == 2
    assert ask(app, "/v1/databases/host1", "DELETE").status_int == 409
