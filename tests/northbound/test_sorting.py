"""Lists of flows in the order of a column."""

from __future__ import annotations

from typing import Any

import pytest
from support.engine.controller import NIC, NOW, WEB, FakeController, ipv4, put, world
from webob import Request

from flowlane import hub
from flowlane.northbound import sorting
from flowlane.northbound.app import make_app


def get(controller: FakeController, path: str) -> Any:
    response = Request.blank(path).get_response(make_app(controller))
    assert response.status_code == 200, response.text
    return response.json


@pytest.fixture
def controller() -> FakeController:
    """With 40 flows more, whose rates repeat."""
    made = world()
    for number in range(40):
        rate, seen = float(number % 7), NOW - 500 - number
        put(made.state.devices[NIC], ipv4(WEB, 6, 2000 + number, 80), seen, rate=rate, octets=number)
    return made


@pytest.mark.parametrize(
    "sort", [f"{sign}{name}" for name in ("rate", "bytes", "packets", "first_seen") for sign in ("", "-")]
)
@pytest.mark.parametrize("limit", [1, 7, 100])
def test_every_flow_comes_once_in_order(controller: FakeController, sort: str, limit: int) -> None:
    items: list[Any] = []
    cursor = ""
    while True:
        page = get(controller, f"/v1/flows?sort={sort}&limit={limit}{cursor}")
        assert len(page["items"]) <= limit
        items += page["items"]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    values = [item[sort.removeprefix("-")] for item in items]
    assert values == sorted(values, reverse=sort.startswith("-"))
    everything = get(controller, "/v1/flows?limit=1000")["items"]
    assert sorted(item["id"] for item in items) == sorted(item["id"] for item in everything)


def test_filters_hold_in_any_order(controller: FakeController) -> None:
    items = get(controller, "/v1/assignments?sort=-rate&vm=web&src_port=1234")["items"]
    assert [(item["device"][-1], item["src_port"]) for item in items] == [("1", 1234), ("9", 1234)]
    assert [item["src_port"] for item in get(controller, "/v1/flows?sort=-bytes&limit=2")["items"]] == [
        1234,
        2039,
    ]


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("sort=colour", "'colour' is not a value of 'sort': one of rate, bytes, "),
        ("sort=rate&cursor=AAAA", "this is no cursor of this list"),
        ("id=xyz", "'xyz' is not a value of 'id': hexadecimal digits"),
    ],
)
def test_what_is_wrong_is_named(controller: FakeController, query: str, detail: str) -> None:
    response = Request.blank(f"/v1/flows?{query}").get_response(make_app(controller))
    assert response.status_code == 400
    assert detail in response.json["detail"]


def test_others_are_served_while_many_flows_are_sorted(
    controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a flow that ends meanwhile is not listed, nor one that begins in its row."""
    monkeypatch.setattr(sorting, "SLICE", 10)
    device, turns = controller.state.devices[NIC], []

    def end_one(_slice: object) -> None:
        turns.append(1)
        if len(turns) == 4:
            device.flows.remove(device.flows.rows[ipv4(WEB, 6, 2006, 80)])
            put(device, ipv4(WEB, 6, 9999, 80), NOW, rate=1e9)

    monkeypatch.setattr(hub.TimeSlice, "check", end_one)
    items = get(controller, "/v1/flows?sort=-rate&limit=1000")["items"]
    assert len(turns) >= 4
    assert {item["src_port"] for item in items}.isdisjoint({2006, 9999})
