from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote
from wsgiref.types import WSGIApplication

import pytest
from support.engine.controller import FLOWS, NIC, TOR, FakeController, furnished, world
from webob import Request, Response

from flowlane import hub, pauses
from flowlane.northbound.app import ROUTES, make_app
from flowlane.northbound.controller import Check

NIC_PATH = f"/v1/devices/{NIC:016x}"
FLOW_PATH = f"/v1/flows/{FLOWS[0][0].hex()}"
PATHS = {"asset": "page.js", "dpid": f"{NIC:016x}", "name": "host1", "id": "uuid-web"}


@pytest.fixture
def controller() -> FakeController:
    return world()


@pytest.fixture
def app(controller: FakeController) -> WSGIApplication:
    return make_app(controller)


def ask(app: WSGIApplication, path: str, **options: bytes | dict[str, str] | str) -> Response:
    return Request.blank(path, **options).get_response(app)


def problem(app: WSGIApplication, path: str, **options: bytes | str) -> dict[str, Any]:
    """The problem document of an answer that must be one."""
    answer = ask(app, path, **options)
    assert answer.content_type == "application/problem+json", answer.text
    document = json.loads(answer.text)
    assert document["status"] == answer.status_int
    assert {"type", "title", "detail"} <= document.keys()
    assert "Traceback" not in answer.text
    return dict(document)


def concrete(path: str) -> str:
    if path.startswith("/v1/flows/{id}"):
        return path.replace("/v1/flows/{id}", FLOW_PATH)
    names = {"name": "backup"} if path.startswith("/v1/vms") else {}
    return path.format(**{**PATHS, "port": "uplink", "queue": "1", **names})


@pytest.mark.parametrize(
    "path", sorted({route.path for route in ROUTES if route.method == "GET"} - {"/v1/events"})
)
def test_every_path_answers_and_head_is_get_without_a_body(path: str) -> None:
    app = make_app(furnished())
    got, head = ask(app, concrete(path)), ask(app, concrete(path), method="HEAD")
    assert got.status_int == head.status_int == 200
    assert head.body == b""
    if path != "/metrics":  # It counts the requests as well.
        assert head.headers["Content-Length"] == str(len(got.body))
    assert head.content_type == got.content_type
    assert got.headers["X-Content-Type-Options"] == "nosniff"


def test_while_a_device_is_taken_in_other_devices_and_what_is_of_none_are_answered() -> None:
    """A probe that waits for seconds would have the controller restarted."""
    app, done = make_app(furnished()), list[str]()
    other, of_others = f"/v1/devices/{TOR:016x}", f"/v1/devices/{NIC:016x}/queues"
    at_once = ["/healthz", "/openapi.json", "/v1/policy", "/", f"{other}/queues", f"{other}/ports", other]
    later = [of_others, f"/v1/devices/{NIC:016X}", "/v1/devices", "/v1/flows", "/v1/status", "/metrics"]

    def get(path: str) -> None:
        assert ask(app, path).status_int == 200
        done.append(path)

    pauses.WORK.begin(NIC)
    try:
        tasks = [hub.spawn(get, path) for path in (*at_once, *later)]
        for _ in range(100):
            hub.sleep(0.005)
            if len(done) == len(at_once):
                break
        hub.sleep(0.02)
        assert sorted(done) == sorted(at_once)
    finally:
        pauses.WORK.end()
    for _ in range(1000):
        hub.sleep(0.005)
        if len(done) == len(tasks):
            break
    assert sorted(done) == sorted((*at_once, *later))


def test_readiness_names_what_is_missing(app: WSGIApplication, controller: FakeController) -> None:
    controller.problems[1] = Check("ovsdb", "no connection to unix:/run/db.sock")
    answer = ask(app, "/readyz")
    assert answer.status_int == 503
    assert answer.json["checks"][1] == {
        "name": "ovsdb",
        "ok": False,
        "problem": "no connection to unix:/run/db.sock",
    }
    assert ask(app, "/healthz").status_int == 200
    assert ask(app, "/v1/status").json["ready"] is False


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/devices/zzz", "dpid"),
        ("/v1/devices/1", "dpid"),
        ("/v1/devices/00000000000000ff/queues", "dpid"),
        ("/v1/vms/nobody", "id"),
        ("/v1/vms/nobody/hints", "id"),
        ("/v1/flows/ff", "id"),
        ("/v1/flows/not-hex", "id"),
        (f"/v1/flows/{FLOWS[0][0].hex()[:-2]}00/explain", "id"),
        ("/v1/flows/%00", "id"),
        ("/v1/flows/" + "f" * 5000, "id"),
        ("/v2", None),
        ("/v1/devices/", None),
        ("//", None),
    ],
)
def test_what_is_not_there_is_a_404(app: WSGIApplication, path: str, field: str | None) -> None:
    document = problem(app, path)
    assert document["status"] == 404
    assert document.get("field") == field


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=ten", "limit"),
        ("limit=-1", "limit"),
        ("limit=%D9%A3", "limit"),
        ("limit=", "limit"),
        ("limit=" + "9" * 300, "limit"),
        ("limit=1&limit=2", "limit"),
        ("cursor=", "cursor"),
        ("cursor=abc", "cursor"),
        ("cursor=%C3%A9", "cursor"),
        ("device=", "device"),
        ("queue=x", "queue"),
        ("queue=-1", "queue"),
        ("kind=hard", "kind"),
        ("reason=because", "reason"),
        ("proto=tcpp", "proto"),
        ("proto=256", "proto"),
        ("proto=0x", "proto"),
        ("src=10.0.0.0/33", "src"),
        ("src=host.example", "src"),
        ("dst=02:00:00:00:00:zz", "dst"),
        ("src_port=65536", "src_port"),
        ("dst_port=http", "dst_port"),
        ("colour=red", "colour"),
        ("vm=%FF%FE", "query"),
        ("vm=" + "v" * 300, "vm"),
    ],
)
def test_a_wrong_query_names_its_field(app: WSGIApplication, query: str, field: str) -> None:
    document = problem(app, f"/v1/assignments?{query}")
    assert document["status"] == 400
    assert document["field"] == field


def test_an_unknown_parameter_is_told_what_there_is(app: WSGIApplication) -> None:
    assert "limit, cursor" in problem(app, "/v1/flows?queue=1")["detail"]


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE", "TRACE", "NONSENSE"])
def test_a_method_that_a_path_has_not_is_a_405(app: WSGIApplication, method: str) -> None:
    answer = ask(app, "/v1/policy", method=method)
    assert answer.status_int == 405
    assert answer.headers["Allow"] == "GET, HEAD, OPTIONS, PUT"
    assert ask(app, "/v1/policy", method="OPTIONS").headers["Allow"] == "GET, HEAD, OPTIONS, PUT"


@pytest.mark.parametrize(
    ("path", "accept", "status"),
    [
        ("/v1/status", "text/html", 406),
        ("/v1/status", "application/json;q=0", 406),
        ("/v1/status", "text/html, application/*;q=0.1", 200),
        ("/v1/status", "*/*", 200),
        ("/v1/status", "garbage;;;", 200),
        ("/metrics", "text/plain", 200),
        ("/metrics", "application/openmetrics-text", 406),
        ("/v1/events", "application/xml", 406),
    ],
)
def test_what_is_accepted_counts(app: WSGIApplication, path: str, accept: str, status: int) -> None:
    assert ask(app, path, headers={"Accept": accept}).status_int == status


@pytest.mark.parametrize(
    ("method", "path", "sent"),
    [
        ("PUT", "/v1/policy", "application/x-www-form-urlencoded"),
        ("PUT", "/v1/policy", ""),
        ("POST", "/v1/policy/check", "application/octet-stream"),
        ("PUT", "/v1/vms/uuid-web/hints", "text/plain"),
    ],
)
def test_a_body_of_another_kind_is_a_415(app: WSGIApplication, method: str, path: str, sent: str) -> None:
    assert problem(app, path, method=method, body=b"x", content_type=sent)["status"] == 415


@pytest.mark.parametrize(
    ("environ", "status"),
    [
        ({"PATH_INFO": "/v1/\xff"}, 400),
        ({"RAW_PATH_INFO": "/v1/vms/%ff"}, 400),
        ({"RAW_PATH_INFO": "/v1/vms/ns%2Fdb"}, 200),
        ({"RAW_PATH_INFO": "/v1/vms/ns/db"}, 404),
        ({"QUERY_STRING": "vm=%"}, 400),
        ({"QUERY_STRING": "\x00\xff"}, 400),
        ({"CONTENT_LENGTH": "-5"}, 404),
    ],
)
def test_odd_bytes_in_the_request(app: WSGIApplication, environ: dict[str, str], status: int) -> None:
    request = Request.blank("/nothing" if "CONTENT_LENGTH" in environ else "/v1/status")
    request.environ.update(environ)
    assert request.get_response(app).status_int == status


def test_a_vm_is_found_by_id_with_a_slash_and_by_name(app: WSGIApplication) -> None:
    assert ask(app, "/v1/vms/" + quote("db")).json["id"] == "ns/db"


def test_lists_are_filtered(app: WSGIApplication) -> None:
    def flows(query: str) -> Any:
        return ask(app, f"/v1/flows?{query}").json["items"]

    assert len(flows("")) == len(FLOWS)
    assert [flow["protocol"] for flow in flows("vm=db")] == ["udp", "icmpv6", "0x88f7"]
    assert [place["device"] for place in flows("class=heavy")[0]["assignments"]] == [
        f"{NIC:016x}",
        f"{TOR:016x}",
    ]
    assert len(ask(app, "/v1/assignments").json["items"]) == len(FLOWS) + 1
    assert [queue["queue_id"] for queue in ask(app, f"{NIC_PATH}/queues?port=uplink").json["items"]] == [
        0,
        1,
        2,
        3,
        10,
    ]
    assert ask(app, f"{NIC_PATH}/queues?port=vf0").json["items"] == []
    assert len(ask(app, "/v1/vms?device=br-nic").json["items"]) == 2
    assert ask(app, "/v1/vms?device=other").status_code == 404


def test_an_unforeseen_error_is_a_500_without_details(
    app: WSGIApplication,
    controller: FakeController,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(controller, "checks", lambda: 1 // 0)
    document = problem(app, "/v1/status")
    assert document["status"] == 500
    assert "division" not in json.dumps(document)
    assert "ZeroDivisionError" in caplog.text
