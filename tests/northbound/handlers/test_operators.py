"""Pins, cordons, roles and single hints over REST, by an engine with real flows."""

from __future__ import annotations

import json
from typing import Any
from wsgiref.types import WSGIApplication

import pytest
from support.engine.controller import FakeController, world
from support.engine.scenario import DPID, Scenario
from webob import Request, Response

from flowlane.northbound.app import make_app

QUEUE = f"/v1/devices/{DPID:016x}/queues/pf0"


@pytest.fixture
def scenario() -> Scenario:
    """Four queues, and a flow."""
    made = Scenario()
    made.flow(1, 1000)
    return made


@pytest.fixture
def controller(scenario: Scenario) -> FakeController:
    return FakeController(scenario.engine, now=scenario.now)


@pytest.fixture
def app(controller: FakeController) -> WSGIApplication:
    return make_app(controller)


def ask(app: WSGIApplication, path: str, method: str = "GET", body: object = None) -> Response:
    if body is None:
        return Request.blank(path, method=method).get_response(app)
    data = json.dumps(body).encode()
    return Request.blank(path, method=method, body=data, content_type="application/json").get_response(app)


def flow_of(app: WSGIApplication) -> dict[str, Any]:
    (flow,) = ask(app, "/v1/flows").json["items"]
    return dict(flow)


def test_a_pin_over_its_life(app: WSGIApplication) -> None:
    flow = flow_of(app)
    path, place = f"/v1/flows/{flow['id']}/pin", flow["assignments"][0]
    assert place["manual_pin"] is None and ask(app, path).json["pins"] == []
    target = (place["queue_id"] + 1) % 4
    answer = ask(app, path, "PUT", {"queue_id": target, "device": "br-int", "lifetime": 90})
    assert answer.status_int == 200, answer.text
    (pin,) = answer.json["pins"]
    assert (pin["queue_id"], pin["port"], pin["device_name"], pin["in_force"]) == (
        target,
        "pf0",
        "br-int",
        True,
    )
    assert ask(app, "/v1/pins").json["items"] == [pin]
    (after,) = ask(app, "/v1/assignments").json["items"]
    assert (after["queue_id"], after["reason"]) == (target, "pinned-by-hand")
    assert after["manual_pin"]["expires"] == pin["expires"]
    (why,) = ask(app, f"/v1/flows/{flow['id']}/explain").json["devices"]
    assert why["manual_pin"] == after["manual_pin"]
    assert (
        ask(app, path, "PUT", {"queue_id": place["queue_id"]}).json["pins"][0]["queue_id"]
        == place["queue_id"]
    )
    assert ask(app, path, "DELETE").status_int == 204
    assert ask(app, path, "DELETE").status_int == 404
    assert ask(app, path).json["pins"] == []


@pytest.mark.parametrize(
    ("body", "status", "field", "text"),
    [
        ({"queue_id": 9}, 422, "queue_id", "port pf0 of br-int has no queue 9; its queues: 0, 1, 2, 3"),
        ({"queue_id": 2}, 409, "queue_id", "queue 2 of pf0 is cordoned; uncordon it first"),
        (
            {"queue_id": 1, "device": "br-x"},
            422,
            "device",
            "'br-x' is no device on the flow's way; there are: br-int",
        ),
        ({"queue_id": 1, "lifetime": 0}, 422, "lifetime", "lifetime 0 is out of range"),
        ({"queue_id": "1"}, 422, "queue_id", "is not of type 'integer'"),
        ({}, 422, "body", "'queue_id' is a required property"),
    ],
)
def test_pins_that_cannot_be(app: WSGIApplication, body: object, status: int, field: str, text: str) -> None:
    assert ask(app, f"{QUEUE}/2", "PATCH", {"admission": "cordoned"}).status_int == 200
    answer = ask(app, f"/v1/flows/{flow_of(app)['id']}/pin", "PUT", body)
    assert (answer.status_int, answer.json["field"]) == (status, field)
    assert text in answer.json["detail"]


def test_no_room_for_a_pin(app: WSGIApplication, scenario: Scenario) -> None:
    scenario.device.pins_when_full = 1
    assert ask(app, f"/v1/flows/{flow_of(app)['id']}/pin", "PUT", {"queue_id": 0}).status_int == 200
    row = scenario.flow(2, 2000)
    flow_id = (scenario.device.flows.keys[row] or b"").hex()
    answer = ask(app, f"/v1/flows/{flow_id}/pin", "PUT", {"queue_id": 1})
    assert answer.status_int == 409 and "br-int has no room" in answer.json["detail"]


def test_a_flow_on_several_devices_needs_the_device() -> None:
    app = make_app(world())
    (flow,) = (item for item in ask(app, "/v1/flows").json["items"] if len(item["assignments"]) > 1)
    answer = ask(app, f"/v1/flows/{flow['id']}/pin", "PUT", {"queue_id": 1})
    assert answer.status_int == 422 and answer.json["field"] == "device"
    assert "br-nic" in answer.json["detail"]


def test_a_queue_is_cordoned_drained_and_opened(app: WSGIApplication, scenario: Scenario) -> None:
    queue_id = flow_of(app)["assignments"][0]["queue_id"]
    path = f"{QUEUE}/{queue_id}"
    assert ask(app, path).json["admission"] == "open"
    drained = ask(app, path, "PATCH", {"admission": "draining"}).json
    assert (drained["admission"], drained["cordoned_flows"], drained["flows"]) == ("draining", 1, 1)
    scenario.tick(10)
    after = ask(app, path).json
    assert (after["admission"], after["flows"]) == ("drained", 0)
    assert after["cordoned_since"] is not None
    listed = ask(app, f"/v1/devices/{DPID:016x}/queues").json["items"]
    assert [item["admission"] for item in listed].count("drained") == 1
    opened = ask(app, path, "PATCH", {"admission": "open"}).json
    assert (opened["admission"], opened["cordoned_flows"]) == ("open", None)
    for other in range(3):
        cordoned = ask(app, f"{QUEUE}/{other}", "PATCH", {"admission": "cordoned"})
        assert (cordoned.status_int, cordoned.json["other_open_queues"]) == (200, 3 - other)
    listed = ask(app, f"/v1/devices/{DPID:016x}/queues").json["items"]
    assert [item["other_open_queues"] for item in listed] == [1, 1, 1, 0]
    last = ask(app, f"{QUEUE}/3", "PATCH", {"admission": "draining"})
    assert last.status_int == 409 and "the last one of pf0 that takes flows" in last.json["detail"]
    assert "queues 0, 1, 2 are cordoned" in last.json["detail"]


@pytest.mark.parametrize(
    ("path", "field", "text"),
    [
        (f"{QUEUE}/7", "queue", "there is no queue '7'"),
        (f"/v1/devices/{DPID:016x}/queues/nowhere/0", "port", "there is no port 'nowhere'"),
        ("/v1/devices/00000000000000ff/queues/pf0/0", "dpid", "there is no device"),
    ],
)
def test_queues_that_are_not_there(app: WSGIApplication, path: str, field: str, text: str) -> None:
    for method, body in (("GET", None), ("PATCH", {"admission": "open"})):
        answer = ask(app, path, method, body)
        assert (answer.status_int, answer.json["field"]) == (404, field)
        assert text in answer.json["detail"]


def test_a_role_by_hand(app: WSGIApplication) -> None:
    path = f"/v1/devices/{DPID:016x}"
    assert [ask(app, path).json[field] for field in ("role", "role_source")] == ["nic", "ovsdb"]
    given = ask(app, path, "PATCH", {"role": "switch"}).json
    assert (given["role"], given["role_source"]) == ("switch", "rest")
    assert ask(app, path, "PATCH", {"role": None}).json["role_source"] == "ovsdb"
    assert ask(app, path, "PATCH", {"role": "router"}).status_int == 422


def test_single_hints_beside_the_list(app: WSGIApplication) -> None:
    path = "/v1/vms/vm1/hints"
    assert ask(app, path, "PUT", {"hints": [{"class": "small"}]}).status_int == 200
    new = ask(app, f"{path}/backup", "PUT", {"class": "heavy", "match": {"dst-port": 873}, "lifetime": 60})
    assert (new.status_int, new.json["name"], new.json["class"]) == (201, "backup", "heavy")
    assert ask(app, f"{path}/backup", "PUT", {"class": "small"}).status_int == 200
    assert [item["name"] for item in ask(app, path).json["hints"]] == ["0", "backup"]
    assert ask(app, f"{path}/backup").json["expires"] is None
    assert ask(app, f"{path}/backup", "DELETE").status_int == 204
    for method in ("GET", "DELETE"):
        assert ask(app, f"{path}/backup", method).status_int == 404
    assert [item["name"] for item in ask(app, path).json["hints"]] == ["0"]
    assert ask(app, f"{path}/a%20b", "PUT", {"class": "small"}).status_int == 422
    refused = ask(app, f"{path}/x", "PUT", {"class": "none such"})
    assert (refused.status_int, refused.json["field"]) == (422, "class")
