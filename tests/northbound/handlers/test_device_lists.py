"""The lists over all devices: ports, meters, groups, and what of the policy is left out."""

from __future__ import annotations

from typing import Any
from wsgiref.types import WSGIApplication

import pytest
from support.engine.controller import NIC, TOR, FakeController, furnished
from support.engine.scenario import Scenario
from webob import Request

from flowlane.northbound.app import make_app

NICS, TORS = f"{NIC:016x}", f"{TOR:016x}"


@pytest.fixture
def app() -> WSGIApplication:
    return make_app(furnished())


def pages(app: WSGIApplication, path: str, limit: int = 2) -> list[dict[str, Any]]:
    """All items of a list, read in small pages."""
    items: list[dict[str, Any]] = []
    cursor = ""
    while True:
        sign = "&" if "?" in path else "?"
        page = Request.blank(f"{path}{sign}limit={limit}{cursor}").get_response(app).json
        assert len(page["items"]) <= limit
        items += page["items"]
        if page["next"] is None:
            return items
        cursor = f"&cursor={page['next']}"


def test_ports_of_all_devices_and_of_one_role(app: WSGIApplication) -> None:
    ports = pages(app, "/v1/ports")
    assert [(item["device"], item["port_no"]) for item in ports] == [
        (NICS, 1),
        (NICS, 2),
        (NICS, 9),
        (TORS, 5),
    ]
    assert [item["name"] for item in pages(app, "/v1/ports?role=uplink")] == ["uplink", "up"]
    assert [item["name"] for item in pages(app, "/v1/ports?device=br-nic&role=vm", 1)] == ["vf0", "vf1"]


def test_what_is_left_out(app: WSGIApplication) -> None:
    items = pages(app, "/v1/left-out", 1)
    assert [item["device"] for item in items] == [NICS, TORS]
    assert items[0]["why"] == "the device has no meters" and items[0]["remedy"]


def test_groups(app: WSGIApplication) -> None:
    groups = pages(app, "/v1/groups", 1)
    assert [item["group_id"] for item in groups] == [3, 5]
    assert groups[1]["select_by"] == "hash"
    assert groups[1]["buckets"] == [{"queue_id": 0, "weight": 1}, {"queue_id": 1, "weight": 1}]


def test_meters_say_what_they_limit() -> None:
    scenario = Scenario()
    flow = scenario.flow(1, 1, 5000)
    app = make_app(FakeController(scenario.engine, now=scenario.now))
    (meter,) = pages(app, "/v1/meters")
    key = scenario.device.flows.keys[flow] or b""
    assert (meter["class"], meter["limits"], meter["flow"]) == ("limited", "flow", key.hex())
    assert (meter["rate"], meter["flows"], meter["packets_dropped"]) == (2_000_000, 1, None)


@pytest.mark.parametrize("path", ["/v1/ports", "/v1/meters", "/v1/groups", "/v1/left-out"])
def test_unknown_names_and_cursors(app: WSGIApplication, path: str) -> None:
    unknown = Request.blank(f"{path}?device=br-nix").get_response(app)
    assert unknown.status_int == 404 and "did you mean br-nic?" in unknown.json["detail"]
    assert Request.blank(f"{path}?cursor=zzz").get_response(app).status_int == 400


def test_an_unknown_role(app: WSGIApplication) -> None:
    answer = Request.blank("/v1/ports?role=router").get_response(app)
    assert (answer.status_int, answer.json["field"]) == (400, "role")
    assert "'router'" in answer.json["detail"] and "uplink" in answer.json["detail"]
