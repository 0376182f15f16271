from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote
from wsgiref.types import WSGIApplication

import pytest
from support.engine.controller import NIC, TOR, WEB, FakeController, ipv4, put, world
from webob import Request

from flowlane.northbound import paging
from flowlane.northbound.app import make_app
from flowlane.northbound.paging import Cursor, page_of_names, read_cursor, write_cursor


def follow(
    app: WSGIApplication, path: str, between: Callable[[int], object] = lambda page: None
) -> list[Any]:
    """All items over all pages; ``between`` runs after each page."""
    items, cursor = [], ""
    for page in range(1000):
        answer = Request.blank(f"{path}&cursor={cursor}" if cursor else path).get_response(app).json
        items += answer["items"]
        cursor = answer["next"]
        if cursor is None:
            return items
        between(page)
    raise AssertionError("the pages never end")


@pytest.fixture
def controller() -> FakeController:
    controller = world()
    for number in range(50):
        put(controller.state.devices[NIC], ipv4(WEB, 6, 2000 + number, 443), egress_port=9)
        if number % 2:
            put(controller.state.devices[TOR], ipv4(WEB, 6, 2000 + number, 443), egress_port=5)
    return controller


@pytest.mark.parametrize("limit", [1, 7, 55, 1000])
def test_pages_give_every_flow_once(controller: FakeController, limit: int) -> None:
    app = make_app(controller)
    ids = [flow["id"] for flow in follow(app, f"/v1/flows?limit={limit}")]
    assert len(ids) == len(set(ids)) == 55
    assert len(follow(app, f"/v1/assignments?limit={limit}")) == 55 + 26


def test_flows_that_stay_come_exactly_once_while_others_come_and_go(controller: FakeController) -> None:
    """Between pages flows end, their rows are taken by new ones, and known flows turn up on the other device."""
    nic, tor = controller.state.devices[NIC], controller.state.devices[TOR]
    on_nic = [ipv4(WEB, 6, 2000 + number, 443) for number in range(20, 50)]
    on_tor = [ipv4(WEB, 6, 5000 + number, 443) for number in range(20)]
    new = [ipv4(WEB, 17, 3000 + number, 1) for number in range(20)]
    for key in on_tor:
        put(tor, key, egress_port=5)

    def churn(page: int) -> None:
        controller.now += 1
        if page < 20:
            nic.flows.remove(nic.flows.rows[ipv4(WEB, 6, 2000 + page, 443)])
            put(nic, new[page], seen=controller.now)
            put(nic, on_tor[page], seen=controller.now)
            if on_nic[page] not in tor.flows.rows:
                put(tor, on_nic[page], seen=controller.now)

    ids = [flow["id"] for flow in follow(make_app(controller), "/v1/flows?limit=2", churn)]
    assert [ids.count(key.hex()) for key in on_nic + on_tor] == [1] * 50
    assert not set(ids) & {key.hex() for key in new}


def test_a_page_looks_at_a_bounded_number_of_rows(
    controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "ROWS_PER_PAGE", 10)
    app = make_app(controller)
    first = Request.blank("/v1/flows?class=capped").get_response(app).json
    assert first["next"] is not None
    assert len(follow(app, "/v1/flows?class=capped")) == 1
    assert len(follow(app, "/v1/flows?limit=1000")) == 55


def test_devices_and_vms_are_paged_by_name(controller: FakeController) -> None:
    app = make_app(controller)
    assert [item["id"] for item in follow(app, "/v1/vms?limit=1")] == ["ns/db", "uuid-web"]
    assert [item["dpid"] for item in follow(app, "/v1/devices?limit=1")] == [f"{NIC:016x}", f"{TOR:016x}"]


def test_cursors_are_opaque_and_come_back() -> None:
    cursor = Cursor(12.5, 0xFFFFFFFFFFFFFFFF, 77)
    assert read_cursor(write_cursor(cursor)) == cursor
    assert write_cursor(cursor).isascii()
    assert not set(write_cursor(cursor)) & set("=+/&%")


@pytest.mark.parametrize(
    "text", ["AAAA", "%%%", "a" * 200, "\u00e9", "flow-7", write_cursor(Cursor(1.0)) + "AA"]
)
def test_a_cursor_that_is_not_ours_is_refused(controller: FakeController, text: str) -> None:
    problem = Request.blank(f"/v1/flows?cursor={quote(text)}").get_response(make_app(controller))
    assert problem.status_int == 400
    assert problem.json["field"] == "cursor"


def test_page_of_names() -> None:
    assert page_of_names(["a", "b", "c"], None, 2) == (["a", "b"], "b")
    assert page_of_names(["a", "c"], "b", 2) == (["c"], None)
    assert page_of_names([], None, 2) == ([], None)
